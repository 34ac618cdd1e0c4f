//! GGUF files at the terminal.

use std::fs;

use longshore_packer::longshore_gguf::{Dims, GgmlType, Layout, Metadata, Writer};
use serde_json::Value;

use crate::{
    hostile::{HOSTILE, SHOWN},
    support::{Sandbox, snapshot},
};

/// Writes a file with a name, an architecture and a tokenizer of many tokens.
fn write(sandbox: &Sandbox, name: &str, word: &str) {
    let mut metadata = Metadata::new();
    let mut fill = || {
        metadata.push("general.architecture", "llama")?;
        metadata.push("general.name", word)?;
        metadata.push("llama.block_count", 1_u32)?;
        metadata.push("llama.context_length", 128_u32)?;
        metadata.push("llama.embedding_length", 64_u32)?;
        metadata.push("llama.attention.layer_norm_rms_epsilon", 1e-5_f32)?;
        metadata.push("tokenizer.ggml.model", "gpt2")?;
        metadata.push("tokenizer.ggml.pre", word)?;
        let tokens: Vec<String> = (0..1000).map(|id| format!("{word}{id}")).collect();
        metadata.push_array("tokenizer.ggml.tokens", tokens.iter().map(String::as_str))?;
        metadata.push_array("tokenizer.ggml.scores", [0.5_f32, 1.0])?;
        metadata.push("tokenizer.ggml.add_bos_token", false)?;
        metadata.push("tokenizer.chat_template", &*format!("{word}{}", "x".repeat(5000)))?;
        metadata.push(&format!("own.{}", word.replace('\u{0}', "")), -3_i64)
    };
    fill().unwrap();
    let dims = |shape: &[u64]| Dims::from_shape(shape).unwrap();
    let end = word.len().min(30);
    let end = (0..=end).rev().find(|end| word.is_char_boundary(*end)).unwrap();
    let own = format!("{}.weight", &word[..end]);
    let tensors = [
        ("token_embd.weight", GgmlType::Q8_0, dims(&[4, 64])),
        ("output_norm.weight", GgmlType::F32, dims(&[64])),
        (own.as_str(), GgmlType::Q4K, dims(&[2, 256])),
    ];
    let layout = Layout::new(metadata, tensors).unwrap();
    let lengths: Vec<_> = layout.parsed().iter().map(|tensor| usize::try_from(tensor.byte_len()).unwrap()).collect();
    let mut writer = Writer::new(Vec::new(), layout).unwrap();
    for length in lengths {
        writer.write(&vec![0; length]).unwrap();
    }
    fs::write(sandbox.path().join(name), writer.finish().unwrap()).unwrap();
}

#[test]
fn a_file_is_inspected() {
    let sandbox = Sandbox::new();
    write(&sandbox, "small.gguf", "gpt-2");
    snapshot!("gguf-inspect", sandbox.run(["inspect", "small.gguf"]).transcript(&sandbox));

    let run = sandbox.run(["inspect", "small.gguf", "--json"]);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["parameters"], 4 * 64 + 64 + 512);
    assert_eq!(report["types"]["Q4_K"]["bytes"], 2 * 144);
    let pair = |key: &str| report["metadata"].as_array().unwrap().iter().find(|pair| pair["key"] == key).unwrap();
    assert_eq!(pair("tokenizer.ggml.tokens")["type"], "string[1000]");
    assert_eq!(pair("tokenizer.ggml.tokens")["value"].as_array().unwrap().len(), 4);
    assert_eq!(pair("llama.attention.layer_norm_rms_epsilon")["value"], 1e-5);
    assert_eq!(pair("own.gpt-2")["value"], -3);
    assert_eq!(report["tensors"][0]["shape"], serde_json::json!([4, 64]));
}

#[test]
fn what_a_file_says_stays_on_its_line() {
    let sandbox = Sandbox::new();
    write(&sandbox, "hostile.gguf", HOSTILE);
    let run = sandbox.run(["inspect", "hostile.gguf"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains(SHOWN), "{run:?}");
    for line in run.stdout.lines().chain(run.stderr.lines()) {
        assert!(!line.starts_with("error: forged") && !line.starts_with("hint: forged"), "{line}");
        assert!(!line.contains(|letter: char| letter.is_control()), "{line:?}");
    }
    assert_eq!(sandbox.run(["import", "hostile.gguf", "m"]).code, 0);
}
