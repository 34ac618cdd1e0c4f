//! Models that are not text decoders: BERT and similar encoders, encoders with decoders, speech.

use std::collections::BTreeMap;

use crate::{
    stores::{import_as, is_clean, store},
    support::{Dir, plan},
};

type Tensors<'a> = &'a [(&'a str, &'a [u64])];

/// The schemes of a model's tensors under the default policy.
fn schemes(config: &str, tensors: Tensors<'_>) -> BTreeMap<String, String> {
    let (dir, place) = (Dir::new(), Dir::new());
    dir.file("config.json", config);
    dir.weights("model.safetensors", tensors);
    let source = dir.open().expect("it is a model");
    let store = store(&place);
    import_as(&store, "m", &source, "int4");
    is_clean(&store);
    let planned = plan(&source, "int4", "default");
    let scheme = |tensor: &longshore_packer::PlannedTensor| {
        (tensor.name.clone(), tensor.scheme.map_or_else(|| "-".to_owned(), |scheme| scheme.to_string()))
    };
    planned.blobs.iter().flat_map(|blob| blob.tensors.iter().map(scheme)).collect()
}

fn check(config: &str, kept: Tensors<'_>, quantized: Tensors<'_>) {
    let found = schemes(config, &[kept, quantized].concat());
    for (name, _) in kept {
        assert_eq!(found[*name], "-", "{name} is kept");
    }
    for (name, _) in quantized {
        assert!(found[*name].starts_with("int"), "{name} is {}", found[*name]);
    }
}

#[test]
fn bert() {
    check(
        r#"{"architectures": ["BertModel"], "model_type": "bert", "num_hidden_layers": 1}"#,
        &[
            ("embeddings.word_embeddings.weight", &[512, 64]),
            ("embeddings.position_embeddings.weight", &[64, 64]),
            ("embeddings.token_type_embeddings.weight", &[32, 64]),
            ("embeddings.LayerNorm.weight", &[64]),
            ("encoder.layer.0.attention.self.query.bias", &[64]),
            ("encoder.layer.0.output.LayerNorm.weight", &[64]),
        ],
        &[
            ("encoder.layer.0.attention.self.query.weight", &[64, 64]),
            ("encoder.layer.0.intermediate.dense.weight", &[256, 64]),
            ("encoder.layer.0.output.dense.weight", &[64, 256]),
            ("pooler.dense.weight", &[64, 64]),
        ],
    );
}

#[test]
fn t5() {
    check(
        r#"{"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "num_layers": 1}"#,
        &[
            ("encoder.embed_tokens.weight", &[512, 64]),
            ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", &[32, 8]),
            ("encoder.block.0.layer.0.layer_norm.weight", &[64]),
        ],
        &[
            ("encoder.block.0.layer.0.SelfAttention.q.weight", &[64, 64]),
            ("decoder.block.0.layer.1.EncDecAttention.k.weight", &[64, 64]),
            ("decoder.block.0.layer.2.DenseReluDense.wi_0.weight", &[128, 64]),
        ],
    );
}

#[test]
fn whisper() {
    check(
        r#"{"architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", "encoder_layers": 1}"#,
        &[
            ("model.encoder.conv1.weight", &[64, 80, 3]),
            ("model.encoder.conv2.weight", &[64, 64, 3]),
            ("model.encoder.conv1.bias", &[64]),
            ("model.encoder.embed_positions.weight", &[1500, 64]),
            ("model.decoder.embed_tokens.weight", &[512, 64]),
            ("model.decoder.embed_positions.weight", &[448, 64]),
            ("model.encoder.layers.0.self_attn_layer_norm.weight", &[64]),
        ],
        &[
            ("model.encoder.layers.0.self_attn.q_proj.weight", &[64, 64]),
            ("model.encoder.layers.0.fc1.weight", &[256, 64]),
            ("model.decoder.layers.0.encoder_attn.k_proj.weight", &[64, 64]),
        ],
    );
}
