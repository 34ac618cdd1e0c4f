//! Tests of models from whose blobs no table can be made.

use longshore_manifest::{
    Digest, Weights,
    document::media_type,
    store::TableError,
    weights::{OpenOptions, WeightsError},
};

use super::{Arrays, Ollama};
use crate::util::{chain, name, replace, verify};

fn refusal(ollama: Ollama) -> TableError {
    let ollama = ollama.done();
    let store = ollama.store();
    let model = store.model(&name("m")).unwrap();
    let error = store.table(&model).unwrap_err();
    assert!(matches!(Weights::open(&store, &model, &OpenOptions::default()), Err(WeightsError::Table(_))));
    error
}

#[test]
fn a_word_that_no_shape_bears_out() {
    for (key, value) in
        [("quant_type", "int5"), ("quant_type", "nvfp4"), ("quant_type", "int4-ish"), ("group_size", "all")]
    {
        let mut arrays = Arrays::new().metadata(key, value);
        if key == "group_size" {
            arrays = arrays.metadata("quant_type", "int4");
        }
        let blob = arrays.affine("x.weight", 4, 64, &[8], 128).encoded();
        let error = refusal(Ollama::new().tensor("x.weight", &blob));
        assert!(matches!(&error, TableError::Contradiction { tensor, .. } if tensor == "x.weight"), "{error}");
        assert_eq!(error.digest(), Some(Digest::of(&blob)));
    }
    // Plain values that the metadata calls codes.
    let floats =
        Arrays::new().metadata("quant_type", "int4").array("x", "BF16", &[8, 8]).array("x.scale", "BF16", &[8, 1]);
    let error = refusal(Ollama::new().tensor("x", &floats.encoded()));
    assert!(matches!(error, TableError::Contradiction { .. }), "{error}");
}

#[test]
fn parts_that_do_not_fit() {
    let scale = Arrays::new().metadata("quant_type", "mxfp4").array("x.weight", "U32", &[8, 16]).array(
        "x.weight.scale",
        "U8",
        &[7, 4],
    );
    let error = refusal(Ollama::new().tensor("x.weight", &scale.encoded()));
    assert!(matches!(&error, TableError::Tensor { problem, .. } if problem.contains("Scale is U8 [7, 4]")), "{error}");
    let twice = Arrays::new().array("x.weight", "BF16", &[8]);
    let again = Arrays::new().array("x.weight", "F32", &[8]);
    let error = refusal(Ollama::new().tensor("x.weight", &twice.encoded()).tensor("x.weight", &again.encoded()));
    assert!(matches!(error, TableError::Table { .. }), "{error}");
}

#[test]
fn blobs_that_are_cut_off_missing_or_no_safetensors() {
    let whole = Arrays::new().array("x.weight", "BF16", &[8]).encoded();
    for bytes in [&whole[..whole.len() - 1], &whole[..12], b"", b"GGUF\x03\0\0\0 and more"] {
        let error = refusal(Ollama::new().tensor("x.weight", bytes));
        assert!(matches!(&error, TableError::Header { layer, .. } if layer == "x.weight"), "{error}");
        let texts = chain(&error);
        assert!(texts.len() > 1 && texts[1].contains("blobs/sha256-"), "{texts:?}");
    }
    let ollama = Ollama::new().tensor("x.weight", &whole).done();
    std::fs::remove_file(ollama.store().blob_path(&Digest::of(&whole))).unwrap();
    let store = ollama.store();
    let model = store.model(&name("m")).unwrap();
    assert!(matches!(store.table(&model), Err(TableError::Header { .. })));
    let bad = verify(&store).bad;
    assert_eq!(bad.len(), 1, "{bad:?}");
}

/// The arrays of a blob count for each component that names it.
#[test]
fn more_arrays_than_any_model_has() {
    let arrays = (0..2_000).fold(Arrays::new(), |arrays, at| arrays.data(&format!("x{at}"), "U8", &[1], vec![1]));
    let blob = arrays.encoded();
    let ollama = (0..525).fold(Ollama::new(), |ollama, at| ollama.same(&format!("component{at}/x0"), &blob));
    let error = refusal(ollama);
    assert!(matches!(error, TableError::TooLarge { arrays: 1_050_000, limit: 1_048_576 }), "{error}");
}

/// Verification reports what a reader would report, but never reports a bad blob twice.
#[test]
fn verify_checks_the_headers() {
    let blob = Arrays::new().metadata("quant_type", "nvfp4").affine("x.weight", 4, 64, &[8], 128).encoded();
    let ollama = Ollama::new().tensor("x.weight", &blob).done();
    let bad = verify(&ollama.store()).bad;
    assert_eq!((bad.len(), bad[0].digest, &*bad[0].models), (1, Some(Digest::of(&blob)), &[name("m")][..]));
    assert!(bad[0].problem.to_string().contains("is said to be nvfp4"), "{}", bad[0].problem);
    replace(&ollama.store().blob_path(&Digest::of(&blob)), &vec![0; blob.len()]);
    let bad = verify(&ollama.store()).bad;
    assert_eq!(bad.len(), 1);
    assert!(bad[0].problem.to_string().contains("corrupt"), "{}", bad[0].problem);
}

#[test]
fn other_formats() {
    let gguf = Ollama::new()
        .config(
            "{\"model_format\":\"gguf\",\"model_family\":\"qwen2\",\"model_type\":\"7.6B\",\"file_type\":\"Q4_K_M\"}"
                .into(),
        )
        .layer(media_type::GGUF, None, b"GGUF\x03\0\0\0")
        .done();
    let store = gguf.store();
    let model = store.model(&name("m")).unwrap();
    assert!(model.is_gguf());
    let error = store.table(&model).unwrap_err();
    assert!(matches!(error, TableError::Gguf { .. }));
    let summary = store.list().unwrap().remove(0).summary.unwrap();
    assert_eq!((summary.format.as_str(), summary.file_type.as_str()), ("gguf", "Q4_K_M"));
    assert_eq!(summary.facts.architecture.as_deref(), Some("qwen2"));
    let outcome = verify(&store);
    assert_eq!((outcome.blobs, outcome.bad.len()), (2, 0));
    let none = refusal(Ollama::new().json("config.json", "{}"));
    assert!(matches!(none, TableError::NoTensors { .. }));
}
