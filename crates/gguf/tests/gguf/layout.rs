use longshore_gguf::{Dims, GgmlType, Header, Layout, LayoutError as E, Limits, Metadata, NameError};
use proptest::prelude::*;

use crate::{
    raw::{Raw, RawTensor, array, floats, string},
    util::{data_for, metadata_of, pairs, parse, rewrite, tensors, write},
};

fn plan(tensors: &[(&str, GgmlType, &[u64])]) -> Result<Layout, E> {
    Layout::new(Metadata::new(), tensors.iter().map(|(name, kind, dims)| (*name, *kind, Dims::new(dims).unwrap())))
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let raw = Raw::default()
        .pair("general.architecture", 8, string("llama"))
        .aligned(64)
        .pair("tokens", 9, array(8, 2, &[string("a"), string("")].concat()))
        .pair("flags", 9, array(7, 2, &[1, 0]))
        .pair("eps", 6, 1e-5_f32.to_le_bytes())
        .tensor(floats("z", 3))
        .tensor(RawTensor { id: 2, extents: vec![32, 3], data: vec![9; 54], ..floats("a", 0) });
    let mut metadata = Metadata::new();
    metadata.push("general.architecture", "llama").unwrap();
    metadata.push("general.alignment", 64_u32).unwrap();
    metadata.push_array("tokens", ["a", ""]).unwrap();
    metadata.push_array("flags", [true, false]).unwrap();
    metadata.push("eps", 1e-5_f32).unwrap();
    let tensors =
        [("z", GgmlType::F32, Dims::new(&[3]).unwrap()), ("a", GgmlType::Q4_0, Dims::from_shape(&[3, 32]).unwrap())];
    let layout = Layout::new(metadata, tensors).unwrap();
    assert_eq!(layout.header(), raw.header());
    let data: Vec<u8> = raw.tensors.iter().flat_map(|tensor| &tensor.data).copied().collect();
    assert_eq!(layout.file_len(), raw.bytes().len() as u64);
    assert_eq!(write(layout, &data), raw.bytes());
}

#[test]
fn a_file_without_tensors_has_no_padding() {
    let layout = plan(&[]).unwrap();
    assert_eq!((layout.header().len(), layout.file_len()), (24, 24));
    assert_eq!(write(layout, &[]), Raw::default().bytes());
}

#[test]
fn impossible_files_are_refused() {
    let error = plan(&[("a", GgmlType::I8, &[1]), ("b", GgmlType::I8, &[]), ("a", GgmlType::F32, &[])]);
    assert!(matches!(error, Err(E::DuplicateTensor { tensor }) if &*tensor == "a"));
    assert!(matches!(plan(&[("a", GgmlType::Q8_0, &[31])]), Err(E::Dims { tensor, .. }) if &*tensor == "a"));
    assert!(matches!(plan(&[("a", GgmlType::F64, &[1 << 61])]), Err(E::Dims { .. })));
    for (name, expected) in [
        (String::new(), NameError::Empty),
        ("a\0".to_owned(), NameError::Nul { at: 1 }),
        ("n".repeat(64), NameError::TooLong { found: 64, limit: 63 }),
    ] {
        let error = plan(&[(&name, GgmlType::I8, &[])]).unwrap_err();
        assert!(matches!(error, E::TensorName { source, .. } if source == expected));
    }
    assert!(plan(&[(&"n".repeat(63), GgmlType::I8, &[])]).is_ok());
    let huge: Vec<_> = (0..3).map(|i| (format!("{i}"), GgmlType::F64, Dims::new(&[(1 << 60) - 8]).unwrap())).collect();
    assert!(matches!(Layout::new(Metadata::new(), huge), Err(E::FileTooLong { tensor }) if &*tensor == "1"));
    let many = (0..=1 << 18).map(|i| (format!("{i}"), GgmlType::I8, Dims::default()));
    assert!(matches!(Layout::new(Metadata::new(), many), Err(E::TooManyTensors { found: 262_145, limit: 262_144 })));
    let mut metadata = Metadata::new();
    metadata.push("general.alignment", 3_u32).unwrap();
    let none = || Vec::<(&str, GgmlType, Dims)>::new();
    assert!(matches!(Layout::new(metadata, none()), Err(E::Alignment { .. })));
}

#[test]
fn files_of_others_come_back() {
    for raw in [
        Raw::default(),
        Raw { version: 2, ..Raw::default() },
        Raw::default().tensor(floats("a", 1)),
        Raw { pad_last: false, ..Raw::default() }.tensor(floats("a", 1)).tensor(floats("b", 3)),
        Raw { version: 2, ..Raw::default() }.aligned(1 << 12).tensor(floats("a", 1)).tensor(floats("b", 0)),
        Raw { pad_last: false, ..Raw::default() }.tensor(RawTensor {
            extents: vec![],
            data: vec![1; 4],
            ..floats("a", 0)
        }),
    ] {
        let bytes = raw.bytes();
        assert_eq!(rewrite(&bytes), bytes);
    }
    let mut padded = Raw::default().bytes();
    padded.resize(32, 0);
    assert_eq!(rewrite(&padded), padded);
}

proptest! {
    #[test]
    fn every_plan_is_read_back(tensors in tensors(), pairs in pairs()) {
        let metadata = metadata_of(&pairs);
        let layout = Layout::new(metadata.clone(), tensors.clone()).unwrap();
        let data = data_for(&layout);
        prop_assert_eq!(&Layout::new(metadata.clone(), tensors.clone()).unwrap(), &layout);
        let bytes = write(layout.clone(), &data);
        prop_assert_eq!(bytes.len() as u64, layout.file_len());
        let header = parse(&bytes).unwrap();
        prop_assert_eq!(&header, layout.parsed());
        prop_assert_eq!(header.metadata(), &metadata);
        prop_assert_eq!(header.len(), tensors.len());
        for (tensor, (name, kind, dims)) in header.iter().zip(&tensors) {
            prop_assert_eq!((tensor.name(), tensor.ggml_type(), tensor.dims()), (&**name, *kind, *dims));
            prop_assert!(tensor.file_range().start.is_multiple_of(header.alignment()));
        }
        prop_assert_eq!(&rewrite(&bytes), &bytes);
        prop_assert_eq!(&without_tensors(&header), &header);
        // The same file without its last padding.
        let last = header.iter().last().map_or(header.data_start(), |tensor| tensor.file_range().end);
        let cut = &bytes[..usize::try_from(last).unwrap()];
        prop_assert_eq!(rewrite(cut), cut);
        let header = parse(cut).unwrap();
        prop_assert_eq!(&without_tensors(&header), &header);
    }
}

/// The header, read from what is left of its file without the tensors.
fn without_tensors(header: &Header) -> Header {
    Header::parse_with_end(&header.to_bytes_with_end(), &Limits::default()).unwrap()
}
