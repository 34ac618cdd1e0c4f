//! `run` and `chat` in pipes.

use std::fs;

use serde_json::Value;

use super::{
    automaton::{Automaton, BOS, REPLY, TEMPLATE},
    bad_input::assert_refused,
    fed,
};
use crate::{adapters, support::Sandbox};

/// A model that writes ` one, TW\u{e9}3` after a colon, and ends.
fn counting() -> Automaton {
    Automaton::new().text(": one,TW\u{e9}3").template(TEMPLATE)
}

#[test]
fn only_the_continuation_is_printed_of_a_directory_and_of_a_stored_model() {
    let sandbox = Sandbox::new();
    counting().write(&sandbox, "m");
    assert_eq!(sandbox.ok(["run", "./m", "count:"]), " one,TWé3");
    sandbox.ok(["import", "./m", "stored:x", "-q"]);
    assert_eq!(sandbox.ok(["run", "stored:x", "count:"]), " one,TWé3");
    assert_eq!(sandbox.ok(["run", "stored:x", "count:", "--exact", "--threads", "1", "--no-mmap"]), " one,TWé3");
    assert_eq!(sandbox.ok(["run", "stored:x", "count:", "--kv-dtype", "f16", "--dtype", "bf16"]), " one,TWé3");
    // The prompt may come from stdin, as it is.
    let run = fed(&mut sandbox.command(["run", "./m"]), b"a:");
    assert_eq!((run.code, run.stdout.as_str()), (0, " one,TWé3"), "{run:?}");
    assert_eq!(run.stderr, "");
}

#[test]
fn an_answer_ends_where_it_is_told_to() {
    let sandbox = Sandbox::new();
    counting().write(&sandbox, "m");
    assert_eq!(sandbox.ok(["run", "./m", ":", "--max-tokens", "3"]), " on");
    assert_eq!(sandbox.ok(["run", "./m", ":", "--max-tokens", "0"]), "");
    // A stop string may begin and end within tokens; of several the first counts.
    assert_eq!(sandbox.ok(["run", "./m", ":", "--stop", "W\u{e9}", "--stop", ",T"]), " one");
    // A character that is cut by the length is shown as one that is broken.
    assert_eq!(sandbox.ok(["run", "./m", ":", "--max-tokens", "8"]), " one,TW\u{fffd}");
}

#[test]
fn the_document_has_ids_and_timings() {
    let sandbox = Sandbox::new();
    counting().write(&sandbox, "m");
    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&sandbox.ok([&["run", "./m", "--json"], args].concat())).unwrap()
    };
    let document = json(&["a:"]);
    assert_eq!(document["version"], 1);
    assert_eq!(document["model"], "./m");
    assert_eq!(document["text"], " one,TWé3");
    assert_eq!(document["tokens"], serde_json::json!([32, 111, 110, 101, 44, 84, 87, 0xc3, 0xa9, 51]));
    // BOS, as the tokenizer says, and two bytes.
    assert_eq!(document["prompt_tokens"], 3);
    assert_eq!(document["stop"], "end");
    for time in ["first_token", "prefill", "decode"] {
        assert!(document["seconds"][time].as_f64().unwrap() >= 0.0, "{document}");
    }
    assert_eq!(json(&[":", "--max-tokens", "2"])["stop"], "length");
    let stopped = json(&[":", "--stop", "ne"]);
    assert_eq!((&stopped["stop"], &stopped["text"]), (&"string".into(), &" o".into()));
}

#[test]
fn a_pipe_and_a_document_have_the_exact_text() {
    let sandbox = Sandbox::new();
    Automaton::new().text(b":\x1b[2J\r\x07\xc2\x9b\n\tx").write(&sandbox, "m");
    let exact = "\u{1b}[2J\r\u{7}\u{9b}\n\tx";
    assert_eq!(sandbox.ok(["run", "./m", ":"]), exact);
    let document: Value = serde_json::from_str(&sandbox.ok(["run", "./m", ":", "--json"])).unwrap();
    assert_eq!(document["text"], exact);
}

#[test]
fn sampling_repeats_with_a_seed() {
    let sandbox = Sandbox::new();
    counting().write(&sandbox, "m");
    let run = |seed: &str, threads: &str| {
        sandbox.ok([
            "run",
            "./m",
            "x:",
            "--temperature",
            "9",
            "--max-tokens",
            "20",
            "--seed",
            seed,
            "--threads",
            threads,
        ])
    };
    let document = |seed: &str| -> Value {
        serde_json::from_str(&sandbox.ok([
            "run",
            "./m",
            "x:",
            "--temperature",
            "9",
            "--max-tokens",
            "20",
            "--seed",
            seed,
            "--json",
        ]))
        .unwrap()
    };
    assert_eq!(document("1")["tokens"], document("1")["tokens"]);
    assert_ne!(document("1")["tokens"], document("2")["tokens"]);
    assert_eq!(run("3", "1"), run("3", "2"));
    // What a model recommends is what it does: draws here, and nothing that cannot be drawn.
    assert_eq!(sandbox.ok(["run", "./m", ":", "--temperature", "1", "--top-k", "1"]), " one,TWé3");
    assert_eq!(sandbox.ok(["run", "./m", ":", "--temperature", "1", "--min-p", "1"]), " one,TWé3");
}

#[test]
fn the_template_is_put_around_a_question() {
    let sandbox = Sandbox::new();
    let answer = Automaton::new().chain([REPLY, 72, 105]).template(TEMPLATE);
    answer.write(&sandbox, "m");
    assert_eq!(sandbox.ok(["run", "./m", "--chat", "Hello"]), "Hi");
    let document: Value = serde_json::from_str(&sandbox.ok(["run", "./m", "--chat", "Hello", "--json"])).unwrap();
    // The turn, five letters and the reply: no BOS, which the template would put.
    assert_eq!(document["prompt_tokens"], 7);
}

#[test]
fn a_conversation_can_be_piped() {
    let sandbox = Sandbox::new();
    Automaton::new().chain([REPLY, 72, 105]).template(TEMPLATE).write(&sandbox, "m");
    let chat = |bytes: &[u8]| fed(&mut sandbox.command(["chat", "./m", "-q", "--system", "s"]), bytes);
    let run = chat(b"one\n\ntwo\n/exit\nthree\n");
    assert_eq!((run.code, run.stdout.as_str()), (0, "Hi\nHi\n"), "{run:?}");
    let run = chat(b"one");
    assert_eq!((run.code, run.stdout.as_str()), (0, "Hi\n"), "{run:?}");
    assert_eq!(chat(b"").code, 0);
    // The context has 64 tokens.
    let long = [b"0123456789\n".repeat(8), b"/exit\n".to_vec()].concat();
    let run = chat(&long);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("the conversation has ") && run.stderr.contains("--truncate"), "{run:?}");
    let forgetting = ["chat", "./m", "-q", "--truncate", "--max-tokens", "4"];
    let run = fed(&mut sandbox.command(forgetting), &long);
    assert_eq!((run.code, run.stdout), (0, "Hi\n".repeat(8)), "{}", run.stderr);
}

#[test]
fn a_draft_helps_a_conversation() {
    let sandbox = Sandbox::new();
    let answer = || Automaton::new().chain([REPLY, 72, 105]).template(TEMPLATE);
    answer().write(&sandbox, "m");
    Automaton::new().chain([REPLY, 72, 106]).template(TEMPLATE).write(&sandbox, "draft");
    answer().vocabulary(400).write(&sandbox, "wide");
    let chat = |more: &[&str]| {
        let args = [&["chat", "./m", "--system", "s"], more].concat();
        fed(&mut sandbox.command(args), b"one\ntwo\n/exit\n")
    };
    let run = chat(&["--draft", "./draft"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "Hi\nHi\n"), "{run:?}");
    assert!(run.stderr.contains("draft: ") && run.stderr.contains("proposed tokens accepted"), "{run:?}");
    let run = chat(&["--draft", "./wide"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("the draft ./wide has 400 tokens, expected the 320 of ./m"), "{run:?}");
    let run = chat(&["--draft", "./draft", "--temperature", "1"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("a draft model helps a greedy answer only"), "{run:?}");
}

#[test]
fn verbosity_tells_how_fast_it_was() {
    let sandbox = Sandbox::new();
    counting().write(&sandbox, "m");
    let run = sandbox.run(["run", "./m", "a:", "-v"]);
    assert!(run.stderr.contains("3 prompt tokens in ") && run.stderr.contains("10 tokens in "), "{run:?}");
    assert!(run.stderr.contains("the model ended"), "{run:?}");
}

#[test]
fn a_draft_gives_the_same_text_and_says_how_much_it_foresaw() {
    let sandbox = Sandbox::new();
    counting().write(&sandbox, "m");
    // Knows the first half, and nothing of the rest.
    Automaton::new().text(": one,").write(&sandbox, "draft");
    Automaton::new().vocabulary(400).write(&sandbox, "wide");
    let run = sandbox.run(["run", "./m", "a:", "--draft", "./draft"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, " one,TWé3"), "{run:?}");
    assert!(run.stderr.contains("draft: ") && run.stderr.contains("proposed tokens accepted"), "{run:?}");
    let args = ["run", "./m", "a:", "--draft", "./draft", "--json"];
    let document: Value = serde_json::from_str(&sandbox.ok(args)).unwrap();
    let (proposed, accepted) = (document["draft"]["proposed"].as_u64(), document["draft"]["accepted"].as_u64());
    assert!(accepted > Some(2) && accepted < proposed, "{document}");
    assert_eq!(document["text"], " one,TWé3");
    let run = sandbox.run(["run", "./m", "a:", "--draft", "./wide"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("the draft ./wide has 400 tokens, expected the 320 of ./m"), "{run:?}");
    let run = sandbox.run(["run", "./m", "a:", "--draft", "./draft", "--temperature", "1"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("a draft model helps a greedy answer only"), "{run:?}");
}

#[test]
fn a_head_of_its_own_proposes_tokens() {
    let sandbox = Sandbox::new();
    counting().config("num_hidden_layers", 3).write(&sandbox, "m");
    counting().write_head(&sandbox, "head");
    sandbox.ok(["import", "./m", "m", "--draft", "head", "-q"]);
    let shown = sandbox.ok(["show", "m"]);
    assert!(shown.contains("LlamaForCausalLMEagle3, an EAGLE-3 head"), "{shown}");
    let shown: Value = serde_json::from_str(&sandbox.ok(["show", "m", "--json"])).unwrap();
    assert_eq!(shown["heads"], serde_json::json!([{"role": "eagle3", "prefix": "draft."}]));
    let alone = sandbox.ok(["run", "m", "a:"]);
    let run = sandbox.run(["run", "m", "a:", "--draft", "self"]);
    assert_eq!((run.code, run.stdout), (0, alone), "{}", run.stderr);
    assert!(run.stderr.contains("draft: ") && run.stderr.contains("proposed tokens accepted"), "{}", run.stderr);
    let document: Value = serde_json::from_str(&sandbox.ok(["run", "m", "a:", "--draft", "self", "--json"])).unwrap();
    let (proposed, accepted) = (document["draft"]["proposed"].as_u64(), document["draft"]["accepted"].as_u64());
    assert!(accepted > Some(2) && accepted < proposed, "{document}");
    let run = sandbox.run(["run", "./m", "a:", "--draft", "self"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("./m has no EAGLE-3 head") && run.stderr.contains("--draft DIR"), "{run:?}");
    // A head that is stored and cannot be run is not advised to be stored.
    let path = sandbox.path().join("head/config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["eagle_aux_hidden_state_layer_ids"] = serde_json::json!([0, 1, 99]);
    fs::write(&path, config.to_string()).unwrap();
    sandbox.ok(["import", "./m", "far", "--draft", "head", "-q"]);
    let run = sandbox.run(["run", "far", "a:", "--draft", "self"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("error: ") && !run.stderr.contains("--draft DIR"), "{run:?}");
}

#[test]
fn an_mtp_head_proposes_nothing() {
    let sandbox = Sandbox::new();
    counting().mtp().write(&sandbox, "m");
    sandbox.ok(["import", "./m", "m", "-q"]);
    assert_eq!(sandbox.ok(["run", "m", "a:"]), " one,TWé3");
    let run = sandbox.run(["run", "m", "a:", "--draft", "self"]);
    assert_eq!(run.code, 1, "{run:?}");
    let expected = "m:latest has no EAGLE-3 head, which alone can be run: its draft head is MTP";
    assert!(run.stderr.contains(expected) && run.stderr.contains("--draft DIR"), "{run:?}");
}

#[test]
fn an_adapter_is_applied_beside_the_weights() {
    let sandbox = Sandbox::new();
    Automaton::new().chain([BOS, 97, 98]).write(&sandbox, "m");
    sandbox.ok(["import", "./m", "base", "-q"]);
    let (outputs, inputs) = adapters::shape(&sandbox);
    adapters::adapter(&sandbox, inputs, outputs);
    sandbox.ok(["import", "adapter", "lora", "--adapter-of", "base"]);
    let run = sandbox.run(["run", "base", "a", "--adapter", "lora", "--max-tokens", "2"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.contains("adds to 1 layers"), "{run:?}");
    sandbox.ok(["import", "./m", "other", "--quantize", "int8", "-q"]);
    let words = ["the adapter lora:latest belongs to the model sha256:", "and other:latest is sha256:"];
    assert_refused(&sandbox.run(["run", "other", "a", "--adapter", "lora"]), 1, &words);
    assert_refused(
        &sandbox.run(["run", "base", "a", "--adapter", "base"]),
        1,
        &["is a model by itself", "--adapter-of"],
    );
    assert_refused(&sandbox.run(["run", "./m", "a", "--adapter", "lora"]), 2, &["belongs to a stored model"]);
}
