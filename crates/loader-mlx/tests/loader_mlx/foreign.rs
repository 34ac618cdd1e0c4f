//! Models as ollama has stored them, in each of the three ways.

use std::{fs, path::PathBuf};

use longshore_loader_mlx::{MlxWeights, QuantizedTensor, Tensor};
use longshore_manifest::{Descriptor, Digest, Manifest, Store, document::media_type, weights::plan::Selection};
use mlx_rs::Array;

use crate::{
    peer::{assert_same, load, loaded},
    support::Dir,
};

/// Arrays by name, dtype and shape, in data order: any bytes.
type Arrays<'a> = &'a [(&'a str, &'static str, &'a [u64])];

/// A safetensors file as ollama's own writer makes it: eight bytes of alignment, and no more.
fn blob(metadata: &str, arrays: Arrays<'_>) -> Vec<u8> {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (at, (name, dtype, dims)) in arrays.iter().enumerate() {
        let size = match *dtype {
            "U8" => 1,
            "BF16" => 2,
            _ => 4,
        };
        let (start, len) = (data.len(), dims.iter().product::<u64>() * size);
        data.extend((0..len).map(|byte| u8::try_from((byte * 7 + at as u64 * 13) % 120).unwrap()));
        entries.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{dims:?},"data_offsets":[{start},{}]}}"#,
            data.len()
        ));
    }
    let metadata = if metadata.is_empty() { String::new() } else { format!(r#""__metadata__":{{{metadata}}},"#) };
    let mut header = format!("{{{metadata}{}}}", entries.join(","));
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

struct Foreign {
    dir: Dir,
    layers: Vec<Descriptor>,
}

impl Foreign {
    fn new() -> Self {
        let dir = Dir::new();
        for below in ["store/blobs", "store/manifests/registry.ollama.ai/library/m"] {
            fs::create_dir_all(dir.join(below)).unwrap();
        }
        Self { dir, layers: Vec::new() }
    }

    fn put(&self, bytes: &[u8]) -> (Digest, PathBuf) {
        let digest = Digest::of(bytes);
        let path = self.dir.join("store/blobs").join(digest.file_name());
        fs::write(&path, bytes).unwrap();
        (digest, path)
    }

    /// Adds a layer, and returns what MLX loads of it.
    fn layer(&mut self, name: &str, bytes: &[u8]) -> std::collections::HashMap<String, Array> {
        let (digest, path) = self.put(bytes);
        let (media_type, size) = (media_type::TENSOR.to_owned(), bytes.len() as u64);
        self.layers.push(Descriptor { media_type, digest, size, name: Some(name.into()) });
        load(&path)
    }

    fn open(self) -> MlxWeights {
        let config = br#"{"model_format":"safetensors"}"#;
        let (digest, _) = self.put(config);
        let size = config.len() as u64;
        let config = Descriptor { media_type: media_type::CONFIG.into(), digest, size, name: None };
        let manifest = Manifest::new(config, self.layers.clone());
        let path = self.dir.join("store/manifests/registry.ollama.ai/library/m/latest");
        fs::write(path, manifest.to_bytes()).unwrap();
        let store = Store::open(self.dir.join("store")).unwrap();
        let model = store.model(&"registry.ollama.ai/library/m:latest".parse().unwrap()).unwrap();
        MlxWeights::open(&store, &model, &Selection::default()).unwrap_or_else(|error| {
            panic!("{}", crate::support::chain(&error));
        })
    }
}

fn quantized<'w>(weights: &'w MlxWeights, name: &str) -> &'w QuantizedTensor {
    weights.get(name).unwrap().quantized().unwrap()
}

fn same(found: &QuantizedTensor, weight: &Array, scale: &Array, bias: Option<&Array>) {
    assert_same(&found.weight, weight, "weight");
    assert_same(&found.scale, scale, "scale");
    assert_eq!(found.bias.is_some(), bias.is_some());
    if let (Some(found), Some(bias)) = (&found.bias, bias) {
        assert_same(found, bias, "bias");
    }
    found.dequantize(None).unwrap().eval().unwrap();
}

/// Each array is a blob of its own, and is called `data` there.
#[test]
fn scales_and_biases_in_layers_of_their_own() {
    let mut foreign = Foreign::new();
    let metadata = r#""quant_type":"int4","group_size":"64""#;
    let weight = foreign.layer("a.weight", &blob(metadata, &[("data", "U32", &[4, 16])]));
    let scale = foreign.layer("a.weight_scale", &blob("", &[("data", "BF16", &[4, 2])]));
    let bias = foreign.layer("a.weight_qbias", &blob("", &[("data", "BF16", &[4, 2])]));
    let plain = foreign.layer("norm.weight", &blob("", &[("data", "BF16", &[8])]));
    let weights = loaded(foreign.open());
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a.weight", "norm.weight"]);
    same(quantized(&weights, "a.weight"), &weight["data"], &scale["data"], Some(&bias["data"]));
    let Tensor::Plain(found) = weights.get("norm.weight").unwrap() else { panic!("it is plain") };
    assert_same(found, &plain["data"], "norm.weight");
}

#[test]
fn one_tensor_with_its_companions() {
    let mut foreign = Foreign::new();
    let metadata = r#""quant_type":"nvfp4","group_size":"16""#;
    let arrays: Arrays<'_> = &[("b.weight", "U32", &[2, 4]), ("b.weight.scale", "U8", &[2, 2])];
    let expected = foreign.layer("b.weight", &blob(metadata, arrays));
    let weights = loaded(foreign.open());
    assert_eq!(weights.quantization_of("b.weight").unwrap().quant_type, "nvfp4");
    same(quantized(&weights, "b.weight"), &expected["b.weight"], &expected["b.weight.scale"], None);
}

#[test]
fn a_stacked_group_with_metadata_for_each() {
    let mut foreign = Foreign::new();
    let metadata = concat!(
        r#""l.mlp.experts.down_proj.weight.quant_type":"int8","l.mlp.experts.down_proj.weight.group_size":"64","#,
        r#""l.mlp.experts.up_proj.weight.quant_type":"int4","l.mlp.experts.up_proj.weight.group_size":"64""#
    );
    let arrays: Arrays<'_> = &[
        ("l.mlp.experts.down_proj.weight", "U32", &[2, 3, 16]),
        ("l.mlp.experts.down_proj.weight.scale", "BF16", &[2, 3, 1]),
        ("l.mlp.experts.down_proj.weight.bias", "BF16", &[2, 3, 1]),
        ("l.mlp.experts.up_proj.weight", "U32", &[2, 3, 8]),
        ("l.mlp.experts.up_proj.weight.scale", "BF16", &[2, 3, 1]),
        ("l.mlp.experts.up_proj.weight.bias", "BF16", &[2, 3, 1]),
    ];
    let expected = foreign.layer("l.mlp.experts", &blob(metadata, arrays));
    let weights = loaded(foreign.open());
    for (name, quant_type) in [("l.mlp.experts.down_proj.weight", "int8"), ("l.mlp.experts.up_proj.weight", "int4")] {
        assert_eq!(weights.quantization_of(name).unwrap().quant_type, quant_type);
        let [scale, bias] = [".scale", ".bias"].map(|end| &expected[&format!("{name}{end}")]);
        same(quantized(&weights, name), &expected[name], scale, Some(bias));
    }
}
