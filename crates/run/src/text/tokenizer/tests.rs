use std::collections::BTreeMap;

use longshore_manifest::{
    document::{Import, TensorTable},
    weights::Source,
};
use longshore_model::Facts;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Letter that byte-level tokenizers write for a byte.
fn letter(byte: u8) -> char {
    let is_seen = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if is_seen(&byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !is_seen(byte)).count();
    char::from_u32(256 + u32::try_from(before).expect("a byte has few before it")).expect("it is a letter")
}

/// A byte-level tokenizer: ids 0 to 255 are bytes, then `<s>` and `</s>`. With `marks` it puts these around a text.
fn byte_level(marks: bool) -> Value {
    let vocabulary: BTreeMap<String, u32> = (0..=255).map(|byte| (letter(byte).to_string(), u32::from(byte))).collect();
    let special = |id: u32, content: &str| json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false});
    let of = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let template = json!({
        "type": "TemplateProcessing",
        "single": [of("<s>"), {"Sequence": {"id": "A", "type_id": 0}}, of("</s>")],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {
            "<s>": {"id": "<s>", "ids": [256], "tokens": ["<s>"]},
            "</s>": {"id": "</s>", "ids": [257], "tokens": ["</s>"]},
        },
    });
    json!({
        "added_tokens": [special(256, "<s>"), special(257, "</s>")],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        "post_processor": if marks { template } else { Value::Null },
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    })
}

/// A tokenizer like those of sentencepiece: pieces with `▁` for spaces, and bytes for what has no piece.
fn with_bytes() -> Value {
    let mut vocabulary = vec![json!(["<unk>", 0.0]), json!(["▁", -2.0]), json!(["a", -2.0]), json!(["▁a", -1.0])];
    vocabulary.extend((0..=255_u8).map(|byte| json!([format!("<0x{byte:02X}>"), -10.0])));
    json!({
        "added_tokens": [],
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "ByteFallback"}, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false},
            {"type": "Fuse"},
        ]},
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": true, "vocab": vocabulary},
    })
}

fn tokenizer(json: &Value) -> Tokenizer {
    Tokenizer::from_bytes(json.to_string().as_bytes()).expect("it is a tokenizer")
}

/// A model without tensors, of these companion files.
fn source(vocabulary: u64, files: &[(&str, &Value)]) -> Source {
    let mut table = TensorTable::new(Facts::default(), Import::default(), Vec::new());
    table.facts.vocabulary = Some(vocabulary);
    table.facts.tokens.eos = vec![9];
    let files = files.iter().map(|(name, json)| ((*name).to_owned(), json.to_string().into_bytes()));
    Source::of_parts("m", table, [], files.collect())
}

fn streamed(tokenizer: &Tokenizer, tokens: &[u32]) -> (Vec<String>, String) {
    let mut stream = tokenizer.stream();
    let mut pieces: Vec<String> =
        tokens.iter().map(|&token| stream.push(token).expect("the tokens are there")).collect();
    pieces.push(stream.finish().expect("the tokens are there"));
    let text = pieces.concat();
    (pieces, text)
}

#[test]
fn a_text_is_encoded_with_and_without_marks() {
    let plain = tokenizer(&byte_level(false));
    assert_eq!(plain.encode("é!").expect("it is text"), [0xc3, 0xa9, 33]);
    assert_eq!(plain.encode_whole("!").expect("it is text"), [33]);
    let marked = tokenizer(&byte_level(true));
    assert_eq!(marked.encode("!").expect("it is text"), [33]);
    assert_eq!(marked.encode_prompt("!").expect("it is text"), [256, 33]);
    assert_eq!(marked.encode_whole("!").expect("it is text"), [256, 33, 257]);
    assert_eq!(marked.encode("a<s>").expect("it is text"), [97, 256]);
    assert_eq!(marked.decode(&[256, 97, 257]).expect("the tokens are there"), "a");
}

#[test]
fn padding_and_truncation_of_whoever_saved_it_are_ignored() {
    let mut json = byte_level(false);
    json["truncation"] = json!({"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"});
    json["padding"] = json!({"strategy": {"Fixed": 9}, "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "!", "pad_to_multiple_of": null});
    assert_eq!(tokenizer(&json).encode("abc").expect("it is text"), [97, 98, 99]);
}

#[test]
fn documents_beside_it_say_what_begins_and_ends_a_text() {
    let json = byte_level(true);
    let config = json!({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "add_bos_token": false});
    let generation = json!({"eos_token_id": [3, 257]});
    let files =
        [("tokenizer.json", &json), ("tokenizer_config.json", &config), ("generation_config.json", &generation)];
    let found = Tokenizer::open(&source(258, &files)).expect("it is a tokenizer");
    assert_eq!((found.start(), found.end(), found.ends()), (&[][..], &[257][..], &[3, 257][..]));
    assert!(found.is_end(257) && !found.is_end(9));
    // Without a generation config the configuration says it.
    let map = json!({"eos_token": "</s>"});
    let files = [("tokenizer.json", &json), ("special_tokens_map.json", &map)];
    let found = Tokenizer::open(&source(258, &files)).expect("it is a tokenizer");
    assert_eq!((found.start(), found.ends()), (&[256][..], &[9, 257][..]));
}

#[test]
fn what_is_no_tokenizer_is_refused_by_name() {
    let error = Tokenizer::open(&source(258, &[])).expect_err("there is none");
    assert_eq!(error.to_string(), "m has no tokenizer: expected tokenizer.json beside its weights");
    let error = Tokenizer::open(&source(258, &[("tokenizer.json", &json!([]))])).expect_err("it is a list");
    assert!(matches!(error, TokenizerError::Parse { .. }), "{error}");
    let files = [("tokenizer.json", &byte_level(false)), ("generation_config.json", &json!(3))];
    let error = Tokenizer::open(&source(258, &files)).expect_err("it is a number");
    assert_eq!(error.to_string(), "generation_config.json of m: expected a JSON object");
}

#[test]
fn ids_beyond_the_model_are_refused() {
    let json = byte_level(true);
    let error = Tokenizer::open(&source(255, &[("tokenizer.json", &json)])).expect_err("there are 256");
    assert_eq!(error.to_string(), "the tokenizer of m has 256 tokens, and the model embeds 255: it is another model's");
    // Added tokens may be missing in the model, until a text names one.
    let found = Tokenizer::open(&source(256, &[("tokenizer.json", &json)])).expect("only added tokens are beyond");
    assert_eq!(found.encode("a").expect("it is there"), [97]);
    let error = found.encode("a</s>").expect_err("it is beyond");
    assert_eq!(error.to_string(), "token 257 (\"</s>\") is not in the model's vocabulary of 256");
    assert!(found.encode_prompt("a").is_err());
}

#[test]
fn vocabularies_are_compared_by_their_tokens() {
    let (one, other) = (tokenizer(&byte_level(false)), tokenizer(&with_bytes()));
    assert!(one.has_same_vocabulary(&tokenizer(&byte_level(true))) && !one.has_same_vocabulary(&other));
}

#[test]
fn a_character_waits_for_its_bytes() {
    let (pieces, text) = streamed(&tokenizer(&byte_level(false)), &[97, 0xf0, 0x9f, 0x98, 0x80, 98]);
    assert_eq!(pieces, ["a", "", "", "", "😀", "b", ""]);
    assert_eq!(text, "a😀b");
}

#[test]
fn bytes_that_are_no_character_do_not_wait_for_ever() {
    let tokenizer = tokenizer(&byte_level(false));
    let (pieces, text) = streamed(&tokenizer, &[0xff; 6]);
    assert_eq!(text.chars().filter(|letter| *letter == '\u{fffd}').count(), 6);
    assert!(!pieces[4].is_empty(), "{pieces:?}");
    // A character after them is whole.
    let (_, text) = streamed(&tokenizer, &[0xff, 0xff, 0xff, 0xff, 0xe2, 0x82, 0xac]);
    assert!(text.ends_with('€'), "{text}");
    // A cut character at the end is shown as one that is broken.
    assert_eq!(streamed(&tokenizer, &[97, 0xe2, 0x82]).1, "a\u{fffd}");
}

#[test]
fn spaces_and_special_tokens_stream_as_they_decode() {
    let sentence = tokenizer(&with_bytes());
    for tokens in [&[3, 3, 2][..], &[1, 3, 1, 1, 2], &[4 + 0xe2, 4 + 0x82, 4 + 0xac, 3]] {
        assert_eq!(streamed(&sentence, tokens).1, sentence.decode(tokens).expect("the tokens are there"), "{tokens:?}");
    }
    let bytes = tokenizer(&byte_level(true));
    assert_eq!(streamed(&bytes, &[256, 256, 97, 257, 98]).1, "ab");
    assert_eq!(streamed(&bytes, &[256; 100]).1, "");
}

proptest! {
    #[test]
    fn a_stream_gives_what_decoding_at_once_gives(text in "[ -~é€😀\n]{0,40}") {
        for json in [byte_level(false), with_bytes()] {
            let tokenizer = tokenizer(&json);
            let tokens = tokenizer.encode(&text).expect("it is text");
            prop_assert_eq!(streamed(&tokenizer, &tokens).1, tokenizer.decode(&tokens).expect("they are there"));
        }
    }

    #[test]
    fn any_tokens_stream_without_a_fault(tokens in prop::collection::vec(0..300_u32, 0..40)) {
        streamed(&tokenizer(&byte_level(true)), &tokens);
    }

    #[test]
    fn any_document_is_a_tokenizer_or_an_error(at in 0..4000_usize, byte in any::<u8>()) {
        let mut bytes = byte_level(true).to_string().into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(tokenizer) = Tokenizer::from_bytes(&bytes) {
            let _ = tokenizer.encode_whole("a é").map(|tokens| tokenizer.decode(&tokens));
        }
    }
}
