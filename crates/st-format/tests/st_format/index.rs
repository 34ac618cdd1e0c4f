use longshore_st_format::{IndexError as E, Limits, ShardIndex};
use proptest::prelude::*;

fn parse(json: &str) -> Result<ShardIndex, E> {
    ShardIndex::parse(json.as_bytes(), &Limits::default())
}

const SAMPLE: &str = r#"{
  "metadata": {
    "total_size": 12
  },
  "weight_map": {
    "a": "model-00002-of-00002.safetensors",
    "b": "model-00001-of-00002.safetensors",
    "c": "model-00002-of-00002.safetensors"
  }
}
"#;

#[test]
fn documents_round_trip() {
    let index = parse(SAMPLE).unwrap();
    assert_eq!((index.len(), index.is_empty(), index.total_size()), (3, false, Some(12)));
    let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    assert_eq!(index.shards().collect::<Vec<_>>(), shards);
    assert_eq!(index.iter().collect::<Vec<_>>(), [("a", shards[1]), ("b", shards[0]), ("c", shards[1])]);
    assert_eq!(index.shard_of("b"), Some(shards[0]));
    assert_eq!(index.shard_of("d"), None);
    assert_eq!(index.to_json(), SAMPLE);
    let made = ShardIndex::new(Some(12), [("c", shards[1]), ("b", shards[0]), ("a", shards[1])]).unwrap();
    assert_eq!(made, index);
}

#[test]
fn other_keys_and_odd_metadata_are_passed_over() {
    for metadata in [
        "null",
        "true",
        "7",
        "[1,[2]]",
        "{}",
        r#"{"x":{"total_size":1},"total_size":{"total_size":1}}"#,
        r#"{"total_size":[1]}"#,
        r#"{"total_size":1.5}"#,
        r#"{"total_size":-1}"#,
        "\"x\"",
    ] {
        let index = parse(&format!(r#"{{"metadata":{metadata},"weight_map":{{}},"x":{{"y":[1]}}}}"#)).unwrap();
        assert_eq!((index.total_size(), index.is_empty()), (None, true), "{metadata}");
    }
    let index =
        parse(r#"{"metadata":{"total_parameters":3,"total_size":6},"weight_map":{"a":"x.safetensors"}}"#).unwrap();
    assert_eq!(index.total_size(), Some(6));
    let empty = ShardIndex::new(None, [("", ""); 0]).unwrap();
    assert_eq!(empty.to_json(), "{\n  \"metadata\": {},\n  \"weight_map\": {}\n}\n");
}

#[test]
fn shards_cannot_leave_the_directory() {
    for shard in ["../x.safetensors", "/x.safetensors", "a\\\\x.safetensors", "", "x.bin", "x\\u0000.safetensors"] {
        let error = parse(&format!(r#"{{"weight_map":{{"w":"{shard}"}}}}"#)).unwrap_err();
        assert!(matches!(&error, E::ShardPath { tensor, .. } if &**tensor == "w"), "{shard}: {error}");
        assert!(error.to_string().starts_with("tensor index contains invalid shard path"), "{error}");
    }
    assert!(matches!(ShardIndex::new(None, [("w", "..")]), Err(E::ShardPath { .. })));
}

#[test]
fn duplicates_and_wrong_forms_are_refused() {
    let w = r#""w":"x.safetensors""#;
    assert!(matches!(
        parse(&format!(r#"{{"weight_map":{{{w},{w}}}}}"#)),
        Err(E::DuplicateTensor { tensor }) if &*tensor == "w"
    ));
    assert!(matches!(parse(r#"{"weight_map":{},"weight_map":{}}"#), Err(E::DuplicateKey { key: "weight_map" })));
    assert!(matches!(parse(r#"{"metadata":1,"metadata":1}"#), Err(E::DuplicateKey { key: "metadata" })));
    assert!(matches!(parse("{}"), Err(E::MissingWeightMap)));
    for json in ["", "[]", "{", "{}}", r#"{"weight_map":null}"#, r#"{"weight_map":["x.safetensors"]}"#] {
        assert!(matches!(parse(json), Err(E::Json { tensor: None, .. })), "{json}");
    }
    assert!(matches!(
        parse(r#"{"weight_map":{"w":1}}"#),
        Err(E::Json { tensor: Some(tensor), .. }) if &*tensor == "w"
    ));
    assert!(matches!(ShardIndex::parse(b"{\"\xff\":1}", &Limits::default()), Err(E::Json { .. })));
    assert!(matches!(ShardIndex::new(None, [("w", "x.safetensors"); 2]), Err(E::DuplicateTensor { .. })));
}

#[test]
fn limits_hold() {
    let with = |set: fn(&mut Limits)| {
        let mut limits = Limits::default();
        set(&mut limits);
        ShardIndex::parse(SAMPLE.as_bytes(), &limits)
    };
    assert!(matches!(with(|l| l.header_bytes = SAMPLE.len() as u64 - 1), Err(E::TooLong { .. })));
    assert!(with(|l| l.header_bytes = SAMPLE.len() as u64).is_ok());
    assert!(matches!(with(|l| l.tensors = 2), Err(E::TooManyTensors { limit: 2 })));
    assert!(with(|l| l.tensors = 3).is_ok());
    assert!(matches!(with(|l| l.name_bytes = 0), Err(E::NameTooLong { found: 1, limit: 0, .. })));
    assert!(with(|l| l.name_bytes = 1).is_ok());
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        map in prop::collection::btree_map("\\PC{0,6}", "[a-z0-9-]{1,4}\\.safetensors", 0..8),
        total in any::<Option<u64>>(),
    ) {
        let index = ShardIndex::new(total, map.clone()).unwrap();
        prop_assert_eq!(&parse(&index.to_json()).unwrap(), &index);
        prop_assert_eq!(index.iter().map(|(t, s)| (t.to_owned(), s.to_owned())).collect::<std::collections::BTreeMap<_, _>>(), map);
    }

    #[test]
    fn arbitrary_text_does_not_panic(text in "\\PC{0,40}", json in r#"\{"weight_map":\{("[ab]":"[./a]{0,3}(.safetensors)?",?){0,3}\}\}"#) {
        let _ = parse(&text);
        if let Ok(index) = parse(&json) {
            for shard in index.shards() {
                prop_assert!(!shard.contains(['/', '\\']) && shard.ends_with(".safetensors"));
            }
        }
    }
}

#[test]
fn deep_nesting_is_no_recursion() {
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    // Either answer is right; the stack must not overflow.
    let _ = parse(&format!(r#"{{"weight_map":{{}},"metadata":{deep}}}"#));
    let _ = parse(&format!(r#"{{"weight_map":{{}},"other":{deep}}}"#));
    let _ = parse(&format!(r#"{{"weight_map":{deep}}}"#));
}
