use std::{collections::BTreeMap, path::Path};

use longshore_st_format::{
    Dtype, Shape, ShardIndex,
    fixtures::{Checkpoint, fill, model, models, write_file},
    open,
};
use sha2::{Digest, Sha256};

use crate::util::hex;

/// Original directory of the model lists, on machines that have it.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/models");

#[test]
fn fills_keep_their_bytes() {
    let mut hash = Sha256::new();
    for &dtype in Dtype::ALL {
        hash.update(fill("model.layers.0.weight", dtype, 40_000).into_vec());
    }
    let hex = hex(&hash.finalize());
    assert_eq!(
        hex, "1b03831ecee2f172063daecf422173582f11c128a0c4eed17cba0e4919e2a361",
        "other crates' expectations rest on these bytes"
    );
}

#[test]
fn files_hold_what_the_fill_makes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let tensors: Vec<_> =
        Dtype::ALL.iter().map(|&dtype| (format!("t.{dtype}"), dtype, Shape::new([3, 40_000]))).collect();
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    write_file(&path, &metadata, &tensors).unwrap();
    let file = open(&path).unwrap();
    assert_eq!(file.header().metadata(), &metadata);
    for (name, dtype, _) in &tensors {
        assert_eq!(file.tensor(name).unwrap().data, fill(name, *dtype, 120_000).into_vec(), "{name}");
    }
    let error = write_file(dir.path().join("no/such.safetensors"), &metadata, &[]).unwrap_err();
    assert!(error.to_string().contains("such.safetensors"), "{error}");
}

#[test]
fn paths_cannot_leave_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["../x.json", "/x.json", "a/../../x.json"] {
        let mut checkpoint = Checkpoint::default();
        checkpoint.json.insert(name.to_owned(), String::new());
        let error = checkpoint.write(dir.path()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{name}");
    }
}

#[test]
fn every_list_becomes_a_directory() {
    assert!(models().len() >= 14);
    for name in models() {
        let checkpoint = model(name);
        let dir = tempfile::tempdir().unwrap();
        checkpoint.write(dir.path()).unwrap();
        for (path, declared) in &checkpoint.files {
            let file = open(dir.path().join(path)).unwrap();
            assert_eq!(file.header().metadata(), &declared.metadata);
            assert_eq!(file.header().len(), declared.tensors.len());
            for (tensor, dtype, shape) in &declared.tensors {
                let view = file.tensor(tensor).unwrap();
                assert_eq!((view.dtype, view.shape), (*dtype, shape), "{name}: {tensor}");
            }
        }
        for (path, text) in &checkpoint.json {
            assert_eq!(&std::fs::read_to_string(dir.path().join(path)).unwrap(), text);
            if path.ends_with(".safetensors.index.json") {
                check_index(&checkpoint, path, text);
            }
        }
    }
}

/// Checks that the index and the files beside it agree.
fn check_index(checkpoint: &Checkpoint, path: &str, text: &str) {
    let index = ShardIndex::parse(text.as_bytes(), &longshore_st_format::Limits::default()).unwrap();
    let parent = Path::new(path).parent().unwrap();
    let mut bytes = 0;
    for (tensor, shard) in index.iter() {
        let file = &checkpoint.files[parent.join(shard).to_str().unwrap()];
        let (_, dtype, shape) = file.tensors.iter().find(|(name, ..)| name == tensor).unwrap();
        bytes += shape.byte_len(*dtype).unwrap();
    }
    assert_eq!(index.total_size(), Some(bytes), "{path}");
    let ours = index.to_json();
    let without_parameters: String =
        text.split_inclusive('\n').filter(|line| !line.contains("\"total_parameters\"")).collect();
    assert_eq!(ours, without_parameters, "as transformers and diffusers write it");
}

#[test]
fn lists_are_those_of_the_sources() {
    let Ok(sources) = std::fs::read_dir(SOURCES) else { return };
    let mut seen = 0;
    for source in sources {
        let source = source.unwrap();
        let name = source.file_name().into_string().unwrap();
        if !source.file_type().unwrap().is_dir() || name == "expected" {
            continue;
        }
        seen += 1;
        let checkpoint = model(&name);
        for (path, declared) in &checkpoint.files {
            let file = open(source.path().join(path)).unwrap();
            assert_eq!(file.header().metadata(), &declared.metadata, "{name}/{path}");
            let tensors: Vec<_> = file
                .header()
                .names()
                .map(|tensor| file.tensor(tensor).unwrap())
                .map(|t| (t.name.to_owned(), t.dtype, t.shape.clone()))
                .collect();
            assert_eq!(tensors, declared.tensors, "{name}/{path}");
        }
        for (path, text) in &checkpoint.json {
            assert_eq!(&std::fs::read_to_string(source.path().join(path)).unwrap(), text, "{name}/{path}");
        }
    }
    assert_eq!(seen, models().len());
}
