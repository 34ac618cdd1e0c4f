//! Repair of damaged blobs from the source.

use std::{collections::BTreeMap, fs, path::Path};

use longshore_manifest::{
    Digest, Progress, Silent, Store,
    store::{IngestError, Problem, VerifyError, VerifyOptions},
};
use longshore_packer::{
    ImportOptions, Plan, PlanOptions, RepairError, RepairOptions, RepairOutcome, RepairProblem, Source, repair,
};
use longshore_quant::{Profile, policy::Policy};
use proptest::prelude::*;

use crate::{
    round_trip::{groups, write},
    stores::{import_as, is_clean, name, read, store, try_import},
    support::{Dir, chain, fixture, open, options},
};

/// Every blob of a store with its bytes.
type Blobs = BTreeMap<Digest, Vec<u8>>;

fn blobs(store: &Store) -> Blobs {
    let entries = fs::read_dir(store.root().join("blobs")).expect("the store is ours");
    let names = entries.map(|entry| entry.expect("the store is ours").file_name().into_string().expect("ASCII"));
    let digests = names.map(|name| Digest::from_file_name(&name).expect("nothing else is there"));
    digests.map(|digest| (digest, fs::read(store.blob_path(&digest)).expect("it is there"))).collect()
}

#[derive(Debug, Clone, Copy)]
enum Damage {
    Flip,
    Cut,
    Grow,
    Remove,
}

const DAMAGES: [Damage; 4] = [Damage::Flip, Damage::Cut, Damage::Grow, Damage::Remove];

impl Damage {
    /// Damages the file at `path`; `at` selects the place.
    fn to(self, path: &Path, at: usize) {
        let mut bytes = fs::read(path).expect("it is there");
        let len = bytes.len();
        match self {
            Self::Flip => bytes[at % len] ^= 1 << (at % 8),
            Self::Cut => bytes.truncate(at % len),
            Self::Grow => bytes.push(0),
            Self::Remove => {}
        }
        fs::remove_file(path).expect("the store is ours");
        if !matches!(self, Self::Remove) {
            fs::write(path, bytes).expect("the store is ours");
        }
    }
}

fn damage(store: &Store, digests: impl IntoIterator<Item = Digest>) {
    for (at, digest) in digests.into_iter().enumerate() {
        DAMAGES[at % DAMAGES.len()].to(&store.blob_path(&digest), 7 * at + 11);
    }
}

fn mend(store: &Store, source: &Source, options: &RepairOptions) -> RepairOutcome {
    repair(store, source.clone(), options, &Silent).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn mend_all(store: &Store, source: &Source) -> RepairOutcome {
    mend(store, source, &RepairOptions::default())
}

/// Damages every blob and repairs the store: first all blobs but the documents, then the documents too.
fn survives(what: &str, store: &Store, source: &Source) {
    let before = blobs(store);
    let config = read(store, "m").manifest.config.digest;
    let tensors_and_files: Vec<_> = before.keys().copied().filter(|digest| *digest != config).collect();
    for damaged in [tensors_and_files, before.keys().copied().collect(), vec![config]] {
        damage(store, damaged.iter().copied());
        let outcome = mend_all(store, source);
        assert!(outcome.left.is_empty(), "{what}: {:?}", outcome.left);
        let repaired: Vec<_> = outcome.repaired.iter().map(|blob| blob.digest).collect();
        assert_eq!(repaired, damaged, "{what}");
        assert!(blobs(store) == before, "{what}: other bytes");
        is_clean(store);
    }
}

#[test]
fn every_kind_of_source() {
    for (model, scheme) in [
        ("llama", "none"),
        ("qwen3-moe", "int4"),
        ("gpt-oss", "int8-g32"),
        ("mixtral", "nvfp4"),
        ("flux", "mxfp8"),
        ("deepseek-v3-fp8", "none"),
        ("deepseek-v3-fp8", "int4"),
        ("gpt-oss-mxfp4", "none"),
        ("llama-modelopt-nvfp4", "none"),
        ("qwen3-mlx-4bit", "none"),
    ] {
        let (dir, target) = (fixture(model), Dir::new());
        let (store, source) = (store(&target), dir.open().expect("a fixture is a model"));
        import_as(&store, "m", &source, scheme);
        survives(&format!("{model} {scheme}"), &store, &source);
    }
}

/// Options that the record does not hold are found again.
#[test]
fn every_option() {
    let with = |scheme, change: fn(PlanOptions) -> PlanOptions| change(options(scheme, "default"));
    for (what, model, plan_options, profile) in [
        ("floats", "deepseek-v3-fp8", with("none", |options| PlanOptions { floats: true, ..options }), Profile::Plus),
        (
            "global scale",
            "llama",
            with("nvfp4", |options| PlanOptions { global_scale: true, ..options }),
            Profile::Plus,
        ),
        ("again", "qwen3-mlx-4bit", with("int8", |options| PlanOptions { requantize: true, ..options }), Profile::Mlx),
        (
            "decoded",
            "qwen3-mlx-4bit",
            with("none", |o| PlanOptions { floats: true, requantize: true, ..o }),
            Profile::Plus,
        ),
        ("metal", "llama", options("int6-g128", "uniform"), Profile::MlxMetal),
        ("best", "llama", options("mxfp4", "v0.32"), Profile::Best),
        ("old", "deepseek-v3-fp8", options("none", "v0.32"), Profile::Plus),
    ] {
        let (dir, target) = (fixture(model), Dir::new());
        let (store, source) = (store(&target), dir.open().expect("a fixture is a model"));
        let plan = Plan::new(source.clone(), &plan_options).unwrap_or_else(|error| panic!("{what}: {}", chain(&error)));
        let import = ImportOptions { profile, ..ImportOptions::default() };
        try_import(&store, "m", &plan, &import).unwrap_or_else(|error| panic!("{what}: {}", chain(&error)));
        survives(what, &store, &source);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_damage_to_any_checkpoint(
        groups in groups(),
        scheme in prop::sample::select(&["none", "none", "int4", "int8-g32", "nvfp4", "mxfp8"][..]),
        damages in prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize, any::<u16>()), 1..8),
    ) {
        let Some(dir) = write(&groups, false) else { return Ok(()) };
        let Ok(source) = dir.open() else { return Ok(()) };
        let Ok(plan) = Plan::new(source.clone(), &options(scheme, "uniform")) else { return Ok(()) };
        let target = Dir::new();
        let store = store(&target);
        let import = ImportOptions { allow_non_finite: true, ..ImportOptions::default() };
        let Ok(imported) = try_import(&store, "m", &plan, &import) else { return Ok(()) };
        let before = blobs(&store);
        let all: Vec<_> = before.keys().copied().collect();
        let mut damaged = BTreeMap::new();
        for (which, how, at) in damages {
            damaged.entry(*which.get(&all)).or_insert((DAMAGES[how], usize::from(at)));
        }
        for (digest, (how, at)) in &damaged {
            how.to(&store.blob_path(digest), *at);
        }
        let outcome = mend_all(&store, &source);
        prop_assert!(outcome.left.is_empty(), "{:?}", outcome.left);
        prop_assert!(outcome.repaired.iter().map(|blob| blob.digest).eq(damaged.keys().copied()));
        prop_assert!(blobs(&store) == before);
        prop_assert_eq!(store.model(&name("m")).expect("it is whole").digest, imported.digest);
        is_clean(&store);
    }
}

fn small() -> Dir {
    Dir::model(&[("model.norm.weight", &[64]), ("model.layers.0.mlp.up_proj.weight", &[64, 64])])
}

/// The digest of a layer's blob.
fn blob(store: &Store, model: &str, layer: &str) -> Digest {
    let manifest = read(store, model).manifest;
    manifest.layers.iter().find(|found| found.name.as_deref() == Some(layer)).expect("it is stored").digest
}

const UP: &str = "model.layers.0.mlp.up_proj.weight";

#[test]
fn nothing_to_repair() {
    let (dir, target) = (small(), Dir::new());
    let (store, source) = (store(&target), dir.open().expect("it is a model"));
    import_as(&store, "m", &source, "none");
    let outcome = mend_all(&store, &source);
    assert!(outcome.repaired.is_empty() && outcome.left.is_empty());
    assert_eq!(outcome.verified.models, 1);
}

#[test]
fn another_source_changes_nothing() {
    let (dir, target) = (small(), Dir::new());
    let store = store(&target);
    import_as(&store, "m", &dir.open().expect("it is a model"), "int4");
    let wanted = [blob(&store, "m", UP), blob(&store, "m", "model.norm.weight"), blob(&store, "m", "config.json")];
    damage(&store, wanted);
    let damaged = blobs(&store);

    // A source with other bytes, another type, one tensor less and another companion file.
    let other = Dir::new();
    other.file("config.json", r#"{"architectures": ["TestForCausalLM"], "x": 1}"#);
    let values = [1_u8; 64 * 64 * 2];
    other.bytes("model.safetensors", &[(UP, longshore_st_format::Dtype::BF16, &[64, 64], &values)]);
    let outcome = mend_all(&store, &other.open().expect("it is a model"));
    assert!(outcome.repaired.is_empty());
    let why = |digest| {
        let found = outcome.left.iter().find(|left| left.bad.digest == Some(digest)).expect("it is bad");
        (chain(&found.why), found.hint.as_deref().unwrap_or_default())
    };
    let (text, hint) = why(wanted[0]);
    assert!(
        text.starts_with(&format!("the source gives other bytes for {UP}: they have the digest sha256:")),
        "{text}"
    );
    assert!(hint.contains("same version of the checkpoint"), "{hint}");
    assert_eq!(why(wanted[1]).0, "the source gives no \"model.norm.weight\"");
    assert!(why(wanted[2]).0.starts_with("the source gives other bytes for config.json"));
    assert!(blobs(&store) == damaged, "something was put in place");

    other.typed_weights("model.safetensors", &[(UP, longshore_st_format::Dtype::F32, &[64, 64])]);
    let outcome = mend_all(&store, &other.open().expect("it is a model"));
    let found = outcome.left.iter().find(|left| left.bad.digest == Some(wanted[0])).expect("it is bad");
    assert_eq!(
        found.why.to_string(),
        format!("the source gives tensor {UP:?} as F32 [64, 64] as int4-g64, expected BF16 [64, 64] as int4-g64")
    );
    // The right source still repairs everything.
    let outcome = mend_all(&store, &dir.open().expect("it is a model"));
    assert_eq!(outcome.repaired.len(), 3);
    is_clean(&store);
}

#[test]
fn only_the_named_models() {
    let (one, two, target) = (small(), small(), Dir::new());
    two.weights("model.safetensors", &[("model.norm.weight", &[64]), (UP, &[32, 64])]);
    let store = store(&target);
    import_as(&store, "one", &one.open().expect("it is a model"), "none");
    import_as(&store, "two", &two.open().expect("it is a model"), "none");
    let before = blobs(&store);
    let (shared, own, other) =
        (blob(&store, "one", "model.norm.weight"), blob(&store, "one", UP), blob(&store, "two", UP));
    assert_eq!(shared, blob(&store, "two", "model.norm.weight"));
    damage(&store, [shared, own, other]);

    // Blobs that both models need are repaired from either source. The rest of the other model is not looked at.
    let mut only = RepairOptions { names: vec![name("one")], ..RepairOptions::default() };
    let outcome = mend(&store, &two.open().expect("it is a model"), &only);
    let repaired: Vec<_> = outcome.repaired.iter().map(|blob| blob.digest).collect();
    assert_eq!(repaired, [shared]);
    assert_eq!(outcome.left.len(), 1);
    assert!(matches!(outcome.left[0].why, RepairProblem::Differs { .. }), "{:?}", outcome.left);

    // Without names, each source repairs the blobs of its own model.
    let outcome = mend_all(&store, &two.open().expect("it is a model"));
    assert_eq!(outcome.repaired[0].digest, other);
    assert_eq!(outcome.repaired[0].models, [name("two")]);
    let outcome = mend_all(&store, &one.open().expect("it is a model"));
    assert_eq!(outcome.repaired[0].digest, own);
    assert!(outcome.left.is_empty() && blobs(&store) == before);

    only.names = vec![name("three")];
    let error = repair(&store, one.open().expect("it is a model"), &only, &Silent).expect_err("there is none");
    assert!(matches!(error, RepairError::Verify(VerifyError::NotFound(_))), "{error:?}");
}

#[test]
fn a_layer_of_the_same_name_and_size_in_another_model() {
    // Two versions of a checkpoint. The blob of one version must not be accepted as that of the other.
    let (one, two, target) = (small(), small(), Dir::new());
    let values = [1_u8; 64 * 64 * 2];
    two.bytes("model.safetensors", &[(UP, longshore_st_format::Dtype::BF16, &[64, 64], &values)]);
    let store = store(&target);
    import_as(&store, "one", &one.open().expect("it is a model"), "none");
    import_as(&store, "two", &two.open().expect("it is a model"), "none");
    let before = blobs(&store);
    for (model, dir) in [("one", &one), ("two", &two)] {
        Damage::Flip.to(&store.blob_path(&blob(&store, model, UP)), 5000);
        assert_eq!(mend_all(&store, &dir.open().expect("it is a model")).repaired.len(), 1);
        assert!(blobs(&store) == before);
    }
}

#[test]
fn a_policy_of_ones_own_is_given_again() {
    let text = "[[rule]]\nname = \"*up_proj.weight\"\naction = \"int8\"\n";
    let policy = Policy::parse(text, "mine").expect("it is valid");
    let (dir, target) = (small(), Dir::new());
    let (store, source) = (store(&target), dir.open().expect("it is a model"));
    let plan = Plan::new(
        source.clone(),
        &PlanOptions { scheme: "int4".parse().ok(), policy: policy.clone(), ..PlanOptions::default() },
    )
    .expect("it can be planned");
    try_import(&store, "m", &plan, &ImportOptions::default()).expect("it can be imported");
    let mut given = RepairOptions {
        policy: Some(Policy::parse("[[rule]]\naction = \"keep\"\n", "mine").expect("it is valid")),
        ..RepairOptions::default()
    };
    let up = blob(&store, "m", UP);
    Damage::Cut.to(&store.blob_path(&up), 9);
    let left = mend(&store, &source, &given).left;
    assert!(matches!(left[0].why, RepairProblem::Differs { .. }), "{left:?}");

    given.policy = Some(policy);
    let config = read(&store, "m").manifest.config.digest;
    damage(&store, [config]);
    let outcome = mend(&store, &source, &given);
    assert_eq!(outcome.repaired.len(), 2, "{:?}", outcome.left);
    is_clean(&store);

    // No built-in policy chooses int8 here.
    Damage::Remove.to(&store.blob_path(&up), 0);
    let left = mend_all(&store, &source).left;
    let hint = left[0].hint.as_deref().unwrap_or_default();
    assert!(hint.contains("\"mine\"") && hint.contains("--policy FILE"), "{hint}");
}

#[test]
fn a_draft_is_given_again() {
    let (dir, draft, target) = (small(), small(), Dir::new());
    draft.weights("model.safetensors", &[("model.layers.0.mlp.down_proj.weight", &[32, 64])]);
    let both =
        || dir.open().expect("it is a model").with_draft(draft.open().expect("it is a model")).expect("they fit");
    let store = store(&target);
    import_as(&store, "m", &both(), "int4");
    let before = blobs(&store);
    damage(&store, [blob(&store, "m", UP), blob(&store, "m", "draft.model.layers.0.mlp.down_proj.weight")]);
    let outcome = mend_all(&store, &dir.open().expect("it is a model"));
    assert_eq!((outcome.repaired.len(), outcome.left.len()), (1, 1));
    assert!(outcome.left[0].hint.as_deref().is_some_and(|hint| hint.contains("--draft DIR")), "{:?}", outcome.left);
    mend_all(&store, &both());
    assert!(blobs(&store) == before);
    survives("draft", &store, &both());
}

#[test]
fn what_cannot_be_repaired() {
    let (dir, target) = (small(), Dir::new());
    let (store, source) = (store(&target), dir.open().expect("it is a model"));
    // The record of a measured import holds losses that only measuring gives.
    let plan = crate::support::plan(&source, "int4", "default");
    let import = ImportOptions { measure: true, ..ImportOptions::default() };
    try_import(&store, "m", &plan, &import).expect("it can be imported");
    let up = blob(&store, "m", UP);
    damage(&store, [up]);
    assert_eq!(mend_all(&store, &source).repaired.len(), 1);
    damage(&store, [up, read(&store, "m").manifest.config.digest]);
    let outcome = mend_all(&store, &source);
    assert!(outcome.left.iter().all(|left| matches!(left.why, RepairProblem::Config)), "{:?}", outcome.left);
    assert_eq!(outcome.left.len(), 2);
    assert_eq!(outcome.left[0].hint.as_deref(), Some("import the model again under its name"));

    // A manifest cannot be made from its blobs. The source of a blob that no model needs is unknown.
    let manifest = store.manifest_path(&name("m"));
    fs::remove_file(&manifest).expect("it is there");
    fs::write(&manifest, "{}").expect("the store is ours");
    let left = mend_all(&store, &source).left;
    assert!(left[0].bad.digest.is_none() && matches!(left[0].why, RepairProblem::Documents));
    assert!(left[1..].iter().all(|left| matches!(left.why, RepairProblem::Unneeded)), "{left:?}");
    assert_eq!(left.len(), 3);
}

#[test]
fn a_source_that_changes_meanwhile() {
    let (dir, target) = (small(), Dir::new());
    let (store, source) = (store(&target), dir.open().expect("it is a model"));
    import_as(&store, "m", &source, "none");
    damage(&store, [blob(&store, "m", UP), blob(&store, "m", "config.json")]);
    dir.file("config.json", "{}");
    // The other blob is repaired.
    let outcome = mend_all(&store, &source);
    assert_eq!((outcome.repaired.len(), outcome.left.len()), (1, 1));
    let text = chain(&outcome.left[0].why);
    assert!(text.starts_with("it cannot be built again: cannot read ") && text.contains("2 bytes"), "{text}");
    assert!(matches!(outcome.left[0].bad.problem, Problem::Size { .. } | Problem::Missing | Problem::Content { .. }));
}

#[test]
fn a_store_of_another_program() {
    let (dir, target) = (small(), Dir::new());
    let store = store(&target);
    import_as(&store, "m", &dir.open().expect("it is a model"), "none");
    damage(&store, [blob(&store, "m", UP)]);
    fs::remove_file(store.root().join(longshore_manifest::store::MARKER_NAME)).expect("it is there");
    let foreign = Store::open(store.root()).expect("it can be read");
    let error = repair(&foreign, dir.open().expect("it is a model"), &RepairOptions::default(), &Silent);
    assert!(matches!(error, Err(RepairError::Ingest(IngestError::Foreign(_)))), "{error:?}");
}

/// Stops once this number of stages has begun.
struct StopAt(std::sync::atomic::AtomicUsize);

impl Progress for StopAt {
    fn begin(&self, _: &'static str, _: u64) {
        let _ =
            self.0.fetch_update(std::sync::atomic::Ordering::Relaxed, std::sync::atomic::Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
    }

    fn cancelled(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Relaxed) == 0
    }
}

#[test]
fn stopped_half_way() {
    let (dir, target) = (small(), Dir::new());
    let (store, source) = (store(&target), dir.open().expect("it is a model"));
    import_as(&store, "m", &source, "int4");
    let config = read(&store, "m").manifest.config.digest;
    damage(&store, [blob(&store, "m", UP), config]);
    let damaged = blobs(&store);
    for stages in [1, 2] {
        let stop = StopAt(stages.into());
        let error = repair(&store, source.clone(), &RepairOptions::default(), &stop).expect_err("it was stopped");
        assert!(matches!(error, RepairError::Cancelled), "{error:?}");
        assert!(blobs(&store) == damaged);
        assert_eq!(fs::read_dir(store.root().join("tmp")).expect("the store is ours").count(), 0);
    }
    let whole = store.verify(&VerifyOptions::default(), &Silent).expect("the store is ours");
    assert_eq!(whole.bad.len(), 2);
    assert_eq!(open(dir.path()).map(|source| mend_all(&store, &source).repaired.len()).ok(), Some(2));
}
