//! Encoders of pictures and of sound.

use crate::{
    config::{keys, reader::ConfigReader},
    facts::{Audio, Facts, Vision},
};

const WIDTHS: &[&str] = &["out_hidden_size", "output_dim", "projection_dim", "output_proj_dims"];

pub(super) fn read(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    if let Some(part) = reader.object(keys::VISION) {
        let mut vision = Vision::default();
        reader.within(part, |part| vision_part(part, &mut vision));
        let token = &["image_token_id", "image_token_index", "img_token_id", "image_soft_token_id"];
        vision.token = reader.number("vision.token", token);
        vision.tokens_per_image =
            reader.number("vision.tokens_per_image", &["mm_tokens_per_image", "vision_soft_tokens_per_image"]);
        facts.vision = Some(vision);
    }
    if let Some(part) = reader.object(keys::AUDIO) {
        let mut audio = Audio::default();
        reader.within(part, |part| audio_part(part, &mut audio));
        audio.token = reader
            .number("audio.token", &["audio_token_id", "audio_token_index", "sound_token_id", "audio_soft_token_id"]);
        facts.audio = Some(audio);
    }
}

fn vision_part(part: &mut ConfigReader<'_>, vision: &mut Vision) {
    vision.model_type = part.text("vision.model_type", &["model_type"]);
    vision.layers = part.number("vision.layers", &["num_hidden_layers", "depth", "layers"]);
    vision.hidden_size = part.number("vision.hidden_size", &["hidden_size", "embed_dim", "width"]);
    vision.intermediate_size = part.number("vision.intermediate_size", &["intermediate_size"]);
    vision.heads = part.number("vision.heads", &["num_attention_heads", "num_heads"]);
    vision.image_size = part.number("vision.image_size", &["image_size", "img_size"]);
    vision.patch_size = part.number("vision.patch_size", &["patch_size", "spatial_patch_size"]);
    vision.channels = part.number("vision.channels", &["num_channels", "in_channels", "in_chans"]);
    vision.merge = part.number("vision.merge", &["spatial_merge_size"]);
    vision.temporal_patch_size = part.number("vision.temporal_patch_size", &["temporal_patch_size"]);
    vision.output_size = part.number("vision.output_size", WIDTHS);
}

fn audio_part(part: &mut ConfigReader<'_>, audio: &mut Audio) {
    audio.model_type = part.text("audio.model_type", &["model_type"]);
    audio.layers = part.number("audio.layers", &["encoder_layers", "num_hidden_layers", "conf_num_hidden_layers"]);
    audio.hidden_size = part.number("audio.hidden_size", &["d_model", "hidden_size"]);
    audio.intermediate_size = part.number("audio.intermediate_size", &["encoder_ffn_dim", "intermediate_size"]);
    audio.heads =
        part.number("audio.heads", &["encoder_attention_heads", "num_attention_heads", "conf_num_attention_heads"]);
    audio.mel_bins = part.number("audio.mel_bins", &["num_mel_bins", "input_feat_size"]);
    audio.output_size = part.number("audio.output_size", WIDTHS);
}
