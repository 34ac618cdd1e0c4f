use longshore_st_format::{Dtype, Header, HeaderError as E, Limits, OpenError, ReadError, Shape, ShapeError};

use crate::util::{file, parse, refuse};

const A: &str = r#""a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}"#;

fn one(entry: &str) -> String {
    format!(r#"{{"a":{entry}}}"#)
}

#[test]
fn accessors_agree() {
    let json = r#"{"b":{"dtype":"F32","shape":[],"data_offsets":[2,6]},
        "a":{"data_offsets":[6,9],"shape":[2,3],"dtype":"F4"},"z":{"dtype":"I64","shape":[0,7],"data_offsets":[2,2]},
        "__metadata__":{"k":"v"},"c":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}   "#;
    let bytes = file(json, 9);
    let header = parse(&bytes).unwrap();
    assert_eq!((header.len(), header.is_empty()), (4, false));
    assert_eq!(header.data_start(), 8 + json.len() as u64);
    assert_eq!((header.data_len(), header.file_len()), (9, bytes.len() as u64));
    assert_eq!(header.iter().map(longshore_st_format::TensorInfo::name).collect::<Vec<_>>(), ["c", "z", "b", "a"]);
    assert_eq!(header.names().collect::<Vec<_>>(), ["a", "b", "c", "z"]);
    assert_eq!(header.metadata().iter().collect::<Vec<_>>(), [(&"k".to_owned(), &"v".to_owned())]);
    let a = header.get("a").unwrap();
    assert_eq!((a.dtype(), a.shape(), a.range(), a.byte_len()), (Dtype::F4, &Shape::new([2, 3]), 6..9, 3));
    assert_eq!(a.file_range(&header), header.data_start() + 6..header.file_len());
    assert!(header.get("d").is_none());
    assert!(header.get("__metadata__").is_none());
}

#[test]
fn empty_files_and_null_metadata_are_fine() {
    for json in ["{}", "{ }", r#"{"__metadata__":null}"#, r#"{"__metadata__":{}}"#, "{} \n\r\t "] {
        let header = parse(&file(json, 0)).unwrap();
        assert!(header.is_empty() && header.metadata().is_empty(), "{json}");
    }
}

#[test]
fn the_prefix_is_checked_before_anything_is_read() {
    for len in 0..8 {
        assert!(matches!(parse(&vec![1; len]), Err(E::PrefixTruncated { file_len }) if file_len == len as u64));
    }
    assert!(matches!(parse(&[0; 8]), Err(E::EmptyHeader)));
    for found in [100_000_001, 1 << 63, u64::MAX] {
        let error = parse(&found.to_le_bytes()).unwrap_err();
        assert!(matches!(error, E::HeaderTooLong { found: f, limit: 100_000_000 } if f == found), "{error}");
        assert!(error.to_string().contains(&found.to_string()));
    }
    let mut unlimited = Limits::default();
    unlimited.header_bytes = u64::MAX;
    assert!(matches!(
        Header::parse(&u64::MAX.to_le_bytes(), 8, &unlimited),
        Err(E::HeaderBeyondFile { header_len: u64::MAX, file_len: 8 })
    ));
    let mut bytes = file("{}", 0);
    bytes[0] = 3;
    assert!(matches!(parse(&bytes), Err(E::HeaderBeyondFile { header_len: 3, file_len: 10 })));
}

#[test]
fn bytes_may_end_after_the_header_and_no_earlier() {
    let bytes = file(&format!("{{{A}}}"), 4);
    let limits = Limits::default();
    let start = bytes.len() - 4;
    let whole = parse(&bytes).unwrap();
    assert_eq!(Header::parse(&bytes[..start], bytes.len() as u64, &limits).unwrap(), whole);
    for short in 0..start {
        let error = Header::parse(&bytes[..short], bytes.len() as u64, &limits).unwrap_err();
        assert!(matches!(error, E::BytesTruncated { found, .. } if found == short as u64), "{error}");
    }
}

#[test]
fn text_that_is_no_header_is_refused() {
    assert!(matches!(parse(&[3, 0, 0, 0, 0, 0, 0, 0, b'{', 0xff, b'}']), Err(E::NotUtf8 { offset: 9, .. })));
    for (json, first) in [("[]", '['), ("null", 'n'), (" {}", ' '), ("\u{feff}{}", '\u{feff}'), ("\0", '\0')] {
        assert!(matches!(refuse(json, 0), E::NotAnObject { found } if found == first), "{json:?}");
    }
    for json in [
        "{",
        "{}x",
        "{}{}",
        "{}\0",
        r#"{"a"}"#,
        r#"{"a":1}"#,
        r#"{"a":null}"#,
        r#"{"a":{"dtype":"U8""#,
        "{,}",
        "{'a':1}",
    ] {
        assert!(matches!(refuse(json, 0), E::Json { .. }), "{json:?}");
    }
    // Trailing garbage is not blamed on the last tensor.
    assert!(matches!(refuse(&format!("{{{A}}}!"), 4), E::Json { tensor: None, .. }));
}

#[test]
fn metadata_holds_strings() {
    for metadata in ["1", "[]", "\"x\"", "true", r#"{"k":1}"#, r#"{"k":null}"#, r#"{"k":{}}"#] {
        let error = refuse(&format!(r#"{{"__metadata__":{metadata}}}"#), 0);
        assert!(matches!(error, E::Json { tensor: None, .. }), "{metadata}: {error}");
    }
    assert!(matches!(refuse(r#"{"__metadata__":{},"__metadata__":null}"#, 0), E::DuplicateMetadata));
}

#[test]
fn entries_have_three_fields() {
    for (entry, missing) in [
        ("{}", "dtype"),
        (r#"{"dtype":"U8"}"#, "shape"),
        (r#"{"shape":[4],"data_offsets":[0,4]}"#, "dtype"),
        (r#"{"dtype":"U8","data_offsets":[0,4]}"#, "shape"),
        (r#"{"dtype":"U8","shape":[4]}"#, "data_offsets"),
    ] {
        let error = refuse(&one(entry), 4);
        assert!(
            matches!(&error, E::MissingField { tensor, field } if &**tensor == "a" && *field == missing),
            "{entry}: {error}"
        );
    }
    for field in ["dtype", "shape", "data_offsets"] {
        let twice = format!(
            r#"{{"dtype":"U8","shape":[4],"data_offsets":[0,4],"{field}":{}}}"#,
            match field {
                "dtype" => "\"U8\"",
                "shape" => "[4]",
                _ => "[0,4]",
            }
        );
        let error = refuse(&one(&twice), 4);
        assert!(matches!(&error, E::DuplicateField { tensor, field: f } if &**tensor == "a" && *f == field), "{error}");
    }
}

#[test]
fn numbers_are_whole_and_fit() {
    for bad in ["-1", "1.5", "4.0", "4e0", "18446744073709551616", "1e400", "\"4\"", "null", "[4]"] {
        for entry in [
            format!(r#"{{"dtype":"U8","shape":[{bad}],"data_offsets":[0,4]}}"#),
            format!(r#"{{"dtype":"U8","shape":[4],"data_offsets":[0,{bad}]}}"#),
        ] {
            let error = refuse(&one(&entry), 4);
            assert!(matches!(&error, E::Json { tensor: Some(tensor), .. } if &**tensor == "a"), "{entry}: {error}");
            assert!(error.to_string().contains("\"a\""));
        }
    }
    for bad in ["", "0", "0,4,4", "0,4,[]"] {
        let error = refuse(&one(&format!(r#"{{"dtype":"U8","shape":[4],"data_offsets":[{bad}]}}"#)), 4);
        assert!(matches!(error, E::Json { tensor: Some(_), .. }), "{bad}: {error}");
    }
}

#[test]
fn lengths_are_dtype_times_shape() {
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        one(&format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#))
    };
    assert!(matches!(
        refuse(&entry("F128", "[4]", "[0,4]"), 4),
        E::UnknownDtype { tensor, found } if &*tensor == "a" && &*found == "F128"
    ));
    for shape in ["[4294967296,4294967296]", "[18446744073709551615]", "[9223372036854775808,2,0]"] {
        let error = refuse(&entry("U8", shape, "[0,4]"), 4);
        assert!(matches!(error, E::Shape { source: ShapeError::Overflow { .. }, .. }), "{shape}: {error}");
    }
    assert!(matches!(
        refuse(&entry("F4", "[3]", "[0,2]"), 2),
        E::Shape { tensor, source: ShapeError::PartialByte { bits: 12, .. } } if &*tensor == "a"
    ));
    for (offsets, data_len, span) in [("[0,3]", 3, 3), ("[0,5]", 5, 5), ("[0,0]", 0, 0)] {
        let error = refuse(&entry("U8", "[2,2]", offsets), data_len);
        assert!(matches!(error, E::LengthMismatch { expected: 4, found, .. } if found == span), "{error}");
    }
    let error = refuse(&entry("BF16", "[2,2]", "[0,4]"), 4);
    assert_eq!(error.to_string(), r#"tensor "a" spans 4 bytes: expected 8 for BF16 × [2, 2]"#);
    assert!(matches!(refuse(&entry("U8", "[4]", "[4,0]"), 4), E::ReversedRange { begin: 4, end: 0, .. }));
    assert!(matches!(refuse(&entry("U8", "[4]", "[0,4]"), 3), E::RangeBeyondData { end: 4, data_len: 3, .. }));
    assert!(matches!(
        refuse(&entry("U8", "[4]", "[18446744073709551611,18446744073709551615]"), 4),
        E::RangeBeyondData { end: u64::MAX, .. }
    ));
}

#[test]
fn ranges_cover_the_data_once() {
    let two = |b: &str| format!(r#"{{{A},"b":{{"dtype":"U8","shape":[2],"data_offsets":{b}}}}}"#);
    assert!(parse(&file(&two("[4,6]"), 6)).is_ok());
    assert!(matches!(refuse(&two("[5,7]"), 7), E::Gap { tensor, expected: 4, found: 5 } if &*tensor == "b"));
    assert!(matches!(
        refuse(&two("[3,5]"), 5),
        E::Overlap { tensor, previous, expected: 4, found: 3 } if &*tensor == "b" && &*previous == "a"
    ));
    assert!(matches!(refuse(&two("[0,2]"), 4), E::Overlap { .. }));
    assert!(matches!(refuse(&two("[4,6]"), 7), E::TrailingData { covered: 6, data_len: 7 }));
    assert!(matches!(refuse("{}", 1), E::TrailingData { covered: 0, data_len: 1 }));
    let late = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[1,5]}}"#;
    assert!(matches!(refuse(late, 5), E::Gap { expected: 0, found: 1, .. }));
    // An empty tensor inside another tensor's range is an overlap as well.
    let inside = format!(r#"{{{A},"b":{{"dtype":"U8","shape":[0],"data_offsets":[2,2]}}}}"#);
    assert!(matches!(refuse(&inside, 4), E::Overlap { .. }));
}

#[test]
fn limits_bound_what_is_kept() {
    let bytes = file(&format!(r#"{{"__metadata__":{{"key":"value"}},{A}}}"#), 4);
    let with = |set: fn(&mut Limits)| {
        let mut limits = Limits::default();
        set(&mut limits);
        Header::parse(&bytes, bytes.len() as u64, &limits)
    };
    assert!(matches!(with(|l| l.tensors = 0), Err(E::TooManyTensors { limit: 0 })));
    assert!(with(|l| l.tensors = 1).is_ok());
    assert!(matches!(with(|l| l.rank = 0), Err(E::RankTooLarge { tensor, limit: 0 }) if &*tensor == "a"));
    assert!(with(|l| l.rank = 1).is_ok());
    assert!(matches!(with(|l| l.name_bytes = 0), Err(E::NameTooLong { found: 1, limit: 0, .. })));
    assert!(with(|l| l.name_bytes = 1).is_ok());
    assert!(matches!(with(|l| l.metadata_bytes = 7), Err(E::MetadataTooLarge { limit: 7 })));
    assert!(with(|l| l.metadata_bytes = 8).is_ok());
    assert!(matches!(with(|l| l.header_bytes = 80), Err(E::HeaderTooLong { limit: 80, .. })));
    assert!(Limits::default().tensors >= 1_000_000);
}

#[test]
fn a_hundred_thousand_tensors_are_found_by_name() {
    let entry = |i: u64| {
        format!(r#""layers.{i}.weight":{{"dtype":"BF16","shape":[2],"data_offsets":[{},{}]}}"#, 4 * i, 4 * i + 4)
    };
    let json = format!("{{{}}}", (0..100_000).map(entry).collect::<Vec<_>>().join(","));
    let bytes = file(&json, 400_000);
    let header = parse(&bytes).unwrap();
    assert_eq!(header.len(), 100_000);
    for i in 0..100_000 {
        assert_eq!(header.get(&format!("layers.{i}.weight")).unwrap().range(), 4 * i..4 * i + 4);
    }
    assert!(header.names().is_sorted());
}

#[test]
fn a_header_is_read_without_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let bytes = file(&format!("{{{A}}}"), 4);
    std::fs::write(&path, &bytes).unwrap();
    let limits = Limits::default();
    let (open, header) = Header::open(&path, &limits).unwrap();
    assert_eq!(header, parse(&bytes).unwrap());
    assert_eq!(Header::read_from(&open, &limits).unwrap(), header, "the header can be read again");

    // A sparse file of a terabyte: only its header is read.
    let huge = r#"{"a":{"dtype":"U8","shape":[1099511627776],"data_offsets":[0,1099511627776]}}"#;
    std::fs::write(&path, file(huge, 0)).unwrap();
    let grown = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    if grown.set_len(8 + huge.len() as u64 + (1 << 40)).is_ok() {
        assert_eq!(Header::open(&path, &limits).unwrap().1.data_len(), 1 << 40);
    }
}

#[test]
fn what_cannot_be_opened_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits::default();
    let missing = dir.path().join("missing.safetensors");
    let error = Header::open(&missing, &limits).unwrap_err();
    assert!(matches!(error, OpenError::Open { .. }));
    assert_eq!(error.path(), missing);
    assert!(error.to_string().contains("missing.safetensors"));
    assert!(matches!(Header::open(dir.path(), &limits), Err(OpenError::NotAFile { .. })));
    for len in [0, 7, 8, 20] {
        let path = dir.path().join("short.safetensors");
        std::fs::write(&path, &file(&format!("{{{A}}}"), 4)[..len]).unwrap();
        let error = Header::open(&path, &limits).unwrap_err();
        assert!(
            matches!(&error, OpenError::Header { source: E::PrefixTruncated { .. } | E::HeaderBeyondFile { .. }, .. }),
            "{error}"
        );
        let file = std::fs::File::open(&path).unwrap();
        assert!(matches!(Header::read_from(&file, &limits), Err(ReadError::Header(_))));
    }
}

#[test]
fn deep_nesting_is_no_recursion() {
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    for json in [
        format!(r#"{{"a":{deep}}}"#),
        format!(r#"{{"__metadata__":{deep}}}"#),
        format!(r#"{{"a":{{"shape":{deep}}}}}"#),
        format!(r#"{{"a":{{"data_offsets":[0,4,{deep}]}}}}"#),
        format!(r#"{{"a":{{"x":{deep}}}}}"#),
    ] {
        refuse(&json, 4);
    }
}
