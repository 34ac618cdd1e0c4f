//! Classification logits of encoders against those of transformers.

use longshore_run::{
    Classifier, Embedder, LoadError, LoadOptions, Pooling, RunError, manifest::weights::Source, text::labels,
};

use crate::checkpoint::Case;

fn open(case: &Case) -> Result<(tempfile::TempDir, Classifier), LoadError> {
    let folder = case.write();
    let source = Source::open(folder.path()).expect("it is a checkpoint");
    Ok((folder, Classifier::open(source, &LoadOptions::default())?))
}

#[test]
fn heads_give_the_logits_of_transformers() {
    for name in ["bert-classifier", "roberta-classifier"] {
        let case = Case::named(name);
        let (_folder, classifier) = open(&case).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(classifier.classes(), 3, "{name}");
        let found = classifier.classify(&case.tokens).expect("the tokens are fine");
        let difference = found.iter().zip(&case.logits[0]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(found.len() == 3 && difference < 1e-5, "{name}: off by {difference}");
        assert_eq!(labels(classifier.source()).expect("it is an object"), ["bad", "fair", "good"], "{name}");
    }
}

#[test]
fn positions_bound_the_text() {
    let (_folder, classifier) = open(&Case::named("bert-classifier")).expect("it can be run");
    assert_eq!(classifier.max_sequence(), 64);
    // The token that fills a batch has the number 5: six of the 64 positions are before the first token's.
    let (_folder, classifier) = open(&Case::named("roberta-classifier")).expect("it can be run");
    assert_eq!(classifier.max_sequence(), 58);
    assert!(classifier.classify(&[7; 58]).is_ok());
    assert!(matches!(classifier.classify(&[7; 59]), Err(RunError::TooLong { found: 59, limit: 58 })));
    assert!(matches!(classifier.classify(&[]), Err(RunError::Empty)));
    assert!(matches!(classifier.classify(&[64]), Err(RunError::Token { token: 64, .. })));
}

#[test]
fn an_encoder_with_a_head_gives_vectors_too() {
    let case = Case::named("roberta-classifier");
    let folder = case.write();
    let source = Source::open(folder.path()).expect("it is a checkpoint");
    let embedder = Embedder::open(source, LoadOptions::default()).expect("it can be run");
    let found = embedder.embed(&case.tokens, Pooling::Mean).expect("the tokens are fine");
    assert_eq!(found.len(), 32);
}

#[test]
fn a_model_without_a_head_is_refused() {
    let refused = open(&Case::named("bert")).expect_err("it has no head");
    assert!(matches!(&refused, LoadError::MissingTensor { names } if names == &["classifier.weight"]), "{refused}");
    let refused = open(&Case::named("llama")).expect_err("it is a decoder");
    assert!(matches!(refused, LoadError::Kind { .. }), "{refused}");
    let mut case = Case::named("bert-classifier");
    case.tensors.insert("bert.pooler.dense.weight".to_owned(), vec![32, 16]);
    let refused = open(&case).expect_err("the pooler has another shape");
    assert!(matches!(&refused, LoadError::Shape { tensor, .. } if tensor == "bert.pooler.dense.weight"), "{refused}");
}

#[test]
fn a_head_without_classes_is_refused() {
    let mut case = Case::named("bert-classifier");
    case.tensors.insert("classifier.weight".to_owned(), vec![0, 32]);
    case.tensors.insert("classifier.bias".to_owned(), vec![0]);
    let refused = open(&case).expect_err("there is no class").to_string();
    assert!(refused.contains("classifier.weight"), "{refused}");
}
