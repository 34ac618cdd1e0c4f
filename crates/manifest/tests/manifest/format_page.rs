//! The crate reads and writes the examples of `docs/format.md`, and that page describes every field.

use std::collections::BTreeSet;

use longshore_manifest::{Config, Digest, Manifest, store::Origins};
use serde_json::Value;

const PAGE: &str = include_str!("../../docs/format.md");

/// Returns the examples without the white space that only serves the reader.
fn examples() -> Vec<String> {
    let blocks = PAGE.split("```json\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    blocks
        .map(|block| {
            let mut quoted = false;
            let keep = |c: &char| {
                quoted ^= *c == '"';
                quoted || !c.is_whitespace()
            };
            block.chars().filter(keep).collect()
        })
        .collect()
}

#[test]
fn the_examples_are_exact() {
    let [manifest, config, lease, origins] = <[String; 4]>::try_from(examples()).unwrap();
    assert!(serde_json::from_str::<Value>(&lease).unwrap()["digest"].is_string());
    let digest = Digest::of(b"").to_string();
    let read: Origins = serde_json::from_str(&origins.replace("sha256:…", &digest)).unwrap();
    assert_eq!((read.made.len(), read.places.len()), (1, 1));
    assert_eq!(serde_json::to_string(&read).unwrap().replace(&digest, "sha256:…"), origins);
    let written = Manifest::parse(manifest.as_bytes()).unwrap().to_bytes();
    assert_eq!(String::from_utf8(written).unwrap(), manifest + "\n");
    let written = Config::parse(config.as_bytes()).unwrap().to_bytes();
    assert_eq!(String::from_utf8(written).unwrap(), config + "\n");
}

#[test]
fn the_examples_and_tables_have_every_field() {
    let of = |documents: &[&[u8]]| {
        let mut found = BTreeSet::new();
        for document in documents {
            fields(&serde_json::from_slice(document).unwrap(), &mut found);
        }
        found
    };
    let golden = of(&[include_bytes!("golden/manifest.json"), include_bytes!("golden/config.json")]);
    let examples = examples();
    assert_eq!(of(&[examples[0].as_bytes(), examples[1].as_bytes()]), golden);
    for field in golden.iter().filter(|field| *field != "format") {
        assert!(PAGE.contains(&format!("`{field}`")), "{field} is not described");
    }
}

fn fields(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.keys().cloned());
            // The keys of factors are names of tensors.
            let inner = members.iter().filter(|(key, _)| *key != "scales");
            inner.for_each(|(_, value)| fields(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}
