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
fn what_is_asked_for_and_not_followed_is_told() {
    let mut case = Case::named("llama");
    let treat = |family: &str| LoadOptions { treat_as: Some(family.into()), ..LoadOptions::default() };
    let found = open(&case, treat("whale")).expect_err("there is no such family").to_string();
    assert!(found.contains("whale"), "{found}");
    let notes = open(&case, treat("mistral")).expect("it is known").notes().concat();
    assert!(notes.contains("as llama") && notes.contains("not as mistral"), "{notes}");
    assert!(open(&case, treat("llama")).expect("it is known").notes().is_empty());
    case.config["architectures"] = json!(["TideForCausalLM"]);
    let notes = open(&case, LoadOptions::default()).expect("its type is known").notes().concat();
    assert!(notes.contains("TideForCausalLM is run as llama: nobody has checked"), "{notes}");
}

#[test]
fn a_sequence_beyond_the_context_is_told_or_refused() {
    let mut case = Case::named("llama");
    let context = case.config["max_position_embeddings"].as_u64().expect("it is stated");
    let longer = || {
        let asked = usize::try_from(context).expect("it is small") + 1;
        LoadOptions { max_sequence: Some(asked), ..LoadOptions::default() }
    };
    let notes = open(&case, longer()).expect("it may work").notes().concat();
    assert!(notes.contains(&format!("made for {context}")), "{notes}");
    case.config["rope_parameters"] = json!({"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0});
    assert!(open(&case, LoadOptions::default()).expect("it is within the context").notes().is_empty());
    let found = open(&case, longer()).expect_err("the rotation would change").to_string();
    assert!(found.contains("stretched as it grows"), "{found}");
}

#[test]
fn a_rotation_without_a_base_is_the_usual_one_or_refused() {
    let mut case = Case::named("llama");
    case.config.as_object_mut().expect("it is an object").remove("rope_parameters");
    let (_folder, model) = case.open(LoadOptions::default());
    let (_other, stated) = Case::named("llama").open(LoadOptions::default());
    let (mut session, mut expected) = (model.session(), stated.session());
    let found = session.extend(&case.tokens).expect("the tokens are fine");
    assert!(found == expected.extend(&case.tokens).expect("the tokens are fine"));
    let mut case = Case::named("mixtral");
    case.config.as_object_mut().expect("it is an object").remove("rope_parameters");
    assert!(message(&case).contains("does not state the base of the rotation"), "{}", message(&case));
}

#[test]
fn vectors_that_do_not_fit_are_not_left_out() {
    let end_of = |case: &Case, end: &str| {
        let name = case.tensors.keys().find(|name| name.ends_with(end)).expect("there is one");
        (name.clone(), case.tensors[name].clone())
    };
    let mut case = Case::named("deepseek-v3");
    let (name, _) = end_of(&case, "e_score_correction_bias");
    case.tensors.insert(name.clone(), vec![3]);
    assert!(message(&case).contains(&name), "{}", message(&case));
    let mut case = Case::named("llama-tied-bias");
    let (name, shape) = end_of(&case, "q_proj.bias");
    case.tensors.insert(name.clone(), vec![1, 1, shape[0]]);
    assert!(message(&case).contains(&name), "{}", message(&case));
    for (case, norm) in [("qwen3", "q_norm"), ("olmo2", "k_norm"), ("deepseek-v3", "q_a_layernorm")] {
        let mut case = Case::named(case);
        let (name, shape) = end_of(&case, &format!("{norm}.weight"));
        let bias = name.replace(".weight", ".bias");
        case.tensors.insert(bias.clone(), shape);
        assert!(message(&case).contains(&bias), "{}", message(&case));
    }
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

/// Opens a checkpoint in which the first number of a tensor is NaN.
fn with_nan(case: &Case, tensor: &str) -> Model {
    let folder = case.write();
    let path = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).expect("it is there");
    let header = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"))).expect("it is small");
    let parsed: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).expect("it is JSON");
    let start = parsed[tensor]["data_offsets"][0].as_u64().expect("it is there");
    let start = 8 + header + usize::try_from(start).expect("it is small");
    bytes[start..start + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).expect("there is room");
    let model = Model::open(Source::open(folder.path()).expect("it is a checkpoint"), LoadOptions::default());
    model.expect("values are not looked at")
}

#[test]
fn a_number_that_is_not_finite_names_its_layer() {
    let case = Case::named("llama");
    let model = with_nan(&case, "model.layers.1.mlp.down_proj.weight");
    let mut session = model.session();
    let found = session.extend(&case.tokens).expect_err("a weight is NaN").to_string();
    assert!(found.contains("layer 1"), "{found}");
    assert_eq!(session.position(), 0);
}

#[test]
fn a_state_that_is_not_finite_is_no_state() {
    let case = Case::named("llama");
    let model = with_nan(&case, "model.norm.weight");
    let found = model.session().hidden(&case.tokens).expect_err("a weight is NaN").to_string();
    assert!(found.contains("the last norm"), "{found}");
}
