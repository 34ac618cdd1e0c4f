//! Models of a store as sources.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use longshore_manifest::{
    Config, Descriptor, Digest, Manifest, Store,
    document::{Role, TensorTable, media_type},
};
use longshore_packer::{ExportOptions, ImportError, ImportOptions, Kind, PlanOptions, ReadError, SourceError};
use longshore_quant::FloatType;
use longshore_st_format::{Dtype, Layout, Shape};

use crate::{
    stores::{export_to, files, import_as, is_clean, read, store, tensors, threads, try_import},
    support::{Dir, FLOAT_MODELS, chain, fixture, open, plan},
};

fn manifest_of(store: &Store, name: &str) -> PathBuf {
    store.manifest_path(&name.parse().expect("tests use valid names"))
}

/// The layers of tensors, with their names and digests.
fn layers(store: &Store, name: &str) -> Vec<Descriptor> {
    read(store, name).manifest.layers
}

fn table(store: &Store, name: &str) -> TensorTable {
    (**read(store, name).config.longshore.as_ref().expect("it was imported")).clone()
}

/// Importing from one store of this program into another gives the same blobs, names and record of the import.
#[test]
fn a_model_moves_between_stores() {
    for name in FLOAT_MODELS.iter().chain(&["flux"]) {
        let (checkpoint, first, second) = (fixture(name), Dir::new(), Dir::new());
        let (first, second) = (store(&first), store(&second));
        let source = checkpoint.open().expect("it is a model");
        for scheme in ["none", "int4"] {
            import_as(&first, scheme, &source, scheme);
            let again = open(&manifest_of(&first, scheme)).unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
            import_as(&second, scheme, &again, "none");
            is_clean(&second);
            assert_eq!(layers(&second, scheme), layers(&first, scheme), "{name} {scheme}");
            let (before, after) = (table(&first, scheme), table(&second, scheme));
            assert_eq!((after.blobs, after.facts), (before.blobs, before.facts), "{name} {scheme}");
        }
        // Floats may be quantized while they are imported.
        let floats = open(&manifest_of(&first, "none")).expect("it is a model");
        import_as(&second, "late", &floats, "int4");
        assert_eq!(layers(&second, "late"), layers(&first, "int4"), "{name}");
    }
}

#[test]
fn and_comes_back_as_the_checkpoint() {
    let (checkpoint, first, second) = (fixture("qwen3-moe"), Dir::new(), Dir::new());
    let (place, first) = (second.join("out"), store(&first));
    let second = store(&second);
    import_as(&first, "m", &checkpoint.open().expect("it is a model"), "none");
    import_as(&second, "m", &open(&manifest_of(&first, "m")).expect("it is a model"), "none");
    export_to(&second, "m", &place, &ExportOptions::default());
    let (before, after) = (checkpoint.open().expect("it is a model"), open(&place).expect("it is one"));
    assert_eq!(tensors(&after), tensors(&before));
}

#[test]
fn with_its_draft() {
    let (target, draft) = (Dir::model(&[("a.weight", &[64, 64])]), Dir::model(&[("a.weight", &[32, 64])]));
    let (first, second) = (Dir::new(), Dir::new());
    let (first, second) = (store(&first), store(&second));
    let both = target.open().expect("it is a model").with_draft(draft.open().expect("it is one")).expect("they fit");
    import_as(&first, "m", &both, "none");
    let source = open(&manifest_of(&first, "m")).expect("it is a model");
    assert!(source.members[1].is_draft() && source.members.len() == 2);
    import_as(&second, "m", &source, "none");
    assert_eq!(layers(&second, "m"), layers(&first, "m"));
    assert_eq!(read(&second, "m").config.draft, read(&first, "m").config.draft);
}

/// Flips a bit of the byte at `at` of a file; at the same place again, the file is whole again.
fn flip(path: &Path, at: u64) {
    let mut file = File::options().read(true).write(true).open(path).expect("the directory is ours");
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut byte)).expect("the file is long enough");
    file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(&[byte[0] ^ 1])).expect("the directory is ours");
}

/// A blob of another store is hashed while it is read, in whatever order and by however many threads: one bit that
/// flipped anywhere in it, header and companions included, is an error that names the blob, and nothing is stored.
#[test]
fn a_damaged_blob_of_another_store_is_refused() {
    for (fixture_name, schemes) in [("qwen3-moe", &["none", "int4"][..]), ("gpt-oss", &["int4"])] {
        let (checkpoint, first, second) = (fixture(fixture_name), Dir::new(), Dir::new());
        let (first, second) = (store(&first), store(&second));
        let source = checkpoint.open().expect("it is a model");
        import_as(&second, "other", &source, "nvfp4");
        for scheme in schemes {
            import_as(&first, scheme, &source, scheme);
            let before = files(second.root());
            let model = read(&first, scheme);
            for layer in &model.manifest.layers {
                let path = first.blob_path(&layer.digest);
                for (at, asked, options) in [
                    (0, "none", threads(1)),
                    (layer.size / 2, "none", threads(2)),
                    (layer.size - 1, if *scheme == "none" { "int4" } else { "none" }, ImportOptions::default()),
                ] {
                    flip(&path, at);
                    let opened = open(&manifest_of(&first, scheme));
                    let error = match opened {
                        Ok(source) => {
                            let plan = plan(&source, asked, "default");
                            let error = try_import(&second, "m", &plan, &options).expect_err("it is damaged");
                            assert!(matches!(error, ImportError::Read(ReadError::Damaged { .. })), "{}", chain(&error));
                            chain(&error)
                        }
                        // The configuration is read when the source is opened.
                        Err(error) => {
                            assert_eq!(layer.name.as_deref(), Some("config.json"), "{}", chain(&error));
                            assert!(matches!(error, SourceError::Damaged { .. }), "{}", chain(&error));
                            chain(&error)
                        }
                    };
                    let names_it = error.contains(&layer.digest.file_name()) && error.contains("is damaged");
                    assert!(names_it, "{fixture_name} {scheme} {at}: {error}");
                    assert_eq!(files(second.root()), before, "{error}");
                    flip(&path, at);
                }
            }
            let table = first.blob_path(&model.manifest.config.digest);
            flip(&table, model.manifest.config.size - 2);
            let error = open(&manifest_of(&first, scheme)).expect_err("it is damaged");
            let names_it = chain(&error).contains(&model.manifest.config.digest.file_name());
            assert!(names_it, "{}", chain(&error));
            flip(&table, model.manifest.config.size - 2);
            import_as(&second, scheme, &open(&manifest_of(&first, scheme)).expect("it is whole"), "none");
        }
        is_clean(&second);
    }
}

/// Several blobs may be made of one that is damaged: the policy takes the projections of a group apart.
#[test]
fn and_so_it_is_where_several_blobs_are_made_of_it() {
    let (checkpoint, first, second) = (fixture("qwen3-moe"), Dir::new(), Dir::new());
    let (first, second) = (store(&first), store(&second));
    import_as(&first, "m", &checkpoint.open().expect("it is a model"), "none");
    let source = open(&manifest_of(&first, "m")).expect("it is a model");
    let plan = plan(&source, "int4", "default");
    let groups = layers(&first, "m")
        .into_iter()
        .filter(|layer| layer.name.as_ref().is_some_and(|name| name.ends_with(".experts")));
    let group = groups.max_by_key(|layer| layer.size).expect("it has experts");
    let name = group.name.as_deref().expect("it is named");
    assert!(plan.blobs.iter().filter(|blob| blob.name.starts_with(name)).count() > 1);
    let path = first.blob_path(&group.digest);
    for at in [0, group.size / 2, group.size - 1] {
        flip(&path, at);
        for options in [threads(1), threads(4)] {
            let error = try_import(&second, "m", &plan, &options).expect_err("it is damaged");
            assert!(chain(&error).contains(&group.digest.file_name()), "{}", chain(&error));
            assert!(second.names().expect("it can be read").is_empty());
        }
        flip(&path, at);
    }
    try_import(&second, "m", &plan, &threads(4)).expect("it is whole");
}

/// A store in ollama's layout, and the layers written so far.
struct Ollama(Dir, Vec<Descriptor>);

impl Ollama {
    fn layer(&mut self, kind: &str, name: Option<&str>, bytes: &[u8]) -> Descriptor {
        let digest = Digest::of(bytes);
        self.0.file(&format!("blobs/{}", digest.file_name()), bytes);
        let layer =
            Descriptor { media_type: kind.into(), digest, size: bytes.len() as u64, name: name.map(Into::into) };
        if kind != media_type::CONFIG {
            self.1.push(layer.clone());
        }
        layer
    }

    fn tensor(mut self, layer: &str, arrays: &[(&str, Dtype, &[u64], Vec<u8>)]) -> Self {
        let parts = arrays.iter().map(|(name, dtype, dims, _)| (*name, *dtype, Shape::from(*dims)));
        let layout = Layout::new(&std::collections::BTreeMap::new(), parts).expect("tests name arrays once");
        let mut file = layout.header().to_vec();
        for part in layout.parts() {
            let (.., bytes) = arrays.iter().find(|(name, ..)| *name == part.name).expect("the layout has no others");
            file.extend_from_slice(bytes);
        }
        self.layer(media_type::TENSOR, Some(layer), &file);
        self
    }

    /// Writes the manifest of a model with this `model_format`.
    fn done(mut self, format: &str) -> (Dir, PathBuf) {
        self.layer(media_type::JSON, Some("config.json"), br#"{"architectures":["TestForCausalLM"]}"#);
        self.layer("application/vnd.ollama.image.template", None, b"{{ .Prompt }}");
        let config = format!("{{\"model_format\":\"{format}\"}}");
        let config = self.layer(media_type::CONFIG, None, config.as_bytes());
        let Self(dir, layers) = self;
        let path = "manifests/registry.ollama.ai/library/m/latest";
        dir.file(path, Manifest::new(config, layers).to_bytes());
        let path = dir.join(path);
        (dir, path)
    }
}

fn noise(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at * 7 % 251).expect("it is below 251") ^ seed).collect()
}

/// Scales or biases: BF16 numbers.
fn halves(count: usize) -> Vec<u8> {
    [0x80_u8, 0x3C].repeat(count)
}

#[test]
fn codes_of_another_program_are_kept() {
    let (codes, stack) = (noise(4 * 2 * 8, 1), noise(4 * 2 * 2 * 4, 2));
    let globals: Vec<u8> = [0.5_f32, 2.0].iter().flat_map(|scale| scale.to_le_bytes()).collect();
    let ollama = Ollama(Dir::new(), Vec::new())
        .tensor("a.weight", &[("data", Dtype::U32, &[2, 8], codes.clone())])
        .tensor("a.weight_scale", &[("data", Dtype::BF16, &[2, 2], halves(4))])
        .tensor("a.weight_qbias", &[("data", Dtype::BF16, &[2, 2], halves(4))])
        .tensor("norm.weight", &[("norm.weight", Dtype::BF16, &[64], noise(128, 3))])
        .tensor(
            "model.layers.0.mlp.experts",
            &[
                ("model.layers.0.mlp.experts.up_proj.weight", Dtype::U32, &[2, 2, 4], stack.clone()),
                ("model.layers.0.mlp.experts.up_proj.weight.scale", Dtype::U8, &[2, 2, 2], vec![0x38; 8]),
                ("model.layers.0.mlp.experts.up_proj.weight.global_scale", Dtype::F32, &[2, 1, 1], globals.clone()),
            ],
        );
    let (_dir, path) = ollama.done("safetensors");
    let source = open(&path).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!((source.kind, source.architecture()), (Kind::Prequantized, Some("TestForCausalLM")));
    assert_eq!(source.warnings, ["left out layers that are neither weights nor files: template"]);

    let place = Dir::new();
    let store = store(&place);
    import_as(&store, "m", &source, "none");
    is_clean(&store);
    let names: Vec<_> = layers(&store, "m").into_iter().filter_map(|layer| layer.name).collect();
    assert_eq!(names, ["a.weight", "norm.weight", "model.layers.0.mlp.experts", "config.json"]);
    let table = table(&store, "m");
    let part = |tensor: &str, role| {
        let (blob, entry) = table.tensors().find(|(_, entry)| entry.name == tensor).expect("it is stored");
        let part = entry.part(role).expect("it has that part");
        assert!(part.offset.is_multiple_of(4), "parts are aligned here");
        let blob = std::fs::read(store.blob_path(&blob.digest)).expect("it is there");
        let start = usize::try_from(part.offset).expect("it is small");
        blob[start..start + usize::try_from(part.length).expect("it is small")].to_vec()
    };
    let experts = "model.layers.0.mlp.experts.up_proj.weight";
    assert_eq!((part("a.weight", Role::Weight), part("a.weight", Role::Bias)), (codes, halves(4)));
    assert_eq!((part(experts, Role::Weight), part(experts, Role::GlobalScale)), (stack, globals));

    // Each expert is decoded with its own scale, so decoding during the import gives the same values as a loader.
    let options = PlanOptions { floats: true, requantize: true, ..PlanOptions::default() };
    let plan = longshore_packer::Plan::new(source.clone(), &options).expect("it can be decoded");
    let name = "decoded".parse().expect("it is a name");
    let import = longshore_packer::ImportOptions::default();
    plan.import(&store, &name, &import, &longshore_manifest::Silent).expect("it can be stored");
    for (model, to) in [("m", "from-codes"), ("decoded", "from-floats")] {
        let options = ExportOptions { dequantize: Some(FloatType::BF16), ..ExportOptions::default() };
        export_to(&store, model, &place.join(to), &options);
    }
    let read = |dir: &str| tensors(&open(&place.join(dir)).expect("it is a checkpoint"));
    assert_eq!(read("from-codes"), read("from-floats"));
}

#[test]
fn what_is_no_model_is_refused_with_what_to_type() {
    let (dir, path) = Ollama(Dir::new(), Vec::new())
        .tensor("a.weight", &[("a.weight", Dtype::BF16, &[2], vec![0; 4])])
        .done("safetensors");
    for below in ["", "manifests", "manifests/registry.ollama.ai/library", "manifests/registry.ollama.ai/library/m"] {
        let error = open(&dir.join(below)).expect_err("it is no model");
        assert!(matches!(error, SourceError::Store { .. }), "{error}");
        let hint = error.hint().expect("there is something to do");
        assert!(hint.contains(&*path.to_string_lossy()), "{below}: {hint}");
    }
    let empty = Dir::new();
    empty.file("blobs/x", "");
    empty.file("manifests/y", "");
    assert!(matches!(empty.open(), Err(SourceError::Store { models, .. }) if models.is_empty()));

    let (_gguf, path) = Ollama(Dir::new(), Vec::new()).done("gguf");
    let error = open(&path).expect_err("it is GGUF");
    let SourceError::Stored { source, .. } = error else { panic!("{error}") };
    assert!(source.to_string().contains("0 layers of GGUF"), "{source}");

    // A file with the name of a manifest that lies in no store.
    let other = Dir::new();
    other.file("manifests/registry.ollama.ai/library/m/latest", Config::default().to_bytes());
    let path = other.join("manifests/registry.ollama.ai/library/m/latest");
    assert!(matches!(open(&path), Err(SourceError::NotSafetensors { .. })));
    let (dir, path) = Ollama(Dir::new(), Vec::new())
        .tensor("a.weight", &[("a.weight", Dtype::BF16, &[2], vec![0; 4])])
        .done("safetensors");
    std::fs::remove_dir_all(dir.join("blobs")).expect("the directory is ours");
    std::fs::create_dir(dir.join("blobs")).expect("the directory is ours");
    assert!(matches!(open(&path), Err(SourceError::Stored { .. })));
}
