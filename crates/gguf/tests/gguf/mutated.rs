//! Bytes that were right and are not any more: no panic, and what is still accepted keeps the promises of its type.

use longshore_gguf::{Gguf, Layout, Limits};
use proptest::prelude::*;

use crate::util::{data_for, metadata_of, pairs, rewrite, tensors, write};

/// Opens the file, and if it is one, walks every accessor.
fn open(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut tight = Limits::default();
    (tight.tensors, tight.pairs, tight.string_bytes, tight.array_elements) = (3, 3, 4, 3);
    let tight = Gguf::with_limits(bytes, &tight).is_ok();
    let Ok(file) = Gguf::new(bytes) else {
        prop_assert!(!tight, "limits are only ever a reason to refuse");
        return Ok(());
    };
    let header = file.header();
    let mut at = header.data_start();
    for tensor in header.iter() {
        prop_assert_eq!(tensor.file_range().start, at.next_multiple_of(header.alignment()));
        prop_assert_eq!(Ok(tensor.byte_len()), tensor.dims().byte_len(tensor.ggml_type()));
        prop_assert_eq!(file.tensor(tensor.name()).unwrap().data.len() as u64, tensor.byte_len());
        at = tensor.file_range().end;
    }
    for (key, value) in header.metadata().iter() {
        prop_assert_eq!(header.metadata().get(key).map(|value| format!("{value:?}")), Some(format!("{value:?}")));
    }
    prop_assert_eq!(rewrite(bytes), bytes);
    Ok(())
}

fn files() -> impl Strategy<Value = Vec<u8>> {
    (tensors(), pairs()).prop_map(|(tensors, pairs)| {
        let layout = Layout::new(metadata_of(&pairs), tensors).unwrap();
        let data = data_for(&layout);
        write(layout, &data)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn edited_bytes(
        mut bytes in files(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&[0, 1, 2, 8, 9, 12, 13, 32, 127, 255][..])), 1..4),
    ) {
        for (at, byte) in edits {
            // In the header more often than not.
            let at = at.index(bytes.len().min(300));
            bytes[at] = byte;
        }
        open(&bytes)?;
    }

    #[test]
    fn cut_and_grown_files(mut bytes in files(), cut in any::<prop::sample::Index>(), more in 0..3_usize) {
        bytes.truncate(cut.index(bytes.len() + 1));
        bytes.resize(bytes.len() + more, 0);
        open(&bytes)?;
    }

    #[test]
    fn moved_bytes(mut bytes in files(), from in any::<prop::sample::Index>(), len in 0..9_usize, to in any::<prop::sample::Index>()) {
        let from = from.index(bytes.len());
        let taken: Vec<u8> = bytes.drain(from..(from + len).min(bytes.len())).collect();
        let to = to.index(bytes.len() + 1);
        bytes.splice(to..to, taken);
        open(&bytes)?;
    }

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        open(&bytes)?;
        let mut bytes = bytes;
        bytes.splice(0..0, *b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0");
        open(&bytes)?;
    }
}
