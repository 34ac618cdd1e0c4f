use longshore_gguf::{Metadata, MetadataError as E, NameError, Text, Value, ValueType};
use proptest::prelude::*;

use crate::{
    raw::{Raw, array, string},
    util::{copy, metadata_of, pairs, parse},
};

#[test]
fn every_type_of_value_is_read() {
    let raw = Raw::default()
        .pair("u8", 0, [200])
        .pair("i8", 1, [200])
        .pair("u16", 2, 60_000_u16.to_le_bytes())
        .pair("i16", 3, (-2_i16).to_le_bytes())
        .pair("u32", 4, u32::MAX.to_le_bytes())
        .pair("i32", 5, i32::MIN.to_le_bytes())
        .pair("f32", 6, 1.5_f32.to_le_bytes())
        .pair("bool", 7, [1])
        .pair("string", 8, string("wörter"))
        .pair("array", 9, array(2, 2, &[1, 0, 2, 1]))
        .pair("u64", 10, u64::MAX.to_le_bytes())
        .pair("i64", 11, i64::MIN.to_le_bytes())
        .pair("f64", 12, (-0.0_f64).to_le_bytes());
    let header = parse(&raw.bytes()).unwrap();
    let metadata = header.metadata();
    assert_eq!(metadata.len(), ValueType::ALL.len());
    for ((key, value), &expected) in metadata.iter().zip(ValueType::ALL) {
        assert_eq!((key, value.value_type()), (expected.name(), expected));
        assert_eq!(metadata.get(key), Some(value));
    }
    let get = |key: &str| metadata.get(key).unwrap();
    assert_eq!(get("u8"), Value::U8(200));
    assert_eq!(get("i8"), Value::I8(-56));
    assert_eq!(get("u16"), Value::U16(60_000));
    assert_eq!(get("i16"), Value::I16(-2));
    assert_eq!(get("f32").as_f64(), Some(1.5));
    assert_eq!(get("f64").as_f64().map(f64::to_bits), Some((-0.0_f64).to_bits()));
    assert_eq!(get("bool").as_bool(), Some(true));
    assert_eq!(get("string").as_str(), Some("wörter"));
    let numbers = get("array").as_array().unwrap();
    assert_eq!((numbers.element_type(), numbers.len(), numbers.as_bytes()), (ValueType::U16, 2, &[1, 0, 2, 1][..]));
    assert!(!numbers.is_empty());
    assert_eq!(numbers.iter().collect::<Vec<_>>(), [Value::U16(1), Value::U16(258)]);
    assert_eq!(format!("{numbers:?}"), "[U16(1), U16(258)]");
    // Integers of any type that fits, and nothing else.
    for (key, number) in [
        ("u8", Some(200)),
        ("i8", Some(-56)),
        ("u32", Some(u32::MAX.into())),
        ("u64", None),
        ("f32", None),
        ("bool", None),
    ] {
        assert_eq!(get(key).as_i64(), number, "{key}");
    }
    assert_eq!(get("u64").as_u64(), Some(u64::MAX));
    assert_eq!((get("i32").as_u64(), get("u32").as_u64()), (None, Some(u32::MAX.into())));
    assert_eq!(
        (get("string").as_array(), get("u8").as_text(), get("u8").as_bool(), get("u8").as_f64()),
        (None, None, None, None)
    );
    assert_eq!(metadata.get("none"), None);
}

#[test]
fn strings_are_any_bytes() {
    let raw = Raw::default().pair("a", 8, string(b"\xff\0")).pair(
        "b",
        9,
        array(8, 2, &[string(b"\xe2"), string("x")].concat()),
    );
    let header = parse(&raw.bytes()).unwrap();
    let text = header.metadata().get("a").unwrap().as_text().unwrap();
    assert_eq!((text.as_bytes(), text.to_str().is_err()), (&b"\xff\0"[..], true));
    assert_eq!(header.metadata().get("a").unwrap().as_str(), None);
    assert_eq!(format!("{text} {text:?}"), "\u{fffd}\0 \"\u{fffd}\\0\"");
    let texts = header.metadata().get("b").unwrap().as_array().unwrap();
    assert_eq!(texts.iter().map(Value::as_str).collect::<Vec<_>>(), [None, Some("x")]);
}

#[test]
fn a_vocabulary_is_its_bytes() {
    let tokens: Vec<String> = (0..250_000).map(|id| format!("token {id}")).collect();
    let mut metadata = Metadata::new();
    metadata.push_array("tokens", tokens.iter().map(String::as_str)).unwrap();
    metadata.push_array("scores", (0_u16..50_000).map(f32::from)).unwrap();
    let texts: usize = tokens.iter().map(|token| 8 + token.len()).sum();
    assert_eq!(metadata.as_bytes().len(), (8 + 6 + 4 + 12 + texts) + (8 + 6 + 4 + 12 + 4 * 50_000));
    let bytes = longshore_gguf::Layout::new(metadata.clone(), Vec::<(&str, _, _)>::new()).unwrap().header().to_vec();
    let header = parse(&bytes).unwrap();
    assert_eq!(header.metadata(), &metadata);
    let read = header.metadata().get("tokens").unwrap().as_array().unwrap();
    assert_eq!((read.len(), read.iter().len()), (250_000, 250_000));
    assert!(read.iter().map(|token| token.as_str().unwrap()).eq(tokens.iter().map(String::as_str)));
    // The elements lie where the header has them: nothing is kept for each.
    let inside = metadata.get("tokens").unwrap().as_array().unwrap().as_bytes().as_ptr_range();
    assert!(metadata.as_bytes().as_ptr_range().contains(&inside.start));
}

#[test]
fn pairs_are_added_once_and_whole() {
    let mut metadata = Metadata::new();
    metadata.push("b", 1_u8).unwrap();
    metadata.push("a", "x").unwrap();
    let before = metadata.clone();
    assert!(matches!(metadata.push("b", 2_u8), Err(E::DuplicateKey { key }) if &*key == "b"));
    assert!(matches!(metadata.push("", 2_u8), Err(E::Key { source: NameError::Empty, .. })));
    assert!(matches!(metadata.push("a\0", 2_u8), Err(E::Key { source: NameError::Nul { at: 1 }, .. })));
    let long = "k".repeat((1 << 16) + 1);
    assert!(
        matches!(metadata.push(&long, 2_u8), Err(E::Key { start, source: NameError::TooLong { .. } }) if start.len() == 32)
    );
    let long = "s".repeat((1 << 24) + 1);
    for error in [metadata.push("c", &*long), metadata.push_array("c", ["short", &long])] {
        assert!(matches!(error, Err(E::StringTooLong { key, found: 16_777_217, .. }) if &*key == "c"));
    }
    let error = metadata.push_array("c", std::iter::repeat_n(0_u8, (1 << 24) + 1));
    assert!(matches!(error, Err(E::ArrayTooLong { key, limit: 16_777_216 }) if &*key == "c"));
    assert_eq!(metadata, before, "what failed left nothing behind");
    metadata.push("c", true).unwrap();
    assert_eq!(metadata.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["b", "a", "c"]);
    assert_eq!(format!("{metadata:?}"), r#"{"b": U8(1), "a": String("x"), "c": Bool(true)}"#);
}

#[test]
fn there_are_at_most_as_many_pairs_as_a_reader_takes() {
    let mut metadata = Metadata::new();
    for index in 0..1 << 16 {
        metadata.push(&format!("{index}"), true).unwrap();
    }
    assert!(matches!(metadata.push("more", true), Err(E::TooManyPairs { limit: 65_536, .. })));
    assert_eq!(metadata.get("65535"), Some(Value::Bool(true)));
}

#[test]
fn pairs_are_left_out() {
    let mut metadata = Metadata::new();
    for key in ["a", "b", "c", "d"] {
        metadata.push(key, key).unwrap();
    }
    metadata.push_array("e", [1_u64, 2]).unwrap();
    metadata.retain(|key| key != "a" && key != "c");
    assert_eq!(metadata.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["b", "d", "e"]);
    assert_eq!(metadata, copy(&metadata));
    assert_eq!((metadata.get("a"), metadata.get("d").and_then(Value::as_str)), (None, Some("d")));
    metadata.push("a", Text::new(b"again")).unwrap();
    metadata.retain(|_| false);
    assert_eq!((metadata.is_empty(), metadata.as_bytes().len()), (true, 0));
}

proptest! {
    #[test]
    fn what_is_pushed_is_read(pairs in pairs()) {
        let metadata = metadata_of(&pairs);
        prop_assert_eq!(metadata.len(), pairs.len());
        for ((key, value), (expected, owned)) in metadata.iter().zip(&pairs) {
            prop_assert_eq!(key, expected);
            prop_assert!(owned.is(value), "{owned:?} {value:?}");
            prop_assert!(owned.is(metadata.get(key).unwrap()));
        }
        prop_assert_eq!(&copy(&metadata), &metadata);
    }
}
