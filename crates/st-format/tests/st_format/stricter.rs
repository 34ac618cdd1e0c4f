//! One test for each kind of file that the `safetensors` crate accepts and this crate refuses. `docs/format.md` gives
//! the reasons.

use longshore_st_format::HeaderError as E;

use crate::util::{file, parse};

/// Returns this crate's error for a file that the `safetensors` crate accepts.
fn stricter(json: &str, data_len: usize) -> E {
    let bytes = file(json, data_len);
    safetensors::SafeTensors::deserialize(&bytes).expect("the safetensors crate accepts it");
    parse(&bytes).expect_err("it should be refused")
}

#[test]
fn leading_white_space() {
    for json in [" {}", "\n{}", "\t{}", "\r{}"] {
        assert!(matches!(stricter(json, 0), E::NotAnObject { .. }));
    }
}

#[test]
fn duplicate_tensor() {
    let entry = r#""a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}"#;
    assert!(matches!(stricter(&format!("{{{entry},{entry}}}"), 2), E::DuplicateTensor { tensor } if &*tensor == "a"));
    // The two names are equal after unescaping.
    let escaped = entry.replace("\"a\"", "\"\\u0061\"");
    assert!(matches!(stricter(&format!("{{{entry},{escaped}}}"), 2), E::DuplicateTensor { .. }));
    // The entry that the `safetensors` crate drops may contradict the file. It is refused all the same.
    let other = r#""a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    assert!(matches!(stricter(&format!("{{{other},{entry}}}"), 2), E::DuplicateTensor { .. }));
}

#[test]
fn duplicate_metadata_key() {
    let error = stricter(r#"{"__metadata__":{"k":"1","k":"2"}}"#, 0);
    assert!(matches!(error, E::DuplicateMetadataKey { key } if &*key == "k"));
}

#[test]
fn unknown_field() {
    let error = stricter(r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"scale":1.5}}"#, 2);
    assert!(matches!(&error, E::UnknownField { tensor, field } if &**tensor == "a" && &**field == "scale"));
    assert!(error.to_string().contains("scale"));
}

#[test]
fn entry_as_an_array() {
    assert!(matches!(stricter(r#"{"a":["U8",[2],[0,2]]}"#, 2), E::Json { tensor: Some(_), .. }));
}

#[test]
fn dtype_as_an_object() {
    let error = stricter(r#"{"a":{"dtype":{"U8":null},"shape":[2],"data_offsets":[0,2]}}"#, 2);
    assert!(matches!(error, E::Json { tensor: Some(_), .. }));
}

#[test]
fn rank_beyond_the_limit() {
    let json = |rank: usize| {
        format!(r#"{{"a":{{"dtype":"U8","shape":[{}],"data_offsets":[0,1]}}}}"#, vec!["1"; rank].join(","))
    };
    assert!(parse(&file(&json(64), 1)).is_ok());
    assert!(matches!(stricter(&json(65), 1), E::RankTooLarge { limit: 64, .. }));
}

#[test]
fn name_beyond_the_limit() {
    let json = |len: usize| format!(r#"{{"{}":{{"dtype":"U8","shape":[],"data_offsets":[0,1]}}}}"#, "n".repeat(len));
    assert!(parse(&file(&json(4_096), 1)).is_ok());
    assert!(matches!(stricter(&json(4_097), 1), E::NameTooLong { found: 4_097, limit: 4_096, .. }));
}
