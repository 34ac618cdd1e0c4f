use std::collections::BTreeMap;

use longshore_st_format::{Dtype, Header, Layout, LayoutError as E, Limits, Shape};
use proptest::prelude::*;

use crate::util::{metadata, tensors};

fn plan(tensors: &[(&str, Dtype, &[u64])]) -> Result<Layout, E> {
    Layout::new(&BTreeMap::new(), tensors.iter().map(|&(name, dtype, shape)| (name, dtype, Shape::from(shape))))
}

fn json(layout: &Layout) -> &str {
    std::str::from_utf8(&layout.header()[8..]).unwrap()
}

#[test]
fn wide_elements_come_first_and_names_are_sorted() {
    let layout = plan(&[
        ("w.scale", Dtype::U8, &[2]),
        ("b", Dtype::BF16, &[1]),
        ("w", Dtype::U32, &[1]),
        ("a", Dtype::F32, &[]),
        ("six", Dtype::F6E2M3, &[4]),
        ("é", Dtype::I64, &[0]),
    ])
    .unwrap();
    let start = layout.data_start();
    let parts: Vec<_> =
        layout.parts().map(|part| (part.name, part.range.start - start..part.range.end - start)).collect();
    assert_eq!(parts, [("é", 0..0), ("a", 0..4), ("w", 4..8), ("b", 8..10), ("w.scale", 10..12), ("six", 12..15)]);
    assert_eq!(layout.file_len(), start + 15);
    assert_eq!(
        json(&layout).trim_end_matches(' '),
        concat!(
            r#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"#,
            r#""b":{"dtype":"BF16","shape":[1],"data_offsets":[8,10]},"#,
            r#""six":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[12,15]},"#,
            r#""w":{"dtype":"U32","shape":[1],"data_offsets":[4,8]},"#,
            r#""w.scale":{"dtype":"U8","shape":[2],"data_offsets":[10,12]},"#,
            r#""é":{"dtype":"I64","shape":[0],"data_offsets":[0,0]}}"#,
        )
    );
    assert_eq!(layout.get("w").unwrap().range, start + 4..start + 8);
    assert!(layout.get("x").is_none());
}

#[test]
fn data_is_aligned_by_its_size() {
    for (len, alignment) in [(0, 64), (1, 64), ((1 << 20) - 1, 64), (1 << 20, 4_096), (1 << 40, 4_096)] {
        let layout = plan(&[("w", Dtype::U8, &[len])]).unwrap();
        let start = layout.data_start();
        assert_eq!(start % alignment, 0, "{len}");
        assert!(start <= 2 * alignment && start - alignment < 128, "{len}: {start}");
        assert_eq!(layout.header().len() as u64, start);
        assert_eq!(u64::from_le_bytes(layout.header()[..8].try_into().unwrap()), start - 8);
    }
    // A header that ends on the boundary has no padding: 8 bytes of prefix and 56 of JSON.
    let layout = plan(&[("wwww", Dtype::U8, &[1])]).unwrap();
    assert_eq!(layout.header().len(), 64);
    assert_eq!(layout.header()[63], b'}');
    assert_eq!(plan(&[("wwwww", Dtype::U8, &[1])]).unwrap().header().len(), 128);
    assert_eq!(json(&plan(&[]).unwrap()).trim_end(), "{}");
}

#[test]
fn metadata_comes_first_and_only_where_there_is_some() {
    let metadata = BTreeMap::from([("b".to_owned(), "\"".to_owned()), ("a".to_owned(), String::new())]);
    let layout = Layout::new(&metadata, [("A", Dtype::U8, Shape::new([]))]).unwrap();
    assert!(json(&layout).starts_with(r#"{"__metadata__":{"a":"","b":"\""},"A":{"#), "{}", json(&layout));
    assert_eq!(layout.parsed().metadata(), &metadata);
    assert!(!json(&plan(&[("A", Dtype::U8, &[])]).unwrap()).contains("__metadata__"));
}

#[test]
fn impossible_files_are_refused() {
    assert!(matches!(
        plan(&[("a", Dtype::U8, &[1]), ("b", Dtype::U8, &[]), ("a", Dtype::F32, &[])]),
        Err(E::DuplicateTensor { tensor }) if &*tensor == "a"
    ));
    assert!(matches!(plan(&[("__metadata__", Dtype::U8, &[])]), Err(E::ReservedName)));
    assert!(matches!(plan(&[("a", Dtype::F4, &[3])]), Err(E::Shape { .. })));
    assert!(matches!(plan(&[("a", Dtype::U8, &[u64::MAX])]), Err(E::Shape { .. })));
    let huge = (1 << 61) - 1;
    let nine: Vec<_> = (0..9).map(|i| (format!("{i}"), Dtype::U8, Shape::new([huge]))).collect();
    assert!(matches!(Layout::new(&BTreeMap::new(), nine), Err(E::FileTooLong { tensor }) if &*tensor == "8"));
    assert!(matches!(plan(&[("a", Dtype::U8, &[1; 65])]), Err(E::RankTooLarge { found: 65, limit: 64, .. })));
    assert!(plan(&[("a", Dtype::U8, &[1; 64])]).is_ok());
    assert!(matches!(plan(&[(&"n".repeat(4_097), Dtype::U8, &[])]), Err(E::NameTooLong { found: 4_097, .. })));
    let big = BTreeMap::from([("k".to_owned(), "v".repeat(100_000_000))]);
    assert!(matches!(
        Layout::new(&big, [("a", Dtype::U8, Shape::new([]))]),
        Err(E::HeaderTooLong { found, limit: 100_000_000 }) if found > 100_000_000
    ));
}

proptest! {
    #[test]
    fn every_plan_is_read_back(tensors in tensors(), metadata in metadata()) {
        let layout = Layout::new(&metadata, tensors.clone()).unwrap();
        let header = Header::parse(layout.header(), layout.file_len(), &Limits::default()).unwrap();
        prop_assert_eq!(&header, layout.parsed());
        for (name, dtype, shape) in &tensors {
            let tensor = header.get(name).unwrap();
            prop_assert_eq!((tensor.dtype(), tensor.shape()), (*dtype, shape));
            let start = tensor.file_range(&header).start;
            let bits = u64::from(dtype.bits());
            prop_assert!(bits < 8 || start.is_multiple_of(bits / 8), "aligned to its element");
        }
        let mut reversed = tensors;
        reversed.reverse();
        prop_assert_eq!(Layout::new(&metadata, reversed).unwrap(), layout);
    }
}
