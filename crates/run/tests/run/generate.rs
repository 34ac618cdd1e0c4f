//! Text from a model: at once, as it comes, together, in conversations, and with a draft.

use std::collections::BTreeMap;

use longshore_run::{
    LoadOptions, Model, RunError,
    generate::{
        Chat, GenerateError, GenerateOptions, StopReason, classify, generate, generate_batch, generate_drafted,
        generate_stream,
    },
    text::{ChatTemplate, Message, SamplerOptions, Tokenizer},
};
use serde_json::json;
use tempfile::TempDir;

use crate::checkpoint::Case;

/// A tokenizer whose tokens are letters, one for each row of a model's embedding.
fn letters(model: &Model) -> Tokenizer {
    let letter =
        |token: usize| char::from_u32(u32::try_from(token).expect("it is small") + 0x41).expect("it is a letter");
    let vocabulary: BTreeMap<String, usize> =
        (0..model.vocabulary()).map(|token| (letter(token).to_string(), token)).collect();
    let json = json!({
        "added_tokens": [],
        "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    });
    Tokenizer::from_bytes(json.to_string().as_bytes()).expect("it is a tokenizer")
}

fn llama() -> (TempDir, Model, Tokenizer) {
    let (folder, model) = Case::named("llama").open(LoadOptions::default());
    let tokenizer = letters(&model);
    (folder, model, tokenizer)
}

fn options(max_tokens: usize) -> GenerateOptions {
    GenerateOptions { max_tokens, ..GenerateOptions::default() }
}

fn wild(seed: u64) -> GenerateOptions {
    let sampler = SamplerOptions { temperature: 1.5, top_k: 20, top_p: 0.95, seed, ..SamplerOptions::default() };
    GenerateOptions { sampler, ..options(12) }
}

#[test]
fn a_stream_gives_the_text_and_each_token_follows_from_those_before() {
    let (_folder, model, tokenizer) = llama();
    let answer = generate(&model, &tokenizer, "abc", &options(8)).expect("it is text");
    assert_eq!((answer.tokens.len(), answer.prompt_tokens, answer.stop), (8, 3, StopReason::Length));
    assert_eq!(answer.text, tokenizer.decode(&answer.tokens).expect("they are tokens"));
    let mut session = model.session();
    let prompt = tokenizer.encode("abc").expect("it is text");
    let mut stream = generate_stream(&mut session, &tokenizer, &prompt, &options(8)).expect("it fits");
    let text: String = stream.by_ref().map(|piece| piece.expect("it is a piece").text).collect();
    assert_eq!(text, answer.text);
    assert_eq!(stream.into_generation().tokens, answer.tokens);
    // Greedy by hand.
    let mut tokens = prompt;
    for expected in &answer.tokens {
        let found = longshore_run::argmax(model.session().extend(&tokens).expect("they are tokens"));
        assert_eq!(found, *expected);
        tokens.push(found);
    }
}

#[test]
fn stop_strings_and_limits_end_an_answer() {
    let (_folder, model, tokenizer) = llama();
    let whole = generate(&model, &tokenizer, "abc", &wild(1)).expect("it is text").text;
    let letters: Vec<char> = whole.chars().collect();
    let string: String = letters[4..7].iter().collect();
    let stopping = GenerateOptions { stop: vec![string.clone()], ..wild(1) };
    let answer = generate(&model, &tokenizer, "abc", &stopping).expect("it is text");
    assert_eq!(answer.stop, StopReason::String);
    assert_eq!(Some(answer.text.len()), whole.find(&string));
    let none = generate(&model, &tokenizer, "abc", &options(0)).expect("it is text");
    assert_eq!((none.text.as_str(), none.stop), ("", StopReason::Length));
    // A context that is full ends it, too.
    let limited = LoadOptions { max_sequence: Some(6), ..LoadOptions::default() };
    let (_folder, model) = Case::named("llama").open(limited);
    let answer = generate(&model, &tokenizer, "abc", &options(100)).expect("it is text");
    assert_eq!((answer.tokens.len(), answer.stop), (4, StopReason::Length));
    let error = generate(&model, &tokenizer, "abcdefg", &options(1)).expect_err("it is too long");
    assert!(matches!(error, GenerateError::Prompt { tokens: 7, limit: 6 }), "{error}");
    let cut = GenerateOptions { truncate: true, ..options(1) };
    assert_eq!(generate(&model, &tokenizer, "abcdefg", &cut).expect("it is cut").prompt_tokens, 5);
    assert!(matches!(generate(&model, &tokenizer, "", &options(1)), Err(GenerateError::Empty)));
}

#[test]
fn prompts_together_give_what_each_gives_alone() {
    let (_folder, model, tokenizer) = llama();
    let prompts = ["abc", "z", "hello", "qrstuv", "m"];
    for options in [options(6), wild(3)] {
        let alone: Vec<_> = prompts
            .iter()
            .map(|prompt| generate(&model, &tokenizer, prompt, &options).expect("it is text"))
            .map(|answer| (answer.text, answer.tokens, answer.stop))
            .collect();
        for concurrent in [1, 2, 8] {
            let together = generate_batch(&model, &tokenizer, &prompts, concurrent, &options).expect("they are texts");
            let together: Vec<_> =
                together.into_iter().map(|answer| (answer.text, answer.tokens, answer.stop)).collect();
            assert_eq!(together, alone);
        }
    }
    assert!(generate_batch(&model, &tokenizer, &[""; 0], 4, &options(1)).expect("there is nothing to do").is_empty());
}

#[test]
fn a_conversation_is_what_its_whole_prompt_gives() {
    let (_folder, model, tokenizer) = llama();
    let text =
        "{% for m in messages %}{{ '[' ~ m.content ~ ']' }}{% endfor %}{% if add_generation_prompt %}|{% endif %}";
    let template = ChatTemplate::new(text, []).expect("it parses");
    let (_other, draft) = Case::named("qwen3").open(LoadOptions::default());
    let drafted =
        |draft| Chat::with_draft(&model, draft, &tokenizer, &template, options(3)).expect("the vocabularies are alike");
    for mut chat in [Chat::new(&model, &tokenizer, &template, options(3)), drafted(&draft), drafted(&model)] {
        chat.push(Message::system("s"));
        for said in ["a", "bc", "d"] {
            let mut messages = chat.messages().to_vec();
            messages.push(Message::user(said));
            let prompt = template.render(&messages, true).expect("it renders");
            let expected = generate(&model, &tokenizer, &prompt, &options(3)).expect("it is text");
            let mut streamed = String::new();
            let answer = chat.send(said, |piece| streamed.push_str(piece)).expect("it fits");
            assert_eq!((&answer.text, answer.prompt_tokens), (&expected.text, expected.prompt_tokens));
            assert_eq!(streamed, answer.text);
            assert_eq!(chat.messages().last(), Some(&Message::assistant(answer.text)));
        }
        assert_eq!(chat.messages().len(), 7);
        assert!(chat.acceptance().is_none_or(|(accepted, proposed)| accepted <= proposed && proposed > 0));
    }
    let error = Chat::with_draft(&model, &draft, &tokenizer, &template, wild(1)).expect_err("it is not greedy");
    assert!(matches!(error, GenerateError::Draft), "{error}");
}

#[test]
fn a_conversation_that_is_too_long_is_an_error_or_forgets() {
    let limited = LoadOptions { max_sequence: Some(24), ..LoadOptions::default() };
    let (_folder, model) = Case::named("llama").open(limited);
    let tokenizer = letters(&model);
    let template = ChatTemplate::new("{% for m in messages %}{{ m.content }}{% endfor %}", []).expect("it parses");
    let mut chat = Chat::new(&model, &tokenizer, &template, options(2));
    for _ in 0..2 {
        chat.send("aaaaaaaa", |_| ()).expect("it fits");
    }
    let before = chat.messages().len();
    let error = chat.send("aaaaaaaa", |_| ()).expect_err("it is too long");
    assert!(matches!(error, GenerateError::Conversation { tokens: 28, limit: 24 }), "{error}");
    assert_eq!(chat.messages().len(), before);
    let forgetting = GenerateOptions { truncate: true, ..options(2) };
    let mut chat = Chat::new(&model, &tokenizer, &template, forgetting);
    chat.push(Message::system("s"));
    for _ in 0..6 {
        chat.send("aaaaaaaa", |_| ()).expect("older turns are forgotten");
    }
    let roles: Vec<_> = chat.messages().iter().map(|message| message.role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"]);
}

#[test]
fn labels_have_the_probabilities_of_their_tokens() {
    let (_folder, model, tokenizer) = llama();
    let found = classify(&model, &tokenizer, "abc", &["x", "yz", "y"]).expect("they are labels");
    let probability = |text: &str, token: &str| {
        let (tokens, token) =
            (tokenizer.encode(text).expect("it is text"), tokenizer.encode(token).expect("it is text"));
        let mut session = model.session();
        let logits = session.extend(&tokens).expect("they are tokens");
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        (f64::from(logits[token[0] as usize]).exp() / sum).ln()
    };
    for (found, expected) in found.iter().zip([
        probability("abc", "x"),
        probability("abc", "y") + probability("abcy", "z"),
        probability("abc", "y"),
    ]) {
        assert!((found - expected).abs() < 1e-6, "{found}, expected {expected}");
    }
    assert!(matches!(classify(&model, &tokenizer, "abc", &[""]), Err(GenerateError::Empty)));
}

#[test]
fn a_draft_changes_no_token() {
    let (_folder, model, tokenizer) = llama();
    let (_other_folder, other) = Case::named("qwen3").open(LoadOptions::default());
    for draft in [&model, &other] {
        if draft.vocabulary() != model.vocabulary() {
            continue;
        }
        for prompt in ["abc", "hello", "z"] {
            let tokens = tokenizer.encode(prompt).expect("it is text");
            let expected = generate(&model, &tokenizer, prompt, &options(20)).expect("it is text");
            let mut streamed = String::new();
            let answer =
                generate_drafted(model.session(), draft.session(), &tokenizer, &tokens, &options(20), |text| {
                    streamed.push_str(text);
                });
            let answer = answer.expect("it is text");
            assert_eq!(answer.generation.tokens, expected.tokens);
            assert_eq!((&streamed, answer.generation.stop), (&expected.text, expected.stop));
            assert!(answer.accepted <= answer.proposed);
            if std::ptr::eq(draft, &raw const model) {
                assert_eq!(answer.accepted, answer.proposed, "a model foresees itself");
            }
        }
    }
    // A prompt that the draft has no room for is the target's alone.
    let (_short_folder, short) =
        Case::named("llama").open(LoadOptions { max_sequence: Some(2), ..LoadOptions::default() });
    let tokens = tokenizer.encode("abc").expect("it is text");
    let answer = generate_drafted(model.session(), short.session(), &tokenizer, &tokens, &options(8), |_| ());
    let expected = generate(&model, &tokenizer, "abc", &options(8)).expect("it is text");
    assert_eq!(answer.expect("it is text").generation.tokens, expected.tokens);
    let error = generate_drafted(model.session(), model.session(), &tokenizer, &[1], &wild(1), |_| ());
    assert!(matches!(error, Err(GenerateError::Draft)));
}

#[test]
fn a_flag_ends_every_session_of_a_model() {
    let cancel = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let options = LoadOptions { cancel: Some(cancel), ..LoadOptions::default() };
    let (_folder, model) = Case::named("llama").open(options);
    let error = generate(&model, &letters(&model), "abc", &GenerateOptions::default()).expect_err("it is set");
    assert!(matches!(error, GenerateError::Run(RunError::Cancelled)), "{error}");
}
