//! Sessions: batches, forks, speculation, cancellation, threads.

use std::sync::{Arc, atomic::AtomicBool};

use longshore_run::{LoadOptions, Precision, RunError, Speculation, argmax, extend_batch, manifest::st_format::Dtype};

use crate::checkpoint::Case;

#[test]
fn a_batch_gives_what_each_session_gives_alone() {
    for name in ["llama", "gemma3", "deepseek-v3", "qwen3-moe"] {
        let (_folder, model) = Case::named(name).open(LoadOptions::default());
        let texts: [&[u32]; 3] = [&[7, 41, 3], &[60], &[22, 9, 55, 1, 30]];
        let mut together = [model.session(), model.session(), model.session()];
        let mut alone = [model.session(), model.session(), model.session()];
        for step in 0..2 {
            let mut batch: Vec<_> = together.iter_mut().zip(texts).collect();
            let logits = extend_batch(&mut batch).expect("the tokens are fine");
            for ((session, text), found) in alone.iter_mut().zip(texts).zip(logits.chunks(model.vocabulary())) {
                assert!(session.extend(text).expect("the tokens are fine") == found, "{name}, step {step}");
            }
        }
    }
}

#[test]
fn a_batch_is_as_large_as_the_options_allow_or_is_run_in_parts() {
    let texts: [&[u32]; 4] = [&[7, 41], &[60], &[22, 9, 55, 1, 30, 8, 2], &[3]];
    let (_folder, model) = Case::named("qwen3").open(LoadOptions { batch: 3, ..LoadOptions::default() });
    let mut sessions = [(); 4].map(|()| model.session());
    let logits = extend_batch(&mut sessions.iter_mut().zip(texts).collect::<Vec<_>>()).expect("they are fine");
    for (text, found) in texts.iter().zip(logits.chunks(model.vocabulary())) {
        assert!(model.session().extend(text).expect("the tokens are fine") == found);
    }
    // The flag of any session ends the batch, and the first of them is as before.
    let flag = Arc::new(AtomicBool::new(true));
    sessions[3].set_cancel(Arc::clone(&flag));
    let found = extend_batch(&mut sessions.iter_mut().zip(texts).collect::<Vec<_>>());
    assert!(matches!(found, Err(RunError::Cancelled)), "{found:?}");
    assert_eq!(sessions.each_ref().map(longshore_run::Session::position), texts.map(<[u32]>::len));
}

#[test]
fn the_flag_of_a_model_holds_beside_that_of_a_session() {
    let flag = Arc::new(AtomicBool::new(true));
    let (_folder, model) = Case::named("llama").open(LoadOptions { cancel: Some(flag), ..LoadOptions::default() });
    let mut session = model.session();
    session.set_cancel(Arc::default());
    assert!(matches!(session.extend(&[1]), Err(RunError::Cancelled)));
}

#[test]
fn a_batch_takes_the_sessions_of_one_model() {
    let case = Case::named("llama");
    let ((_one, one), (_other, other)) = (case.open(LoadOptions::default()), case.open(LoadOptions::default()));
    let (mut first, mut second) = (one.session(), other.session());
    let found = extend_batch(&mut [(&mut first, &[1]), (&mut second, &[1])]);
    assert!(matches!(found, Err(RunError::OtherModel { at: 1 })), "{found:?}");
    assert!(extend_batch(&mut []).expect("there is nothing to do").is_empty());
}

#[test]
fn a_fork_goes_its_own_way() {
    let (_folder, model) = Case::named("qwen3").open(LoadOptions::default());
    let mut session = model.session();
    session.extend(&[1, 2, 3]).expect("the tokens are fine");
    let mut fork = session.fork();
    let other = fork.extend(&[9]).expect("the token is fine").to_vec();
    let found = session.extend(&[4]).expect("the token is fine").to_vec();
    assert!(found != other);
    let again = model.session().extend(&[1, 2, 3, 4]).expect("the tokens are fine").to_vec();
    assert!(found == again);
}

#[test]
fn threads_and_reading_change_no_bit() {
    for (name, dtype) in [("llama", None), ("gpt-oss", None), ("gemma2", Some(Dtype::F32))] {
        let case = Case::named(name);
        let (_folder, model) = case.open(LoadOptions::default());
        let expected = model.session().extend(&case.tokens).expect("the tokens are fine").to_vec();
        let options = LoadOptions { threads: Some(3), mapped: false, batch: 2, dtype, ..LoadOptions::default() };
        let (_folder, other) = case.open(options);
        assert!(other.session().extend(&case.tokens).expect("the tokens are fine") == expected, "{name}");
    }
}

#[test]
fn matrices_of_another_type_round() {
    let case = Case::named("llama");
    let (_folder, model) = case.open(LoadOptions { dtype: Some(Dtype::BF16), ..LoadOptions::default() });
    let found = model.session().extend(&case.tokens).expect("the tokens are fine").to_vec();
    let expected = case.logits.last().expect("there are logits");
    let difference = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference > 1e-4 && difference < 0.2, "{difference}");
}

#[test]
fn a_flag_ends_a_call_and_leaves_the_sequence() {
    let (_folder, model) = Case::named("llama").open(LoadOptions::default());
    let mut session = model.session();
    session.extend(&[1, 2]).expect("the tokens are fine");
    let flag = Arc::new(AtomicBool::new(true));
    session.set_cancel(Arc::clone(&flag));
    assert!(matches!(session.extend(&[3]), Err(RunError::Cancelled)));
    flag.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(session.position(), 2);
    let found = session.extend(&[3]).expect("the flag is not set").to_vec();
    assert!(found == model.session().extend(&[1, 2, 3]).expect("the tokens are fine"));
}

#[test]
fn speculation_gives_the_greedy_tokens_of_the_target() {
    for (target, draft) in [("llama", "llama"), ("llama", "qwen3"), ("gemma3", "llama"), ("deepseek-v3", "mixtral")] {
        for precision in [Precision::Exact, Precision::Fast] {
            let options = LoadOptions { precision, ..LoadOptions::default() };
            let ((_one, target), (_two, draft)) =
                (Case::named(target).open(options.clone()), Case::named(draft).open(options));
            for length in [0, 1, 4] {
                let prompt = [5, 17, 40];
                let mut greedy = vec![argmax(model_logits(&mut target.session(), &prompt).as_slice())];
                let mut session = target.session();
                session.extend(&prompt).expect("the tokens are fine");
                while session.room() > 0 {
                    let last = *greedy.last().expect("there is one");
                    greedy.push(argmax(session.extend(&[last]).expect("there is room")));
                }
                let mut speculation =
                    Speculation::new(target.session(), draft.session(), length).expect("the vocabularies are alike");
                let mut found = vec![speculation.prompt(&prompt).expect("the tokens are fine")];
                while speculation.target().room() > 1 {
                    found.extend(speculation.step().expect("there is room"));
                }
                assert_eq!(found, greedy[..found.len()]);
                assert!(found.len() + 4 >= greedy.len(), "{} of {}", found.len(), greedy.len());
                let (accepted, proposed) = speculation.acceptance();
                assert!(accepted <= proposed && (length == 0) == (proposed == 0));
            }
        }
    }
}

#[test]
fn a_draft_of_a_shorter_context_helps_as_long_as_it_can() {
    let (_folder, target) = Case::named("llama").open(LoadOptions::default());
    let short = LoadOptions { max_sequence: Some(12), ..LoadOptions::default() };
    let (_other, draft) = Case::named("llama").open(short);
    for (length, count) in (1..6).zip(6..11) {
        let prompt: Vec<u32> = (0..count).collect();
        let mut speculation =
            Speculation::new(target.session(), draft.session(), length).expect("the vocabularies are alike");
        let mut found = vec![speculation.prompt(&prompt).expect("the tokens are fine")];
        while found.len() < 20 {
            found.extend(speculation.step().expect("the target has room"));
        }
        let mut session = target.session();
        let mut next = argmax(session.extend(&prompt).expect("the tokens are fine"));
        for token in found {
            assert_eq!(token, next, "{length} after {count}");
            next = argmax(session.extend(&[token]).expect("there is room"));
        }
    }
}

fn model_logits(session: &mut longshore_run::Session<'_>, tokens: &[u32]) -> Vec<f32> {
    session.extend(tokens).expect("the tokens are fine").to_vec()
}
