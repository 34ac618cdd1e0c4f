use longshore_gguf::{
    Dims, GgmlType, Layout, Limits, Metadata, MetadataError, SplitBy, SplitLayout, SplitLayoutError, SplitSet,
};
use proptest::prelude::*;

use crate::util::{data_for, metadata_of, pairs, rewrite, tensors, write};

fn dims(len: u64) -> Dims {
    Dims::new(&[len]).unwrap()
}

/// Tensors of the planned files, by name.
fn names(layout: &SplitLayout) -> Vec<String> {
    let names =
        |layout: &Layout| layout.parsed().iter().map(|tensor| tensor.name().to_owned()).collect::<Vec<_>>().join(" ");
    layout.members().iter().map(|(_, layout)| names(layout)).collect()
}

#[test]
fn files_are_divided_by_number_and_by_size() {
    let tensors =
        || [("a", 10), ("b", 20), ("c", 500), ("d", 1), ("e", 0)].map(|(name, len)| (name, GgmlType::I8, dims(len)));
    let mut metadata = Metadata::new();
    metadata.push("general.architecture", "llama").unwrap();
    let plan = |set: &dyn Fn(&mut SplitBy)| {
        let mut by = SplitBy::default();
        set(&mut by);
        SplitLayout::new("m", &metadata, tensors(), &by).unwrap()
    };
    assert_eq!(names(&plan(&|_| {})), ["a b c d e"]);
    assert_eq!(names(&plan(&|by| by.tensors = Some(2))), ["a b", "c d", "e"]);
    assert_eq!(names(&plan(&|by| by.tensors = Some(0))), ["a", "b", "c", "d", "e"]);
    assert_eq!(names(&plan(&|by| by.metadata_alone = true)), ["", "a b c d e"]);
    assert_eq!(names(&plan(&|by| (by.metadata_alone, by.tensors) = (true, Some(4)))), ["", "a b c d", "e"]);
    // A bound that the file of "a" and "b" meets exactly. "c" alone passes it, and "d" and "e" fit.
    let whole = plan(&|by| by.tensors = Some(2)).members()[0].1.file_len();
    assert_eq!(names(&plan(&|by| by.file_bytes = Some(whole))), ["a b", "c", "d e"]);
    assert_eq!(names(&plan(&|by| by.file_bytes = Some(whole - 1))), ["a", "b", "c", "d e"]);
    assert_eq!(names(&plan(&|by| by.file_bytes = Some(0))), ["a", "b", "c", "d", "e"]);
    // The keys stand behind the metadata of the first, alone in the others.
    let layout = plan(&|by| by.tensors = Some(3));
    let keys = |at: usize| {
        layout.members()[at].1.parsed().metadata().iter().map(|(key, _)| key.to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(keys(0), "general.architecture split.no split.count split.tensors.count");
    assert_eq!(keys(1), "split.no split.count split.tensors.count");
    assert_eq!(layout.members()[1].0.to_string(), "m-00002-of-00002.gguf");
}

#[test]
fn impossible_sets_are_refused() {
    let by = SplitBy::default();
    let one = || [("a", GgmlType::I8, dims(1))];
    let mut metadata = Metadata::new();
    assert!(matches!(SplitLayout::new("a/b", &metadata, one(), &by), Err(SplitLayoutError::Name(_))));
    let twice = [one(), one()].concat();
    assert!(matches!(SplitLayout::new("m", &metadata, twice, &by), Err(SplitLayoutError::Layout(_))));
    let mut each = SplitBy::default();
    each.tensors = Some(1);
    let many = (0..1 << 16).map(|index| (format!("{index}"), GgmlType::I8, dims(1)));
    assert!(matches!(
        SplitLayout::new("m", &metadata, many, &each),
        Err(SplitLayoutError::TooManyFiles { found: 65_536 })
    ));
    metadata.push("split.count", 3_u16).unwrap();
    let error = SplitLayout::new("m", &metadata, one(), &by).unwrap_err();
    assert!(matches!(error, SplitLayoutError::Metadata { source: MetadataError::DuplicateKey { .. } }));
}

proptest! {
    #[test]
    fn sets_are_written_read_and_merged(
        tensors in tensors(), pairs in pairs(), most in 1..4_usize, file_bytes in prop::option::of(0..2_000_u64), metadata_alone: bool,
    ) {
        let metadata = metadata_of(&pairs);
        let mut by = SplitBy::default();
        (by.tensors, by.file_bytes, by.metadata_alone) = (Some(most), file_bytes, metadata_alone);
        let layout = SplitLayout::new("m", &metadata, tensors.clone(), &by).unwrap();
        let whole = Layout::new(metadata, tensors).unwrap();
        let data = data_for(&whole);

        let dir = tempfile::tempdir().unwrap();
        let mut left = &data[..];
        let mut paths = Vec::new();
        for (name, layout) in layout.into_members() {
            prop_assert!(layout.parsed().len() <= most);
            prop_assert!(layout.parsed().len() <= 1 || file_bytes.is_none_or(|most| layout.file_len() <= most));
            let len = usize::try_from(layout.parsed().iter().map(longshore_gguf::TensorInfo::byte_len).sum::<u64>()).unwrap();
            let (own, rest) = left.split_at(len);
            let bytes = write(layout, own);
            prop_assert_eq!(&rewrite(&bytes), &bytes);
            left = rest;
            paths.push(dir.path().join(name.to_string()));
            std::fs::write(paths.last().unwrap(), bytes).unwrap();
        }
        prop_assert!(left.is_empty());
        let set = SplitSet::open(paths.last().unwrap(), &Limits::default()).unwrap();
        prop_assert_eq!(set.members().len(), paths.len());
        let read = |(member, tensor): (&longshore_gguf::Member, &longshore_gguf::TensorInfo)| {
            let range = tensor.file_range();
            std::fs::read(&member.path).unwrap()[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()].to_vec()
        };
        prop_assert_eq!(set.iter().flat_map(read).collect::<Vec<u8>>(), data);
        prop_assert_eq!(set.merged().unwrap(), whole);
    }
}
