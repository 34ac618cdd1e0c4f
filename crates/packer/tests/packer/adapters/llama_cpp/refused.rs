//! Every reason to refuse an adapter in llama.cpp's form.

use std::path::Path;

use longshore_gguf::GgmlType;
use longshore_packer::{Plan, PlanOptions};
use longshore_st_format::Limits;

use super::{
    LINEARS, LLAMA,
    files::{Linear, base, gguf},
};
use crate::support::{Dir, chain};

const KEYS: [(&str, &str); 3] =
    [("general.type", "adapter"), ("general.architecture", "llama"), ("adapter.type", "lora")];

type Tensors<'t> = [(&'t str, &'t [u64])];

/// A pair of the value's factors.
const VALUE: [(&str, &[u64]); 2] = [("blk.0.attn_v.weight.lora_a", &[2, 32]), ("blk.0.attn_v.weight.lora_b", &[16, 2])];
const QUERY: [(&str, &[u64]); 2] = [("blk.0.attn_q.weight.lora_a", &[2, 32]), ("blk.0.attn_q.weight.lora_b", &[32, 2])];

fn file(keys: &[(&str, &str)], alpha: f32, tokens: &[u32], tensors: &Tensors<'_>) -> Vec<u8> {
    let of = |shape: &[u64]| vec![0; usize::try_from(shape.iter().product::<u64>()).expect("it is small") * 4];
    let tensors: Vec<_> = tensors.iter().map(|(name, shape)| (*name, GgmlType::F32, *shape, of(shape))).collect();
    gguf(keys, alpha, tokens, &tensors)
}

fn message(config: &str, linears: &[Linear<'_>], path: &Path) -> String {
    let source = base(config, linears).open().expect("the base is a checkpoint");
    match source.with_adapter(path, 1.0, &Limits::default()) {
        Err(error) => chain(&error),
        Ok(source) => chain(&Plan::new(source, &PlanOptions::default()).expect_err("it does not fit")),
    }
}

/// The message for tensors, of a base of this configuration.
fn of_tensors(config: &str, tensors: &Tensors<'_>) -> String {
    let dir = Dir::new();
    dir.file("x.gguf", file(&KEYS, 4.0, &[], tensors));
    message(config, &LINEARS, &dir.join("x.gguf"))
}

fn with<'k>(key: &str, value: &'k str) -> Vec<(&'k str, &'k str)>
where
    'static: 'k,
{
    KEYS.iter().map(|(name, text)| (*name, if *name == key { value } else { *text })).collect()
}

#[test]
fn metadata() {
    for (keys, alpha, tokens, expected) in [
        (with("general.type", "model"), 4.0, &[][..], r#"general.type: "model", expected adapter"#),
        (with("adapter.type", "control_vector"), 4.0, &[], r#"adapter.type: "control_vector", expected lora"#),
        (KEYS[..2].to_vec(), 4.0, &[], "adapter.type: no value, expected lora"),
        (with("general.architecture", "rwkv7"), 4.0, &[], r#"general.architecture: "rwkv7", expected one whose names"#),
        (KEYS.to_vec(), f32::NAN, &[], r#"adapter.lora.alpha: "NaN", expected a finite number"#),
        (KEYS.to_vec(), f32::INFINITY, &[], r#"adapter.lora.alpha: "inf", expected a finite number"#),
        (KEYS.to_vec(), 4.0, &[7, 9], "adapter.alora.invocation_tokens: [7,9], expected none"),
        (
            with("general.architecture", "qwen3"),
            4.0,
            &[],
            r#"is for the architecture "qwen3" of llama.cpp, expected that of the base, llama"#,
        ),
    ] {
        let dir = Dir::new();
        dir.file("x.gguf", file(&keys, alpha, tokens, &VALUE));
        let found = message(LLAMA, &LINEARS, &dir.join("x.gguf"));
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn tensors() {
    let heads = LLAMA
        .replace("\"num_attention_heads\":4", "\"num_attention_heads\":3")
        .replace("\"num_key_value_heads\":2,", "");
    let heads = heads.replace("\"hidden_size\":32,", "");
    let none = LLAMA.replace("\"num_attention_heads\":4,", "").replace("\"num_key_value_heads\":2,", "");
    let tied = LLAMA.replace("\"tie_word_embeddings\":false", "\"tie_word_embeddings\":true");
    let unknown = VALUE.map(|(name, shape)| {
        (if name.ends_with('a') { "blk.0.what.weight.lora_a" } else { "blk.0.what.weight.lora_b" }, shape)
    });
    for (config, tensors, expected) in [
        (LLAMA, &VALUE[..1], r#"has "blk.0.attn_v.weight.lora_a" without "blk.0.attn_v.weight.lora_b""#),
        (LLAMA, &unknown, r#""blk.0.what.weight.lora_a" of the adapter belongs to nothing in the base"#),
        (
            LLAMA,
            &[("blk.7.attn_v.weight.lora_a", VALUE[0].1), ("blk.7.attn_v.weight.lora_b", VALUE[1].1)],
            "belongs to nothing",
        ),
        (LLAMA, &[VALUE[0], (VALUE[1].0, &[16, 3])], "has rank 3, expected 2"),
        (LLAMA, &[(VALUE[0].0, &[2, 33]), VALUE[1]], "expected 32 inputs"),
        (LLAMA, &[VALUE[0], (VALUE[1].0, &[18, 2])], "expected 16 outputs"),
        (LLAMA, &[VALUE[0], (VALUE[1].0, &[16, 2, 1])], "expected [outputs, rank]"),
        (&heads, &QUERY, "the base has 3 heads, whose rows come in pairs"),
        (&none, &QUERY, "the base does not say how many heads it has"),
        (
            LLAMA,
            &[("blk.0.ffn_gate_up_exps.weight.lora_a", &[2, 32]), ("blk.0.ffn_gate_up_exps.weight.lora_b", &[32, 2])],
            "where a checkpoint has several",
        ),
        (LLAMA, &[VALUE[0], VALUE[1], ("blk.0.attn_q.weight", &[32, 32])], "in another order or in parts"),
        (LLAMA, &[VALUE[0], VALUE[1], ("output_norm.weight", &[31])], "expected [32]"),
        (
            &tied,
            &[("token_embd.weight.lora_a", &[40, 2]), ("token_embd.weight.lora_b", &[32, 2])],
            "both the embedding and the head",
        ),
        (
            &tied,
            &[("output.weight.lora_a", &[2, 32]), ("output.weight.lora_b", &[40, 2])],
            "both the embedding and the head",
        ),
        (LLAMA, &[], "it has no tensors"),
    ] {
        let found = of_tensors(config, tensors);
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

/// Norms of Gemma have 1 added in a file, which a tensor that replaces them cannot say.
#[test]
fn norms_with_one_added() {
    let dir = Dir::new();
    let keys = with("general.architecture", "gemma3");
    dir.file("x.gguf", file(&keys, 4.0, &[], &[VALUE[0], VALUE[1], ("output_norm.weight", &[32])]));
    let config = r#"{"architectures":["Gemma3ForCausalLM"],"model_type":"gemma3_text"}"#;
    let found = message(config, &LINEARS, &dir.join("x.gguf"));
    assert!(
        found.contains(r#""output_norm.weight" of the adapter changes what GGUF files have with 1 added"#),
        "{found}"
    );
}

#[test]
fn blocks() {
    let dir = Dir::new();
    let zeros = |len: usize| vec![0; len];
    let tensors: [(&str, GgmlType, &[u64], Vec<u8>); 2] =
        [(VALUE[0].0, GgmlType::Q8_0, &[2, 32], zeros(2 * 34)), (VALUE[1].0, GgmlType::F16, &[16, 2], zeros(64))];
    dir.file("x.gguf", gguf(&KEYS, 4.0, &[], &tensors));
    let found = message(LLAMA, &LINEARS, &dir.join("x.gguf"));
    assert!(found.contains(r#"its tensor "blk.0.attn_v.weight.lora_a" is Q8_0, expected F32, F16 or BF16"#), "{found}");
}

#[test]
fn files_that_are_cut_off_or_missing() {
    let dir = Dir::new();
    let bytes = file(&KEYS, 4.0, &[], &VALUE);
    for len in (0..bytes.len() - 32).step_by(7) {
        dir.file("x.gguf", &bytes[..len]);
        let source = base(LLAMA, &LINEARS).open().expect("it is one");
        assert!(source.with_adapter(&dir.join("x.gguf"), 1.0, &Limits::default()).is_err(), "{len}");
    }
    let found = message(LLAMA, &LINEARS, &dir.join("missing.gguf"));
    assert!(found.contains("missing.gguf"), "{found}");
}

/// No byte that is another makes more than an error.
#[test]
fn bytes_that_are_others() {
    let dir = Dir::new();
    let bytes = file(&KEYS, 4.0, &[], &QUERY);
    let source = base(LLAMA, &LINEARS).open().expect("it is one");
    for at in (0..bytes.len()).step_by(3) {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        dir.file("x.gguf", changed);
        if let Ok(source) = source.clone().with_adapter(&dir.join("x.gguf"), 1.0, &Limits::default()) {
            _ = Plan::new(source, &PlanOptions::default());
        }
    }
}
