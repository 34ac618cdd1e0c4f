//! Exports of models that came from GGUF, after blocks were taken over and with other types.

use std::{collections::BTreeMap, fs};

use longshore_gguf::{GgmlType, Gguf, Value};
use longshore_packer::{ExportError, ExportFormat, ExportOptions, PlanOptions};
use longshore_quant::ggml;

use crate::{
    gguf_mlx::{import, mlx, name_of, quant, source, tensor, types, write},
    stores::{export_to, files, store, try_export},
    support::{Dir, options},
};

fn gguf(asked: Option<ggml::GgmlType>) -> ExportOptions {
    ExportOptions { format: ExportFormat::Gguf, gguf_type: asked, ..ExportOptions::default() }
}

/// The types that come back from their schemes.
const BOTH_WAYS: [GgmlType; 8] = [
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::Q2_0,
    GgmlType::MXFP4,
    GgmlType::NVFP4,
];

#[test]
fn what_was_taken_over_comes_back_byte_for_byte() {
    let (dir, place) = (Dir::new(), Dir::new());
    let mut tensors: Vec<_> = BOTH_WAYS.map(|known| tensor(&name_of(known), known, &[3, 512])).into();
    tensors.push(tensor("blk.0.nvfp4.scale", GgmlType::F32, &[1]));
    tensors.push(tensor("blk.0.attn_norm.weight", GgmlType::F32, &[512]));
    // Kept, since no scheme holds it.
    tensors.push(tensor("output.weight", GgmlType::Q6K, &[3, 512]));
    write(&dir, &tensors);
    let store = store(&place);
    let plan = import(&store, "m", &source(&dir), &mlx());
    let restores = |note: &String| note.ends_with("`export --format gguf` restores the files");
    assert!(plan.notes.iter().any(restores), "{:?}", plan.notes);
    let outcome = export_to(&store, "m", &place.join("out"), &gguf(None));
    assert_eq!(outcome.tensors, tensors.len());
    let found = files(&place.join("out"));
    assert!(found["model.gguf"] == fs::read(dir.join("x.gguf")).expect("it is ours"));
}

#[test]
fn what_has_no_way_back_is_refused_by_name() {
    let (dir, place) = (Dir::new(), Dir::new());
    let shape = [3, 512];
    write(&dir, &[tensor("a.weight", GgmlType::Q4K, &shape), tensor("b.weight", GgmlType::Q8_0, &shape)]);
    let store = store(&place);
    let source = source(&dir);
    import(&store, "m", &source, &mlx());
    let error = try_export(&store, "m", &place.join("out"), &gguf(None)).expect_err("its scales are F32");
    let ExportError::GgufTensors { tensors } = &error else { panic!("{error}") };
    assert_eq!(tensors.len(), 1, "{error}");
    assert_eq!(tensors[0].0, "a.weight");
    import(&store, "n", &source, &PlanOptions { requantize: true, ..options("int8", "uniform") });
    let error = try_export(&store, "n", &place.join("out"), &gguf(None)).expect_err("it is quantized again");
    assert!(matches!(&error, ExportError::GgufTensors { tensors } if tensors[0].0 == "a.weight"), "{error}");
    assert!(!place.join("out").exists());
    export_to(&store, "n", &place.join("out"), &gguf(Some(ggml::GgmlType::Q8_0)));
}

/// The tensors of an exported file: type and bytes, by name.
fn read(file: &[u8]) -> BTreeMap<String, (GgmlType, Vec<u8>)> {
    let file = Gguf::new(file).expect("it was written a moment ago");
    file.iter().map(|tensor| (tensor.name.to_owned(), (tensor.ggml_type, tensor.data.to_vec()))).collect()
}

#[test]
fn matrices_are_encoded_as_the_type_that_is_asked_for() {
    let (dir, place) = (Dir::new(), Dir::new());
    let finite = |known: &GgmlType| !matches!(known, GgmlType::Q8K | GgmlType::IQ1M | GgmlType::Q1_0);
    let kept: Vec<_> = types().filter(finite).collect();
    let mut tensors: Vec<_> = kept.iter().map(|known| tensor(&name_of(*known), *known, &[3, 512])).collect();
    tensors.push(tensor("blk.0.attn_norm.weight", GgmlType::F32, &[512]));
    tensors.push(tensor("blk.0.ffn_gate_inp.weight", GgmlType::F32, &[4, 512]));
    tensors.push(tensor("blk.0.float.weight", GgmlType::F32, &[4, 512]));
    tensors.push(tensor("blk.0.short.weight", GgmlType::Q8_0, &[4, 96]));
    write(&dir, &tensors);
    let store = store(&place);
    let source = source(&dir);
    import(&store, "raw", &source, &PlanOptions::default());
    import(&store, "mlx", &source, &mlx());
    for asked in ExportOptions::ENCODED_TYPES {
        for model in ["raw", "mlx"] {
            let out = place.join(&format!("{asked}-{model}"));
            let outcome = export_to(&store, model, &out, &gguf(Some(asked)));
            let file = files(&out).remove("model.gguf").expect("it is one file");
            let found = read(&file);
            assert_eq!(found.len(), tensors.len());
            let fallback = matches!(asked, ggml::GgmlType::Q4K | ggml::GgmlType::Q6K);
            assert_eq!(outcome.notes.len(), usize::from(fallback), "{asked}: {:?}", outcome.notes);
            for (name, own, shape, bytes) in &tensors {
                let wanted = match (name.as_str(), asked) {
                    ("blk.0.attn_norm.weight" | "blk.0.ffn_gate_inp.weight", _) => ggml::GgmlType::F32,
                    ("blk.0.short.weight", ggml::GgmlType::Q4K) => ggml::GgmlType::Q5_0,
                    ("blk.0.short.weight", ggml::GgmlType::Q6K) => ggml::GgmlType::Q8_0,
                    _ => asked,
                };
                let (known, found) = &found[name];
                assert_eq!(quant(*known), wanted, "{name} in {asked}");
                // What was taken over with F32 scales has lost the form of its blocks.
                let is_lost = model == "mlx" && *own == GgmlType::Q4K;
                if quant(*own) == wanted && !is_lost {
                    assert!(found == bytes, "{name} is {asked} already");
                    continue;
                }
                let count = usize::try_from(shape.iter().product::<u64>()).expect("it is small");
                let mut values = vec![0.0; count];
                ggml::decode(quant(*own), bytes, &mut values).expect("whole blocks");
                let is_taken = model == "mlx" && ggml::Mapping::of(quant(*own)).is_some();
                let mut expected = vec![0; count / wanted.block_size() * wanted.block_bytes()];
                ggml::encode(wanted, &values, &mut expected).expect("it has an encoder");
                let is_mapped = matches!(
                    (own, asked),
                    (GgmlType::Q4_0, ggml::GgmlType::Q4_1) | (GgmlType::Q5_0, ggml::GgmlType::Q5_1)
                );
                if model == "mlx" && is_mapped && wanted == asked {
                    // The codes are those of the other type too.
                    let mut kept = vec![0.0; count];
                    ggml::decode(wanted, found, &mut kept).expect("whole blocks");
                    assert!(kept == values, "{name} in {asked}");
                } else if is_taken {
                    // Zeros may have lost their sign.
                    let (mut a, mut b) = (vec![0.0; count], vec![0.0; count]);
                    ggml::decode(wanted, found, &mut a).expect("whole elements");
                    ggml::decode(wanted, &expected, &mut b).expect("whole elements");
                    assert!(a == b, "{name} in {asked}");
                } else {
                    assert!(*found == expected, "{name} in {asked} of {model}");
                }
            }
            let header = Gguf::new(&*file).expect("it was written a moment ago");
            let version = header.header().metadata().get("general.quantization_version");
            assert_eq!(version, (asked.block_size() > 1).then_some(Value::U32(2)), "{asked}");
        }
    }
}

#[test]
fn values_beyond_the_range_are_refused() {
    let (dir, place) = (Dir::new(), Dir::new());
    let mut large = tensor("a.weight", GgmlType::F32, &[2, 32]);
    large.3[..4].copy_from_slice(&1e6_f32.to_le_bytes());
    write(&dir, &[large]);
    let store = store(&place);
    import(&store, "m", &source(&dir), &PlanOptions::default());
    let error =
        try_export(&store, "m", &place.join("out"), &gguf(Some(ggml::GgmlType::F16))).expect_err("1e6 is no F16");
    assert!(matches!(&error, ExportError::GgufValues { tensor, .. } if tensor == "a.weight"), "{error}");
    assert!(!place.join("out").exists());
}
