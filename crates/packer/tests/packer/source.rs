//! Directories and files that are sources, and the errors for others.

use std::{collections::BTreeMap, fs, path::Path};

use longshore_packer::{Kind, Source, SourceError};
use longshore_st_format::{Dtype, Shape, fixtures};

use crate::support::{Dir, FLOAT_MODELS, chain, fixture, open};

const ONE: &[(&str, &[u64])] = &[("w.weight", &[2, 2])];

/// Asserts that opening fails with an error for which `is` returns true, and that its message contains all of `words`.
#[track_caller]
fn refused(dir: &Dir, is: fn(&SourceError) -> bool, words: &[&str]) -> SourceError {
    refused_path(dir.path(), is, words)
}

#[track_caller]
fn refused_path(path: &Path, is: fn(&SourceError) -> bool, words: &[&str]) -> SourceError {
    let error = open(path).expect_err("it is no source");
    let line = chain(&error);
    assert!(is(&error), "{error:?}");
    for word in words {
        assert!(line.contains(word), "{word:?} is not in: {line}");
    }
    error
}

fn names(source: &Source) -> Vec<&str> {
    source.tensors.iter().map(|tensor| tensor.name.as_str()).collect()
}

#[test]
fn tensors_are_where_the_headers_say() {
    for model in FLOAT_MODELS {
        let dir = fixture(model);
        let source = dir.open().unwrap_or_else(|error| panic!("{model}: {}", chain(&error)));
        assert!(source.tensors.is_sorted_by_key(|tensor| &tensor.name));
        assert!(source.shards.is_sorted_by_key(|shard| &shard.name));
        assert_eq!(source.metadata["format"], "pt");
        for tensor in &source.tensors {
            let shard = &source.shards[tensor.shard];
            assert!(tensor.range.end <= shard.file_len);
            assert_eq!(tensor.shape.byte_len(tensor.dtype), Ok(tensor.byte_len()));
        }
        let tensor = &source.tensors[source.tensors.len() / 2];
        let file = fs::read(&source.shards[tensor.shard].path).expect("it was just opened");
        let at = |offset| usize::try_from(offset).expect("it fits");
        let elements = tensor.shape.elements().expect("it fits");
        let expected = fixtures::fill(&tensor.name, tensor.dtype, elements).into_vec();
        assert_eq!(file[at(tensor.range.start)..at(tensor.range.end)], expected, "{model} {}", tensor.name);
    }
}

#[test]
fn one_file_needs_no_configuration() {
    let dir = Dir::model(ONE);
    let source = open(&dir.join("model.safetensors")).expect("it is a weight file");
    assert_eq!((names(&source), source.kind), (vec!["w.weight"], Kind::Float));
    assert_eq!((source.config.is_none(), source.companions.len(), source.warnings.len()), (true, 0, 0));

    dir.weights("model-00002-of-00003.safetensors", ONE);
    let source = open(&dir.join("model-00002-of-00003.safetensors")).expect("it is a weight file");
    assert_eq!(
        source.warnings,
        ["model-00002-of-00003.safetensors is one of 3 parts of a model; only this part is read"]
    );
}

#[test]
fn metadata_of_the_first_shard_stands() {
    let dir = Dir::new();
    dir.file("config.json", "{}");
    for (at, name) in ["model-a.safetensors", "model-b.safetensors"].iter().enumerate() {
        let metadata = BTreeMap::from([("both".to_owned(), at.to_string()), (at.to_string(), String::new())]);
        let tensor = (format!("w{at}"), Dtype::BF16, Shape::new([2]));
        fixtures::write_file(dir.join(name), &metadata, &[tensor]).expect("the directory is ours");
    }
    let metadata = dir.open().expect("it is a model").metadata;
    assert_eq!(
        metadata.into_iter().collect::<Vec<_>>(),
        [("0".to_owned(), String::new()), ("1".to_owned(), String::new()), ("both".to_owned(), "0".to_owned()),]
    );
}

#[test]
fn paths_that_are_no_source() {
    let dir = Dir::new();
    let error = refused(&dir, |e| matches!(e, SourceError::Empty { .. }), &["is empty"]);
    assert!(error.to_string().contains(&dir.path().display().to_string()));
    refused_path(&dir.join("nowhere"), |e| matches!(e, SourceError::NotFound { .. }), &["nowhere does not exist"]);
    for (name, hint) in [("model.bin", "convert"), ("model.pth", "convert")] {
        dir.file(name, "x");
        let error = refused_path(&dir.join(name), |e| matches!(e, SourceError::NotSafetensors { .. }), &[name]);
        assert!(error.hint().expect("there is one").contains(hint));
    }
}

#[test]
fn the_configuration_is_missing_or_broken() {
    let dir = Dir::new();
    dir.weights("model.safetensors", ONE);
    let error = refused(&dir, |e| matches!(e, SourceError::NoConfig { .. }), &["config.json not found in "]);
    assert!(error.hint().expect("there is one").contains("architectures"));
    dir.file("inner/config.json", "{}");
    let error = refused(&dir, |e| matches!(e, SourceError::NoConfig { .. }), &["config.json not found in "]);
    assert!(error.hint().expect("there is one").contains("inner"));

    for text in ["", "{", "garbage", "[]", "null"] {
        dir.file("config.json", text);
        refused(&dir, |e| matches!(e, SourceError::Config { .. }), &["config.json is not a model's configuration"]);
    }
    let file = fs::File::create(dir.join("config.json")).expect("the directory is ours");
    file.set_len(1 << 30).expect("files may be sparse");
    refused(&dir, |e| matches!(e, SourceError::TooLarge { found: 0x4000_0000, .. }), &["config.json"]);
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_told_as_such() {
    let bind = |path: &Path| std::os::unix::net::UnixListener::bind(path).expect("the directory is ours");
    let not_regular = |path: &Path| {
        let error = refused_path(path, |e| matches!(e, SourceError::NotRegular { .. }), &["is not a regular file"]);
        assert_eq!(error.hint(), None);
        assert!(std::error::Error::source(&error).is_none(), "the machine is not at fault");
    };
    let dir = Dir::new();
    let _socket = bind(&dir.join("model.safetensors"));
    not_regular(&dir.join("model.safetensors"));
    if Path::new("/dev/null").exists() {
        not_regular(Path::new("/dev/null"));
    }
    let dir = Dir::new();
    dir.weights("model.safetensors", ONE);
    let _socket = bind(&dir.join("config.json"));
    not_regular(dir.path());
}

#[test]
fn other_weights_only() {
    for (name, hint) in [("pytorch_model.bin", "convert"), ("x.pt", "convert"), ("x.pth", "convert")] {
        let dir = Dir::new();
        dir.file(name, "x");
        let is_no_weights = |e: &SourceError| matches!(e, SourceError::NoWeights { .. });
        for _ in 0..2 {
            let error = refused(&dir, is_no_weights, &["no model weights found in "]);
            assert!(error.hint().expect("there is one").contains(hint));
            dir.file("config.json", "{}");
        }
    }
    let dir = Dir::new();
    dir.file("config.json", "{}");
    let error = refused(&dir, |e| matches!(e, SourceError::NoWeights { .. }), &["no model weights found in "]);
    assert_eq!(error.hint(), None);
    dir.weights("consolidated.safetensors", ONE);
    let error = refused(&dir, |e| matches!(e, SourceError::NoWeights { .. }), &["no model weights found in "]);
    assert!(error.hint().expect("there is one").contains("consolidated.safetensors"));
}

#[test]
fn adapters_are_not_models() {
    let lora: &[(&str, &[u64])] =
        &[("base_model.model.q.lora_A.weight", &[2, 8]), ("base_model.model.q.lora_B.weight", &[8, 2])];
    let is_adapter = |e: &SourceError| matches!(e, SourceError::Adapter { .. });
    let dir = Dir::new();
    dir.file("adapter_config.json", "{}");
    dir.weights("adapter_model.safetensors", lora);
    refused(&dir, is_adapter, &["adapter_config.json is an adapter"]);
    refused_path(&dir.join("adapter_model.safetensors"), is_adapter, &["adapter_model.safetensors is an adapter"]);
    dir.file("config.json", "{}");
    let error = refused(&dir, is_adapter, &["adapter_model.safetensors is an adapter"]);
    assert!(error.hint().expect("there is one").contains("base model"));
}

#[test]
fn the_index_decides() {
    let dir = Dir::new();
    dir.file("config.json", "{}");
    dir.weights("one.safetensors", &[("a", &[2]), ("extra", &[2]), ("more", &[2])]);
    dir.weights("two.safetensors", &[("b", &[2]), ("extra", &[2])]);
    dir.weights("model-ignored.safetensors", ONE);
    dir.index(&[("a", "one.safetensors"), ("b", "two.safetensors")]);
    let source = dir.open().expect("the index is right");
    assert_eq!(names(&source), ["a", "b"]);
    assert_eq!(source.warnings.len(), 2);
    assert_eq!(
        source.warnings[0],
        "left out tensors that the index does not list: 3 of them, the first is extra in one.safetensors"
    );
    assert!(source.warnings[1].contains("model-ignored.safetensors"));

    dir.index(&[]);
    assert_eq!(names(&dir.open().expect("names decide")), ["w.weight"], "an empty index says nothing");
}

#[test]
fn diffusers_names_are_known() {
    let dir = Dir::new();
    dir.file("config.json", r#"{"_class_name": "UNet2DConditionModel"}"#);
    dir.weights("diffusion_pytorch_model.safetensors", ONE);
    assert_eq!(names(&dir.open().expect("it is a component")), ["w.weight"]);

    let flux = fixture("flux");
    for component in ["text_encoder", "text_encoder_2", "transformer", "vae"] {
        let source = open(&flux.join(component)).unwrap_or_else(|error| panic!("{component}: {}", chain(&error)));
        assert_eq!((source.kind, source.warnings.len()), (Kind::Float, 0));
    }
}

#[test]
fn indexes_that_are_wrong() {
    let incomplete = "source model is incomplete: ";
    let dir = Dir::new();
    dir.file("config.json", "{}");
    dir.weights("one.safetensors", &[("a", &[2])]);
    dir.weights("two.safetensors", &[("b", &[2])]);

    dir.index(&[("a", "one.safetensors"), ("c", "three.safetensors")]);
    let is_missing_shard = |e: &SourceError| matches!(e, SourceError::MissingShard { .. });
    let error = refused(&dir, is_missing_shard, &[incomplete, "three.safetensors", "\"c\"", "index.json"]);
    assert!(error.hint().is_some());

    dir.index(&[("a", "one.safetensors"), ("c", "two.safetensors")]);
    let is_missing = |e: &SourceError| matches!(e, SourceError::MissingTensor { .. });
    refused(&dir, is_missing, &[incomplete, "tensor \"c\" is not in ", "two.safetensors"]);

    dir.index(&[("a", "one.safetensors"), ("b", "one.safetensors"), ("c", "two.safetensors")]);
    dir.weights("two.safetensors", &[("b", &[2]), ("c", &[2])]);
    refused(
        &dir,
        is_missing,
        &[incomplete, "tensor \"b\" is not in ", "one.safetensors", "but in ", "two.safetensors"],
    );

    dir.weights("two.safetensors", &[("a", &[2]), ("c", &[2])]);
    dir.index(&[("a", "one.safetensors"), ("c", "two.safetensors")]);
    let is_duplicate = |e: &SourceError| matches!(e, SourceError::DuplicateTensor { .. });
    refused(&dir, is_duplicate, &["duplicate tensor \"a\"", "one.safetensors", "two.safetensors"]);

    for shard in ["../x.safetensors", "/x.safetensors", "a/x.safetensors", "x.bin", ""] {
        dir.index(&[("a", shard)]);
        let is_index = |e: &SourceError| matches!(e, SourceError::Index { .. });
        refused(&dir, is_index, &["model.safetensors.index.json", "invalid shard path"]);
    }
    for text in ["", "{", "[]", "{}", r#"{"weight_map": 3}"#] {
        dir.file("model.safetensors.index.json", text);
        refused(
            &dir,
            |e| matches!(e, SourceError::Index { .. }),
            &["model.safetensors.index.json is not a shard index"],
        );
    }
}

#[test]
fn names_that_are_not_one_model() {
    let dir = Dir::model(ONE);
    dir.weights("model-00001-of-00001.safetensors", &[("x", &[2])]);
    let is_ambiguous = |e: &SourceError| matches!(e, SourceError::Ambiguous { .. });
    refused(&dir, is_ambiguous, &["ambiguous source", "model.safetensors", "model-00001-of-00001.safetensors"]);

    let dir = Dir::new();
    dir.file("config.json", "{}");
    dir.weights("model-00001-of-00002.safetensors", ONE);
    let is_missing = |e: &SourceError| matches!(e, SourceError::MissingPart { .. });
    refused(&dir, is_missing, &["source model is incomplete", "model-00002-of-00002.safetensors not found"]);

    dir.weights("model-00002-of-00002.safetensors", ONE);
    let is_duplicate = |e: &SourceError| matches!(e, SourceError::DuplicateTensor { .. });
    refused(&dir, is_duplicate, &["w.weight", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
}

#[test]
fn weight_files_that_are_broken() {
    let entry =
        |shape: &str, end: &str| format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
    let file = |header: &str| [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 4]].concat();
    let cases: [(&str, Vec<u8>); 8] = [
        ("empty", Vec::new()),
        ("truncated prefix", vec![8, 0, 0]),
        ("header beyond the file", 1000_u64.to_le_bytes().to_vec()),
        ("header of 2^63", (1_u64 << 63).to_le_bytes().to_vec()),
        ("not JSON", file("garbage!")),
        ("truncated data", file(&entry("[2]", "8"))),
        ("a shape that overflows", file(&entry("[9223372036854775807,9223372036854775807]", "4"))),
        ("a length that disagrees", file(&entry("[3]", "4"))),
    ];
    for (what, bytes) in cases {
        let dir = Dir::new();
        dir.file("config.json", "{}");
        dir.file("model.safetensors", bytes);
        let is_weights = |e: &SourceError| matches!(e, SourceError::Weights { .. });
        let error = refused(&dir, is_weights, &["model.safetensors"]);
        let single = refused_path(&dir.join("model.safetensors"), is_weights, &["model.safetensors"]);
        assert_eq!(chain(&error), chain(&single), "{what}");
    }
    let dir = Dir::model(&[]);
    refused(&dir, |e| matches!(e, SourceError::NoTensors { .. }), &["model.safetensors holds no tensor"]);
}

#[test]
fn a_configuration_that_contradicts_the_weights_is_a_warning() {
    let dir = Dir::model(ONE);
    dir.file("config.json", r#"{"quantization_config": {"quant_method": "fp8"}}"#);
    let source = dir.open().expect("it is a model");
    assert_eq!(source.kind, Kind::Float);
    assert!(source.warnings[0].contains("config.json describes quantized weights"));
}

/// The index names five files; beside it lie two others with every tensor that it lists.
#[test]
fn an_index_of_other_files() {
    let dir = Dir::model(&[]);
    fs::remove_file(dir.join("model.safetensors")).expect("the directory is ours");
    dir.weights("model-00001-of-00002.safetensors", &[("a.weight", &[2, 2])]);
    dir.weights("model-00002-of-00002.safetensors", &[("b.weight", &[2, 2]), ("c.weight", &[2])]);
    dir.index(&[
        ("a.weight", "model-00001-of-00005.safetensors"),
        ("b.weight", "model-00003-of-00005.safetensors"),
        ("c.weight", "model-00005-of-00005.safetensors"),
    ]);
    let is_stale = |e: &SourceError| matches!(e, SourceError::StaleIndex { .. });
    let words = ["model.safetensors.index.json", "model-00001-of-00005", "model-00002-of-00002", "every tensor"];
    let error = refused(&dir, is_stale, &words);
    let hint = error.hint().expect("there is one");
    assert_eq!(
        hint,
        format!("remove what belongs to other files: {}", dir.join("model.safetensors.index.json").display())
    );

    // A file that is left of the five has to go, too. Then the directory is a model.
    dir.weights("model-00003-of-00005.safetensors", &[("b.weight", &[2, 2])]);
    let hint = refused(&dir, is_stale, &words).hint().expect("there is one");
    assert!(hint.ends_with("model-00003-of-00005.safetensors") && hint.contains("index.json, "), "{hint}");
    for name in ["model-00003-of-00005.safetensors", "model.safetensors.index.json"] {
        fs::remove_file(dir.join(name)).expect("the directory is ours");
    }
    assert_eq!(names(&dir.open().expect("it is a model")), ["a.weight", "b.weight", "c.weight"]);

    // Without a tensor of the index, or without one of their own number, the other files are no reason to remove it.
    for (name, tensors) in [
        ("model-00002-of-00002.safetensors", &[("b.weight", &[2_u64, 2][..])][..]),
        ("model-00002-of-00003.safetensors", &[("b.weight", &[2, 2]), ("c.weight", &[2])]),
    ] {
        fs::remove_file(dir.join("model-00002-of-00002.safetensors")).expect("the directory is ours");
        dir.weights(name, tensors);
        dir.index(&[
            ("a.weight", "model-00001-of-00005.safetensors"),
            ("c.weight", "model-00005-of-00005.safetensors"),
        ]);
        let error = refused(&dir, |e| matches!(e, SourceError::MissingShard { .. }), &["model-00001-of-00005"]);
        let hint = error.hint().expect("there is one");
        assert!(hint.contains("model-00001-of-00005.safetensors") && !hint.contains("download"), "{hint}");
    }
}

/// The index of a variant decides as the plain one does, by either of its names.
#[test]
fn the_index_of_a_variant_decides() {
    for (stem, index) in [
        ("diffusion_pytorch_model", "diffusion_pytorch_model.safetensors.index.bf16.json"),
        ("model", "model.safetensors.index.bf16.json"),
        ("model", "model.bf16.safetensors.index.json"),
    ] {
        let dir = Dir::new();
        dir.file("config.json", r#"{"architectures": ["TestForCausalLM"]}"#);
        let part = |number: u32| format!("{stem}.bf16-0000{number}-of-00002.safetensors");
        dir.weights(&part(1), &[("a.weight", &[2, 2]), ("extra", &[2])]);
        dir.weights(&part(2), &[("b.weight", &[2, 2])]);
        let write = |tensors: &[(&str, u32)]| {
            let map: BTreeMap<_, _> = tensors.iter().map(|(name, number)| (*name, part(*number))).collect();
            dir.file(index, serde_json::json!({ "weight_map": map }).to_string());
        };
        write(&[("a.weight", 1), ("b.weight", 2)]);
        let source = dir.open().unwrap_or_else(|error| panic!("{index}: {}", chain(&error)));
        assert_eq!(names(&source), ["a.weight", "b.weight"], "{index}");
        assert!(source.warnings[0].contains("extra"), "{:?}", source.warnings);
        assert!(source.companions.iter().all(|file| file.name.as_str() == "config.json"), "{index}");

        write(&[("a.weight", 1), ("b.weight", 2), ("c.weight", 2)]);
        refused(&dir, |e| matches!(e, SourceError::MissingTensor { .. }), &["c.weight", &part(2)]);
        fs::remove_file(dir.join(&part(2))).expect("the directory is ours");
        refused(&dir, |e| matches!(e, SourceError::MissingShard { .. }), &[&part(2), index, "b.weight"]);

        // Two variants are ambiguous, and beside the plain model no variant counts.
        dir.weights(&format!("{stem}.fp16.safetensors"), &[("d.weight", &[2])]);
        refused(&dir, |e| matches!(e, SourceError::Ambiguous { .. }), &["fp16", "bf16"]);
        dir.weights(&format!("{stem}.safetensors"), &[("plain", &[2])]);
        assert_eq!(names(&dir.open().expect("it is a model")), ["plain"], "{index}");
    }
}

#[test]
fn the_sidecar_stands_in_for_the_configuration() {
    let dir = fixture("llama-modelopt-nvfp4");
    dir.file("config.json", r#"{"architectures": ["LlamaForCausalLM"]}"#);
    let config = dir.open().expect("it is a model").config.expect("it has one");
    assert_eq!(config.quantization.expect("it is described").format.as_deref(), Some("nvfp4"));
    dir.file("hf_quant_config.json", "[]");
    let error = dir.open().expect_err("it is no object");
    assert!(error.to_string().contains("hf_quant_config.json"), "{error}");
}
