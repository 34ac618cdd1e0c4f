//! The built-in policies.

use super::rule::{Action, Rule, Test};

/// Starts from ollama's decisions and departs from them where a comment says so.
///
/// ollama tells stacks of experts by name, shared experts included; here routed experts alone are experts, and shared
/// ones are ordinary layers: their kernels are, too. Whatever a rule chooses, a group that does not divide the last
/// dimension keeps the tensor.
pub(super) const DEFAULT: &[Rule] = &[
    // ollama's own policies for Gemma 4 and others skip these three tests, and send 1-D biases to the quantizer.
    Rule { when: &[Test::RankBelow(2)], then: Action::Keep, because: "rank below 2: kept" },
    Rule { when: &[Test::Ends(&["bias"])], then: Action::Keep, because: "bias: kept" },
    Rule { when: &[Test::ElementsBelow(1024)], then: Action::Keep, because: "fewer than 1,024 elements: kept" },
    Rule { when: &[Test::Component("vae")], then: Action::Keep, because: "vae: kept" },
    // ollama knows `audio_tower` and `embed_audio`, and Nemotron's sound modules in a policy of their own.
    Rule {
        when: &[Test::Contains(&["audio", "sound_encoder", "sound_projection"])],
        then: Action::Keep,
        because: "audio: kept",
    },
    // Stacks of experts pass the next two whatever their prefix contains, and need not end in `.weight`.
    Rule {
        when: &[Test::Expert(false), Test::Contains(&["embed", "norm", "ln_"])],
        then: Action::Keep,
        because: "norm or embedding: kept",
    },
    // Embeddings that do not say so: of T5, of GPT-2, and T5's table of relative positions. ollama quantizes them.
    Rule {
        when: &[Test::Ends(&["shared.weight", "wte.weight", "wpe.weight", "relative_attention_bias.weight"])],
        then: Action::Keep,
        because: "norm or embedding: kept",
    },
    Rule {
        when: &[Test::Expert(false), Test::EndsNot(&[".weight"])],
        then: Action::Keep,
        because: "not a weight: kept",
    },
    Rule {
        when: &[Test::Expert(true), Test::Ends(&["scale", "scales", "_blocks"])],
        then: Action::Keep,
        because: "part of another encoding: kept",
    },
    Rule { when: &[Test::Expert(false), Test::RankAbove(2)], then: Action::Keep, because: "rank above 2: kept" },
    Rule { when: &[Test::RankAbove(3)], then: Action::Keep, because: "rank above 3: kept" },
    // ollama knows `.mlp.gate`, `.mixer.gate`, `.shared_expert_gate` and `.router.proj`. Mixtral, MiniMax and Phi-MoE,
    // gpt-oss, Llama 4 and Granite have other names for the same role: noise there flips the choice of experts.
    Rule {
        when: &[Test::Contains(&[".router."]), Test::Ends(&[".weight"])],
        then: Action::Keep,
        because: "router: kept",
    },
    Rule {
        when: &[Test::Ends(&[
            ".mlp.gate.weight",
            ".mlp.gate.wg.weight",
            ".mixer.gate.weight",
            ".block_sparse_moe.gate.weight",
            ".feed_forward.gate.weight",
            ".moe.gate.weight",
            ".ffn.gate.weight",
            ".shared_expert_gate.weight",
        ])],
        then: Action::Keep,
        because: "router: kept",
    },
    // 8-bit requests of any family are met as they are. ollama would take mxfp8 for the head under nvfp4 and mxfp4; int8
    // is 43 dB at 8.5 bits against 31 dB at 8.25, here and in all promotions.
    Rule {
        when: &[Test::Ends(&["lm_head.weight"]), Test::RequestBelow(8)],
        then: Action::Int8,
        because: "output head: 8-bit",
    },
    // ollama's test is the first two. Projectors from vision into the language model are as fragile.
    Rule {
        when: &[Test::Contains(&["vision", "visual", "multi_modal_projector", "mm_projector"])],
        then: Action::Keep,
        because: "vision: kept",
    },
    Rule {
        when: &[Test::Segment(&[
            "aligner",
            "image_projection",
            "img_projection",
            "mlp1",
            "modality_projection",
            "projector",
        ])],
        then: Action::Keep,
        because: "vision: kept",
    },
    // As ollama 0.16 did; later versions quantize them. Their errors accumulate in the compressed cache.
    Rule {
        when: &[Test::Contains(&["q_a_proj", "q_b_proj", "kv_a_proj", "kv_b_proj"])],
        then: Action::Keep,
        because: "latent attention projection: kept",
    },
    // ollama does so for Qwen3-Next and Qwen3.5 alone; no other model has the names.
    Rule {
        when: &[Test::Ends(&[
            ".linear_attn.in_proj_a.weight",
            ".linear_attn.in_proj_b.weight",
            ".linear_attn.in_proj_ba.weight",
        ])],
        then: Action::Keep,
        because: "linear attention gate: kept",
    },
    // ollama's promotions are for int4, nvfp4 and mxfp4; every request below 6 bits gains as much. The expert kernels of
    // the fp4 formats take one type for the whole group.
    Rule {
        when: &[Test::Expert(true), Test::RequestAffine(false)],
        then: Action::Request,
        because: "expert: as requested",
    },
    Rule {
        when: &[Test::Contains(&[".v_proj", ".k_proj"]), Test::RequestBelow(6)],
        then: Action::Int8,
        because: "key or value projection: 8-bit",
    },
    // The role, not ollama's name alone: `w2` in Mixtral, MiniMax, Phi-MoE and LFM2, `output_linear` in Granite.
    Rule {
        when: &[Test::Contains(&["down_proj", ".w2.", ".output_linear."]), Test::RequestBelow(6)],
        then: Action::Int8,
        because: "down projection: 8-bit",
    },
    Rule { when: &[], then: Action::Request, because: "as requested" },
];

/// The requested scheme wherever it can be had.
pub(super) const UNIFORM: &[Rule] = &[
    Rule { when: &[Test::RankBelow(2)], then: Action::Keep, because: "rank below 2: kept" },
    Rule { when: &[Test::Ends(&["bias"])], then: Action::Keep, because: "bias: kept" },
    Rule { when: &[Test::Ends(&[".weight"])], then: Action::Request, because: "as requested" },
    Rule { when: &[Test::Stacked], then: Action::Request, because: "stacked experts: as requested" },
    Rule { when: &[], then: Action::Keep, because: "not a weight: kept" },
];
