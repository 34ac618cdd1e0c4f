//! Decisions of `default` beyond decoders: encoders, encoder-decoders, speech and diffusion models, and GPT-2.

use longshore_quant::policy::Query;

use super::{REQUESTS, decisions, named};

const KEPT: &str = "- - - - -";
const REQUESTED: &str = "int4 int8 nvfp4 mxfp4 mxfp8";
const PROMOTED: &str = "int8 int8 int8 int8 mxfp8";

/// Decisions for a tensor of a pipeline's component. The empty name stands for no component.
fn decide(component: &str, architecture: Option<&str>, name: &str, shape: &[u64]) -> String {
    let component = (!component.is_empty()).then_some(component);
    decisions(&named("default"), &Query { component, architecture, ..Query::new(name, shape) })
}

#[test]
fn encoders_and_speech() {
    #[rustfmt::skip]
    let table: &[(&str, &[u64], &str)] = &[
        // T5.
        ("shared.weight", &[32_128, 4096], KEPT),
        ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", &[32, 64], KEPT),
        ("encoder.block.0.layer.0.SelfAttention.q.weight", &[4096, 4096], REQUESTED),
        ("encoder.block.0.layer.0.SelfAttention.k.weight", &[4096, 4096], PROMOTED),
        ("decoder.block.0.layer.0.SelfAttention.v.weight", &[4096, 4096], PROMOTED),
        ("decoder.block.0.layer.1.EncDecAttention.k.weight", &[4096, 4096], PROMOTED),
        ("decoder.block.0.layer.1.EncDecAttention.v.weight", &[4096, 4096], PROMOTED),
        ("decoder.block.0.layer.1.EncDecAttention.o.weight", &[4096, 4096], REQUESTED),
        ("encoder.block.0.layer.1.DenseReluDense.wi_0.weight", &[10_240, 4096], REQUESTED),
        ("encoder.block.0.layer.1.DenseReluDense.wo.weight", &[4096, 10_240], PROMOTED),
        ("lm_head.weight", &[32_128, 4096], PROMOTED),
        // BERT, RoBERTa, DistilBERT and ALBERT.
        ("bert.embeddings.word_embeddings.weight", &[30_522, 768], KEPT),
        ("bert.embeddings.position_embeddings.weight", &[512, 768], KEPT),
        ("bert.encoder.layer.0.attention.self.query.weight", &[768, 768], REQUESTED),
        ("bert.encoder.layer.0.attention.self.key.weight", &[768, 768], PROMOTED),
        ("bert.encoder.layer.0.attention.self.value.weight", &[768, 768], PROMOTED),
        ("bert.encoder.layer.0.crossattention.self.value.weight", &[768, 768], PROMOTED),
        ("bert.encoder.layer.0.attention.output.dense.weight", &[768, 768], REQUESTED),
        ("bert.encoder.layer.0.crossattention.output.dense.weight", &[768, 768], REQUESTED),
        ("bert.encoder.layer.0.intermediate.dense.weight", &[3072, 768], REQUESTED),
        ("bert.encoder.layer.0.output.dense.weight", &[768, 3072], PROMOTED),
        ("bert.pooler.dense.weight", &[768, 768], REQUESTED),
        ("cls.predictions.transform.dense.weight", &[768, 768], REQUESTED),
        ("cls.predictions.decoder.weight", &[30_522, 768], PROMOTED),
        ("lm_head.decoder.weight", &[50_265, 768], PROMOTED),
        ("vocab_projector.weight", &[30_522, 768], PROMOTED),
        ("distilbert.transformer.layer.0.attention.k_lin.weight", &[768, 768], PROMOTED),
        ("distilbert.transformer.layer.0.attention.v_lin.weight", &[768, 768], PROMOTED),
        ("distilbert.transformer.layer.0.ffn.lin1.weight", &[3072, 768], REQUESTED),
        ("distilbert.transformer.layer.0.ffn.lin2.weight", &[768, 3072], PROMOTED),
        ("albert.encoder.albert_layer_groups.0.albert_layers.0.ffn_output.weight", &[768, 3072], PROMOTED),
        // Whisper and wav2vec 2.0.
        ("model.decoder.embed_positions.weight", &[448, 1280], KEPT),
        ("model.encoder.layers.0.self_attn.v_proj.weight", &[1280, 1280], PROMOTED),
        ("model.decoder.layers.0.encoder_attn.k_proj.weight", &[1280, 1280], PROMOTED),
        ("model.decoder.layers.0.fc1.weight", &[5120, 1280], REQUESTED),
        ("model.decoder.layers.0.fc2.weight", &[1280, 5120], PROMOTED),
        ("model.encoder.conv1.weight", &[1280, 128, 3], KEPT),
        ("proj_out.weight", &[51_866, 1280], PROMOTED),
        ("wav2vec2.encoder.layers.0.feed_forward.output_dense.weight", &[1024, 4096], PROMOTED),
        // GPT-NeoX, whose head is called an embedding, and GPT-J.
        ("gpt_neox.embed_in.weight", &[50_432, 2048], KEPT),
        ("embed_out.weight", &[50_432, 2048], PROMOTED),
        ("gpt_neox.layers.0.mlp.dense_4h_to_h.weight", &[2048, 8192], PROMOTED),
        ("transformer.h.0.mlp.fc_out.weight", &[4096, 16_384], PROMOTED),
    ];
    for (name, shape, expected) in table {
        assert_eq!(decide("", None, name, shape), *expected, "{name} {shape:?}");
    }
}

#[test]
fn pipelines() {
    #[rustfmt::skip]
    let table: &[(&str, &str, &[u64], &str)] = &[
        // Flux and Stable Diffusion 3.
        ("transformer", "x_embedder.weight", &[3072, 64], KEPT),
        ("transformer", "context_embedder.weight", &[3072, 4096], KEPT),
        ("transformer", "time_text_embed.timestep_embedder.linear_1.weight", &[3072, 256], KEPT),
        ("transformer", "time_text_embed.guidance_embedder.linear_2.weight", &[3072, 3072], KEPT),
        ("transformer", "transformer_blocks.0.norm1.linear.weight", &[18_432, 3072], PROMOTED),
        ("transformer", "transformer_blocks.0.norm1_context.linear.weight", &[18_432, 3072], PROMOTED),
        ("transformer", "single_transformer_blocks.0.norm.linear.weight", &[9216, 3072], PROMOTED),
        ("transformer", "norm_out.linear.weight", &[6144, 3072], PROMOTED),
        ("transformer", "transformer_blocks.0.attn.norm_q.weight", &[128], KEPT),
        ("transformer", "transformer_blocks.0.attn.to_q.weight", &[3072, 3072], REQUESTED),
        ("transformer", "transformer_blocks.0.attn.to_k.weight", &[3072, 3072], PROMOTED),
        ("transformer", "transformer_blocks.0.attn.to_v.weight", &[3072, 3072], PROMOTED),
        ("transformer", "transformer_blocks.0.attn.add_q_proj.weight", &[3072, 3072], REQUESTED),
        ("transformer", "transformer_blocks.0.attn.add_k_proj.weight", &[3072, 3072], PROMOTED),
        ("transformer", "transformer_blocks.0.attn.add_v_proj.weight", &[3072, 3072], PROMOTED),
        ("transformer", "transformer_blocks.0.attn.to_out.0.weight", &[3072, 3072], REQUESTED),
        ("transformer", "transformer_blocks.0.attn.to_add_out.weight", &[3072, 3072], REQUESTED),
        ("transformer", "transformer_blocks.0.ff.net.0.proj.weight", &[12_288, 3072], REQUESTED),
        ("transformer", "transformer_blocks.0.ff.net.2.weight", &[3072, 12_288], PROMOTED),
        ("transformer", "transformer_blocks.0.ff_context.net.2.weight", &[3072, 12_288], PROMOTED),
        ("transformer", "single_transformer_blocks.0.proj_mlp.weight", &[12_288, 3072], REQUESTED),
        ("transformer", "single_transformer_blocks.0.proj_out.weight", &[3072, 15_360], PROMOTED),
        ("transformer", "proj_out.weight", &[64, 3072], PROMOTED),
        // Qwen-Image, PixArt, Wan, and Flux in its authors' own layout.
        ("transformer", "transformer_blocks.0.img_mod.1.weight", &[18_432, 3072], PROMOTED),
        ("transformer", "transformer_blocks.0.txt_mlp.net.2.weight", &[3072, 12_288], PROMOTED),
        ("transformer", "adaln_single.linear.weight", &[6912, 1152], PROMOTED),
        ("transformer", "blocks.0.ffn.net.2.weight", &[1536, 8960], PROMOTED),
        ("transformer", "double_blocks.0.img_mod.lin.weight", &[18_432, 3072], PROMOTED),
        ("transformer", "single_blocks.0.modulation.lin.weight", &[9216, 3072], PROMOTED),
        ("", "model.diffusion_model.img_in.weight", &[3072, 64], KEPT),
        ("", "txt_in.weight", &[3072, 4096], KEPT),
        ("", "time_in.in_layer.weight", &[3072, 256], KEPT),
        ("", "vector_in.out_layer.weight", &[3072, 3072], KEPT),
        ("", "double_blocks.0.img_attn.qkv.weight", &[9216, 3072], REQUESTED),
        ("", "double_blocks.0.txt_mlp.0.weight", &[12_288, 3072], REQUESTED),
        ("", "double_blocks.0.txt_mlp.2.weight", &[3072, 12_288], PROMOTED),
        ("", "single_blocks.0.linear1.weight", &[21_504, 3072], REQUESTED),
        ("", "single_blocks.0.linear2.weight", &[3072, 15_360], PROMOTED),
        ("", "final_layer.linear.weight", &[64, 3072], PROMOTED),
        ("", "final_layer.adaLN_modulation.1.weight", &[6144, 3072], PROMOTED),
        // A U-Net.
        ("unet", "conv_in.weight", &[320, 4, 3, 3], KEPT),
        ("unet", "time_embedding.linear_1.weight", &[1280, 320], KEPT),
        ("unet", "down_blocks.0.attentions.0.proj_in.weight", &[320, 320], REQUESTED),
        ("unet", "down_blocks.0.attentions.0.proj_out.weight", &[320, 320], REQUESTED),
        ("unet", "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q.weight", &[320, 320], REQUESTED),
        ("unet", "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v.weight", &[320, 768], PROMOTED),
        ("unet", "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2.weight", &[320, 1280], PROMOTED),
        ("unet", "down_blocks.0.resnets.0.time_emb_proj.weight", &[320, 1280], PROMOTED),
        // CLIP as a text encoder.
        ("text_encoder", "text_model.embeddings.token_embedding.weight", &[49_408, 768], KEPT),
        ("text_encoder", "text_model.encoder.layers.0.self_attn.k_proj.weight", &[768, 768], PROMOTED),
        ("text_encoder", "text_model.encoder.layers.0.mlp.fc1.weight", &[3072, 768], REQUESTED),
        ("text_encoder", "text_model.encoder.layers.0.mlp.fc2.weight", &[768, 3072], PROMOTED),
        ("text_encoder_2", "encoder.block.0.layer.1.DenseReluDense.wo.weight", &[4096, 10_240], PROMOTED),
        // Components that are kept, whatever their tensors are.
        ("vae", "decoder.mid_block.attentions.0.to_v.weight", &[512, 512], KEPT),
        ("vqvae", "a.weight", &[512, 512], KEPT),
        ("movq", "a.weight", &[512, 512], KEPT),
        ("image_encoder", "encoder.layer.0.attention.attention.key.weight", &[1024, 1024], KEPT),
        ("image_encoder_2", "a.weight", &[1024, 1024], KEPT),
        ("safety_checker", "a.weight", &[1024, 1024], KEPT),
    ];
    for (component, name, shape, expected) in table {
        assert_eq!(decide(component, None, name, shape), *expected, "{component} {name} {shape:?}");
    }
}

/// GPT-2 has the same names as `StarCoder`, but its matrices are transposed.
#[test]
fn matrices_that_are_stored_as_in_out() {
    let names = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj", "crossattention.q_attn"];
    for architecture in ["GPT2LMHeadModel", "gpt2", "GPT2Model", "OpenAIGPTLMHeadModel", "DecisionTransformerModel"] {
        for prefix in ["h.0.", "transformer.h.0.", "language_model.transformer.h.0."] {
            for name in names {
                let name = format!("{prefix}{name}.weight");
                assert_eq!(decide("", Some(architecture), &name, &[768, 768]), KEPT, "{architecture} {name}");
            }
        }
        assert_eq!(decide("", Some(architecture), "lm_head.weight", &[50_257, 768]), PROMOTED);
        assert_eq!(decide("", Some(architecture), "transformer.wte.weight", &[50_257, 768]), KEPT);
        assert_eq!(decide("", Some(architecture), "transformer.wpe.weight", &[1024, 768]), KEPT);
    }
    for architecture in [Some("GPTBigCodeForCausalLM"), Some("GPTNeoForCausalLM"), Some("Starcoder2ForCausalLM"), None]
    {
        let of = |name| decide("", architecture, name, &[768, 768]);
        assert_eq!(of("transformer.h.0.attn.c_attn.weight"), REQUESTED, "{architecture:?}");
        assert_eq!(of("transformer.h.0.mlp.c_proj.weight"), PROMOTED, "{architecture:?}");
    }
}

#[test]
fn modulation_of_six_bits_and_of_odd_widths() {
    let of = |request: &str, columns| {
        let requested = request.parse().expect("the request is valid");
        let shape = [1024, columns];
        let query = Query::new("transformer_blocks.0.norm1.linear.weight", &shape);
        named("default").decide(&query, Some(requested)).scheme.map(|scheme| scheme.to_string())
    };
    assert_eq!(of("int6", 1024).as_deref(), Some("int8"));
    assert_eq!(of("nvfp4", 96).as_deref(), Some("mxfp8"));
    assert_eq!(of("nvfp4", 80), None);
    assert_eq!(of("mxfp8", 96).as_deref(), Some("mxfp8"));
    // A norm with one of these names has one dimension.
    let norm = Query::new("a.norm.linear.weight", &[4096]);
    assert_eq!(decisions(&named("default"), &norm), KEPT);
    assert_eq!(REQUESTS.join(" "), REQUESTED);
}
