//! Members of `config.json` in mlx-lm's spelling.

use crate::export::document::Document;

/// Adds members that mlx-lm expects under another name than newer configurations use. Existing members are not changed.
pub(super) fn spell(config: &mut Document, model: &'static str, has_head: Option<bool>) {
    config.add("model_type", || Some(format!("\"{model}\"")));
    if let Some(has_head) = has_head {
        // If the member is missing, mlx-lm takes some families for tied, even if the file holds a head.
        config.add("tie_word_embeddings", || Some((!has_head).to_string()));
    }
    if let Some(rope) = config.object("rope_parameters") {
        add_rope(config, model, &rope);
    }
    match model {
        "qwen3_moe" => copy(config, "num_local_experts", "num_experts"),
        "gemma3_text" => copy(config, "_sliding_window_pattern", "sliding_window_pattern"),
        _ => {}
    }
}

/// Adds `rope_theta` and `rope_scaling` at the top level. Newer configurations keep them in one object, or in one for
/// each kind of layer.
fn add_rope(config: &mut Document, model: &str, rope: &Document) {
    // The classes of these models read the object themselves, or use no positions.
    if matches!(model, "qwen3" | "nemotron_h") {
        return;
    }
    let full = rope.object("full_attention").unwrap_or_else(|| rope.clone());
    let theta = |rope: &Document| rope.get("rope_theta").map(str::to_owned);
    config.add("rope_theta", || theta(&full));
    if let Some(local) = rope.object("sliding_attention") {
        config.add("rope_local_base_freq", || theta(&local));
    }
    let is_scaled = full.get("rope_type").is_some_and(|kind| kind != "\"default\"");
    if is_scaled {
        config.add("rope_scaling", || Some(full.to_text()));
    }
}

fn copy(config: &mut Document, from: &str, to: &str) {
    let value = config.get(from).map(str::to_owned);
    config.add(to, || value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelt(text: &str, model: &'static str, has_head: Option<bool>) -> String {
        let mut config = Document::parse(text).expect("tests write objects");
        spell(&mut config, model, has_head);
        config.to_text()
    }

    #[test]
    fn positions_of_one_kind() {
        let config = r#"{"model_type":"llama","rope_parameters":{"rope_theta":5e5,"rope_type":"llama3","factor":8}}"#;
        let expected = r#","rope_theta":5e5,"rope_scaling":{"rope_theta":5e5,"rope_type":"llama3","factor":8}}"#;
        assert_eq!(spelt(config, "llama", None), format!("{}{expected}", &config[..config.len() - 1]));
        assert_eq!(spelt(config, "qwen3", None), config);
    }

    #[test]
    fn positions_of_two_kinds() {
        let config = concat!(
            r#"{"model_type":"gemma3_text","rope_theta":3,"_sliding_window_pattern":6,"rope_parameters":"#,
            r#"{"full_attention":{"rope_theta":1,"rope_type":"default"},"sliding_attention":{"rope_theta":2}}}"#
        );
        let expected = r#","rope_local_base_freq":2,"sliding_window_pattern":6}"#;
        assert_eq!(spelt(config, "gemma3_text", None), format!("{}{expected}", &config[..config.len() - 1]));
    }

    #[test]
    fn what_is_missing() {
        assert_eq!(
            spelt(r#"{"num_local_experts":8}"#, "qwen3_moe", Some(true)),
            r#"{"num_local_experts":8,"model_type":"qwen3_moe","tie_word_embeddings":false,"num_experts":8}"#
        );
        assert_eq!(
            spelt(r#"{"tie_word_embeddings":null}"#, "llama", Some(false)),
            r#"{"tie_word_embeddings":true,"model_type":"llama"}"#
        );
    }
}
