//! Facts with every field, and those of an older document.

use std::collections::BTreeMap;

use longshore_manifest::document::{
    Attention, Audio, Facts, LatentAttention, LinearAttention, Multipliers, Norm, PerLayer, Rope, Router, StateSpace,
    Tokens, Vision,
};
use serde_json::Number;

fn float(value: f64) -> Option<Number> {
    Number::from_f64(value)
}

/// Makes the facts of a document from before most of them were kept.
pub(crate) fn older() -> Facts {
    Facts {
        architecture: Some("Qwen3MoeForCausalLM".into()),
        model_type: Some("qwen3_moe".into()),
        components: BTreeMap::from([("transformer".into(), "FluxTransformer2DModel".into())]),
        layers: Some(1),
        decoder_layers: Some(2),
        hidden_size: Some(64),
        intermediate_size: Some(256),
        heads: Some(4),
        kv_heads: Some(2),
        head_dim: Some(16),
        experts: Some(2),
        experts_per_token: Some(1),
        shared_experts: Some(1),
        context_length: Some(40_960),
        rope: Some(Rope {
            theta: Some(1_000_000.into()),
            local_theta: Some(10_000.into()),
            kind: Some("yarn".into()),
            factor: float(4.5),
            original_context: Some(8_192),
            ..Rope::default()
        }),
        vocabulary: Some(3),
        ..Facts::default()
    }
}

/// Makes facts that use every field.
pub(crate) fn facts() -> Facts {
    Facts {
        rope: older().rope.map(rope),
        draft_layers: Some(1),
        expert_intermediate_size: Some(32),
        dense_layers: Some(vec![0]),
        layer_types: vec!["full_attention".into()],
        per_layer: PerLayer { heads: vec![4], kv_heads: vec![2], head_dim: vec![16], intermediate_size: vec![256] },
        tied_embeddings: Some(true),
        scales_embeddings: Some(true),
        activation: Some("silu".into()),
        activation_limit: float(7.5),
        mlp_bias: Some(false),
        norm: Norm { kind: Some("rms".into()), eps: float(0.5), adds_one: Some(true) },
        attention: attention(),
        logit_soft_cap: float(30.5),
        multipliers: Multipliers {
            embedding: Some(12.into()),
            residual: float(0.25),
            attention: float(0.125),
            logits_divisor: Some(8.into()),
            logits: float(0.5),
        },
        router: Some(router()),
        state_space: Some(state_space()),
        linear_attention: Some(LinearAttention {
            key_heads: Some(2),
            value_heads: Some(4),
            key_head_dim: Some(32),
            value_head_dim: Some(32),
            conv_width: Some(4),
        }),
        tokens: Tokens { bos: Some(0), eos: vec![1, 2], pad: Some(2) },
        chat_template: Some("{{messages}}".into()),
        vision: Some(vision()),
        audio: Some(Audio {
            model_type: Some("whisper".into()),
            layers: Some(2),
            hidden_size: Some(8),
            intermediate_size: Some(16),
            heads: Some(2),
            mel_bins: Some(128),
            output_size: Some(64),
            token: Some(1),
        }),
        ..older()
    }
}

fn rope(older: Rope) -> Rope {
    let Rope { theta, local_theta, kind, factor, original_context, .. } = older;
    Rope {
        theta,
        local_theta,
        kind,
        factor,
        original_context,
        partial: float(0.25),
        dims: Some(4),
        interleaved: Some(false),
        low_freq_factor: Some(1.into()),
        high_freq_factor: Some(4.into()),
        beta_fast: Some(32.into()),
        beta_slow: Some(1.into()),
        truncate: Some(false),
        attention_factor: float(1.5),
        mscale: Some(1.into()),
        mscale_all_dim: Some(1.into()),
        short_factor: vec![1.into()],
        long_factor: vec![2.into()],
        sections: vec![1, 1, 2],
    }
}

fn attention() -> Attention {
    Attention {
        bias: Some(true),
        output_bias: Some(false),
        qk_norm: Some(true),
        output_gate: Some(false),
        sinks: Some(false),
        window: Some(4_096),
        chunk: Some(8_192),
        soft_cap: Some(50.into()),
        query_scale: Some(256.into()),
        layers_without_rope: vec![0],
        latent: Some(LatentAttention {
            q_rank: Some(64),
            kv_rank: Some(64),
            nope_head_dim: Some(32),
            rope_head_dim: Some(16),
            value_head_dim: Some(32),
        }),
    }
}

fn router() -> Router {
    Router {
        scoring: Some("sigmoid".into()),
        normalises: Some(true),
        groups: Some(1),
        groups_per_token: Some(1),
        method: Some("noaux_tc".into()),
        scaling: float(2.5),
        shared_intermediate_size: Some(32),
        every: Some(1),
        latent_size: Some(16),
    }
}

fn state_space() -> StateSpace {
    StateSpace {
        state_size: Some(16),
        heads: Some(8),
        head_dim: Some(32),
        groups: Some(1),
        inner_size: Some(256),
        expand: Some(2.into()),
        conv_width: Some(4),
        conv_bias: Some(true),
        projection_bias: Some(false),
        chunk: Some(128),
        step_rank: Some(4),
        step_floor: float(0.0625),
        step_min: float(0.125),
        step_max: float(0.25),
    }
}

fn vision() -> Vision {
    Vision {
        model_type: Some("siglip".into()),
        layers: Some(2),
        hidden_size: Some(8),
        intermediate_size: Some(16),
        heads: Some(2),
        image_size: Some(28),
        patch_size: Some(14),
        channels: Some(3),
        merge: Some(2),
        temporal_patch_size: Some(2),
        output_size: Some(64),
        tokens_per_image: Some(4),
        token: Some(2),
    }
}
