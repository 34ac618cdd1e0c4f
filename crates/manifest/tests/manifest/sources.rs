//! Directories and files that are opened like a stored model.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use longshore_manifest::{
    Digest, Silent, Weights,
    document::{BlobEntry, Facts, Import, Part, Role, TensorEntry, TensorTable},
    weights::{CorruptError, MemoryFile, OpenOptions, Source, SourceError, SourceFile, WeightsError, plan::Selection},
};
use longshore_st_format::{Dtype, SafeTensors, Shape, fixtures};
use tempfile::TempDir;

use crate::util::{Blob, Scratch, commit, name};

/// Writes a file of made-up tensors.
fn fill(path: &Path, tensors: &[(&str, Dtype, &[u64])]) {
    let tensors: Vec<_> =
        tensors.iter().map(|(name, dtype, dims)| ((*name).to_owned(), *dtype, Shape::from(dims.to_vec()))).collect();
    fixtures::write_file(path, &BTreeMap::new(), &tensors).unwrap();
}

fn checkpoint(name: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    fixtures::model(name).write(dir.path()).unwrap();
    dir
}

fn open(source: &Source) -> Weights {
    Weights::open_source(source, &OpenOptions::default()).unwrap()
}

fn refused(dir: &Path) -> SourceError {
    Source::open_dir(dir).unwrap_err()
}

fn weight_files(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "safetensors"));
    paths.sort_unstable();
    paths
}

#[test]
fn a_directory_is_the_tensors_of_its_shards() {
    for model in ["llama", "deepseek-v3", "mixtral", "qwen3-moe"] {
        let dir = checkpoint(model);
        let weights = open(&Source::open(dir.path()).unwrap());
        let mut seen = 0;
        for path in weight_files(dir.path()) {
            let file = SafeTensors::new(fs::read(path).unwrap()).unwrap();
            for expected in file.iter() {
                let found = weights.get(expected.name).unwrap();
                assert_eq!((found.dtype(), found.shape()), (expected.dtype, expected.shape), "{model}");
                assert_eq!(found.weight().data, expected.data, "{model} {}", expected.name);
                assert!(!found.is_made(Role::Weight));
                seen += 1;
            }
        }
        assert_eq!(weights.len(), seen, "{model}");
        assert_eq!(weights.made_bytes(), 0);
        assert!(weights.names().is_sorted());
        // The same files, listed.
        let files = open(&Source::open_files(weight_files(dir.path())).unwrap());
        assert!(files.names().eq(weights.names()) && files.bytes() == weights.bytes(), "{model}");
    }
}

#[test]
fn a_directory_gives_what_a_store_gives() {
    let (scratch, dir) = (Scratch::new(), TempDir::new().unwrap());
    let blobs = [Blob::plain("z.weight", 5, 1), Blob::int4("a.weight", 4, 32, 2), Blob::nvfp4("m.weight", 2, 3)];
    commit(&scratch.store, "m", &blobs);
    let paths = blobs.iter().enumerate().map(|(at, blob)| {
        let path = dir.path().join(format!("{at}.safetensors"));
        fs::write(&path, &blob.bytes).unwrap();
        path
    });
    let files = open(&Source::open_files(paths).unwrap());
    let stored =
        Weights::open(&scratch.store, &scratch.store.model(&name("m")).unwrap(), &OpenOptions::default()).unwrap();
    assert_eq!((files.len(), files.bytes(), files.group_size()), (stored.len(), stored.bytes(), stored.group_size()));
    for (found, expected) in files.iter().zip(stored.iter()) {
        assert_eq!((found.name(), found.shape()), (expected.name(), expected.shape()));
        assert_eq!(found.quantization(), expected.quantization());
        for role in [Role::Weight, Role::Scale, Role::Bias, Role::GlobalScale] {
            let data = |tensor: &longshore_manifest::weights::Tensor<'_>| {
                tensor.companion(role).map(|array| array.data.to_vec())
            };
            assert_eq!(data(&found), data(&expected));
        }
    }
    assert!(matches!(files.verify(&Silent), Err(CorruptError::NotStored { .. })));
    assert!(files.source().checked(&files.digests().next().unwrap()).is_some());
    assert!(stored.source().is_stored() && stored.source().checked(&Digest::of(b"")).is_none());
}

#[test]
fn codes_of_mlx_are_recognised_across_files() {
    let dir = checkpoint("qwen3-mlx-4bit");
    let source = Source::open(dir.path()).unwrap();
    assert_eq!(source.notes(), [""; 0]);
    let weights = open(&source);
    assert!(weights.names().all(|name| !name.ends_with(".scales") && !name.ends_with(".biases")));
    assert!(weights.iter().any(|tensor| tensor.quantization().is_some()));
    // Alone, the files do not say how their codes are to be read.
    let files = Source::open_files(weight_files(dir.path())).unwrap();
    assert!(open(&files).len() > weights.len());
    assert!(files.notes()[0].contains("plain tensors"), "{:?}", files.notes());

    let dir = TempDir::new().unwrap();
    fill(
        &dir.path().join("model-00001-of-00002.safetensors"),
        &[("a.weight", Dtype::U32, &[2, 8]), ("a.biases", Dtype::F16, &[2, 1])],
    );
    fill(
        &dir.path().join("model-00002-of-00002.safetensors"),
        &[("a.scales", Dtype::F16, &[2, 1]), ("b.weight", Dtype::F16, &[3])],
    );
    fs::write(dir.path().join("config.json"), r#"{"quantization": {"group_size": 64, "bits": 4}}"#).unwrap();
    let weights = open(&Source::open(dir.path()).unwrap());
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a.weight", "b.weight"]);
    let tensor = weights.get("a.weight").unwrap();
    assert_eq!((tensor.dtype(), tensor.shape().dims()), (Dtype::F16, &[2, 64][..]));
    assert_eq!(tensor.quantization().unwrap().to_string(), "int4-g64");
    let expected = fixtures::fill("a.scales", Dtype::F16, 2).into_vec();
    assert_eq!(tensor.companion(Role::Scale).unwrap().data, expected);

    fs::write(dir.path().join("config.json"), r#"{"quantization": {"group_size": 64, "bits": 8}}"#).unwrap();
    assert!(matches!(refused(dir.path()), SourceError::Parts { tensor, .. } if tensor == "a.weight"));
    fs::write(dir.path().join("config.json"), "{").unwrap();
    assert!(matches!(refused(dir.path()), SourceError::Document { .. }));
}

#[test]
fn other_codings_are_plain_tensors_and_said() {
    for model in ["deepseek-v3-fp8", "llama-modelopt-nvfp4", "gpt-oss-mxfp4"] {
        let dir = checkpoint(model);
        let source = Source::open(dir.path()).unwrap();
        assert_eq!(source.notes().len(), 1, "{model}");
        assert!(source.notes()[0].contains("config.json"), "{model}");
        assert_eq!(open(&source).quantization(), None, "{model}");
    }
}

#[test]
fn companion_files_are_reachable() {
    let dir = checkpoint("llama");
    fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    fs::create_dir(dir.path().join("1_Pooling")).unwrap();
    fs::write(dir.path().join("1_Pooling/config.json"), "[]").unwrap();
    let source = Source::open(dir.path()).unwrap();
    let names = source.companions().unwrap();
    assert!(names.contains(&"config.json".to_owned()) && names.contains(&"tokenizer.json".to_owned()), "{names:?}");
    assert!(names.iter().all(|name| !name.contains("safetensors")));
    assert_eq!(source.companion("tokenizer.json").unwrap().unwrap(), b"{}");
    assert_eq!(source.companion("1_Pooling/config.json").unwrap().unwrap(), b"[]");
    assert_eq!(source.companion("missing.json").unwrap(), None);
    // Nothing outside of the directory.
    fs::write(dir.path().parent().unwrap().join("outside.json"), "").unwrap();
    assert_eq!(source.companion("../outside.json").unwrap(), None);
    fs::remove_file(dir.path().parent().unwrap().join("outside.json")).unwrap();
    assert!(source.table().facts.layers.is_some());
    // Files of one directory have those beside them.
    let files = Source::open_files(weight_files(dir.path())).unwrap();
    assert_eq!(files.companion("tokenizer.json").unwrap().unwrap(), b"{}");
}

/// A table with one plain tensor of 16-bit words for each file: its last `words` of them.
fn table_of(files: &[(&str, &SourceFile, u64)]) -> TensorTable {
    let entry = |&(name, file, words): &(&str, &SourceFile, u64)| {
        let (shape, length) = (Shape::new([words]), 2 * words);
        let (role, offset) = (Role::Weight, file.byte_len() - length);
        let part = Part { role, dtype: Dtype::U16, shape: shape.clone(), offset, length, blob: None };
        BlobEntry::new(file.digest(), vec![TensorEntry::new(name, Dtype::U16, shape, vec![part])])
    };
    TensorTable::new(Facts::default(), Import::default(), files.iter().map(entry).collect())
}

#[test]
fn a_source_of_parts_is_what_its_maker_says() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("model.gguf");
    fs::write(&path, b"header\x01\x00\x02\x00").unwrap();
    let on_disk = SourceFile::open(&path).unwrap();
    let memory = MemoryFile::create().unwrap();
    memory.write_all_at(b"\x00", 1).unwrap();
    memory.write_all_at(b"\x03", 0).unwrap();
    let in_memory = SourceFile::of_memory(memory).unwrap();
    let other = SourceFile::of_memory(MemoryFile::create().unwrap()).unwrap();
    assert_ne!(in_memory.digest(), other.digest());

    let table = table_of(&[("a", &on_disk, 2), ("b", &in_memory, 1)]);
    let companions = BTreeMap::from([("config.json".to_owned(), b"{}".to_vec())]);
    let source = Source::of_parts("model.gguf", table, [on_disk, in_memory], companions).with_note("made up");
    assert_eq!((source.name(), source.notes()), ("model.gguf", &["made up".to_owned()][..]));
    assert_eq!(source.companions().unwrap(), ["config.json"]);
    assert_eq!(source.companion("config.json").unwrap().unwrap(), b"{}");
    assert_eq!(source.companion("tokenizer.json").unwrap(), None);
    assert!(!source.is_stored() && !source.is_unchecked());

    let weights = open(&source);
    // The memory goes on as long as somebody has it.
    let again = source.clone();
    drop(source);
    assert_eq!(weights.get("a").unwrap().weight().data, [1, 0, 2, 0]);
    assert_eq!(open(&again).get("b").unwrap().weight().data, [3, 0]);

    fs::write(&path, b"another file").unwrap();
    assert!(matches!(
        Weights::open_source(&again, &OpenOptions::default()),
        Err(WeightsError::File { tensor, .. }) if tensor == "a"
    ));
    assert!(matches!(SourceFile::open(dir.path()), Err(SourceError::Read(_))));
}

#[test]
fn facts_of_a_directory_come_from_all_its_documents() {
    let dir = checkpoint("llama");
    let facts = || Source::open(dir.path()).unwrap().table().facts.clone();
    let before = facts();
    assert_eq!(before.chat_template, None);
    fs::write(dir.path().join("tokenizer_config.json"), r#"{"chat_template": "{{ messages }}"}"#).unwrap();
    fs::write(dir.path().join("generation_config.json"), r#"{"eos_token_id": [7, 9]}"#).unwrap();
    let found = facts();
    assert_eq!(found.chat_template.as_deref(), Some("{{ messages }}"));
    assert_eq!(found.tokens.eos, [7, 9]);
    assert_eq!((found.layers, found.hidden_size), (before.layers, before.hidden_size));
    // What is no document states nothing.
    fs::write(dir.path().join("tokenizer_config.json"), "{").unwrap();
    fs::write(dir.path().join("generation_config.json"), [0xff]).unwrap();
    assert_eq!(facts().chat_template, None);
}

#[test]
fn a_configuration_that_is_not_that_of_the_weights_is_refused() {
    let dir = TempDir::new().unwrap();
    let config = |text: &str| fs::write(dir.path().join("config.json"), text).unwrap();
    fill(
        &dir.path().join("model.safetensors"),
        &[
            ("model.embed_tokens.weight", Dtype::BF16, &[96, 64]),
            ("model.norm.weight", Dtype::BF16, &[64]),
            ("model.layers.0.self_attn.q_proj.weight", Dtype::U8, &[64, 32]),
        ],
    );
    let open = || Source::open(dir.path());
    let said = |error: &SourceError| {
        let SourceError::Contradiction { config, source } = error else { panic!("{error}") };
        assert!(config.ends_with("config.json"));
        source.to_string()
    };
    // Codes that were not recognised have no shape to compare.
    config(
        r#"{"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "head_dim": 16, "num_hidden_layers": 1}"#,
    );
    open().unwrap();
    config(r#"{"hidden_size": 128, "vocab_size": 96}"#);
    let error = said(&open().unwrap_err());
    assert!(error.contains("hidden_size = 128") && error.contains("[96, 64]"), "{error}");
    config(r#"{"hidden_size": 64, "n_embd": 32}"#);
    let error = said(&open().unwrap_err());
    assert!(error.contains("hidden_size = 64") && error.contains("n_embd = 32"), "{error}");
    // Alone, the file has no configuration to contradict.
    Source::open_files([dir.path().join("model.safetensors")]).unwrap();
}

#[test]
fn a_pipeline_is_its_components() {
    let dir = checkpoint("flux");
    let source = Source::open(dir.path()).unwrap();
    let classes = &source.table().facts.components;
    assert!(classes.get("text_encoder").is_some_and(|class| class.starts_with("CLIP")), "{classes:?}");
    let weights = open(&source);
    assert!(weights.iter().all(|tensor| tensor.component().is_some()));
    let selection = Selection { component: Some("text_encoder".into()), ..Selection::default() };
    let options = OpenOptions { selection, ..OpenOptions::default() };
    let one = Weights::open_source(&source, &options).unwrap();
    assert!(!one.is_empty() && one.len() < weights.len());
    assert!(one.iter().all(|tensor| tensor.component() == Some("text_encoder")));
    let selection = Selection { component: Some("decoder".into()), ..Selection::default() };
    let error = Weights::open_source(&source, &OpenOptions { selection, ..OpenOptions::default() }).unwrap_err();
    assert!(matches!(error, WeightsError::Component { found, .. } if found.contains(&"text_encoder".into())));
}

#[test]
fn directories_that_are_no_checkpoint_are_refused() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    assert!(matches!(refused(dir.path()), SourceError::NoWeights { found: None, .. }));
    assert!(matches!(refused(&path("missing")), SourceError::Read(_)));
    fs::write(path("pytorch_model.bin"), "").unwrap();
    let error = refused(dir.path());
    assert!(error.to_string().contains("pytorch_model.bin"), "{error}");

    fs::write(path("model.safetensors.index.json"), "[]").unwrap();
    assert!(matches!(refused(dir.path()), SourceError::Index { .. }));
    let index =
        |text: &str| fs::write(path("model.safetensors.index.json"), format!(r#"{{"weight_map": {text}}}"#)).unwrap();
    let (one, two) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    index(&format!(r#"{{"a": "{one}", "b": "{two}"}}"#));
    fill(&path(one), &[("a", Dtype::F32, &[2])]);
    let error = refused(dir.path());
    assert!(
        matches!(&error, SourceError::MissingShard { missing, by } if missing.ends_with(two) && by.ends_with("model.safetensors.index.json")),
        "{error}"
    );

    // A shard of another model.
    fill(&path(two), &[("c", Dtype::F32, &[2])]);
    let error = refused(dir.path());
    assert!(matches!(&error, SourceError::WrongShard { shard, .. } if shard.ends_with(two)), "{error}");
    assert!(error.to_string().contains("\"c\""), "{error}");
    // One that lacks a tensor, and one that has another's.
    fill(&path(two), &[("b", Dtype::F32, &[2])]);
    assert_eq!(open(&Source::open(dir.path()).unwrap()).len(), 2);
    index(&format!(r#"{{"a": "{one}", "b": "{two}", "d": "{two}"}}"#));
    assert!(refused(dir.path()).to_string().contains("does not hold \"d\""));
    index(&format!(r#"{{"a": "{one}", "b": "{two}"}}"#));
    fill(&path(two), &[("a", Dtype::F32, &[2]), ("b", Dtype::F32, &[2])]);
    let error = refused(dir.path());
    assert!(matches!(&error, SourceError::Duplicate { tensor, .. } if tensor == "a"), "{error}");

    // Without the index, the names say that a file is missing.
    fs::remove_file(path("model.safetensors.index.json")).unwrap();
    assert!(matches!(refused(dir.path()), SourceError::Duplicate { .. }));
    fs::remove_file(path(one)).unwrap();
    let error = refused(dir.path());
    assert!(matches!(&error, SourceError::MissingShard { missing, .. } if missing.ends_with(one)), "{error}");
    fs::write(path(one), "no header").unwrap();
    assert!(matches!(refused(dir.path()), SourceError::Header { .. }));
    fs::remove_file(path(one)).unwrap();
    fs::create_dir(path(one)).unwrap();
    assert!(matches!(refused(dir.path()), SourceError::Read(_)));
}

#[test]
fn a_directory_that_changes_while_it_is_open() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("model.safetensors");
    fill(&path, &[("a", Dtype::F32, &[1000]), ("b", Dtype::F32, &[1000])]);
    let source = Source::open(dir.path()).unwrap();
    let opened = open(&source);
    // Another file in its place: what is open stays as it was, and opening it once more is an error.
    let before = opened.get("a").unwrap().weight().data.to_vec();
    let other = dir.path().join("other");
    fill(&other, &[("b", Dtype::F32, &[1000]), ("c", Dtype::F32, &[1000])]);
    fs::rename(&other, &path).unwrap();
    if cfg!(unix) {
        assert_eq!(opened.get("a").unwrap().weight().data, before);
    }
    let refused = |source: &Source| Weights::open_source(source, &OpenOptions::default()).unwrap_err();
    let error = refused(&source);
    assert!(matches!(&error, WeightsError::File { tensor, .. } if tensor == "a"), "{error}");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("model.safetensors"));
    // Opened anew, it is what it is now, and has another stand-in for its digest.
    let anew = Source::open(dir.path()).unwrap();
    assert!(open(&anew).contains("c"));
    assert_ne!(anew.table().blobs[0].digest, source.table().blobs[0].digest);
    // Cut short, or gone.
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(5000).unwrap();
    assert!(matches!(refused(&anew), WeightsError::File { .. }));
    fs::remove_file(&path).unwrap();
    assert!(matches!(refused(&anew), WeightsError::File { .. }));
}

/// More files than a process may map: small ones are read then.
#[test]
fn seventy_thousand_files() {
    const FILES: usize = 70_000;
    let scratch = Scratch::of_many_files();
    let dir = scratch.beside("checkpoint");
    fs::create_dir(&dir).unwrap();
    let mut paths = Vec::with_capacity(FILES);
    for at in 0..FILES {
        let header = format!(r#"{{"t{at}":{{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}}}"#);
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&(at as u64).to_le_bytes());
        let path = dir.join(format!("{at}.safetensors"));
        fs::write(&path, bytes).unwrap();
        paths.push(path);
    }
    for source in [Source::open(&dir).unwrap(), Source::open_files(paths).unwrap()] {
        let weights = open(&source);
        assert_eq!((weights.len(), weights.bytes()), (FILES, 8 * FILES as u64));
        for at in [0, 1, 32_767, FILES - 1] {
            let data = weights.get(&format!("t{at}")).unwrap().weight().data;
            assert_eq!(data, (at as u64).to_le_bytes());
        }
    }
}
