//! Files that other programs wrote, on machines that have them.

use std::{collections::BTreeSet, path::Path};

use longshore_gguf::{Limits, SplitSet, Value, open};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::util::rewrite;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/gguf");

fn fixtures() -> Option<Json> {
    let text = std::fs::read(Path::new(FIXTURES).join("fixtures.json")).ok()?;
    Some(serde_json::from_slice(&text).unwrap())
}

#[test]
fn files_are_read_and_written_again() {
    let Some(fixtures) = fixtures() else { return };
    let mut listed = BTreeSet::new();
    for (name, fixture) in fixtures.as_object().unwrap() {
        let mut bytes = 0;
        for (file, sum) in fixture["files"].as_object().unwrap() {
            let path = Path::new(FIXTURES).join(file);
            let found = std::fs::read(&path).unwrap();
            let hash = Sha256::digest(&found).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
            assert_eq!(sum.as_str(), Some(&*hash), "{file}");
            assert_eq!(rewrite(&found), found, "{file}");
            bytes += found.len();
            listed.insert(file.clone());

            // Opened by any of its files, the model has the tensors of the list in its order.
            let set = SplitSet::open(&path, &Limits::default()).unwrap();
            let tensors: Vec<_> = set.iter().map(|(_, tensor)| (tensor.name(), tensor.ggml_type().name())).collect();
            let expected = fixture["tensors"].as_array().unwrap().iter();
            let expected: Vec<_> =
                expected.map(|tensor| (tensor["gguf"].as_str().unwrap(), tensor["type"].as_str().unwrap())).collect();
            assert_eq!(tensors, expected, "{name}");
            let architecture = set.metadata().get("general.architecture").and_then(Value::as_str);
            assert_eq!(architecture, fixture["architecture"].as_str(), "{name}");
            for member in set.members() {
                let mapped = open(&member.path).unwrap();
                assert_eq!(mapped.header(), &member.header);
            }
        }
        assert_eq!(fixture["bytes"].as_u64(), Some(bytes as u64), "{name}");
    }
    let there = std::fs::read_dir(FIXTURES).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let there: BTreeSet<_> =
        there.filter(|file| Path::new(file).extension().is_some_and(|end| end == "gguf")).collect();
    assert_eq!(there, listed);
}
