//! Tests of reading ahead.

use std::{fs, sync::Arc};

use longshore_experts::{
    ExpertFiles, ExpertFilesError, ExpertKey, ExpertMap, ExpertSource as _, PastPageCache, ReadAhead,
};
use longshore_manifest::weights::Source;
use longshore_st_format::fixtures;

#[test]
fn what_is_asked_for_is_the_union_of_the_experts() {
    let dir = tempfile::tempdir().unwrap();
    fixtures::model("qwen3-moe").write(dir.path()).unwrap();
    let ahead = ReadAhead::open(&Source::open(dir.path()).unwrap()).unwrap();
    let bytes = |expert| ahead.map().bytes(ExpertKey::new(0, expert)).unwrap();
    assert_eq!(ahead.ask(0, &[1, 4]), bytes(1) + bytes(4));
    assert_eq!(ahead.ask(0, &[1, 1, 99]), bytes(1));
    assert_eq!(ahead.ask(99, &[1]), 0);
}

#[test]
fn files_are_those_whose_headers_were_read() {
    let dir = tempfile::tempdir().unwrap();
    fixtures::model("mixtral").write(dir.path()).unwrap();
    let source = Source::open(dir.path()).unwrap();
    let map = ExpertMap::new(&source).unwrap();
    let files = ExpertFiles::open(&source, &map).unwrap();
    let range = map.ranges(ExpertKey::new(0, 1)).unwrap()[0];
    let path = files.path(&range.blob).unwrap().to_owned();
    let mut bytes = vec![0; usize::try_from(range.len()).unwrap()];
    files.read(&range, &mut bytes).unwrap();
    let start = usize::try_from(range.offset).unwrap();
    assert_eq!(bytes, fs::read(&path).unwrap()[start..start + bytes.len()]);
    assert!(files.read(&range, &mut bytes[1..]).is_err());
    files.forget(&range);

    fs::write(&path, b"another").unwrap();
    assert!(matches!(ExpertFiles::open(&source, &map), Err(ExpertFilesError::Changed { .. })));
    assert!(files.read(&range, &mut bytes).is_err());
    fs::remove_file(&path).unwrap();
    assert!(matches!(ExpertFiles::open(&source, &map), Err(ExpertFilesError::Open { .. })));
}

#[test]
fn what_is_read_past_the_page_cache_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    fixtures::model("mixtral").write(dir.path()).unwrap();
    let source = Source::open(dir.path()).unwrap();
    let map = ExpertMap::new(&source).unwrap();
    let files = Arc::new(ExpertFiles::open(&source, &map).unwrap());
    let past = PastPageCache::new(Arc::clone(&files));
    for range in map.ranges(ExpertKey::new(0, 1)).unwrap() {
        let mut found = vec![0; usize::try_from(range.len()).unwrap()];
        let mut expected = found.clone();
        files.read(&range, &mut expected).unwrap();
        past.ask(&[range]);
        past.read(&range, &mut found).unwrap();
        assert!(found == expected && found.iter().any(|byte| *byte != 0));
        assert!(past.read(&range, &mut found[1..]).is_err());
    }
}
