//! Digests of chunks: in the table, in a verification, and in the journal of a pull.

use std::{collections::BTreeMap, fs};

use longshore_manifest::{
    Config, Descriptor, Digest, Manifest, Silent, Store, Weights,
    document::{BlobEntry, Chunks, DocumentError, Facts, Import, TensorEntry, TensorTable},
    store::{Bad, Problem, PullRecord, VerifyOptions, VerifyOutcome},
    weights::{CorruptError, OpenOptions},
};
use longshore_st_format::{Dtype, Layout, Shape};
use proptest::prelude::*;

use crate::util::{name, put, replace};

/// Bytes of the tensor's data. The blob has three chunks with them.
const DATA: usize = 40 << 20;

/// A blob of a tensor that is zeros with a mark in each MiB, so that no two chunks are the same.
fn blob(data: usize) -> (Vec<u8>, TensorEntry) {
    named_blob("w", data)
}

fn named_blob(name: &str, data: usize) -> (Vec<u8>, TensorEntry) {
    let shape = Shape::new([u64::try_from(data).unwrap()]);
    let layout = Layout::new(&BTreeMap::default(), [(name, Dtype::U8, shape)]).unwrap();
    let mut bytes = layout.header().to_vec();
    bytes.resize(usize::try_from(layout.file_len()).unwrap(), 0);
    for (at, mebibyte) in bytes.chunks_mut(1 << 20).enumerate().skip(1) {
        mebibyte[0] = u8::try_from(at).unwrap();
    }
    let entry = layout.parts().map(TensorEntry::plain).next().unwrap();
    (bytes, entry)
}

/// Stores the model `m` with one large tensor, whose table has the digests that `list` makes of the right ones.
fn store(dir: &std::path::Path, list: impl FnOnce(Chunks) -> Option<Chunks>) -> (Store, Digest) {
    let store = Store::open(dir).unwrap();
    let (bytes, entry) = blob(DATA);
    let ingest = store.ingest().unwrap();
    let added = ingest.add(&bytes).unwrap();
    let digest = added.digest;
    let chunks = list(added.chunks.clone().expect("it has three chunks"));
    let entry = BlobEntry { chunks, ..BlobEntry::new(digest, vec![entry]) };
    let table = TensorTable::new(Facts::default(), Import::default(), vec![entry]);
    let config = ingest.add(&Config::new(table).to_bytes()).unwrap();
    let manifest = Manifest::new(Descriptor::config(config), vec![Descriptor::tensor("w", added)]);
    ingest.commit(&name("m"), &manifest).unwrap();
    (store, digest)
}

fn verify(store: &Store, fast: bool) -> VerifyOutcome {
    store.verify(&VerifyOptions { fast, ..VerifyOptions::default() }, &Silent).unwrap()
}

/// Changes a byte of the stored blob.
fn damage(store: &Store, digest: &Digest, at: usize) {
    let path = store.blob_path(digest);
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] ^= 1;
    replace(&path, &bytes);
}

fn load(store: &Store) -> Weights {
    Weights::open(store, &store.model(&name("m")).unwrap(), &OpenOptions::default()).unwrap()
}

/// The first and the last byte of each damaged range.
fn ranges(bad: &[Bad]) -> Vec<[u64; 2]> {
    match bad {
        [Bad { problem: Problem::Content { ranges, .. }, .. }] => {
            ranges.iter().map(|range| [range.start, range.end - 1]).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_import_knows_the_digests_of_chunks_however_the_bytes_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let (bytes, _) = blob(DATA);
    let expected = Chunks::new(bytes.chunks(16 << 20).map(Digest::of).collect());
    let ingest = store.ingest().unwrap();
    for pieces in [vec![0, bytes.len()], vec![0, 5, 17 << 20, bytes.len()], vec![0, 20 << 20, 33 << 20, bytes.len()]] {
        let mut writer = ingest.blob().unwrap();
        // The last piece comes first.
        for piece in pieces.windows(2).rev() {
            writer.write_at(piece[0] as u64, &bytes[piece[0]..piece[1]]).unwrap();
        }
        assert_eq!(writer.finish().unwrap().chunks.as_ref(), Some(&expected), "{pieces:?}");
    }
    assert_eq!(ingest.add(&bytes[..16 << 20]).unwrap().chunks, None);
}

#[test]
fn good_blobs_are_good_either_way_and_only_large_ones_by_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let (store, digest) = store(&dir.path().join("store"), Some);
    let (slow, fast) = (verify(&store, false), verify(&store, true));
    assert!(slow.bad.is_empty() && fast.bad.is_empty(), "{slow:?} {fast:?}");
    assert_eq!((slow.blobs, slow.by_chunks, fast.blobs, fast.by_chunks), (2, 0, 2, 1));
    let verified = load(&store).verify(&Silent).unwrap();
    assert_eq!((verified.blobs, verified.by_chunks), (1, 1));
    assert_eq!(store.hash_blob(&digest).unwrap().chunks.unwrap().digests.len(), 3);
}

#[test]
fn damage_has_a_place() {
    let dir = tempfile::tempdir().unwrap();
    let (store, digest) = store(&dir.path().join("store"), Some);
    damage(&store, &digest, 33 << 20);
    let size = store.blob_path(&digest).metadata().unwrap().len();
    for fast in [false, true] {
        let found = verify(&store, fast);
        assert_eq!((ranges(&found.bad), found.by_chunks), (vec![[32 << 20, size - 1]], 0));
        assert!(found.bad[0].problem.to_string().contains("corrupt in bytes 33554432 to "), "{:?}", found.bad);
    }
    let error = load(&store).verify(&Silent).unwrap_err();
    assert!(matches!(&error, CorruptError::Blob { bytes: Some(bytes), .. } if *bytes == (32 << 20..size)), "{error}");
    // Neighbours are one range.
    damage(&store, &digest, 17 << 20);
    assert_eq!(ranges(&verify(&store, false).bad), [[16 << 20, size - 1]]);
    // A blob of another size has no chunks to compare.
    let path = store.blob_path(&digest);
    let bytes = fs::read(&path).unwrap();
    replace(&path, &bytes[..17 << 20]);
    for fast in [false, true] {
        assert!(matches!(verify(&store, fast).bad[0].problem, Problem::Size { .. }));
    }
}

#[test]
fn a_table_that_disagrees_with_a_good_blob_is_bad() {
    for wrong in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let (store, digest) = store(&dir.path().join("store"), |mut chunks| {
            match wrong {
                0 => chunks.digests[1] = Digest::of(b"another"),
                1 => chunks.digests.swap(0, 2),
                2 => chunks.digests.push(chunks.digests[0]),
                _ => chunks.digests = vec![chunks.digests[0]; 4000],
            }
            Some(chunks)
        });
        for fast in [false, true] {
            let found = verify(&store, fast);
            // The chunks of a blob that is right as a whole are hashed where they are asked for.
            let options = VerifyOptions { fast, chunks: true, ..VerifyOptions::default() };
            let thorough = store.verify(&options, &Silent).unwrap();
            if !fast && wrong < 2 {
                assert!(found.bad.is_empty(), "{wrong}: {found:?}");
                assert!(matches!(&thorough.bad[0].problem, Problem::Chunks { .. }), "{wrong}: {thorough:?}");
                continue;
            }
            assert_eq!(thorough.bad.len(), 1, "{wrong}: {thorough:?}");
            assert_eq!(found.bad.len(), 1, "{wrong}: {found:?}");
            assert_eq!((found.bad[0].digest, found.by_chunks), (Some(digest), 0));
            assert!(matches!(&found.bad[0].problem, Problem::Chunks { .. }), "{wrong}: {found:?}");
        }
        // A list of another length is not gone by.
        match load(&store).verify(&Silent) {
            Err(CorruptError::Table { digest: found, .. }) if wrong < 2 => assert_eq!(found, digest),
            Ok(verified) if wrong >= 2 => assert_eq!(verified.by_chunks, 0),
            other => panic!("{wrong}: {other:?}"),
        }
    }
}

#[test]
fn damage_is_found_beside_a_wrong_table() {
    let names = ["v", "w"];
    for damaged in 0..2 {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let ingest = store.ingest().unwrap();
        let (mut entries, mut layers) = (Vec::new(), Vec::new());
        for (at, tensor) in names.into_iter().enumerate() {
            let (bytes, entry) = named_blob(tensor, (20 + at) << 20);
            let added = ingest.add(&bytes).unwrap();
            let mut chunks = added.chunks.clone().unwrap();
            if at != damaged {
                chunks.digests[0] = Digest::of(b"another");
            }
            entries.push(BlobEntry { chunks: Some(chunks), ..BlobEntry::new(added.digest, vec![entry]) });
            layers.push(Descriptor::tensor(tensor, added));
        }
        let digest = layers[damaged].digest;
        let config = Config::new(TensorTable::new(Facts::default(), Import::default(), entries));
        let config = ingest.add(&config.to_bytes()).unwrap();
        ingest.commit(&name("m"), &Manifest::new(Descriptor::config(config), layers)).unwrap();
        damage(&store, &digest, 17 << 20);
        match load(&store).verify(&Silent) {
            Err(CorruptError::Blob { digest: found, others: 0, .. }) => assert_eq!(found, digest),
            other => panic!("{damaged}: {other:?}"),
        }
    }
}

#[test]
fn a_store_without_digests_of_chunks_reads_on() {
    let dir = tempfile::tempdir().unwrap();
    let (store, digest) = store(&dir.path().join("store"), |_| None);
    assert!(verify(&store, false).bad.is_empty());
    assert_eq!(verify(&store, true).by_chunks, 0);
    assert_eq!(load(&store).verify(&Silent).unwrap().by_chunks, 0);
    damage(&store, &digest, 33 << 20);
    for fast in [false, true] {
        assert_eq!(ranges(&verify(&store, fast).bad), [[0; 2]; 0]);
    }
    assert!(matches!(load(&store).verify(&Silent), Err(CorruptError::Blob { bytes: None, .. })));
}

/// The documents of this model were written by the first release that wrote digests of chunks. Its large blob is made again here.
#[test]
fn the_first_store_with_digests_of_chunks_is_read_and_written_as_it_was() {
    const MANIFEST: &[u8] = include_bytes!("golden/chunks-manifest.json");
    const CONFIG: &[u8] = include_bytes!("golden/chunks-config.json");
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let blobs = root.join("blobs");
    put(&root.join("longshore.json"), b"{\"longshore\":\"store\",\"version\":1}\n");
    let (bytes, _) = blob(DATA);
    for content in [&bytes[..], CONFIG] {
        put(&blobs.join(Digest::of(content).file_name()), content);
    }
    put(&root.join("manifests/registry.ollama.ai/library/m/latest"), MANIFEST);
    let read = Store::open(&root).unwrap();
    let fast = verify(&read, true);
    assert!(fast.bad.is_empty() && verify(&read, false).bad.is_empty(), "{fast:?}");
    assert_eq!(fast.by_chunks, 1);
    assert_eq!(load(&read).verify(&Silent).unwrap().by_chunks, 1);
    assert_eq!(load(&read).get("w").unwrap().weight().data.len(), DATA);
    let (written, _) = store(&dir.path().join("again"), Some);
    assert_eq!(written.manifest_document(&name("m")).unwrap(), MANIFEST);
    assert_eq!(Config::parse(CONFIG).unwrap().to_bytes(), CONFIG);
}

#[test]
fn the_journal_of_a_pull_has_them_or_the_bytes_do() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let (bytes, _) = blob(DATA);
    let key = Digest::of(b"key");
    let record = PullRecord::new("hf:a/b", name("m"), 1);
    let expected = {
        let (pull, ingest) = (store.pull(&key, &record).unwrap(), store.ingest().unwrap());
        let added = ingest.add(&bytes).unwrap();
        ingest.keep(&pull, "w", &added).unwrap();
        added.chunks
    };
    let kept = |expected: &Option<Chunks>| {
        let (pull, ingest) = (store.pull(&key, &record).unwrap(), store.ingest().unwrap());
        let kept = ingest.kept(&pull, "w").unwrap();
        assert_eq!(kept.map(|kept| kept.chunks), expected.is_some().then(|| expected.clone()));
    };
    kept(&expected);
    let idle = fs::read_dir(store.root().join("pulls")).unwrap().next().unwrap().unwrap().path();
    let journal = idle.join("lease");
    let with = fs::read_to_string(&journal).unwrap();
    let (line, _) = with.split_once(",\"chunks\"").expect("the journal has the digests");
    fs::write(&journal, format!("{line}}}\n")).unwrap();
    kept(&expected);
    // Bytes that are not those of the digest are not kept.
    let part = fs::read_dir(&idle).unwrap().map(|entry| entry.unwrap().path());
    let part = part.into_iter().find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("part-")).unwrap();
    let mut wrong = bytes.clone();
    wrong[5] ^= 1;
    replace(&part, &wrong);
    kept(&None);
}

#[test]
fn hostile_lists_are_refused() {
    let (_, entry) = blob(DATA);
    let table = |chunks: serde_json::Value| {
        let blob = BlobEntry::new(Digest::of(b"w"), vec![entry.clone()]);
        let config = Config::new(TensorTable::new(Facts::default(), Import::default(), vec![blob]));
        let mut config: serde_json::Value = serde_json::from_slice(&config.to_bytes()).unwrap();
        config["longshore"]["blobs"][0]["chunks"] = chunks;
        Config::parse(&serde_json::to_vec(&config).unwrap())
    };
    let digest = Digest::of(b"").to_string();
    let list = |count: usize| vec![digest.clone(); count];
    assert!(table(serde_json::json!({"size": 16 << 20, "digests": list(3)})).is_ok());
    assert!(table(serde_json::Value::Null).is_ok());
    for (size, count) in
        [(16_u64 << 20, 2), (16 << 20, 1), (16 << 20, 0), (0, 3), (1, 3), (16 << 20 | 1, 3), (u64::MAX, 3)]
    {
        let found = table(serde_json::json!({"size": size, "digests": list(count)}));
        assert!(matches!(found, Err(DocumentError::Inconsistent { .. })), "{size} {count}: {found:?}");
    }
    let no_hex = format!("sha256:{}", "g".repeat(64));
    for bad in [
        serde_json::json!({"size": 16 << 20, "digests": [no_hex, digest, digest]}),
        serde_json::json!({"size": 16 << 20, "digests": [digest, digest, &digest[..70]]}),
        serde_json::json!({"size": 16 << 20, "digests": [1, 2, 3]}),
        serde_json::json!({"size": -1, "digests": list(3)}),
        serde_json::json!({"size": 1e300, "digests": list(3)}),
        serde_json::json!({"digests": list(3)}),
        serde_json::json!([digest]),
        serde_json::json!("chunks"),
    ] {
        assert!(matches!(table(bad.clone()), Err(DocumentError::Json { .. })), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn what_is_damaged_is_in_the_ranges_and_nothing_else(marks in prop::collection::vec(0..DATA, 1..4)) {
        let dir = tempfile::tempdir().unwrap();
        let (store, digest) = store(&dir.path().join("store"), Some);
        let path = store.blob_path(&digest);
        let mut bytes = fs::read(&path).unwrap();
        for at in &marks {
            bytes[*at] = 0xff;
        }
        replace(&path, &bytes);
        let found = verify(&store, true);
        let ranges = ranges(&found.bad);
        for chunk in 0..3_u64 {
            let range = Chunks::range(chunk, bytes.len() as u64);
            let is_damaged = marks.iter().any(|at| range.contains(&(*at as u64)));
            prop_assert_eq!(ranges.iter().any(|found| found[0] <= range.start && range.end - 1 <= found[1]), is_damaged);
        }
    }
}
