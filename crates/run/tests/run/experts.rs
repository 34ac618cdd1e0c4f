//! Experts of a mixture: in every way in which they come into memory, and recorded as tokens choose them.

use std::{
    fs::{self, OpenOptions},
    sync::{Arc, Mutex},
};

use longshore_packer::{ExportFormat, ExportOptions, export};
use longshore_run::{
    ExpertMemory, LoadError, LoadOptions, Model, Precision, RunError,
    longshore_experts::{CacheError, ReplayOptions, Trace, TraceLimits, TraceRecorder, replay},
    manifest::{Silent, weights::Source},
};

use crate::{
    checkpoint::{Case, shared},
    stored::{import, stored},
};

const TOKENS: [u32; 9] = [7, 41, 3, 60, 22, 22, 9, 1, 35];
const FAMILIES: [&str; 6] = ["qwen3-moe", "mixtral", "gpt-oss", "deepseek-v3", "granitemoe", "olmoe"];

fn open(source: &Source, options: LoadOptions) -> Result<Model, LoadError> {
    Model::open(source.clone(), options)
}

/// Bytes of a slot of a model, as the refusal of a smaller one says.
fn slot(source: &Source) -> u64 {
    let experts = ExpertMemory::Slots { bytes: 1 };
    match open(source, LoadOptions { experts, ..LoadOptions::default() }) {
        Err(LoadError::Budget { slot, budget: 1 }) => slot,
        other => panic!("{other:?}"),
    }
}

/// Logits of a prompt at once, and of a token after it.
fn logits(source: &Source, options: LoadOptions) -> Vec<u32> {
    let model = open(source, options).expect("it can be run");
    let (mut session, mut logits) = (model.session(), Vec::new());
    session.extend_all(&TOKENS, &mut logits).expect("the tokens are fine");
    session.extend_all(&[17], &mut logits).expect("the token is fine");
    if let Some(stats) = model.expert_stats() {
        let total = stats.total();
        assert!(total.misses > 0 && total.requests() >= total.misses, "{total:?}");
    }
    logits.into_iter().map(f32::to_bits).collect()
}

/// Compares all ways with the mapped one, serial and parallel, on both paths.
fn compare(what: &str, source: &Source) {
    let one = slot(source);
    for precision in [Precision::Exact, Precision::Fast] {
        let with =
            |experts, threads| LoadOptions { experts, precision, threads: Some(threads), ..LoadOptions::default() };
        let expected = logits(source, with(ExpertMemory::Mapped, 1));
        for experts in [
            ExpertMemory::Auto,
            ExpertMemory::Mapped,
            ExpertMemory::Ahead,
            ExpertMemory::Slots { bytes: one },
            ExpertMemory::Slots { bytes: 3 * one + 5 },
            ExpertMemory::Slots { bytes: 1 << 30 },
        ] {
            for threads in [1, 3] {
                let found = logits(source, with(experts, threads));
                assert!(found == expected, "{what}: {experts:?}, {precision:?}, {threads} threads");
            }
        }
    }
}

#[test]
fn logits_have_the_same_bits_in_every_way() {
    for name in FAMILIES {
        let checkpoint = Case::named(name).write();
        for scheme in [None, Some("int4-g32"), Some("nvfp4")] {
            let home = tempfile::tempdir().expect("there is room");
            let store = import(checkpoint.path(), home.path(), scheme);
            compare(&format!("{name} in {scheme:?}"), &stored(&store));
        }
    }
}

#[test]
fn directories_and_gguf_files_have_the_same_bits_in_every_way() {
    for name in ["mixtral", "qwen3-moe"] {
        let mut case = Case::named(name);
        if name == "qwen3-moe" {
            case.config["norm_topk_prob"] = true.into();
        }
        let checkpoint = case.write();
        compare(name, &Source::open(checkpoint.path()).expect("it is a checkpoint"));
        let home = tempfile::tempdir().expect("there is room");
        let store = import(checkpoint.path(), home.path(), None);
        let model = store.model(&"model".parse().expect("it is a name")).expect("it is stored");
        let options = ExportOptions { format: ExportFormat::Gguf, no_tokenizer: true, ..ExportOptions::default() };
        export(&store, &model, &home.path().join("gguf"), &options, &Silent).expect("it can be exported");
        let opened = longshore_packer::open(&home.path().join("gguf/model.gguf"), &Silent).expect("it is a GGUF file");
        compare(&format!("{name} in GGUF"), &opened.weights);
    }
}

#[test]
fn models_of_others_have_the_same_bits_in_every_way() {
    for name in ["mixtral", "qwen3-moe", "deepseek-v3", "gpt-oss", "gpt-oss-mxfp4", "deepseek-v3-fp8"] {
        let Some(folder) = shared(name) else { continue };
        let home = tempfile::tempdir().expect("there is room");
        compare(name, &stored(&import(&folder, home.path(), None)));
    }
}

#[test]
fn slots_are_counted_and_bounded() {
    let checkpoint = Case::named("mixtral").write();
    let source = Source::open(checkpoint.path()).expect("it is a checkpoint");
    let one = slot(&source);
    let experts = ExpertMemory::Slots { bytes: 2 * one + one / 2 };
    let model = open(&source, LoadOptions { experts, ..LoadOptions::default() }).expect("it can be run");
    assert_eq!(model.expert_memory(), ExpertMemory::Slots { bytes: 2 * one });
    let mut session = model.session();
    session.extend(&TOKENS).expect("the tokens are fine");
    let first = model.expert_stats().expect("there are slots").total();
    assert_eq!((first.hits, first.late, first.wasted, first.failed), (0, 0, 0, 0), "{first:?}");
    let all = ExpertMemory::Slots { bytes: u64::MAX };
    let model = open(&source, LoadOptions { experts: all, ..LoadOptions::default() }).expect("it can be run");
    // As many as there are experts, and no more.
    let header = model.trace_header().expect("it has experts");
    let count = u64::from(header.experts()) * header.layers().len() as u64;
    assert_eq!(model.expert_memory(), ExpertMemory::Slots { bytes: count * one });
    let mut session = model.session();
    session.extend(&TOKENS).expect("the tokens are fine");
    session.extend(&TOKENS).expect("the tokens are fine");
    let total = model.expert_stats().expect("there are slots").total();
    assert!(total.misses <= count && total.hits > 0, "{total:?}");
}

#[test]
fn ways_that_are_none_are_refused() {
    let error = |case: &str, options| {
        let checkpoint = Case::named(case).write();
        let source = Source::open(checkpoint.path()).expect("it is a checkpoint");
        open(&source, options).expect_err("it is refused").to_string()
    };
    for experts in [ExpertMemory::Ahead, ExpertMemory::Slots { bytes: 1 << 30 }] {
        let options = LoadOptions { experts, ..LoadOptions::default() };
        assert!(error("llama", options.clone()).contains("it has none"));
        // Its axes are swapped as it is opened.
        assert!(error("gpt-oss", options.clone()).contains("import it first"));
        assert!(error("mixtral", LoadOptions { mapped: false, ..options.clone() }).contains("import it first"));
        let dtype = Some("F16".parse().expect("it is a type"));
        assert!(error("mixtral", LoadOptions { dtype, ..options }).contains("import it first"));
    }
    let options = LoadOptions { mapped: false, ..LoadOptions::default() };
    let (_folder, model) = Case::named("mixtral").open(options);
    assert_eq!((model.expert_memory(), model.expert_stats()), (ExpertMemory::Mapped, None));
}

#[test]
fn a_router_without_numbers_fails_before_any_expert_is_computed() {
    let checkpoint = Case::named("mixtral").write();
    // One number of the router of layer 1 is NaN.
    let path = checkpoint.path().join("model.safetensors");
    let mut bytes = fs::read(&path).expect("it is there");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("there are eight"));
    let data = 8 + usize::try_from(length).expect("it is small");
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..data]).expect("it is JSON");
    let router = &header["model.layers.1.block_sparse_moe.gate.weight"]["data_offsets"][0];
    let at = data + usize::try_from(router.as_u64().expect("it is there")).expect("it is small");
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).expect("there is room");
    let source = Source::open(checkpoint.path()).expect("it is a checkpoint");
    let experts = ExpertMemory::Slots { bytes: 1 << 30 };
    let model = open(&source, LoadOptions { experts, ..LoadOptions::default() }).expect("it can be run");
    let mut session = model.session();
    let error = session.extend(&TOKENS).expect_err("it is not finite");
    assert_eq!(error.to_string(), "the router of layer 1 gave a number that is not finite");
    assert_eq!(session.position(), 0);
    let layers = model.expert_stats().expect("there are slots").layers;
    assert!(layers.contains_key(&0) && !layers.contains_key(&1), "{layers:?}");
}

#[test]
fn an_expert_that_cannot_be_read_is_named() {
    let home = tempfile::tempdir().expect("there is room");
    let checkpoint = Case::named("mixtral").write();
    let store = import(checkpoint.path(), home.path(), Some("int4-g32"));
    let source = stored(&store);
    let experts = ExpertMemory::Slots { bytes: 1 << 30 };
    let model = open(&source, LoadOptions { experts, ..LoadOptions::default() }).expect("it can be run");
    let mut session = model.session();
    let expected = session.extend(&TOKENS[..1]).expect("the token is fine").to_vec();
    session.truncate(0);
    let group = "model.layers.1.block_sparse_moe.experts";
    let blob =
        source.table().blobs.iter().find(|blob| blob.tensors.iter().any(|tensor| tensor.name.starts_with(group)));
    let path = source.path(&blob.expect("it has experts").digest);
    let whole = fs::read(&path).expect("it is there");
    // Stored blobs cannot be written.
    let mut permissions = fs::metadata(&path).expect("it is there").permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "the file is the test's")]
    permissions.set_readonly(false);
    fs::set_permissions(&path, permissions).expect("it is ours");
    let file = OpenOptions::new().write(true).open(&path).expect("it is ours");
    file.set_len(64).expect("it can be cut");
    let error = session.extend(&TOKENS).expect_err("the file is short");
    assert!(matches!(&error, RunError::Experts(CacheError::Fetch { key, .. }) if key.layer == 1), "{error:?}");
    assert!(error.to_string().contains("of layer 1 from the blob sha256"), "{error}");
    assert_eq!(session.position(), 0);
    fs::write(&path, whole).expect("it is ours");
    assert_eq!(session.extend(&TOKENS[..1]).expect("the file is whole again"), expected);
}

#[test]
fn a_trace_has_every_token_of_the_prompt_and_of_the_answer() {
    for name in FAMILIES {
        let (_folder, model) = Case::named(name).open(LoadOptions { batch: 4, ..LoadOptions::default() });
        let header = model.trace_header().expect("it has experts");
        let record = |pieces: &[&[u32]]| {
            let recorder = TraceRecorder::new(Vec::new(), header.clone()).expect("there is room");
            let recorder = Arc::new(Mutex::new(recorder));
            let mut session = model.session();
            session.set_routed(Arc::<Mutex<TraceRecorder<Vec<u8>>>>::clone(&recorder));
            for piece in pieces {
                session.extend(piece).expect("the tokens are fine");
            }
            drop(session);
            let recorder = Arc::into_inner(recorder).expect("the session is gone");
            recorder.into_inner().expect("nothing panicked").finish().expect("every layer was heard of")
        };
        let whole = record(&[&TOKENS]);
        let each: Vec<&[u32]> = TOKENS.chunks(1).collect();
        assert_eq!(record(&each), whole, "{name}");
        let trace = Trace::read(&*whole, &TraceLimits::default()).expect("it is a trace");
        assert_eq!(trace.len(), TOKENS.len(), "{name}");
        let slots = trace.header().experts() as usize * trace.header().layers().len();
        let found = replay(&trace, &ReplayOptions { slots, pinned: 0.0, warm: 0.0 }).expect("there are tokens");
        // What is asked for first is no hit, and everything fits.
        assert_eq!(found.misses(), trace.uses().len() as u64, "{name}");
    }
    let (_folder, model) = Case::named("llama").open(LoadOptions::default());
    assert_eq!(model.trace_header(), None);
}

#[test]
fn a_trace_says_what_slots_do() {
    let checkpoint = Case::named("qwen3-moe").write();
    let source = Source::open(checkpoint.path()).expect("it is a checkpoint");
    // Some of the experts fit, and all of them.
    for slots in [3, 8] {
        let experts = ExpertMemory::Slots { bytes: slots * slot(&source) };
        let model = open(&source, LoadOptions { experts, ..LoadOptions::default() }).expect("it can be run");
        let header = model.trace_header().expect("it has experts");
        let recorder = Arc::new(Mutex::new(TraceRecorder::new(Vec::new(), header).expect("there is room")));
        let mut session = model.session();
        session.set_routed(Arc::<Mutex<TraceRecorder<Vec<u8>>>>::clone(&recorder));
        for token in TOKENS {
            session.extend(&[token]).expect("the token is fine");
        }
        drop(session);
        let recorder = Arc::into_inner(recorder).expect("the session is gone").into_inner().expect("nothing panicked");
        let trace = recorder.finish().expect("every layer was heard of");
        let trace = Trace::read(&*trace, &TraceLimits::default()).expect("it is a trace");
        let options = ReplayOptions { slots: usize::try_from(slots).expect("it is small"), pinned: 0.0, warm: 0.0 };
        let found = replay(&trace, &options).expect("there are tokens");
        let total = model.expert_stats().expect("there are slots").total();
        assert_eq!((total.requests(), total.late), (found.requests, 0), "{slots} slots");
        let distinct = trace.uses().len() as u64;
        if slots == 8 {
            // What is asked for first is no hit, and all else is one.
            assert_eq!((total.hits, total.misses), (found.hits, found.misses()), "{total:?}");
            assert_eq!(total.misses, distinct, "{total:?}");
        } else {
            // Which experts the slots keep is their own choice.
            assert!(total.misses > distinct && total.hits > 0, "{total:?}");
            assert!(found.misses() > distinct && found.hits > 0, "{found:?}");
        }
    }
}
