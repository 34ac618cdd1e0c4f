//! Logits of every family against those of transformers in F64, and of cached tokens against those of whole sequences.

use longshore_run::{KvType, LoadOptions, Model, Precision, manifest::weights::Source};

use crate::checkpoint::{Case, shared};

/// Largest difference from F64 that F32 may make.
const LIMIT: f32 = 1e-4;

fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max)
}

fn all_logits(model: &Model, tokens: &[u32]) -> Vec<f32> {
    let mut logits = Vec::new();
    model.session().extend_all(tokens, &mut logits).expect("the tokens are fine");
    logits
}

#[test]
fn every_family_gives_the_logits_of_transformers() {
    let mut failed = Vec::new();
    for (name, case) in Case::decoders() {
        let folder = case.write();
        let source = Source::open(folder.path()).expect("it is a checkpoint");
        let model = match Model::open(source, LoadOptions::default()) {
            Ok(model) => model,
            Err(error) => {
                failed.push(format!("{name}: {error}"));
                continue;
            }
        };
        let difference = largest_difference(&all_logits(&model, &case.tokens), &case.logits.concat());
        if difference > LIMIT || difference.is_nan() {
            failed.push(format!("{name}: off by {difference}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn checkpoints_of_bf16_give_the_logits_of_transformers() {
    for (name, case) in Case::all() {
        let Some(folder) = name.strip_prefix("shared-").map(shared) else { continue };
        let Some(folder) = folder else { continue };
        let model = Model::open(Source::open(&folder).expect("it is a checkpoint"), LoadOptions::default());
        let model = model.unwrap_or_else(|error| panic!("{name}: {error}"));
        let difference =
            largest_difference(model.session().extend(&case.tokens).expect("they are fine"), &case.logits[0]);
        assert!(difference <= LIMIT, "{name}: off by {difference}");
    }
}

#[test]
fn cached_tokens_give_the_bits_of_whole_sequences() {
    for (name, case) in Case::decoders() {
        for precision in [Precision::Exact, Precision::Fast] {
            let (_folder, model) = case.open(LoadOptions { precision, batch: 5, ..LoadOptions::default() });
            let whole = all_logits(&model, &case.tokens);
            let mut session = model.session();
            for (at, token) in case.tokens.iter().enumerate() {
                let found = session.extend(&[*token]).expect("the token is fine");
                let expected = &whole[at * model.vocabulary()..][..model.vocabulary()];
                assert!(found.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}: token {at}");
            }
            // What is dropped leaves no trace.
            session.truncate(4);
            let again = session.extend(&case.tokens[4..]).expect("the tokens are fine");
            assert!(again == &whole[(case.tokens.len() - 1) * model.vocabulary()..], "{name}");
        }
    }
}

#[test]
fn a_cache_of_f16_is_close() {
    let case = Case::named("llama");
    let (_folder, model) = case.open(LoadOptions { kv: KvType::F16, ..LoadOptions::default() });
    let difference = largest_difference(&all_logits(&model, &case.tokens), &case.logits.concat());
    assert!(difference > 0.0 && difference < 1e-2, "{difference}");
    let (_folder, wide) = case.open(LoadOptions::default());
    assert_eq!(wide.cache_bytes_per_token(), 2 * model.cache_bytes_per_token());
}
