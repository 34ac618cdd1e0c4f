use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use longshore_manifest::{
    Config, Digest, Progress, Silent,
    document::{BlobEntry, TensorTable},
    store::{Bad, ModelError, Problem, VerifyError, VerifyOptions, VerifyOutcome},
};
use longshore_st_format::Shape;

use crate::util::{Blob, Scratch, add, add_with_config, commit, name, put, replace, table};

fn verify(scratch: &Scratch, names: &[&str]) -> VerifyOutcome {
    let options = VerifyOptions { names: names.iter().map(|text| name(text)).collect(), ..VerifyOptions::default() };
    scratch.store.verify(&options, &Silent).unwrap()
}

/// Returns the only bad item in the whole store.
fn only(scratch: &Scratch) -> Bad {
    let mut bad = verify(scratch, &[]).bad;
    assert_eq!(bad.len(), 1, "{bad:?}");
    bad.remove(0)
}

/// Makes two models that share the first of their blobs.
fn two_models() -> (Scratch, [Blob; 3]) {
    let scratch = Scratch::new();
    let blobs = [Blob::plain("shared", 50, 1), Blob::int4("a.own", 4, 32, 2), Blob::nvfp4("b.own", 4, 3)];
    commit(&scratch.store, "a", &[blobs[0].clone(), blobs[1].clone()]);
    commit(&scratch.store, "b", &[blobs[0].clone(), blobs[2].clone()]);
    (scratch, blobs)
}

#[test]
fn a_sound_store_is_all_good() {
    let (scratch, _) = two_models();
    put(&scratch.store.root().join("blobs/sha256-partial"), b"not a blob");
    let outcome = verify(&scratch, &[]);
    assert!(outcome.bad.is_empty(), "{:?}", outcome.bad);
    let size: u64 =
        scratch.blobs().iter().filter(|blob| blob.len() == 71).map(|blob| size_of_blob(&scratch, blob)).sum();
    assert_eq!((outcome.blobs, outcome.models, outcome.bytes), (6, 2, size));
    // One model has four of the six blobs, and a repeated name is checked once.
    let outcome = verify(&scratch, &["b", "b"]);
    assert_eq!((outcome.blobs, outcome.models), (4, 1));
    assert!(verify(&Scratch::new(), &[]).bad.is_empty());
}

/// Long blobs are hashed in mapped parts where possible, and the rest after the last part is read.
#[test]
fn a_flipped_byte_is_found_anywhere_in_a_long_blob() {
    const PART: usize = 4 << 20;
    let scratch = Scratch::new();
    let blob = Blob::plain("long", 2 * PART as u64 / 16 + 1, 1);
    commit(&scratch.store, "m", std::slice::from_ref(&blob));
    let path = scratch.store.blob_path(&Digest::of(&blob.bytes));
    let length = blob.bytes.len();
    assert!(length > 2 * PART && verify(&scratch, &[]).bad.is_empty());
    for at in [PART - 1, PART, 2 * PART - 1, 2 * PART, length - 1] {
        let mut bytes = blob.bytes.clone();
        bytes[at] ^= 1;
        replace(&path, &bytes);
        let bad = only(&scratch);
        assert!(matches!(bad.problem, Problem::Content { found, .. } if found == Digest::of(&bytes)), "{bad:?}");
    }
    replace(&path, &blob.bytes);
    assert!(verify(&scratch, &[]).bad.is_empty());
}

fn size_of_blob(scratch: &Scratch, blob: &str) -> u64 {
    scratch.store.root().join("blobs").join(blob).metadata().unwrap().len()
}

#[test]
fn a_flipped_byte_is_found_and_the_models_that_it_harms_are_named() {
    let (scratch, [shared, own, _]) = two_models();
    for (blob, harmed) in [(&shared, vec![name("a"), name("b")]), (&own, vec![name("a")])] {
        let path = scratch.store.blob_path(&Digest::of(&blob.bytes));
        for at in [0, 8, blob.bytes.len() - 1] {
            let mut damaged = blob.bytes.clone();
            damaged[at] ^= 0x20;
            replace(&path, &damaged);
            let bad = only(&scratch);
            assert_eq!((bad.digest, &bad.models), (Some(Digest::of(&blob.bytes)), &harmed));
            assert!(matches!(bad.problem, Problem::Content { found, .. } if found == Digest::of(&damaged)));
            assert_eq!(bad.problem.to_string(), format!("corrupt: its bytes have the digest {}", Digest::of(&damaged)));
        }
        replace(&path, &blob.bytes);
    }
    assert!(verify(&scratch, &[]).bad.is_empty());
}

#[test]
fn a_blob_of_another_size_is_found() {
    let (scratch, [shared, ..]) = two_models();
    let path = scratch.store.blob_path(&Digest::of(&shared.bytes));
    let expected = shared.bytes.len() as u64;
    for wrong in [&shared.bytes[..shared.bytes.len() - 1], &[], &[shared.bytes.as_slice(), b"x"].concat()] {
        replace(&path, wrong);
        let bad = only(&scratch);
        assert_eq!(bad.models, [name("a"), name("b")]);
        let found = wrong.len() as u64;
        assert!(matches!(bad.problem, Problem::Size { found: f, expected: e } if (f, e) == (found, expected)));
        assert_eq!(bad.problem.to_string(), format!("has {found} bytes, expected {expected}"));
    }
}

#[test]
fn a_missing_blob_is_found() {
    let (scratch, [shared, own, _]) = two_models();
    fs::remove_file(scratch.store.blob_path(&Digest::of(&own.bytes))).unwrap();
    let bad = only(&scratch);
    assert_eq!((bad.digest, bad.models), (Some(Digest::of(&own.bytes)), vec![name("a")]));
    assert!(matches!(bad.problem, Problem::Missing));
    assert_eq!(bad.problem.to_string(), "missing");

    fs::remove_file(scratch.store.blob_path(&Digest::of(&shared.bytes))).unwrap();
    let outcome = verify(&scratch, &["b"]);
    assert_eq!(outcome.bad.len(), 1);
    assert_eq!(outcome.bad[0].models, [name("b")]);
}

#[test]
fn a_blob_that_no_model_reaches_is_hashed_too() {
    let (scratch, [shared, own, _]) = two_models();
    fs::remove_file(scratch.store.manifest_path(&name("a"))).unwrap();
    assert!(verify(&scratch, &[]).bad.is_empty());
    replace(&scratch.store.blob_path(&Digest::of(&own.bytes)), &shared.bytes);
    let bad = only(&scratch);
    assert_eq!((bad.digest, bad.models), (Some(Digest::of(&own.bytes)), vec![]));
    assert!(matches!(bad.problem, Problem::Content { found, .. } if found == Digest::of(&shared.bytes)));
    assert!(verify(&scratch, &["b"]).bad.is_empty());
}

#[test]
fn a_manifest_that_cannot_be_read_is_found() {
    let (scratch, _) = two_models();
    let path = scratch.store.manifest_path(&name("a"));
    fs::write(&path, b"").unwrap();
    let bad = only(&scratch);
    assert_eq!((bad.digest, bad.models), (None, vec![name("a")]));
    let text = bad.problem.to_string();
    assert!(text.starts_with(&format!("{} cannot be used: not a valid manifest: EOF", path.display())), "{text}");
    assert_eq!(verify(&scratch, &["a"]).bad.len(), 1);
    assert!(verify(&scratch, &["b"]).bad.is_empty());
}

#[test]
fn a_config_that_is_none_is_found_and_the_other_blobs_are_checked_all_the_same() {
    let scratch = Scratch::new();
    let blob = Blob::plain("w", 5, 1);
    let ingest = scratch.store.ingest().unwrap();
    let manifest = add_with_config(&ingest, std::slice::from_ref(&blob), b"{\"longshore\":{\"version\":9}}");
    ingest.commit(&name("m"), &manifest).unwrap();
    let bad = only(&scratch);
    assert_eq!((bad.digest, &bad.models), (Some(manifest.config.digest), &vec![name("m")]));
    assert!(matches!(&bad.problem, Problem::Model(error) if matches!(**error, ModelError::Document { .. })));
    assert!(bad.problem.to_string().contains("cannot be used: not a valid config: "), "{}", bad.problem);

    fs::remove_file(scratch.store.blob_path(&Digest::of(&blob.bytes))).unwrap();
    let mut problems: Vec<_> = verify(&scratch, &["m"]).bad.iter().map(|bad| bad.problem.to_string()).collect();
    problems.sort_unstable();
    assert_eq!((problems.len(), problems[1].as_str()), (2, "missing"));
}

#[test]
fn a_damaged_config_is_reported_once() {
    let (scratch, _) = two_models();
    let config = scratch.store.model(&name("a")).unwrap().manifest.config;
    let path = scratch.store.blob_path(&config.digest);
    let whole = fs::read(&path).unwrap();
    replace(&path, &b"#".repeat(whole.len()));
    assert!(matches!(only(&scratch).problem, Problem::Content { .. }));
    replace(&path, &whole[1..]);
    assert!(matches!(only(&scratch).problem, Problem::Size { .. }));
    fs::remove_file(&path).unwrap();
    let bad = only(&scratch);
    assert!(matches!(bad.problem, Problem::Missing));
    assert_eq!((bad.digest, bad.models), (Some(config.digest), vec![name("a")]));
}

/// Commits a model with a changed table.
fn commit_changed(scratch: &Scratch, text: &str, blobs: &[Blob], change: impl Fn(&mut Vec<BlobEntry>)) {
    let mut entries = table(blobs).blobs;
    change(&mut entries);
    let TensorTable { facts, import, .. } = table(&[]);
    let config = Config::new(TensorTable::new(facts, import, entries)).to_bytes();
    let ingest = scratch.store.ingest().unwrap();
    let manifest = add_with_config(&ingest, blobs, &config);
    ingest.commit(&name(text), &manifest).unwrap();
}

#[test]
fn a_header_that_contradicts_the_table_is_found() {
    type Change = fn(&mut Vec<BlobEntry>);
    // A blob in nvfp4 with a global scale.
    let blob = Blob::nvfp4("w", 4, 2);
    let cases: [(Change, &str); 8] = [
        (|entries| entries[0].tensors[0].name = "w.v".into(), "it has no \"w.v\""),
        (|entries| entries[0].tensors[0].parts[0].offset += 4, "\"w\" is U32 [4, 4] at "),
        (|entries| entries[0].tensors[0].parts[1].offset += 1, "\"w.scale\" is U8 [4, 2] at "),
        (|entries| entries[0].tensors[0].parts[2].shape = Shape::new([1]), "\"w.global_scale\" is F32 [] at "),
        (
            |entries| {
                let tensor = &mut entries[0].tensors[0];
                tensor.quantization.as_mut().unwrap().quant_type = "mxfp4".into();
                tensor.parts.pop();
            },
            "quant_type is \"nvfp4\", expected \"mxfp4\" for \"w\"",
        ),
        (
            |entries| {
                let tensor = &mut entries[0].tensors[0];
                tensor.quantization.as_mut().unwrap().group_size = 32;
                (tensor.parts[1].shape, tensor.parts[1].length) = (Shape::new([4, 1]), 4);
            },
            "group_size is \"16\", expected \"32\" for \"w\"",
        ),
        (|entries| drop(entries[0].tensors[0].parts.pop()), "it has \"w.global_scale\", which the table does not list"),
        (|entries| entries[0].tensors.clear(), "it has \"w\", which the table does not list"),
    ];
    for (change, expected) in cases {
        let scratch = Scratch::new();
        commit_changed(&scratch, "m", std::slice::from_ref(&blob), change);
        let bad = only(&scratch);
        assert_eq!((bad.digest, bad.models), (Some(Digest::of(&blob.bytes)), vec![name("m")]));
        let text = bad.problem.to_string();
        assert!(matches!(bad.problem, Problem::Header { .. }), "{text}");
        assert!(text.starts_with("its header does not match the tensor table: "), "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_tensor_blob_without_the_metadata_of_its_code_is_found() {
    let scratch = Scratch::new();
    let mut plain = Blob::plain("w", 4, 1);
    let quantized = Blob::int4("w", 4, 32, 2);
    plain.tensors.clone_from(&quantized.tensors);
    commit(&scratch.store, "m", &[plain]);
    let text = only(&scratch).problem.to_string();
    assert!(text.ends_with("quant_type is not given, expected \"int4\" for \"w\""), "{text}");
}

#[test]
fn a_tensor_blob_that_is_no_safetensors_file_is_found() {
    let scratch = Scratch::new();
    let mut blob = Blob::plain("w", 4, 1);
    blob.bytes = b"12345678{\"w\":".to_vec();
    commit(&scratch.store, "m", &[blob]);
    let bad = only(&scratch);
    assert!(matches!(bad.problem, Problem::Header { .. }), "{bad:?}");
}

#[test]
fn a_table_that_is_not_about_the_blobs_of_the_manifest_is_found() {
    let scratch = Scratch::new();
    let (listed, other) = (Blob::plain("a", 1, 1), Blob::plain("b", 1, 2));
    let unlisted = BlobEntry::new(Digest::of(&other.bytes), other.tensors.clone());
    commit_changed(&scratch, "m", std::slice::from_ref(&listed), |entries| *entries = vec![unlisted.clone()]);
    let bad = verify(&scratch, &[]).bad;
    let texts: Vec<_> = bad.iter().map(|bad| (bad.digest.unwrap(), bad.problem.to_string())).collect();
    let text = |detail: &str| format!("the tensor table does not match the manifest: {detail}");
    let expected = [
        (unlisted.digest, text("the manifest does not list this blob")),
        (Digest::of(&listed.bytes), text("the table does not list this blob")),
    ];
    assert_eq!(texts, expected);
    assert!(bad.iter().all(|bad| bad.models == [name("m")]));
}

#[test]
fn a_layer_that_is_not_called_like_its_tensors_is_found() {
    let group = |name: &str, tensor: &str, component: Option<&str>| Blob {
        name: name.to_owned(),
        component: component.map(ToOwned::to_owned),
        ..Blob::plain(tensor, 2, 3)
    };
    let good =
        [group("l.experts", "l.experts.up.weight", None), group("e", "e.w", Some("vae")), Blob::plain("w", 2, 1)];
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &good);
    assert!(verify(&scratch, &[]).bad.is_empty());

    for bad in [
        group("l.exp", "l.experts.up.weight", None),
        group("", "w", None),
        group("w.", "w.v", None),
        group("e/w", "w", None),
        group("w.v", "w", None),
    ] {
        let scratch = Scratch::new();
        commit(&scratch.store, "m", std::slice::from_ref(&bad));
        let found = only(&scratch);
        assert_eq!((found.digest, &found.models), (Some(Digest::of(&bad.bytes)), &vec![name("m")]));
        let expected = format!(
            "the tensor table does not match the manifest: the layer {:?} is neither a tensor of this blob nor the prefix of all of them",
            bad.name
        );
        assert_eq!(found.problem.to_string(), expected);
    }
    // Names without the component, or with another one.
    for layer in ["e.w", "text_encoder/e.w", "vaee.w", "vae/vae/e.w"] {
        rename_layers(&scratch, &["l.experts", layer, "w"]);
        assert!(matches!(only(&scratch).problem, Problem::Table { .. }), "{layer}");
    }
    rename_layers(&scratch, &["l.experts", "vae/e.w", "w"]);
    assert!(verify(&scratch, &[]).bad.is_empty());
}

/// Gives the tensor layers of the model `m` these names.
fn rename_layers(scratch: &Scratch, names: &[&str]) {
    let mut manifest = scratch.store.model(&name("m")).unwrap().manifest;
    for (layer, name) in manifest.layers.iter_mut().zip(names) {
        layer.name = Some((*name).to_owned());
    }
    fs::write(scratch.store.manifest_path(&name("m")), manifest.to_bytes()).unwrap();
}

#[test]
fn layers_that_are_exchanged_are_found() {
    let scratch = Scratch::new();
    let blobs = [Blob::plain("a", 2, 1), Blob::plain("b", 2, 2)];
    commit(&scratch.store, "m", &blobs);
    rename_layers(&scratch, &["b", "a"]);
    let bad = verify(&scratch, &[]).bad;
    let mut digests: Vec<_> = bad.iter().filter_map(|bad| bad.digest).collect();
    digests.sort_unstable();
    let mut expected: Vec<_> = blobs.iter().map(|blob| Digest::of(&blob.bytes)).collect();
    expected.sort_unstable();
    assert_eq!(digests, expected);
    assert!(bad.iter().all(|bad| matches!(bad.problem, Problem::Table { .. })));
}

#[test]
fn a_config_without_a_table_is_found_where_there_are_tensors() {
    let scratch = Scratch::new();
    let config = Config::default().to_bytes();
    let import = |blobs: &[Blob]| {
        let ingest = scratch.store.ingest().unwrap();
        let manifest = add_with_config(&ingest, blobs, &config);
        ingest.commit(&name("m"), &manifest).unwrap();
    };
    import(&[]);
    assert!(verify(&scratch, &[]).bad.is_empty());
    import(&[Blob::plain("w", 2, 1)]);
    let bad = only(&scratch);
    assert_eq!((bad.digest, bad.models), (Some(Digest::of(&config)), vec![name("m")]));
    assert_eq!(
        bad.problem.to_string(),
        "the tensor table does not match the manifest: the config has none, and the manifest lists tensor blobs"
    );
}

#[test]
fn models_that_describe_a_blob_differently_are_judged_each_for_itself() {
    let blob = Blob::plain("w", 4, 1);
    for (wrong, right) in [("a", "b"), ("b", "a")] {
        let scratch = Scratch::new();
        commit(&scratch.store, right, std::slice::from_ref(&blob));
        commit_changed(&scratch, wrong, std::slice::from_ref(&blob), |entries| {
            entries[0].tensors[0].parts[0].offset += 1;
        });
        let bad = only(&scratch);
        assert!(matches!(bad.problem, Problem::Header { .. }));
        assert_eq!(bad.models, [name(wrong)]);
        assert!(verify(&scratch, &[right]).bad.is_empty());
    }
}

#[test]
fn models_that_give_a_blob_different_sizes_are_judged_each_for_itself() {
    let blob = Blob::plain("w", 4, 1);
    for (wrong, right) in [("a", "b"), ("b", "a")] {
        let scratch = Scratch::new();
        commit(&scratch.store, "a", std::slice::from_ref(&blob));
        commit(&scratch.store, "b", std::slice::from_ref(&blob));
        let mut manifest = scratch.store.model(&name(wrong)).unwrap().manifest;
        manifest.layers[0].size += 1;
        fs::write(scratch.store.manifest_path(&name(wrong)), manifest.to_bytes()).unwrap();
        let bad = only(&scratch);
        assert!(matches!(bad.problem, Problem::Size { .. }));
        assert_eq!(bad.models, [name(wrong)]);
        // Damage in addition to the problem is found too.
        let mut damaged = blob.bytes.clone();
        damaged[100] ^= 1;
        replace(&scratch.store.blob_path(&Digest::of(&blob.bytes)), &damaged);
        let bad = verify(&scratch, &[]).bad;
        assert_eq!(bad.iter().map(|bad| bad.models.clone()).collect::<Vec<_>>(), [[name(wrong)], [name(right)]]);
    }
}

#[test]
fn components_may_share_a_blob() {
    let scratch = Scratch::new();
    let shared = Blob::plain("encoder.weight", 4, 1);
    let (one, two) = (shared.clone().in_component("text_encoder"), shared.in_component("text_encoder_2"));
    commit(&scratch.store, "m", &[one.clone(), two.clone()]);
    assert!(verify(&scratch, &[]).bad.is_empty());
    // The entries of both components are checked.
    for at in [0, 1] {
        commit_changed(&scratch, "m", &[one.clone(), two.clone()], |entries| {
            entries[at].tensors[0].parts[0].offset += 1;
        });
        assert!(matches!(only(&scratch).problem, Problem::Header { .. }), "{at}");
    }
}

#[test]
fn a_name_that_does_not_exist_is_an_error() {
    let (scratch, _) = two_models();
    let options = VerifyOptions { names: vec![name("a"), name("nobody")], ..VerifyOptions::default() };
    let error = scratch.store.verify(&options, &Silent).unwrap_err();
    assert!(matches!(&error, VerifyError::NotFound(_)), "{error}");
    assert!(error.to_string().starts_with("no model nobody:latest in "), "{error}");
}

#[derive(Default)]
struct Watch {
    total: AtomicU64,
    done: AtomicU64,
    stop: AtomicBool,
}

impl Progress for Watch {
    fn begin(&self, stage: &'static str, total: u64) {
        assert_eq!(stage, "verifying");
        self.total.store(total, Ordering::Relaxed);
    }

    fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

#[test]
fn progress_adds_up_and_can_stop_it() {
    let (scratch, _) = two_models();
    let watch = Watch::default();
    let outcome = scratch.store.verify(&VerifyOptions::default(), &watch).unwrap();
    assert_eq!(watch.done.into_inner(), outcome.bytes);
    assert_eq!(watch.total.into_inner(), outcome.bytes);
    let watch = Watch { stop: AtomicBool::new(true), ..Watch::default() };
    let stopped = scratch.store.verify(&VerifyOptions::default(), &watch);
    assert!(matches!(stopped, Err(VerifyError::Cancelled)));
}

#[test]
fn a_model_that_is_removed_meanwhile_is_no_finding() {
    /// Removes a model after its blobs are listed and before they are read.
    struct Remove<'s>(&'s Scratch, AtomicBool);
    impl Progress for Remove<'_> {
        fn begin(&self, _: &'static str, _: u64) {
            if !self.1.swap(true, Ordering::Relaxed) {
                assert_eq!(self.0.store.remove(&name("a")).unwrap().blobs.len(), 2);
            }
        }
    }
    let (scratch, _) = two_models();
    let outcome = scratch.store.verify(&VerifyOptions::default(), &Remove(&scratch, AtomicBool::default())).unwrap();
    assert!(outcome.bad.is_empty(), "{:?}", outcome.bad);
}

#[test]
fn a_half_finished_import_is_no_finding() {
    let (scratch, _) = two_models();
    let ingest = scratch.store.ingest().unwrap();
    add(&ingest, &[Blob::plain("new", 4, 9)]);
    let outcome = verify(&scratch, &[]);
    assert_eq!((outcome.blobs, outcome.bad.len()), (6, 0));
}

#[cfg(target_os = "linux")]
#[test]
fn what_the_disk_does_not_read_is_no_content() {
    // It opens, has no bytes by its length, and cannot be read where a process has no memory.
    let unreadable = |path: &std::path::Path| {
        fs::remove_file(path).unwrap();
        std::os::unix::fs::symlink("/proc/self/mem", path).unwrap();
    };
    let scratch = Scratch::new();
    let empty = Blob { bytes: Vec::new(), tensors: Vec::new(), ..Blob::plain("w", 1, 1) };
    commit(&scratch.store, "m", &[empty, Blob::plain("v", 4, 1)]);
    unreadable(&scratch.store.blob_path(&Digest::of(b"")));
    let outcome = verify(&scratch, &[]);
    let found = outcome.bad.iter().find(|bad| matches!(bad.problem, Problem::Read(_))).expect("it cannot be read");
    assert_eq!((found.digest, &found.models), (Some(Digest::of(b"")), &vec![name("m")]));
    let error = found.problem.system_error().expect("the system said why");
    assert_eq!(error.raw_os_error(), Some(5), "{error}");
    assert_eq!(outcome.blobs, 4);
}
