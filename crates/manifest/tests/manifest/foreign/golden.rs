//! Blobs with known digests show that the fixtures write the same bytes as ollama.

use longshore_manifest::{Digest, Weights, document::Role, weights::OpenOptions};

use super::{Arrays, Ollama};
use crate::util::{name, verify};

fn is(blob: &[u8], len: usize, sha256: &str) {
    assert_eq!((blob.len(), Digest::of(blob).to_string()), (len, format!("sha256:{sha256}")));
}

#[test]
fn one_array_without_and_with_its_name() {
    let of = |key: &str| Arrays::new().data(key, "F32", &[2, 2], vec![0; 16]).encoded();
    is(&of("data"), 88, "d8ca097ecf03eceafe9767b8779a7519ab2c84a6cd504cc0f0e255e5161320e8");
    is(&of("test_tensor"), 96, "0487861d4d5009028ca16f1b40b47d7720d9788d661d4e29c1a5631508a4a807");
    let ollama = Ollama::new().tensor("old.weight", &of("data")).tensor("test_tensor", &of("test_tensor")).done();
    let store = ollama.store();
    let weights = Weights::open(&store, &store.model(&name("m")).unwrap(), &OpenOptions::default()).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["old.weight", "test_tensor"]);
    assert!(weights.iter().all(|tensor| tensor.weight().data == [0; 16] && tensor.quantization().is_none()));
    assert!(verify(&store).bad.is_empty());
}

#[test]
fn two_plain_arrays_in_one_blob() {
    let arrays = Arrays::new().data("a", "U8", &[4], (1..=4).collect()).data("b", "U8", &[8], (5..=12).collect());
    is(&arrays.encoded(), 132, "a86c677c1fdd7d7bbd86d60e9438d44acf4d251c860d78f5209724c880b9b532");
    let ollama = Ollama::new().tensor("group", &arrays.encoded()).done();
    let store = ollama.store();
    let weights = Weights::open(&store, &store.model(&name("m")).unwrap(), &OpenOptions::default()).unwrap();
    assert_eq!(weights.get("a").unwrap().weight().data, [1, 2, 3, 4]);
    assert_eq!(weights.get("b").unwrap().weight().data, [5, 6, 7, 8, 9, 10, 11, 12]);
}

#[test]
fn codes_that_were_quantized_before() {
    let blob = Arrays::new()
        .metadata("quant_type", "nvfp4")
        .metadata("group_size", "16")
        .data("linear.weight", "U32", &[16, 2], vec![0; 128])
        .data("linear.weight.scale", "U8", &[16, 1], vec![0; 16])
        .data("linear.weight.global_scale", "F32", &[], 0.25_f32.to_le_bytes().to_vec())
        .encoded();
    is(&blob, 444, "13dbb25e7496bd6ba035dcdddcf5f6a62dfbaee820ef51df38da07592b1b0ef9");
    let ollama = Ollama::new().tensor("linear.weight", &blob).done();
    let store = ollama.store();
    let weights = Weights::open(&store, &store.model(&name("m")).unwrap(), &OpenOptions::default()).unwrap();
    assert_eq!(weights.len(), 1);
    let linear = weights.get("linear.weight").unwrap();
    assert_eq!((linear.quantization().unwrap().to_string(), linear.shape().dims()), ("nvfp4".into(), &[16, 16][..]));
    assert_eq!(linear.companion(Role::GlobalScale).unwrap().data, 0.25_f32.to_le_bytes());
}

/// Header that MLX 0.31.2 wrote for int4 in groups of 64: 345 bytes, so that no array is aligned.
#[test]
fn what_mlx_writes() {
    const NAME: &str = "model.layers.0.mlp.up_proj.weight";
    let blob = Arrays::new()
        .metadata("quant_type", "int4")
        .metadata("group_size", "64")
        .array(&format!("{NAME}.scale"), "BF16", &[64, 2])
        .array(&format!("{NAME}.bias"), "BF16", &[64, 2])
        .array(NAME, "U32", &[64, 16])
        .mlx();
    let header = format!(
        "{{\"__metadata__\":{{\"group_size\":\"64\",\"quant_type\":\"int4\"}},\
         \"{NAME}\":{{\"data_offsets\":[512,4608],\"dtype\":\"U32\",\"shape\":[64,16]}},\
         \"{NAME}.bias\":{{\"data_offsets\":[256,512],\"dtype\":\"BF16\",\"shape\":[64,2]}},\
         \"{NAME}.scale\":{{\"data_offsets\":[0,256],\"dtype\":\"BF16\",\"shape\":[64,2]}}}}"
    );
    assert_eq!((&blob[8..353], header.len()), (header.as_bytes(), 345));
    let ollama = Ollama::new().tensor(NAME, &blob).done();
    let store = ollama.store();
    let weights = Weights::open(&store, &store.model(&name("m")).unwrap(), &OpenOptions::default()).unwrap();
    let tensor = weights.get(NAME).unwrap();
    assert_eq!((tensor.dtype().name(), tensor.shape().dims()), ("BF16", &[64, 128][..]));
    assert_eq!(tensor.weight().data, &blob[353 + 512..]);
    assert_eq!(tensor.companion(Role::Scale).unwrap().data, &blob[353..353 + 256]);
    assert_eq!(tensor.companion(Role::Bias).unwrap().data, &blob[353 + 256..353 + 512]);
}
