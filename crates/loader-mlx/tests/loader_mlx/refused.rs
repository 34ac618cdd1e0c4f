//! Files that are damaged, or hold what MLX has no type for. All of them are refused before there is an array.

use std::fs;

use longshore_loader_mlx::{FileError, MlxWeights, OpenError};
use longshore_manifest::weights::{SourceError, plan::Selection};
use longshore_st_format::{Dtype, HeaderError, fixtures};

use crate::support::{Dir, Stored, chain};

fn open(dir: &Dir) -> Result<MlxWeights, OpenError> {
    MlxWeights::open_files([dir.join("a.safetensors")])
}

#[test]
fn types_that_mlx_lacks() {
    let has = |dtype: Dtype| {
        !matches!(
            dtype,
            Dtype::F64
                | Dtype::F4
                | Dtype::F6E2M3
                | Dtype::F6E3M2
                | Dtype::F8E5M2
                | Dtype::F8E4M3Fnuz
                | Dtype::F8E5M2Fnuz
        )
    };
    for &dtype in Dtype::ALL {
        let dir = Dir::new();
        let file = dir.fill("a.safetensors", &[("good", Dtype::F32, &[4]), ("other", dtype, &[4, 4])]);
        let outcome = open(&dir);
        assert_eq!(outcome.is_ok(), has(dtype), "{dtype}");
        #[cfg(any(target_os = "macos", longshore_mlx))]
        assert_eq!(mlx_rs::Array::load_safetensors(&file).is_ok(), has(dtype), "{dtype}: MLX's own loader");
        let _ = file;
        if let Err(error) = outcome {
            assert!(
                matches!(&error, OpenError::Dtype { tensor, dtype: found, .. } if tensor == "other" && *found == dtype)
            );
            assert!(chain(&error).contains(dtype.name()), "{error}");
        }
    }
}

#[test]
fn a_checkpoint_of_a_type_that_mlx_lacks() {
    let dir = Dir::new();
    fixtures::model("mistral-fp8-e5m2").write(dir.path()).unwrap();
    let error = MlxWeights::open_dir(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Dtype { dtype: Dtype::F8E5M2, .. }), "{error}");
}

#[test]
fn truncated_and_overwritten_files() {
    let dir = Dir::new();
    let path = dir.fill("a.safetensors", &[("w", Dtype::F32, &[64, 64])]);
    let whole = fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        match open(&dir) {
            Err(OpenError::Source(SourceError::Header { source, .. })) => source,
            other => panic!("{other:?}"),
        }
    };
    for len in [0, 4, 8, 60, whole.len() / 2, whole.len() - 1] {
        let _ = refused(&whole[..len]);
    }
    let mut longer = whole.clone();
    longer.push(0);
    let _ = refused(&longer);
    let text = String::from_utf8_lossy(&whole[..100]).into_owned();
    let at = text.find("F32").unwrap();
    let mut unknown = whole.clone();
    unknown[at..at + 3].copy_from_slice(b"F99");
    assert!(matches!(refused(&unknown), HeaderError::UnknownDtype { .. }));
    let mut garbage = whole;
    garbage[8..20].fill(b'x');
    let _ = refused(&garbage);
}

#[test]
fn a_blob_that_is_not_what_its_model_says() {
    let stored = Stored::new();
    let model = stored.import("llama", "int4");
    let table = model.config.longshore.clone().unwrap();
    let blob = &table.blobs[0];
    let path = stored.store.blob_path(&blob.digest);
    let open = || MlxWeights::open(&stored.store, &model, &Selection::default());
    let whole = fs::read(&path).unwrap();
    // Blobs are read-only: replaced rather than written.
    let replace = |bytes: &[u8]| {
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    };
    replace(&whole[..whole.len() - 1]);
    assert!(matches!(open(), Err(OpenError::File(FileError::Header { .. }))));
    let other = stored
        .store
        .blob_path(&table.blobs.iter().find(|other| other.tensors[0].shape != blob.tensors[0].shape).unwrap().digest);
    replace(&fs::read(other).unwrap());
    let error = open().unwrap_err();
    assert!(matches!(&error, OpenError::Disagreement { tensor, .. } if *tensor == blob.tensors[0].name), "{error}");
    fs::remove_file(&path).unwrap();
    assert!(matches!(open(), Err(OpenError::File(FileError::Open { .. }))));
}
