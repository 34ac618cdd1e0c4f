//! Models and tokens that cannot be run, and what the errors name.

use longshore_run::{LoadError, LoadOptions, Model, RunError, families, manifest::weights::Source};
use serde_json::json;

use crate::checkpoint::Case;

fn open(case: &Case, options: LoadOptions) -> Result<Model, LoadError> {
    let folder = case.write();
    Model::open(Source::open(folder.path()).expect("it is a checkpoint"), options)
}

fn message(case: &Case) -> String {
    open(case, LoadOptions::default()).expect_err("it cannot be run").to_string()
}

#[test]
fn other_architectures_are_refused_by_name_unless_they_are_asked_for() {
    let mut case = Case::named("llama");
    case.config["architectures"] = json!(["TideForCausalLM"]);
    case.config["model_type"] = json!("tide");
    let found = message(&case);
    assert!(found.contains("TideForCausalLM") && found.contains("llama, mistral"), "{found}");
    let options = LoadOptions { treat_as: Some("llama".into()), ..LoadOptions::default() };
    let model = open(&case, options).expect("the tensors fit");
    assert!(model.notes().iter().any(|note| note.contains("TideForCausalLM") && note.contains("llama")));
    case.tensors.insert("model.layers.0.mlp.depth_proj.weight".into(), vec![32, 32]);
    let options = LoadOptions { treat_as: Some("llama".into()), ..LoadOptions::default() };
    let found = open(&case, options).expect_err("a tensor is left").to_string();
    assert!(found.contains("model.layers.0.mlp.depth_proj.weight"), "{found}");
    case.tensors.remove("model.layers.0.mlp.depth_proj.weight");
    let options = LoadOptions { treat_as: Some("whale".into()), ..LoadOptions::default() };
    let found = open(&case, options).expect_err("there is no such family").to_string();
    assert!(found.contains("whale"), "{found}");
    let architectures = [("TideForCausalLM".to_owned(), "llama".to_owned())].into();
    let model =
        open(&case, LoadOptions { architectures, ..LoadOptions::default() }).expect("the program vouches for it");
    assert!(model.notes().is_empty(), "{:?}", model.notes());
    assert!(families().any(|family| family == "gemma3"));
}

#[test]
fn models_with_what_the_decoder_lacks_are_refused() {
    let mut case = Case::named("llama");
    case.config["rope_parameters"] = json!({"rope_type": "spiral", "rope_theta": 10000.0, "factor": 2.0});
    assert!(message(&case).contains("spiral"), "{}", message(&case));
    let mut case = Case::named("qwen3");
    case.config["layer_types"] = json!(["full_attention", "linear_attention"]);
    assert!(message(&case).contains("linear_attention"), "{}", message(&case));
    let mut case = Case::named("llama");
    case.config["mamba_d_state"] = json!(16);
    assert!(message(&case).contains("state space"), "{}", message(&case));
    let mut case = Case::named("llama");
    case.config["hidden_act"] = json!("laplace");
    assert!(message(&case).contains("laplace"), "{}", message(&case));
}

#[test]
fn codes_that_only_an_import_reads_are_refused() {
    let mut case = Case::named("llama");
    case.tensors.insert("model.layers.0.mlp.experts.down_proj_blocks".into(), vec![4, 32, 8]);
    let found = message(&case);
    assert!(found.contains("down_proj_blocks") && found.contains("U8"), "{found}");
}

#[test]
fn a_tensor_that_is_missing_or_does_not_fit_is_named() {
    for name in ["model.layers.1.mlp.up_proj.weight", "model.norm.weight", "model.embed_tokens.weight"] {
        let mut case = Case::named("llama");
        case.tensors.remove(name);
        assert!(message(&case).contains(name), "{name}: {}", message(&case));
    }
    let mut case = Case::named("gpt-oss");
    case.tensors.insert("model.layers.0.self_attn.sinks".into(), vec![3]);
    let found = message(&case);
    assert!(found.contains("layers.0.self_attn.sinks") && found.contains('3') && found.contains('4'), "{found}");
    let mut case = Case::named("gpt-oss");
    case.tensors.remove("model.layers.1.self_attn.sinks");
    assert!(message(&case).contains("model.layers.1.self_attn.sinks"), "{}", message(&case));
}

#[test]
fn tokens_that_cannot_be_run_leave_the_sequence_as_it_was() {
    let (_folder, model) = Case::named("llama").open(LoadOptions { max_sequence: Some(8), ..LoadOptions::default() });
    let mut session = model.session();
    assert!(matches!(session.extend(&[]), Err(RunError::Empty)));
    assert!(matches!(session.extend(&[1, 64]), Err(RunError::Token { token: 64, vocabulary: 64 })));
    session.extend(&[1; 6]).expect("they fit");
    assert!(matches!(session.extend(&[1; 3]), Err(RunError::TooLong { found: 9, limit: 8 })));
    assert_eq!((session.position(), session.room()), (6, 2));
    session.extend(&[1; 2]).expect("they fit");
}

#[test]
fn a_number_that_is_not_finite_names_its_layer() {
    let case = Case::named("llama");
    let folder = case.write();
    let path = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).expect("it is there");
    let header = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"))).expect("it is small");
    let parsed: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).expect("it is JSON");
    let start = parsed["model.layers.1.mlp.down_proj.weight"]["data_offsets"][0].as_u64().expect("it is there");
    let start = 8 + header + usize::try_from(start).expect("it is small");
    bytes[start..start + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).expect("there is room");
    let model = Model::open(Source::open(folder.path()).expect("it is a checkpoint"), LoadOptions::default());
    let model = model.expect("values are not looked at");
    let mut session = model.session();
    let found = session.extend(&case.tokens).expect_err("a weight is NaN").to_string();
    assert!(found.contains("layer 1"), "{found}");
    assert_eq!(session.position(), 0);
}
