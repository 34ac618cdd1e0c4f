//! Tests headers and files against their promises and against the `safetensors` crate.

use longshore_st_format::{Header, Layout, Limits, SafeTensors};

/// Longest data section that is generated for a header, in bytes.
const MAX_DATA: u64 = 1 << 16;

/// Tests `data` as the JSON of a header. The length prefix and the number of data bytes are derived from the JSON, so
/// that the fuzzer mutates the JSON, and not two numbers that depend on it.
pub(super) fn header(data: &[u8]) {
    let mut bytes = (data.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(data);
    let start = bytes.len() as u64;
    let claimed = claimed_len(data);
    let file_len = start.saturating_add(claimed);
    let parsed = Header::parse(&bytes, file_len, &Limits::default());
    // The end of the data is a promise too: the same header is refused in a file that is one byte shorter or longer.
    for other in [file_len.checked_sub(1), file_len.checked_add(1)].into_iter().flatten() {
        let found = Header::parse(&bytes, other, &Limits::default());
        assert!(parsed.is_err() || found.is_err(), "accepted with {file_len} bytes and with {other}");
    }
    // Tighter limits may refuse a header, but must not change it.
    let mut tight = Limits::default();
    (tight.tensors, tight.rank, tight.name_bytes, tight.metadata_bytes) = (2, 2, 8, 8);
    if let Ok(header) = Header::parse(&bytes, file_len, &tight) {
        assert_eq!(parsed.as_ref().ok(), Some(&header), "other limits give another header");
        assert!(
            header.len() <= 2 && header.iter().all(|tensor| tensor.shape().rank() <= 2 && tensor.name().len() <= 8)
        );
    }
    let Ok(header) = parsed else { return };
    check(&header, file_len);
    if claimed <= MAX_DATA {
        bytes.resize(usize::try_from(file_len).expect("a short file"), 0);
        agrees_with_incumbent(&bytes, &header);
    }
}

/// Tests `data` as a whole file.
pub(super) fn file(data: &[u8]) {
    let Ok(file) = SafeTensors::new(data) else { return };
    let header = file.header();
    check(header, data.len() as u64);
    agrees_with_incumbent(data, header);
    let mut read = 0;
    for (view, info) in file.iter().zip(header.iter()) {
        assert_eq!(view.data.len() as u64, info.byte_len());
        let range = info.file_range(header);
        let same = &data[usize::try_from(range.start).expect("inside")..usize::try_from(range.end).expect("inside")];
        assert_eq!(view.data.as_ptr_range(), same.as_ptr_range());
        assert_eq!(file.tensor(info.name()).map(|found| found.data), Some(view.data));
        read += view.data.len() as u64;
    }
    assert_eq!(read, header.data_len(), "the tensors cover the data");
}

/// Checks the promises of a header.
fn check(header: &Header, file_len: u64) {
    assert_eq!(header.file_len(), file_len);
    let mut at = 0;
    for tensor in header.iter() {
        let range = tensor.range();
        assert_eq!(range.start, at, "no hole before {:?}", tensor.name());
        assert_eq!(tensor.shape().byte_len(tensor.dtype()), Ok(tensor.byte_len()));
        let in_file = tensor.file_range(header);
        assert!(in_file.start >= header.data_start() && in_file.end <= file_len && in_file.start <= in_file.end);
        assert_eq!(header.get(tensor.name()), Some(tensor));
        at = range.end;
    }
    assert_eq!(at, header.data_len(), "the tensors cover the data");
    assert!(header.names().is_sorted_by(|a, b| a < b), "names are unique");
    // A parsed header can be written again, unless a rule of the layout refuses it. The written header parses to the
    // same tensors.
    let parts = header.iter().map(|tensor| (tensor.name(), tensor.dtype(), tensor.shape().clone()));
    let Ok(layout) = Layout::new(header.metadata(), parts) else { return };
    let again = Header::parse(layout.header(), layout.file_len(), &Limits::default()).expect("a layout is a header");
    assert_eq!(again.metadata(), header.metadata());
    assert!(again.names().eq(header.names()));
    for tensor in header.iter() {
        let other = again.get(tensor.name()).expect("the names are equal");
        assert_eq!((other.dtype(), other.shape()), (tensor.dtype(), tensor.shape()));
    }
}

/// Checks that the `safetensors` crate accepts a file that this project accepts, and sees the same tensors.
fn agrees_with_incumbent(file: &[u8], ours: &Header) {
    let (json_len, theirs) = safetensors::SafeTensors::read_metadata(file).expect("this project accepts the file");
    assert_eq!(ours.data_start(), 8 + json_len as u64);
    let tensors = theirs.tensors();
    assert_eq!(ours.len(), tensors.len());
    for (name, info) in tensors {
        let tensor = ours.get(&name).expect("the `safetensors` crate has listed the tensor");
        assert_eq!(tensor.dtype().name(), info.dtype.to_string());
        assert!(tensor.shape().dims().iter().eq(info.shape.iter().map(|dim| *dim as u64).collect::<Vec<_>>().iter()));
        assert_eq!(tensor.range(), info.data_offsets.0 as u64..info.data_offsets.1 as u64);
    }
    let theirs = theirs.metadata().clone().unwrap_or_default();
    assert!(ours.metadata().iter().eq(theirs.into_iter().collect::<std::collections::BTreeMap<_, _>>().iter()));
}

/// Returns the largest end of a tensor that the JSON declares.
fn claimed_len(json: &[u8]) -> u64 {
    let Ok(serde_json::Value::Object(entries)) = serde_json::from_slice(json) else { return 0 };
    let ends = entries.values().filter_map(|entry| entry.get("data_offsets")?.get(1)?.as_u64());
    ends.max().unwrap_or(0)
}
