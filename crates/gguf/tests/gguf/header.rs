use std::fs::File;

use longshore_gguf::{GgmlType, Header, HeaderError as E, Limits, NameError, OpenError, ReadError};

use crate::{
    raw::{Raw, RawTensor, array, floats, string},
    util::parse,
};

fn sample() -> Raw {
    Raw::default()
        .pair("k", 8, string("v"))
        .pair("n", 9, array(4, 1, &[1, 0, 0, 0]))
        .tensor(floats("b", 3))
        .tensor(RawTensor { id: 8, extents: vec![32, 2], data: vec![7; 68], ..floats("a", 0) })
        .tensor(RawTensor { extents: vec![0, 9], ..floats("e", 0) })
        .tensor(RawTensor { extents: vec![], data: vec![0; 4], ..floats("s", 0) })
}

#[test]
fn accessors_agree() {
    let bytes = sample().bytes();
    let header = parse(&bytes).unwrap();
    let start = header.data_start();
    assert_eq!((header.version(), header.alignment(), header.len(), header.is_empty()), (3, 32, 4, false));
    assert_eq!((start, header.file_len()), (sample().header().len() as u64, bytes.len() as u64));
    assert_eq!(header.data_len(), header.file_len() - start);
    assert_eq!(header.iter().map(longshore_gguf::TensorInfo::name).collect::<Vec<_>>(), ["b", "a", "e", "s"]);
    assert_eq!(header.names().collect::<Vec<_>>(), ["a", "b", "e", "s"]);
    let a = header.get("a").unwrap();
    assert_eq!((a.ggml_type(), a.dims().as_slice(), a.offset(), a.byte_len()), (GgmlType::Q8_0, &[32, 2][..], 32, 68));
    assert_eq!((a.dims().shape().collect::<Vec<_>>(), a.file_range()), (vec![2, 32], start + 32..start + 100));
    let (e, s) = (header.get("e").unwrap(), header.get("s").unwrap());
    assert_eq!((e.byte_len(), e.offset(), s.offset(), s.dims().rank(), s.byte_len()), (0, 128, 128, 0, 4));
    assert!(header.get("c").is_none());
    assert_eq!(
        header.padding().collect::<Vec<_>>(),
        [start + 12..start + 32, start + 100..start + 128, start + 132..start + 160]
    );
    assert_eq!(header.to_bytes(), bytes[..usize::try_from(start).unwrap()]);
}

#[test]
fn alignments_are_heeded() {
    for alignment in [1, 2, 8, 32, 64, 4_096, 1 << 20] {
        let raw = Raw::default().aligned(alignment).tensor(floats("a", 1)).tensor(floats("b", 1));
        let bytes = raw.bytes();
        let header = parse(&bytes).unwrap();
        let alignment = u64::from(alignment);
        assert_eq!(header.alignment(), alignment);
        assert!(header.data_start().is_multiple_of(alignment));
        assert_eq!(header.get("b").unwrap().offset(), 4_u64.next_multiple_of(alignment));
        assert_eq!(header.file_len(), bytes.len() as u64);
    }
    // The key may be anywhere, and counts for the whole file.
    let bytes = Raw::default().aligned(64).pair("z", 0, [1]).tensor(floats("a", 1)).bytes();
    assert_eq!(parse(&bytes).unwrap().data_start() % 64, 0);
}

#[test]
fn bytes_may_end_after_the_header_and_no_earlier() {
    let bytes = sample().bytes();
    let limits = Limits::default();
    let whole = parse(&bytes).unwrap();
    let start = sample().header().len();
    for len in start..bytes.len() {
        assert_eq!(Header::parse(&bytes[..len], bytes.len() as u64, &limits).unwrap(), whole);
    }
    for short in 0..start {
        let error = Header::parse(&bytes[..short], bytes.len() as u64, &limits).unwrap_err();
        assert!(
            matches!(error, E::BytesTruncated { found, expected } if found == short as u64 && expected > found && expected <= start as u64),
            "{error}"
        );
    }
    assert!(matches!(whole.check_padding(&bytes[..start + 20]), Err(E::BytesTruncated { .. })));
    assert!(whole.check_padding(&bytes).is_ok());
}

#[test]
fn a_header_with_the_end_of_its_file_says_how_long_the_file_is() {
    for pad_last in [true, false] {
        let raw = Raw { pad_last, ..sample() };
        let (header, start) = (parse(&raw.bytes()).unwrap(), raw.header().len());
        let bytes = header.to_bytes_with_end();
        assert_eq!(bytes, [raw.header(), vec![0; if pad_last { 28 } else { 0 }]].concat());
        let read = |bytes: &[u8]| Header::parse_with_end(bytes, &Limits::default());
        assert_eq!(read(&bytes).unwrap(), header);
        for short in 0..start {
            assert!(matches!(read(&bytes[..short]), Err(E::Truncated { .. } | E::CountsBeyondFile { .. })), "{short}");
        }
        // A last padding is whole, zero, and the end.
        for len in start + 1..start + 28 {
            let part = [&bytes[..start], &vec![0; len - start]].concat();
            assert!(matches!(read(&part), Err(E::PartialPadding { .. })), "{len}");
        }
        let more = [&bytes[..start], &[0; 29]].concat();
        assert!(matches!(read(&more), Err(E::TrailingData { .. })));
        let other = [&bytes[..start], &[0; 27], &[1]].concat();
        assert!(matches!(read(&other), Err(E::Padding { after: Some(tensor), .. }) if &*tensor == "s"));
    }
    let empty = Raw::default().bytes();
    let header = parse(&empty).unwrap();
    assert_eq!(header.to_bytes_with_end(), empty);
    assert_eq!(Header::parse_with_end(&empty, &Limits::default()).unwrap(), header);
}

#[test]
fn padding_behind_tensors_is_for_whoever_has_it() {
    let mut bytes = sample().bytes();
    let start = sample().header().len();
    bytes[start + 20] = 1;
    let header = parse(&bytes).unwrap();
    let expected = start as u64 + 20;
    assert!(matches!(header.check_padding(&bytes), Err(E::Padding { offset, .. }) if offset == expected));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gguf");
    std::fs::write(&path, &bytes).unwrap();
    let error = Header::read_from(&File::open(&path).unwrap(), &Limits::default()).unwrap_err();
    assert!(matches!(error, ReadError::Header(E::Padding { after: Some(tensor), found: 1, .. }) if &*tensor == "b"));
}

#[test]
fn limits_bound_what_is_read() {
    let bytes = sample().bytes();
    let with = |set: fn(&mut Limits)| {
        let mut limits = Limits::default();
        set(&mut limits);
        Header::parse(&bytes, bytes.len() as u64, &limits)
    };
    assert!(matches!(with(|l| l.tensors = 3), Err(E::TooManyTensors { found: 4, limit: 3 })));
    assert!(with(|l| l.tensors = 4).is_ok());
    assert!(matches!(with(|l| l.pairs = 1), Err(E::TooManyPairs { found: 2, limit: 1 })));
    assert!(with(|l| l.pairs = 2).is_ok());
    assert!(matches!(with(|l| l.key_bytes = 0), Err(E::Key { source: NameError::TooLong { found: 1, limit: 0 }, .. })));
    assert!(with(|l| l.key_bytes = 1).is_ok());
    assert!(matches!(with(|l| l.string_bytes = 0), Err(E::StringTooLong { found: 1, limit: 0, .. })));
    assert!(with(|l| l.string_bytes = 1).is_ok());
    assert!(matches!(with(|l| l.array_elements = 0), Err(E::ArrayTooLong { found: 1, limit: 0, .. })));
    assert!(with(|l| l.array_elements = 1).is_ok());
    assert!(matches!(with(|l| l.alignment = 16), Err(E::Alignment { .. })));
    assert!(with(|l| l.alignment = 32).is_ok());
}

#[test]
fn a_hundred_thousand_tensors_are_found_by_name() {
    let mut raw = Raw { alignment: 1, ..Raw::default() }.aligned(1);
    raw.tensors = (0..100_000)
        .map(|index| RawTensor {
            extents: vec![1],
            id: 24,
            data: vec![7],
            ..floats(&format!("layers.{index}.weight"), 0)
        })
        .collect();
    let header = parse(&raw.bytes()).unwrap();
    assert_eq!(header.len(), 100_000);
    for index in 0..100_000 {
        assert_eq!(header.get(&format!("layers.{index}.weight")).unwrap().offset(), index);
    }
    assert!(header.names().is_sorted());
}

#[test]
fn a_header_is_read_without_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gguf");
    let limits = Limits::default();
    // Longer than what is read at first, so that it is read in several steps.
    for len in [0, 70_000, 1 << 20] {
        let raw = sample().pair("long", 8, string(vec![b'x'; len]));
        std::fs::write(&path, raw.bytes()).unwrap();
        let (open, header) = Header::open(&path, &limits).unwrap();
        assert_eq!(header, parse(&raw.bytes()).unwrap());
        assert_eq!(Header::read_from(&open, &limits).unwrap(), header, "it can be read again");
    }
    // A sparse terabyte: nothing but the header is touched.
    let raw = Raw::default().tensor(RawTensor { id: 24, extents: vec![1 << 40], ..floats("a", 0) });
    std::fs::write(&path, raw.header()).unwrap();
    let grown = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    if grown.set_len(raw.header().len() as u64 + (1 << 40)).is_ok() {
        assert_eq!(Header::open(&path, &limits).unwrap().1.data_len(), 1 << 40);
    }
}

#[test]
fn what_cannot_be_opened_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits::default();
    let missing = dir.path().join("missing.gguf");
    let error = Header::open(&missing, &limits).unwrap_err();
    assert!(matches!(error, OpenError::Open { .. }));
    assert_eq!(error.path(), missing);
    assert!(error.to_string().contains("missing.gguf"));
    assert!(matches!(Header::open(dir.path(), &limits), Err(OpenError::NotAFile { .. })));
    for len in [0, 3, 24, 30, 200] {
        let path = dir.path().join("short.gguf");
        std::fs::write(&path, &sample().bytes()[..len]).unwrap();
        let error = Header::open(&path, &limits).unwrap_err();
        assert!(
            matches!(&error, OpenError::Header { source: E::Truncated { .. } | E::CountsBeyondFile { .. }, .. }),
            "{len}: {error:?}"
        );
        assert!(matches!(Header::read_from(&File::open(&path).unwrap(), &limits), Err(ReadError::Header(_))));
    }
}
