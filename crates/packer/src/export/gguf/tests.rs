//! A model that came from safetensors, as a GGUF file.

use std::{collections::BTreeMap, fs};

use longshore_gguf::{Gguf, Metadata};
use longshore_manifest::{
    ModelName, Silent, Store,
    weights::{OpenOptions, Weights},
};
use longshore_quant::{
    Scheme,
    ggml::{self, GgmlType},
    policy::Policy,
};
use longshore_st_format::{Dtype, Layout, Limits, Shape};

use super::{ExportError, StoredPart, file_of};
use crate::{
    ImportOptions,
    plan::{options::PlanOptions, planned::Plan},
    source::checkpoint::Source,
};

const SHAPE: [u64; 2] = [4, 256];

/// A store with a model of one quantized matrix `a.weight`, and a vector.
fn model(dir: &std::path::Path, scheme: Scheme) -> (Store, ModelName) {
    let tensors = [("a.weight", Shape::new(SHAPE)), ("n.weight", Shape::new([256]))];
    let layout = Layout::new(&BTreeMap::new(), tensors.map(|(name, shape)| (name, Dtype::BF16, shape)));
    let layout = layout.expect("tests name tensors once");
    let mut file = layout.header().to_vec();
    while (file.len() as u64) < layout.file_len() {
        // Numbers between 2^-4 and 2^-3, of both signs.
        let step = u8::try_from(file.len() % 127).expect("it is below 127");
        file.extend([step, 0x3D | (step & 1) << 7]);
    }
    let source = dir.join("model.safetensors");
    fs::write(&source, file).expect("the directory is ours");
    let store = Store::open(dir.join("store")).expect("the directory is ours");
    let name: ModelName = "m".parse().expect("it is a name");
    let source = Source::open(&source, &Limits::default()).expect("it is a checkpoint");
    let policy = Policy::named("uniform").expect("it exists");
    let options = PlanOptions { scheme: Some(scheme), policy, global_scale: true, ..PlanOptions::default() };
    let plan = Plan::new(source, &options).expect("it can be quantized");
    plan.import(&store, &name, &ImportOptions::default(), &Silent).expect("it can be stored");
    (store, name)
}

/// The types of a file's tensors, and the values of its matrix twice.
type Exported = (BTreeMap<String, String>, [Vec<f32>; 2]);

/// The types of the file's tensors, and the values of the matrix there and in the store.
fn exported(scheme: Scheme, asked: Option<GgmlType>) -> Result<Exported, ExportError> {
    let dir = tempfile::tempdir().expect("there is room");
    let (store, name) = model(dir.path(), scheme);
    let stored = store.model(&name).expect("it was stored");
    let table = store.table(&stored).expect("this program wrote it");
    let named = table
        .tensors()
        .map(|(blob, entry)| (entry.name.clone(), entry.shape.clone(), vec![StoredPart::recorded(blob, entry, 0)]));
    let mut notes = Vec::new();
    let file = file_of(&store, Metadata::new(), named.collect(), Vec::new(), asked, &mut notes)?;
    file.write(&store, dir.path(), 2, &Silent)?;
    let bytes = fs::read(dir.path().join("model.gguf")).expect("it was written");
    let file = Gguf::new(&*bytes).expect("it was written a moment ago");
    let types = file.iter().map(|tensor| (tensor.name.to_owned(), tensor.ggml_type.to_string())).collect();
    let tensor = file.tensor("a.weight").expect("it was written");
    let known = tensor.ggml_type.name().parse().expect("both crates name them alike");
    let mut found = vec![0.0; 1024];
    ggml::decode(known, tensor.data, &mut found).expect("whole blocks");
    if let Some(scale) = file.tensor("a.scale") {
        let scale = f32::from_le_bytes(scale.data.try_into().expect("it is one number"));
        for value in &mut found {
            *value *= scale;
        }
    }
    let options = OpenOptions { decode: true, dtype: Some(Dtype::F32), ..OpenOptions::default() };
    let weights = Weights::open(&store, &stored, &options).expect("it can be decoded");
    let expected = weights.get("a.weight").expect("it was stored").weight().data;
    let expected = expected.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    Ok((types, [found, expected]))
}

#[test]
fn codes_that_ggml_has_stay() {
    for (scheme, expected) in [
        ("int4", "Q4_"),
        ("int4-g32", "Q4_"),
        ("int4-g128", "Q4_"),
        ("int5-g32", "Q5_"),
        ("mxfp4", "MXFP4"),
        ("nvfp4", "NVFP4"),
    ] {
        for asked in [None, Some(GgmlType::Q8_0)] {
            let (types, [found, stored]) =
                exported(scheme.parse().expect("it exists"), asked).unwrap_or_else(|error| panic!("{scheme}: {error}"));
            // With a minimum, or without one where the biases happen to be multiples of the scales.
            assert!(types["a.weight"].starts_with(expected), "{scheme}: {}", types["a.weight"]);
            // Vectors are what llama.cpp reads.
            assert_eq!(types["n.weight"], "F32");
            assert_eq!(types.contains_key("a.scale"), scheme == "nvfp4");
            if scheme == "nvfp4" {
                // The scales are multiplied in another order.
                assert!(found.iter().zip(&stored).all(|(a, b)| (a - b).abs() <= b.abs() * 1e-6), "{scheme}");
            } else {
                assert!(found == stored, "{scheme}");
            }
        }
    }
}

#[test]
fn codes_that_ggml_has_not_are_encoded_on_request() {
    for (scheme, reason) in [
        ("int8", "biases of −128 scales"),
        ("int6", "no type of ggml has the codes"),
        ("mxfp8", "no type of ggml has the codes"),
    ] {
        let scheme = scheme.parse().expect("it exists");
        let error = exported(scheme, None).expect_err("it has other codes");
        let ExportError::GgufTensors { tensors } = &error else { panic!("{error}") };
        assert_eq!(tensors.len(), 1);
        assert!(tensors[0].0 == "a.weight" && tensors[0].1.contains(reason), "{error}");
        let (types, [found, stored]) = exported(scheme, Some(GgmlType::F32)).expect("F32 holds everything");
        assert_eq!(types["a.weight"], "F32");
        assert!(found == stored);
        let (types, _) = exported(scheme, Some(GgmlType::Q4K)).expect("it has an encoder");
        assert_eq!((types["a.weight"].as_str(), types["n.weight"].as_str()), ("Q4_K", "F32"));
    }
}
