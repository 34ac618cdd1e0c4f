//! Rows B17 and B18 of the acceptance list: the tables of spec §1.4, column H.

use super::*;

fn model(config: &str) -> ModelConfig {
    ModelConfig::parse(config.as_bytes()).unwrap_or_default()
}

fn template(embedded: &str, standalone: &str) -> ChatTemplate {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ChatTemplate { embedded: text(embedded), standalone: text(standalone) }
}

fn renderer_and_parser(config: &str, template: &ChatTemplate) -> (&'static str, &'static str) {
    let dialect = Dialect::of(&model(config).identifiers, template);
    dialect.map_or(("", ""), |dialect| (dialect.renderer, dialect.parser))
}

#[test]
fn renderers_and_parsers_by_identifier() {
    for (config, expected) in [
        (r#"{"architectures": ["MuseGlimmerForConditionalGeneration"]}"#, ("glimmer", "glimmer")),
        (r#"{"model_type": "muse_glimmer"}"#, ("glimmer", "glimmer")),
        (r#"{"architectures": ["LagunaForCausalLM"], "model_type": "laguna"}"#, ("laguna", "laguna")),
        (r#"{"architectures": ["Cohere2MoeForCausalLM"]}"#, ("cohere", "cohere")),
        (r#"{"model_type": "cohere2_moe"}"#, ("cohere", "cohere")),
        (r#"{"architectures": ["GLM4ForCausalLM"]}"#, ("glm-4.7", "glm-4.7")),
        (r#"{"architectures": ["Glm4MoeLiteForCausalLM"]}"#, ("glm-4.7", "glm-4.7")),
        (r#"{"model_type": "glm-4"}"#, ("glm-4.7", "glm-4.7")),
        (r#"{"architectures": ["DeepseekV3ForCausalLM"]}"#, ("deepseek3", "deepseek3")),
        (r#"{"architectures": ["Gemma4ForConditionalGeneration"]}"#, ("gemma4", "gemma4")),
        (r#"{"architectures": ["Qwen3_5ForConditionalGeneration"]}"#, ("qwen3.5", "qwen3.5")),
        (r#"{"architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next"}"#, ("qwen3.5", "qwen3.5")),
        (r#"{"architectures": ["Qwen3ForCausalLM"]}"#, ("qwen3-coder", "qwen3")),
        (r#"{"model_type": "qwen3"}"#, ("qwen3-coder", "qwen3")),
        (r#"{"architectures": ["NemotronHForCausalLM"]}"#, ("nemotron-3-nano", "nemotron-3-nano")),
        (r#"{"architectures": ["NemotronH_Nano_Omni_Reasoning_V3"]}"#, ("nemotron-3-nano", "nemotron-3-nano")),
        (
            r#"{"model_type": "omni", "llm_config": {"model_type": "nemotron_h"}}"#,
            ("nemotron-3-nano", "nemotron-3-nano"),
        ),
        (r#"{"architectures": ["OwnModel", "DeepseekV3ForCausalLM"]}"#, ("deepseek3", "deepseek3")),
        (r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}"#, ("", "")),
        (r#"{"text_config": {"model_type": "qwen3"}}"#, ("", "")),
        ("{}", ("", "")),
        ("not json", ("", "")),
    ] {
        assert_eq!(renderer_and_parser(config, &ChatTemplate::default()), expected, "{config}");
    }
}

#[test]
fn what_the_template_decides() {
    let laguna = r#"{"architectures": ["LagunaForCausalLM"]}"#;
    let v8 = "{#- laguna_glm_thinking_v8/chat_template.jinja -#}";
    assert_eq!(renderer_and_parser(laguna, &template("{#- laguna_glm_thinking_v5 -#}", "")), ("laguna", "laguna"));
    assert_eq!(renderer_and_parser(laguna, &template(v8, "")), ("poolside-v1", "poolside-v1"));
    assert_eq!(renderer_and_parser(laguna, &template("{% include 'chat_template.jinja' %}", v8)).0, "poolside-v1");

    let qwen = r#"{"architectures": ["Qwen3_5ForConditionalGeneration"]}"#;
    let newer = "{% set resolved_reasoning_effort = 1 %}{% if preserve_thinking %}{% endif %}";
    assert_eq!(renderer_and_parser(qwen, &template(newer, "")), ("qwen3.8", "qwen3.5"));
    assert_eq!(renderer_and_parser(qwen, &template("", newer)), ("qwen3.8", "qwen3.5"));
    assert_eq!(renderer_and_parser(qwen, &template("older", newer)).0, "qwen3.5", "the embedded one is used");
    assert_eq!(renderer_and_parser(qwen, &template("preserve_thinking", "")).0, "qwen3.5");

    let nemotron = r#"{"architectures": ["NemotronHForCausalLM"]}"#;
    let efficient = "{reasoning effort: efficient}";
    assert_eq!(renderer_and_parser(nemotron, &template("older", efficient)).1, "nemotron-3.5-nano");
    assert_eq!(renderer_and_parser(nemotron, &template(efficient, "")).1, "nemotron-3.5-nano");
}

#[test]
fn capabilities_in_order() {
    let thinking = "<think>{{ reasoning_content }}</think>";
    for (config, text, expected) in [
        (r#"{"architectures": ["LlamaForCausalLM"]}"#, "", "completion"),
        (r#"{"architectures": ["LlamaForCausalLM"]}"#, thinking, "completion thinking"),
        (r#"{"architectures": ["Qwen3ForCausalLM"]}"#, thinking, "completion tools thinking"),
        (r#"{"architectures": ["Qwen3ForCausalLM"]}"#, "{{ messages }}", "completion tools"),
        (r#"{"architectures": ["Qwen3_5MoeForConditionalGeneration"]}"#, "", "completion tools thinking"),
        (r#"{"architectures": ["Qwen3NextForCausalLM"]}"#, "", "completion tools thinking"),
        (r#"{"architectures": ["Gemma4ForCausalLM"], "vision_config": {}}"#, "", "completion vision tools thinking"),
        (r#"{"architectures": ["X"], "has_vision": true}"#, "", "completion vision"),
        (r#"{"architectures": ["X"], "vision_config": null, "audio_config": {}}"#, "", "completion audio"),
        (r#"{"architectures": ["X"], "sound_config": {}}"#, "", "completion audio"),
        (r#"{"architectures": ["LagunaForCausalLM"]}"#, "", "completion tools thinking"),
        ("not json", "", "completion"),
        // Differs on purpose: column H lists `completion` for every model.
        (r#"{"architectures": ["BertModel"]}"#, "", "embedding"),
        (r#"{"architectures": ["T5EncoderModel"]}"#, "", "embedding"),
        (r#"{"architectures": ["BertLMHeadForCausalLM"]}"#, "", "completion"),
    ] {
        let (model, template) = (model(config), template(text, ""));
        let dialect = Dialect::of(&model.identifiers, &template);
        assert_eq!(capabilities(&model, dialect.as_ref(), &template).join(" "), expected, "{config}");
    }
}

#[test]
fn templates_that_think() {
    for (text, thinks) in [
        ("<think></think>", true),
        ("<think>", false),
        ("{{ content.split('</think>')[-1] }}", true),
        ("{{ content.split(\"</think>\")[-1] }}", true),
        ("{{ content.split('</think>')[-1] }} reasoning_content", false),
        ("{{ content.split('</think>')[-1] }} <SPECIAL_12>", false),
        ("{{ other.split('</think>') }}", false),
        ("", false),
    ] {
        assert_eq!(template(text, "").thinks(), thinks, "{text}");
        assert_eq!(template("", text).thinks(), thinks, "{text}");
    }
}
