//! Embeddings of an encoder against those of transformers, and of a decoder.

use longshore_run::{Embedder, LoadError, LoadOptions, Model, Pooling, RunError, manifest::weights::Source};

use crate::checkpoint::Case;

fn embedder(case: &Case) -> (tempfile::TempDir, Embedder) {
    let folder = case.write();
    let source = Source::open(folder.path()).expect("it is a checkpoint");
    (folder, Embedder::open(source, LoadOptions::default()).expect("it can be run"))
}

#[test]
fn an_encoder_gives_the_states_of_transformers() {
    let case = Case::named("bert");
    let (folder, embedder) = embedder(&case);
    assert!(embedder.is_encoder());
    let width = embedder.dimensions();
    let normalised = |vector: Vec<f32>| {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.into_iter().map(|x| x / length).collect::<Vec<_>>()
    };
    let mean = (0..width).map(|at| case.logits.iter().map(|state| state[at]).sum()).collect();
    for (pooling, expected) in [
        (Pooling::Mean, mean),
        (Pooling::Cls, case.logits[0].clone()),
        (Pooling::Last, case.logits.last().expect("there are states").clone()),
    ] {
        let found = embedder.embed(&case.tokens, pooling).expect("the tokens are fine");
        let expected = normalised(expected);
        let difference = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 1e-5, "{pooling:?}: off by {difference}");
    }
    assert!(matches!(embedder.embed(&[], Pooling::Mean), Err(RunError::Empty)));
    assert!(matches!(embedder.embed(&[1; 65], Pooling::Mean), Err(RunError::TooLong { found: 65, limit: 64 })));
    assert!(matches!(embedder.embed(&[64], Pooling::Mean), Err(RunError::Token { token: 64, .. })));
    let source = Source::open(folder.path()).expect("it is a checkpoint");
    assert!(matches!(Model::open(source, LoadOptions::default()), Err(LoadError::Kind { .. })));
}

#[test]
fn a_decoder_gives_a_vector_of_length_one() {
    let case = Case::named("llama");
    let (_folder, embedder) = embedder(&case);
    assert!(!embedder.is_encoder());
    let found = embedder.embed(&case.tokens, Pooling::Last).expect("the tokens are fine");
    assert_eq!(found.len(), embedder.dimensions());
    let length: f32 = found.iter().map(|x| x * x).sum();
    assert!((length - 1.0).abs() < 1e-5, "{length}");
}

#[test]
fn encoders_that_would_be_run_wrongly_are_refused() {
    let refused = |case: &Case| {
        let folder = case.write();
        let source = Source::open(folder.path()).expect("it is a checkpoint");
        Embedder::open(source, LoadOptions::default()).expect_err("it cannot be run").to_string()
    };
    let case = Case::named("bert");
    let types = case.tensors.keys().find(|name| name.ends_with("token_type_embeddings.weight"));
    let (types, query) = (types.expect("it is there").clone(), "attention.self.query.weight");
    let query = case.tensors.keys().find(|name| name.ends_with(query)).expect("it is there");
    let distances = query.replace("query", "distance_embedding");
    for (name, shape) in [(types, vec![0, 32]), (distances, vec![127, 8])] {
        let mut case = case.clone();
        case.tensors.insert(name.clone(), shape);
        assert!(refused(&case).contains(&name), "{}", refused(&case));
    }
}

#[test]
fn the_longest_sequence_holds_for_encoders() {
    let folder = Case::named("bert").write();
    for (asked, expected) in [(10, 10), (100, 64)] {
        let source = Source::open(folder.path()).expect("it is a checkpoint");
        let options = LoadOptions { max_sequence: Some(asked), ..LoadOptions::default() };
        let embedder = Embedder::open(source, options).expect("it can be run");
        assert_eq!(embedder.max_sequence(), expected);
        let found = embedder.embed(&vec![1; expected + 1], Pooling::Mean);
        assert!(matches!(found, Err(RunError::TooLong { limit, .. }) if limit == expected), "{found:?}");
    }
}
