//! Tests the shard index of a checkpoint in several files.

use std::path::{Component, Path};

use longshore_st_format::{Limits, ShardIndex};

/// Tests `data` as an index document.
pub(super) fn shard_index(data: &[u8]) {
    let Ok(index) = ShardIndex::parse(data, &Limits::default()) else { return };
    for (tensor, shard) in index.iter() {
        assert_eq!(index.shard_of(tensor), Some(shard));
    }
    for shard in index.shards() {
        let mut parts = Path::new(shard).components();
        assert!(
            matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)),
            "{shard:?} is no file name"
        );
        assert!(!shard.contains(['/', '\\']) && shard.ends_with(".safetensors"), "{shard:?}");
    }
    let text = index.to_json();
    assert_eq!(ShardIndex::parse(text.as_bytes(), &Limits::default()).expect("ours"), index);
}
