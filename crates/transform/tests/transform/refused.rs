//! Every reason to refuse an adapter.

use longshore_transform::adapter::AdapterError;

use super::{MLX, PEFT, fit};

const PAIR: [(&str, &[u64]); 2] =
    [("base_model.model.l.q.lora_A.weight", &[2, 8]), ("base_model.model.l.q.lora_B.weight", &[6, 2])];
const BASE: [(&str, &[u64]); 1] = [("l.q.weight", &[6, 8])];

fn message(config: &str, tensors: &[(&str, &[u64])], base: &[(&str, &[u64])]) -> String {
    fit(config, tensors, base, false).expect_err("it should be refused").to_string()
}

#[test]
fn settings() {
    for (setting, expected) in [
        (r#""peft_type": "LOHA""#, "has peft_type: LOHA, expected LORA"),
        (r#""peft_type": "LORA", "bias": "all""#, "has bias: all, expected none"),
        (r#""peft_type": "LORA", "lora_bias": true"#, "has lora_bias"),
        (r#""peft_type": "LORA", "use_qalora": true"#, "has use_qalora"),
        (r#""peft_type": "LORA", "init_lora_weights": "pissa_niter_16""#, "has init_lora_weights: pissa_niter_16"),
        (r#""peft_type": "LORA", "init_lora_weights": "loftq""#, "has init_lora_weights: loftq"),
        (r#""peft_type": "LORA", "r": 2, "use_dora": true"#, "without \"the magnitudes of l.q\""),
        (r#""peft_type": "LORA", "layer_replication": [[0, 4]]"#, "has layer_replication"),
        (r#""peft_type": "LORA", "alora_invocation_tokens": [1]"#, "has alora_invocation_tokens"),
        (r#""peft_type": "LORA", "lora_alpha": 1e300, "r": 2"#, "a finite number"),
        (r#""peft_type": "LORA", "r": 2, "rank_pattern": {"(": 2}"#, "the pattern \"(\""),
        (r#""lora_parameters": {"rank": 2}"#, "lora_parameters has no scale"),
        (r#""fine_tune_type": "full", "lora_parameters": {"scale": 2}"#, "has fine_tune_type: full"),
        (r#""r": 2"#, "neither peft_type"),
        (r#""r": "#, "cannot be read"),
    ] {
        let config = format!("{{{setting}}}");
        let found = message(&config, &PAIR, &BASE);
        assert!(found.contains(expected), "{config}: {found}");
    }
}

#[test]
fn settings_without_effect_are_none() {
    let config = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "layer_replication": null,
        "alora_invocation_tokens": null, "rank_pattern": {}, "alpha_pattern": null, "modules_to_save": null, "lora_bias": false,
        "init_lora_weights": true}"#;
    assert_eq!(fit(config, &PAIR, &BASE, false).expect("it fits").products[0].scale.to_bits(), 2.0_f32.to_bits());
}

#[test]
fn halves_of_pairs() {
    assert_eq!(
        message(PEFT, &PAIR[..1], &BASE),
        r#"the adapter has "base_model.model.l.q.lora_A.weight" without "base_model.model.l.q.lora_B.weight""#
    );
    assert!(message(MLX, &[("l.q.lora_b", &[2, 6])], &BASE).contains(r#"without "l.q.lora_a""#));
    let alone = [("l.q.lora_magnitude_vector", &[6_u64][..])];
    assert!(matches!(fit(PEFT, &alone, &BASE, false), Err(AdapterError::Half { .. })));
    let bias = [PAIR[0], PAIR[1], ("base_model.model.l.q.lora_B.bias", &[6])];
    assert!(message(PEFT, &bias, &BASE).contains("lora_bias"));
}

#[test]
fn ranks() {
    let other = [PAIR[0], ("base_model.model.l.q.lora_B.weight", &[6, 3][..])];
    assert!(message(PEFT, &other, &BASE).contains("has rank 3, expected 2"));
    let config = PEFT.replace(r#""r": 2"#, r#""r": 4"#);
    assert!(message(&config, &PAIR, &BASE).contains("has rank 2, expected 4 (r of adapter_config.json)"));
    let config = PEFT.replace(r#""r": 2"#, r#""r": 2, "rank_pattern": {"q": 3}"#);
    assert!(message(&config, &PAIR, &BASE).contains("expected 3 (rank_pattern of adapter_config.json)"));
    let mlx: [(&str, &[u64]); 2] = [("l.q.lora_a", &[8, 3]), ("l.q.lora_b", &[3, 6])];
    assert!(message(MLX, &mlx, &BASE).contains("expected 2 (lora_parameters.rank"));
}

#[test]
fn shapes() {
    for (base, expected) in [
        (&[6_u64, 7][..], "expected 7 inputs"),
        (&[5, 8], "expected 5 outputs"),
        (&[8, 6], "expected 6 inputs"),
        (&[8], "expected a matrix"),
        (&[1, 2, 6, 8], "expected a matrix"),
    ] {
        let found = message(PEFT, &PAIR, &[("l.q.weight", base)]);
        assert!(found.contains(expected), "{base:?}: {found}");
    }
    let vector: [(&str, &[u64]); 2] = [PAIR[0], ("base_model.model.l.q.lora_B.weight", &[12])];
    assert!(message(PEFT, &vector, &BASE).contains("expected [outputs, rank]"));
    let magnitude = [PAIR[0], PAIR[1], ("base_model.model.l.q.lora_magnitude_vector", &[5][..])];
    assert!(message(PEFT, &magnitude, &BASE).contains("one magnitude for each output"));
    let embedding: [(&str, &[u64]); 2] = [("e.lora_embedding_A", &[2, 8]), ("e.lora_embedding_B", &[6, 2])];
    assert!(message(PEFT, &embedding, &[("e.weight", &[6, 8])]).contains("expected 6 inputs"));
}

#[test]
fn what_belongs_to_nothing() {
    let found = message(PEFT, &PAIR, &[("l.k.weight", &[6, 8])]);
    assert_eq!(found, r#"tensor "base_model.model.l.q.lora_A.weight" of the adapter belongs to nothing in the base"#);
    let more = [PAIR[0], PAIR[1], ("base_model.model.l.z.weight", &[3][..]), ("base_model.model.l.y.weight", &[3][..])];
    assert!(
        message(PEFT, &more, &BASE).starts_with(
            "2 tensors of the adapter belong to nothing in the base: tensor \"base_model.model.l.z.weight\""
        )
    );
    // Two modules that differ in what wraps them: none is meant.
    let two: [(&str, &[u64]); 2] = [("model.l.q.weight", &[6, 8]), ("language_model.l.q.weight", &[6, 8])];
    assert!(matches!(fit(PEFT, &PAIR, &two, false), Err(AdapterError::Unused { .. })));
}

#[test]
fn vocabularies_and_ties() {
    let grown: [(&str, &[u64]); 1] = [("base_model.model.embed_tokens.weight", &[12, 4])];
    let base: [(&str, &[u64]); 2] = [("embed_tokens.weight", &[10, 4]), ("lm_head.weight", &[10, 4])];
    let error = fit(PEFT, &grown, &base, false).expect_err("it has more rows");
    assert!(
        matches!(error, AdapterError::Vocabulary { found: 12, expected: 10, .. }) && error.hint().is_some(),
        "{error}"
    );
    let other: [(&str, &[u64]); 1] = [("base_model.model.norm.weight", &[12])];
    assert!(message(PEFT, &other, &[("norm.weight", &[10])]).contains("expected [10]"));
    for name in ["embed_tokens", "model.embed_tokens", "lm_head"] {
        let saved = format!("base_model.model.{name}.modules_to_save.weight");
        let found = fit(PEFT, &[(&saved, &[10, 4])], &base, true);
        assert!(matches!(found, Err(AdapterError::Tied { .. })), "{name}");
        let (a, b) = (format!("{name}.lora_embedding_A"), format!("{name}.lora_embedding_B"));
        let found = fit(PEFT, &[(&a, &[2, 10]), (&b, &[4, 2])], &base, true);
        assert!(matches!(found, Err(AdapterError::Tied { .. })), "{name}");
    }
}

#[test]
fn stacks() {
    let name = "base_model.model.mlp.experts.";
    let (a, b) = (format!("{name}lora_A.weight"), format!("{name}lora_B.weight"));
    let square: [(&str, &[u64]); 1] = [("mlp.experts.down_proj", &[3, 8, 8])];
    let found = message(PEFT, &[(&a, &[6, 8]), (&b, &[8, 6])], &square);
    assert!(found.contains("fits both"), "{found}");
    let base: [(&str, &[u64]); 1] = [("mlp.experts.down_proj", &[3, 8, 4])];
    let found = message(PEFT, &[(&a, &[7, 8]), (&b, &[4, 7])], &base);
    assert!(found.contains("a multiple of the number of experts"), "{found}");
    let found = message(PEFT, &[(&a, &[6, 5]), (&b, &[4, 6])], &base);
    assert!(found.contains("the shape of one expert"), "{found}");
    let magnitude = format!("{name}lora_magnitude_vector");
    let found = message(PEFT, &[(&a, &[6, 8]), (&b, &[4, 6]), (&magnitude, &[4])], &base);
    assert!(found.contains("(DoRA) of stacked experts"), "{found}");
    let found = message(
        PEFT,
        &[("e.lora_embedding_A", &[2, 6]), ("e.lora_embedding_B", &[8, 2]), ("e.lora_magnitude_vector", &[8])],
        &[("e.weight", &[6, 8])],
    );
    assert!(found.contains("(DoRA) of an embedding"), "{found}");
}

#[test]
fn one_weight_twice() {
    let tensors: [(&str, &[u64]); 4] = [
        PAIR[0],
        PAIR[1],
        ("base_model.model.model.l.q.lora_A.weight", &[2, 8]),
        ("base_model.model.model.l.q.lora_B.weight", &[6, 2]),
    ];
    assert!(matches!(fit(PEFT, &tensors, &BASE, false), Err(AdapterError::Twice { .. })));
    let default = [PAIR[0], PAIR[1], ("base_model.model.l.q.lora_A.default.weight", &[2, 8][..])];
    assert!(matches!(fit(PEFT, &default, &BASE, false), Err(AdapterError::Twice { .. })));
}
