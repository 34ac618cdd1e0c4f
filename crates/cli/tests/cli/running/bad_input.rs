//! What cannot be run, and what is said about it.

use std::fs;

use super::{
    automaton::{Automaton, TEMPLATE},
    fed,
};
use crate::support::{Run, Sandbox};

/// A refusal: its status, no output, and words in its error and hints.
pub(super) fn assert_refused(run: &Run, code: i32, words: &[&str]) {
    assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{run:?}");
    assert!(run.stderr.starts_with("error: "), "{run:?}");
    for word in words {
        assert!(run.stderr.contains(word), "{word}: {run:?}");
    }
}

fn hello() -> Automaton {
    Automaton::new().text(":Hi")
}

#[test]
fn no_tokenizer() {
    let sandbox = Sandbox::new();
    hello().no_tokenizer().write(&sandbox, "m");
    let run = sandbox.run(["run", "./m", ":"]);
    assert_refused(&run, 1, &["m has no tokenizer: expected tokenizer.json beside its weights", "hint: "]);
    fs::write(sandbox.path().join("m/tokenizer.json"), "{}").unwrap();
    assert_refused(&sandbox.run(["run", "./m", ":"]), 1, &["tokenizer.json is no tokenizer: "]);
}

#[test]
fn no_chat_template() {
    let sandbox = Sandbox::new();
    hello().write(&sandbox, "m");
    let words = ["./m has no chat template: expected chat_template.jinja", "hint: "];
    assert_refused(&sandbox.run(["chat", "./m"]), 1, &[&words[..], &["longshore run ./m PROMPT"]].concat());
    assert_refused(&sandbox.run(["run", "./m", "--chat", "a"]), 1, &words);
    assert_refused(&sandbox.run(["chat", "./m", "--json"]), 2, &["chat has no --json"]);
}

#[test]
fn a_template_that_raises_or_does_not_parse_or_never_ends() {
    let sandbox = Sandbox::new();
    hello().template(TEMPLATE).write(&sandbox, "m");
    let run = sandbox.run(["run", "./m", "--chat", "refuse"]);
    assert_refused(&run, 1, &["error: the chat template refuses the conversation: not that\n"]);
    for (template, words) in [
        ("{% if %}", "the chat template is not valid at line 1: "),
        ("{{ range(10**9) }}", "the chat template fails at line 1: "),
        ("{{ 'a' * 10**9 }}", "the chat template was stopped: "),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            "was stopped: it takes too many steps",
        ),
    ] {
        fs::write(sandbox.path().join("m/chat_template.jinja"), template).unwrap();
        assert_refused(&sandbox.run(["run", "./m", "--chat", "a"]), 1, &[words]);
    }
}

#[test]
fn a_prompt_that_is_longer_than_the_context() {
    let sandbox = Sandbox::new();
    hello().write(&sandbox, "m");
    let prompt = format!("{}:", "x".repeat(99));
    let run = sandbox.run(["run", "./m", &prompt]);
    assert_refused(&run, 1, &["the prompt has 101 tokens, expected at most 64", "hint: --truncate"]);
    assert_eq!(sandbox.ok(["run", "./m", &prompt, "--truncate"]), "Hi");
    let run = sandbox.run(["run", "./m", "aaaa:", "--max-seq", "4"]);
    assert_refused(&run, 1, &["the prompt has 6 tokens, expected at most 4"]);
}

#[test]
fn a_text_that_is_no_utf8() {
    let sandbox = Sandbox::new();
    hello().write(&sandbox, "m");
    let run = fed(&mut sandbox.command(["run", "./m"]), b"ab\xff");
    assert_refused(&run, 1, &["stdin is not UTF-8: byte 2 begins no character"]);
}

#[test]
fn logits_that_are_no_numbers() {
    let sandbox = Sandbox::new();
    hello().broken(b'x').write(&sandbox, "m");
    // The layer is named, and no token is printed.
    let run = sandbox.run(["run", "./m", "x:"]);
    assert_refused(&run, 1, &["not finite"]);
    assert!(run.stderr.contains("layer") || run.stderr.contains("embed"), "{run:?}");
    assert_eq!(sandbox.ok(["run", "./m", ":"]), "Hi");
}

#[test]
fn a_tensor_that_is_not_there() {
    let sandbox = Sandbox::new();
    hello().without("model.layers.0.mlp.up_proj.weight").write(&sandbox, "m");
    assert_refused(&sandbox.run(["run", "./m", ":"]), 1, &["./m: ", "model.layers.0.mlp.up_proj.weight", "hint: "]);
}

#[test]
fn a_vocabulary_that_the_tokenizer_exceeds() {
    let sandbox = Sandbox::new();
    hello().vocabulary(200).config("eos_token_id", 2).config("bos_token_id", 1).write(&sandbox, "m");
    let words = "the tokenizer of ./m has 256 tokens, and the model embeds 200: it is another model's";
    assert_refused(&sandbox.run(["run", "./m", ":"]), 1, &[words]);
    // Added tokens are refused where they are used.
    Automaton::new().text(":Hi").vocabulary(258).write(&sandbox, "n");
    assert_eq!(sandbox.ok(["run", "./n", ":"]), "Hi");
    let run = sandbox.run(["run", "./n", "<turn>:"]);
    assert_refused(&run, 1, &["token 258 (\"<turn>\") is not in the model's vocabulary of 258"]);
}

#[test]
fn an_architecture_that_is_unknown() {
    let sandbox = Sandbox::new();
    let other =
        || hello().config("model_type", "novel").config("architectures", serde_json::json!(["NovelForCausalLM"]));
    other().write(&sandbox, "m");
    let run = sandbox.run(["run", "./m", ":"]);
    assert_refused(&run, 1, &["./m: the architecture ", "cannot be run", "hint: --as llama"]);
    let run = sandbox.run(["run", "./m", ":", "--as", "llama"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "Hi"), "{run:?}");
    assert!(run.stderr.contains("nobody has checked"), "{run:?}");
    assert_refused(&sandbox.run(["run", "./m", ":", "--as", "nothing"]), 1, &["nothing"]);
}

#[test]
fn names_and_options_that_are_wrong() {
    let sandbox = Sandbox::new();
    hello().write(&sandbox, "m");
    assert_refused(&sandbox.run(["run", "nothing", ":"]), 1, &["nothing"]);
    assert_refused(&sandbox.run(["run", "./nothing", ":"]), 1, &["nothing"]);
    for (option, value, words) in [
        ("--temperature", "-1", "--temperature: expected a number from 0, found -1"),
        ("--top-p", "0", "--top-p: expected a number above 0, at most 1"),
        ("--min-p", "2", "--min-p: expected a number from 0 to 1"),
        ("--repetition-penalty", "0", "--repetition-penalty: expected a number above 0"),
    ] {
        assert_refused(&sandbox.run(["run", "./m", ":", option, value]), 2, &[words]);
    }
    assert_refused(&sandbox.run(["run", "./m", ":", "--exact", "--fast"]), 2, &["--fast"]);
    assert_refused(&sandbox.run(["run", "./m", ":", "--threads", "0"]), 2, &["a number from 1"]);
}
