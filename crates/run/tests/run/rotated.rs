//! Models whose residual stream was rotated by an import, against the same models as they were.

use std::path::Path;

use longshore_packer::{ExportOptions, ImportOptions, Plan, PlanOptions, Source as Import, export, st_format::Limits};
use longshore_run::{
    Embedder, LoadError, LoadOptions, Model,
    manifest::{Silent, Store, weights::Source},
};

use crate::checkpoint::Case;

/// Architectures that can be rotated, tied and untied, with and without biases and experts.
const CASES: [&str; 10] = [
    "llama",
    "llama-tied-bias",
    "mistral",
    "mixtral",
    "phi3",
    "qwen2",
    "qwen3",
    "qwen3-moe",
    "qwen3-moe-dense",
    "smollm3",
];

/// Logits after each token.
pub(crate) fn logits(source: Source, tokens: &[u32]) -> Vec<f32> {
    let model = Model::open(source, LoadOptions::default()).expect("it can be run");
    let mut logits = Vec::new();
    model.session().extend_all(tokens, &mut logits).expect("the tokens are fine");
    logits
}

/// Opens a checkpoint to be imported.
pub(crate) fn open(folder: &Path) -> Import {
    Import::open(folder, &Limits::default()).expect("it is a checkpoint")
}

#[test]
fn logits_are_those_of_the_model_as_it_was() {
    for name in CASES {
        let case = Case::named(name);
        let checkpoint = case.write();
        let expected = logits(Source::open(checkpoint.path()).expect("it is a checkpoint"), &case.tokens);
        let home = tempfile::tempdir().expect("there is room");
        let store = Store::open(home.path().join("store")).expect("there is room");
        let source = open(checkpoint.path()).rotated(7).unwrap_or_else(|error| panic!("{name}: {error}"));
        let plan = Plan::new(source, &PlanOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let model = "rotated".parse().expect("it is a name");
        plan.import(&store, &model, &ImportOptions::default(), &Silent).expect("there is room");
        let model = store.model(&model).expect("it is stored");
        let found = logits(Source::of_model(&store, &model).expect("it has a table"), &case.tokens);
        let rms = |values: &mut dyn Iterator<Item = f32>| {
            let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + f64::from(value).powi(2), count + 1));
            (sum / f64::from(count)).sqrt()
        };
        let all = rms(&mut expected.iter().copied());
        let off = rms(&mut found.iter().zip(&expected).map(|(found, expected)| found - expected));
        assert!(off <= 1e-4 * all, "{name}: {:e} of the logits", off / all);
        assert_ne!(found, expected, "{name}: it was not rotated");
        // Its states are those of no checkpoint, and an adapter of the checkpoint reads none of them.
        let source = || Source::of_model(&store, &model).expect("it has a table");
        let refused = Embedder::open(source(), LoadOptions::default());
        assert!(matches!(refused, Err(LoadError::Rotated { .. })), "{name}: {refused:?}");
        let adapter = Some(Source::open(checkpoint.path()).expect("it is a checkpoint"));
        let refused = Model::open(source(), LoadOptions { adapter, ..LoadOptions::default() });
        let refused = refused.expect_err("it is of another stream").to_string();
        assert!(refused.contains("residual stream is rotated"), "{name}: {refused}");
        // What is exported is a checkpoint of its own, which other programs run.
        let out = home.path().join("out");
        export(&store, &model, &out, &ExportOptions::default(), &Silent).expect("it is of floats");
        assert_eq!(logits(Source::open(&out).expect("it is a checkpoint"), &case.tokens), found, "{name}");
        let config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(out.join("config.json")).expect("it is there")).expect("it is JSON");
        assert_ne!(config["tie_word_embeddings"], true, "{name}");
    }
}

#[test]
fn norms_that_cannot_be_folded_are_refused() {
    for name in ["gemma2", "gemma3", "gpt2", "olmo2", "glm4", "falcon", "cohere2"] {
        let checkpoint = Case::named(name).write();
        let error = open(checkpoint.path()).rotated(7).expect_err("its norms are elsewhere").to_string();
        assert!(error.contains("cannot be rotated") && error.contains("foldable"), "{name}: {error}");
    }
}
