//! Compares this crate with the `safetensors` crate. Files that `safetensors` refuses are refused here too. Files that
//! both accept read the same. Each reason for which only this crate refuses a file has a test in `stricter`.

use longshore_st_format::{HeaderError as E, SafeTensors};
use proptest::prelude::*;

use crate::util::{dtypes, file, metadata, names, parse, shapes, tensors};

fn compare(bytes: &[u8]) -> Result<(), TestCaseError> {
    let theirs = safetensors::SafeTensors::read_metadata(bytes);
    let ours = parse(bytes);
    match (theirs, ours) {
        (Err(_), Err(_)) => {}
        (Err(theirs), Ok(ours)) => prop_assert!(false, "only safetensors refuses: {theirs}, {ours:?}"),
        (Ok(_), Err(ours)) => prop_assert!(
            matches!(
                ours,
                E::NotAnObject { found: ' ' | '\n' | '\r' | '\t' }
                    | E::DuplicateTensor { .. }
                    | E::DuplicateMetadataKey { .. }
                    | E::UnknownField { .. }
            ) || duplicate(bytes),
            "only this crate refuses: {ours}"
        ),
        (Ok((header_len, theirs)), Ok(ours)) => {
            prop_assert_eq!(ours.data_start(), 8 + header_len as u64);
            prop_assert_eq!(ours.len(), theirs.tensors().len());
            for (name, info) in theirs.tensors() {
                let tensor = ours.get(&name).expect("safetensors has listed it");
                prop_assert_eq!(tensor.dtype().name(), info.dtype.to_string());
                prop_assert_eq!(tensor.shape().dims(), info.shape.iter().map(|&dim| dim as u64).collect::<Vec<_>>());
                prop_assert_eq!(tensor.range(), info.data_offsets.0 as u64..info.data_offsets.1 as u64);
            }
            let metadata = theirs.metadata().clone().unwrap_or_default().into_iter().collect();
            prop_assert_eq!(ours.metadata(), &metadata);
        }
    }
    Ok(())
}

/// Returns true where the header names a tensor twice. The `safetensors` crate drops the first entry unread, so that
/// entry may be wrong in any way.
fn duplicate(bytes: &[u8]) -> bool {
    let len = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    let text = std::str::from_utf8(&bytes[8..8 + len]).unwrap();
    text.matches("\"data_offsets\"").count()
        > json.as_object().unwrap().keys().filter(|key| *key != "__metadata__").count()
}

/// Strategy for the JSON of entries whose numbers are right or nearly right, with the length of their data.
fn declared() -> impl Strategy<Value = (String, usize)> {
    let near = prop_oneof![12 => Just(0_i64), 1 => -2..=2_i64];
    let entry = (names(), dtypes(), shapes(), near.clone(), near.clone(), 0..40_u8);
    (prop::collection::vec(entry, 0..5), metadata(), near, any::<[bool; 2]>(), "[ \n]{0,9}").prop_map(
        |(entries, metadata, extra, [with_metadata, backwards], padding)| {
            let mut at = 0;
            let mut fields = Vec::new();
            for (name, dtype, shape, begin, end, oddity) in entries {
                let len = i64::try_from(shape.byte_len(dtype).unwrap_or(1)).unwrap();
                let offsets = format!("[{},{}]", at + begin, at + begin + len + end);
                at += len;
                let shape = shape.to_string();
                let (key, dtype) = (serde_json::to_string(&name).unwrap(), dtype.name());
                fields.push(match oddity {
                    0 => format!(r#"{key}:{{"dtype":"{dtype}","shape":{shape}}}"#),
                    1 => format!(r#"{key}:{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets},"x":[1]}}"#),
                    2 => {
                        format!(r#"{key}:{{"dtype":"{dtype}","dtype":"U8","shape":{shape},"data_offsets":{offsets}}}"#)
                    }
                    _ => format!(r#"{key}:{{"data_offsets":{offsets},"shape":{shape},"dtype":"{dtype}"}}"#),
                });
            }
            if with_metadata {
                let metadata = serde_json::to_string(&metadata).unwrap();
                fields.push(format!(r#""__metadata__":{metadata}"#));
            }
            if backwards {
                fields.reverse();
            }
            (format!("{{{}}}{padding}", fields.join(",")), usize::try_from(at + extra).unwrap_or(0))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nearly_right_headers((json, data_len) in declared()) {
        compare(&file(&json, data_len))?;
    }

    #[test]
    fn mutated_bytes(
        (json, data_len) in declared(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&b"{}[]\",:019-. eE\\u\n\0\xffaFU8_"[..])), 1..3),
    ) {
        let mut bytes = file(&json, data_len);
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        compare(&bytes)?;
    }

    #[test]
    fn cut_and_grown_files((json, data_len) in declared(), cut in any::<prop::sample::Index>(), more in 0..3_usize) {
        let mut bytes = file(&json, data_len);
        bytes.truncate(cut.index(bytes.len() + 1));
        bytes.resize(bytes.len() + more, b' ');
        compare(&bytes)?;
    }

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64), len in 0..64_u64) {
        compare(&bytes)?;
        let mut bytes = bytes;
        bytes.splice(0..0, len.to_le_bytes());
        compare(&bytes)?;
    }

    #[test]
    fn what_they_write_we_read(tensors in tensors(), metadata in metadata()) {
        let data: Vec<Vec<u8>> = tensors
            .iter()
            .zip(0_u8..)
            .map(|((_, dtype, shape), i)| vec![i; usize::try_from(shape.byte_len(*dtype).unwrap()).unwrap()])
            .collect();
        let views = tensors.iter().zip(&data).map(|((name, dtype, shape), data)| {
            let dtype = serde_json::from_value(dtype.name().into()).unwrap();
            let shape = shape.dims().iter().map(|&dim| usize::try_from(dim).unwrap()).collect();
            (name, safetensors::tensor::TensorView::new(dtype, shape, data).unwrap())
        });
        // Given an empty map and no tensor, the `safetensors` crate writes text that is not JSON.
        let theirs = (!metadata.is_empty()).then(|| metadata.clone().into_iter().collect());
        let bytes = safetensors::serialize(views, theirs).unwrap();
        compare(&bytes)?;
        let file = SafeTensors::new(bytes).unwrap();
        prop_assert_eq!(file.header().metadata(), &metadata);
        for ((name, dtype, shape), data) in tensors.iter().zip(&data) {
            let tensor = file.tensor(name).unwrap();
            prop_assert_eq!((tensor.dtype, tensor.shape, tensor.data), (*dtype, shape, &data[..]));
        }
    }
}
