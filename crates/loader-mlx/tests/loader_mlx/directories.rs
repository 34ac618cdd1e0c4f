//! Plain files and directories.

use std::fs;

use longshore_loader_mlx::{MlxWeights, OpenError};
use longshore_manifest::weights::SourceError;
use longshore_st_format::{Dtype, fixtures};

use crate::support::{Dir, chain};

#[test]
fn a_directory_is_its_shards() {
    let dir = Dir::new();
    fixtures::model("deepseek-v3").write(dir.path()).unwrap();
    let weights = MlxWeights::open_dir(dir.path()).unwrap();
    let expected: usize = fixtures::model("deepseek-v3").files.values().map(|file| file.tensors.len()).sum();
    assert_eq!(weights.len(), expected);
    // Without the index the files are found by their names, as an import finds them.
    fs::remove_file(dir.join("model.safetensors.index.json")).unwrap();
    dir.fill("stray.safetensors", &[("stray", Dtype::F32, &[1])]);
    assert_eq!(MlxWeights::open_dir(dir.path()).unwrap().len(), expected);
}

#[test]
fn a_directory_of_mlx_is_quantized_as_its_configuration_says() {
    let dir = Dir::new();
    fixtures::model("qwen3-mlx-4bit").write(dir.path()).unwrap();
    let weights = MlxWeights::open_dir(dir.path()).unwrap();
    let (names, of): (Vec<_>, Vec<_>) =
        weights.names().filter_map(|name| Some((name, weights.quantization_of(name)?))).unzip();
    assert!(!names.is_empty());
    assert!(of.iter().all(|quantization| quantization.quant_type.starts_with("int")));
    assert!(weights.names().all(|name| !name.ends_with(".scales") && !name.ends_with(".biases")));
    // Plain files do not say which arrays belong together.
    let files = weights.len();
    let mut paths: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "safetensors"));
    assert!(MlxWeights::open_files(paths).unwrap().len() > files);
}

#[test]
fn a_module_may_have_a_scheme_of_its_own_or_none() {
    let dir = Dir::new();
    let tensors: [(&str, Dtype, &[u64]); 6] = [
        ("a.weight", Dtype::U32, &[2, 8]),
        ("a.scales", Dtype::BF16, &[2, 1]),
        ("a.biases", Dtype::BF16, &[2, 1]),
        ("b.weight", Dtype::U32, &[2, 8]),
        ("b.scales", Dtype::U8, &[2, 4]),
        ("c.weight", Dtype::BF16, &[2, 8]),
    ];
    dir.fill("model.safetensors", &tensors);
    let config = |text: &str| fs::write(dir.join("config.json"), text).unwrap();
    config(
        r#"{"quantization": {"group_size": 64, "bits": 4, "b": {"group_size": 16, "bits": 4, "mode": "nvfp4"}, "c": false}}"#,
    );
    let weights = MlxWeights::open_dir(dir.path()).unwrap();
    let of = |name: &str| weights.quantization_of(name).map(ToString::to_string);
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a.weight", "b.weight", "c.weight"]);
    assert_eq!((of("a.weight"), of("b.weight"), of("c.weight")), (Some("int4-g64".into()), Some("nvfp4".into()), None));
    assert!(weights.quantization().unwrap().is_mixed && weights.group_size().is_none());

    let refused = |text: &str| {
        config(text);
        chain(&MlxWeights::open_dir(dir.path()).unwrap_err())
    };
    let error = refused(r#"{"quantization": {"group_size": 64, "bits": 8}}"#);
    assert!(error.contains("a.weight") && error.contains("do not fit"), "{error}");
    let error = refused(r#"{"quantization": {"group_size": 64, "bits": 7}}"#);
    assert!(error.contains("7 bits in groups of 64"), "{error}");
    let error = refused(r#"{"quantization": {"bits": 4}}"#);
    assert!(error.contains("group_size"), "{error}");
    assert!(refused("{").contains("config.json"));
}

#[test]
fn a_blob_says_in_its_metadata_how_it_is_quantized() {
    let dir = Dir::new();
    let bytes = [0x11; 64];
    let metadata = [("quant_type", "nvfp4"), ("group_size", "16")];
    let open = |scale: &[u64]| {
        let len = usize::try_from(scale.iter().product::<u64>()).unwrap();
        let file = dir.write(
            "blob",
            &metadata,
            &[
                ("w", Dtype::U32, &[2, 4], &bytes[..32]),
                ("w.scale", Dtype::U8, scale, &bytes[..len]),
                ("w.global_scale", Dtype::F32, &[1], &bytes[..4]),
                ("plain", Dtype::U8, &[3], &bytes[..3]),
            ],
        );
        MlxWeights::open_files([file])
    };
    let weights = open(&[2, 2]).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["plain", "w"]);
    assert_eq!(weights.quantization_of("w").unwrap().quant_type, "nvfp4");
    assert_eq!(weights.bytes(), 32 + 4 + 4 + 3);
    assert!(matches!(open(&[2, 3]), Err(OpenError::Source(SourceError::Parts { tensor, .. })) if tensor == "w"));
}

/// One for all experts, or one that multiplies each: another shape would multiply something else.
#[test]
fn global_scales_have_the_shape_that_multiplies() {
    let dir = Dir::new();
    let bytes = [1; 2 * 4 * 4 * 4];
    let open = |dims: &[u64]| {
        let count = usize::try_from(dims.iter().product::<u64>()).unwrap();
        let tensors: [(&str, Dtype, &[u64], &[u8]); 3] = [
            ("w", Dtype::U32, &[2, 4, 4], &bytes),
            ("w.scale", Dtype::U8, &[2, 4, 2], &bytes[..16]),
            ("w.global_scale", Dtype::F32, dims, &bytes[..count * 4]),
        ];
        MlxWeights::open_files([dir.write("blob", &[("quant_type", "nvfp4"), ("group_size", "16")], &tensors)])
    };
    for dims in [&[][..], &[1], &[1, 1, 1], &[2, 1, 1]] {
        assert!(open(dims).is_ok(), "{dims:?}");
    }
    for dims in [&[2][..], &[1, 2, 1], &[4, 1, 1], &[0]] {
        assert!(matches!(open(dims), Err(OpenError::Source(SourceError::Parts { .. }))), "{dims:?}");
    }
}

#[test]
fn what_is_no_directory_of_weights_is_refused() {
    let dir = Dir::new();
    assert!(matches!(MlxWeights::open_dir(dir.path()), Err(OpenError::Source(SourceError::NoWeights { .. }))));
    assert!(matches!(MlxWeights::open_dir(dir.join("missing")), Err(OpenError::Source(SourceError::Read(_)))));
    fs::write(dir.join("model.safetensors.index.json"), "[]").unwrap();
    assert!(matches!(MlxWeights::open_dir(dir.path()), Err(OpenError::Source(SourceError::Index { .. }))));
    let pipe = MlxWeights::open_files([dir.path()]);
    assert!(matches!(pipe, Err(OpenError::Source(SourceError::Read(_)))));
    let missing = MlxWeights::open_files([dir.join("missing")]);
    assert!(matches!(missing, Err(OpenError::Source(SourceError::Read(_)))));
}

#[test]
fn two_tensors_of_one_name_are_refused() {
    let dir = Dir::new();
    let files = ["a.safetensors", "b.safetensors"].map(|name| dir.fill(name, &[("same", Dtype::F32, &[2])]));
    let error = chain(&MlxWeights::open_files(files).unwrap_err());
    assert!(
        error.contains("\"same\"") && error.contains("a.safetensors") && error.contains("b.safetensors"),
        "{error}"
    );
}
