//! Tests the two documents of a stored model.

use std::collections::HashSet;

use longshore_manifest::{Config, Manifest, document::Role};

use crate::names::check_path;

/// Tests `data` as a manifest.
pub(super) fn manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::parse(data) else { return };
    let mut paths = HashSet::new();
    for (path, layer) in manifest.files() {
        check_path(&path);
        assert_eq!(layer.name.as_deref(), Some(path.as_str()));
        assert!(paths.insert(path), "one file is listed twice");
    }
    assert_eq!(paths.len(), manifest.layers.iter().filter(|layer| layer.is_file()).count());
    assert_eq!(manifest.blobs().count(), 1 + manifest.layers.len());
    for blob in manifest.blobs() {
        let file = blob.digest.file_name();
        assert!(file.len() == 71 && file.bytes().all(|b| b == b'-' || b.is_ascii_alphanumeric()), "{file:?}");
    }
    assert_eq!(Manifest::parse(&manifest.to_bytes()).expect("a written document can be parsed"), manifest);
}

/// Tests `data` as a config document.
pub(super) fn config(data: &[u8]) {
    let Ok(config) = Config::parse(data) else { return };
    let again = Config::parse(&config.to_bytes()).expect("a written document can be parsed");
    assert_eq!(again.to_bytes(), config.to_bytes());
    let Some(table) = &config.longshore else { return };
    let mut names = HashSet::new();
    for (blob, tensor) in table.tensors() {
        assert!(
            names.insert((blob.component.as_deref(), tensor.name.as_str())),
            "tensor {:?} is listed twice",
            tensor.name
        );
        let weight = tensor.weight();
        assert_eq!(weight.role, Role::Weight);
        for part in &tensor.parts {
            assert!(part.offset.checked_add(part.length).is_some());
            assert_eq!(part.shape.byte_len(part.dtype), Ok(part.length));
        }
        let _ = (tensor.byte_len(), tensor.elements(), tensor.source_names().count());
        if let Some(quantization) = &tensor.quantization {
            let _ = quantization.to_string();
        }
        for index in [0, 1, u64::MAX] {
            // The part of an expert lies inside the tensor's part.
            for (whole, part) in tensor.parts.iter().zip(tensor.expert_parts(index).into_iter().flatten()) {
                assert!(part.offset >= whole.offset && part.offset + part.length <= whole.offset + whole.length);
            }
        }
    }
}
