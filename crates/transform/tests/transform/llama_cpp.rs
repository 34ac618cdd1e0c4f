//! Adapters of llama.cpp, by the keys of their files and ggml's names.

use longshore_model::Facts;
use longshore_transform::adapter::{Adapter, AdapterError, BaseTensor, Format, Listed, Updates};

const KEYS: &str = r#"{"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora",
    "adapter.lora.alpha": 4}"#;

fn fit(keys: &str, tensors: &[(&str, &[u64])], facts: &Facts) -> Result<Updates, AdapterError> {
    let listed: Vec<Listed> = tensors.iter().map(|(name, shape)| Listed::new(*name, *shape)).collect();
    let base = [
        BaseTensor::new("model.layers.0.self_attn.qkv_proj.weight", [32, 8]),
        BaseTensor::new("model.layers.0.mlp.down_proj.weight", [8, 24]),
        BaseTensor::new("model.embed_tokens.weight", [40, 8]),
    ];
    Adapter::read(keys.as_bytes(), &listed)?.with_base(facts)?.fit(&base, false)
}

fn facts() -> Facts {
    Facts { heads: Some(4), kv_heads: Some(2), architecture: Some("LlamaForCausalLM".to_owned()), ..Facts::default() }
}

#[test]
fn factors_are_found_where_a_checkpoint_has_them() {
    let tensors: [(&str, &[u64]); 6] = [
        ("blk.0.attn_k.weight.lora_a", &[2, 8]),
        ("blk.0.attn_k.weight.lora_b", &[8, 2]),
        ("blk.0.ffn_down.weight.lora_a", &[2, 24]),
        ("blk.0.ffn_down.weight.lora_b", &[8, 2]),
        ("token_embd.weight.lora_a", &[40, 2]),
        ("token_embd.weight.lora_b", &[8, 2]),
    ];
    let updates = fit(KEYS, &tensors, &facts()).expect("they fit");
    let [keys, down, embedding] = &*updates.products else { panic!("there are three: {updates:?}") };
    assert_eq!((keys.base, keys.rows.clone(), keys.left.head, keys.right.head), (0, 16..24, Some(4), None));
    assert_eq!((keys.left.tensor, keys.right.tensor, keys.rank, keys.scale.to_bits()), (1, 0, 2, 2.0_f32.to_bits()));
    assert_eq!((0..4).map(|line| keys.left.element(line, 1)).collect::<Vec<_>>(), [1, 5, 3, 7]);
    assert_eq!((down.base, down.left.head, down.rows.clone(), down.columns), (1, None, 0..8, 24));
    assert_eq!((embedding.base, embedding.left.tensor, embedding.right.tensor), (2, 4, 5));
    assert_eq!((embedding.left.element(3, 1), embedding.right.element(3, 1)), (7, 7));
    let adapter = Adapter::read(KEYS.as_bytes(), &[]).expect("it is empty");
    assert_eq!(adapter.format(), Format::Gguf);
}

#[test]
fn scales_are_those_of_the_program() {
    let tensors: [(&str, &[u64]); 2] =
        [("blk.0.ffn_down.weight.lora_a", &[8, 24]), ("blk.0.ffn_down.weight.lora_b", &[8, 8])];
    for (alpha, expected) in [(", \"adapter.lora.alpha\": 4", 0.5_f32), (", \"adapter.lora.alpha\": 0", 1.0), ("", 1.0)]
    {
        let keys =
            format!(r#"{{"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora"{alpha}}}"#);
        let found = fit(&keys, &tensors, &facts()).expect("it fits").products[0].scale;
        assert_eq!(found.to_bits(), expected.to_bits(), "{keys}");
    }
}

#[test]
fn bases_of_another_kind() {
    let tensors: [(&str, &[u64]); 2] =
        [("blk.0.attn_q.weight.lora_a", &[2, 8]), ("blk.0.attn_q.weight.lora_b", &[16, 2])];
    let error = |facts: &Facts| fit(KEYS, &tensors, facts).expect_err("it is refused");
    let other = Facts { architecture: Some("Qwen3ForCausalLM".to_owned()), ..facts() };
    assert!(matches!(error(&other), AdapterError::Architecture { .. }));
    let unknown = Facts { architecture: Some("Custom".to_owned()), ..facts() };
    assert!(fit(KEYS, &tensors, &unknown).is_ok(), "nothing can be compared");
    let without = error(&Facts::default());
    assert!(matches!(without, AdapterError::Heads { heads: None, rows: 16, .. }), "{without}");
    assert!(without.hint().is_some());
    let others = error(&Facts { heads: Some(5), ..facts() });
    assert!(matches!(others, AdapterError::Heads { heads: Some(5), .. }), "{others}");
}
