//! Readers beside those who replace and remove names.

use std::{
    error::Error,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use longshore_manifest::{
    Silent, Weights,
    store::{GcOptions, ModelError},
    weights::OpenOptions,
};

use crate::util::{Blob, Scratch, commit, name};

type AnyError = Box<dyn Error + Send + Sync>;

/// The number of reads: some, or as many as `LONGSHORE_TEST_READS` says.
fn reads() -> usize {
    std::env::var("LONGSHORE_TEST_READS").map_or(2000, |text| text.parse().expect("it is a number"))
}

/// The blobs of the `which`th of a few models. Neighbours share some, and none has only shared ones.
fn blobs(which: u8) -> Vec<Blob> {
    let own = (0..6).map(|at| Blob::plain(&format!("t{at}"), 64, which * 10 + at));
    own.chain([Blob::plain("shared", 64, which / 2)]).collect()
}

#[test]
fn no_read_fails_while_its_name_is_replaced() {
    let scratch = Scratch::new();
    let store = &scratch.store;
    commit(store, "m", &blobs(0));
    let (done, left) = (AtomicBool::new(false), AtomicUsize::new(reads()));
    thread::scope(|scope| {
        let replace = || {
            // The same model comes back, too: its manifest is the one that a reader has read, and its blobs are new ones.
            for which in (0..4).cycle() {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                commit(store, "m", &blobs(which));
            }
        };
        let collect = || {
            while !done.load(Ordering::Relaxed) {
                let options = GcOptions { grace: std::time::Duration::ZERO, ..GcOptions::default() };
                store.gc(&options, &Silent).expect("nothing is in its way");
            }
        };
        let read = || {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                let tensors = store.with_model(&name("m"), |model| {
                    let weights = Weights::open(store, &model, &OpenOptions::default())?;
                    weights.verify(&Silent)?;
                    Ok::<_, AnyError>(weights.len())
                });
                assert_eq!(tensors.map_err(|error| format!("{error:?}")), Ok(7));
            }
        };
        scope.spawn(replace);
        scope.spawn(collect);
        let readers = [(); 2].map(|()| scope.spawn(read));
        let ended = readers.map(thread::ScopedJoinHandle::join);
        done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok), "a read failed");
    });
}

#[test]
fn a_read_says_that_its_model_was_removed() {
    let scratch = Scratch::new();
    let store = &scratch.store;
    commit(store, "m", &blobs(0));
    let removed = store.with_model(&name("m"), |model| {
        store.remove(&name("m")).expect("it is there");
        Ok::<_, AnyError>(Weights::open(store, &model, &OpenOptions::default())?)
    });
    let error = removed.expect_err("its blobs are gone");
    assert!(matches!(error.downcast_ref(), Some(ModelError::Removed { .. })), "{error}");
    let text = format!("the model m:latest in {} was removed while it was read", store.root().display());
    assert_eq!(error.to_string(), text);
    let unknown = store.with_model(&name("m"), |_| Ok::<_, AnyError>(())).expect_err("there is no such model");
    assert!(matches!(unknown.downcast_ref(), Some(ModelError::NotFound { .. })), "{unknown}");
}

#[test]
fn what_fails_with_a_model_that_stays_is_the_error() {
    let scratch = Scratch::new();
    let store = &scratch.store;
    commit(store, "m", &blobs(0));
    let mut tries = 0;
    let failed = store.with_model(&name("m"), |_| {
        tries += 1;
        Err::<(), AnyError>("no".into())
    });
    assert_eq!((failed.expect_err("it always fails").to_string(), tries), ("no".to_owned(), 1));
    // With another in its place it goes on.
    let mut tries = 0;
    let read = store.with_model(&name("m"), |model| {
        tries += 1;
        if tries == 1 {
            commit(store, "m", &blobs(1));
            return Err(AnyError::from("gone"));
        }
        Ok(model.digest)
    });
    let expected = store.model(&name("m")).expect("it is there").digest;
    assert_eq!((read.expect("the second try does it"), tries), (expected, 2));
}
