//! Tests the import of quantized checkpoints: small ones in every form that is read, with configurations that may lie.

mod checkpoint;
mod choices;
mod decode;
mod numbers;
mod weight;

use std::{collections::BTreeMap, fs, num::NonZero, path::Path};

use checkpoint::Checkpoint;
use choices::Choices;
use longshore_manifest::{Silent, Store};
use longshore_packer::{ExportOptions, ImportOptions, Plan, PlanOptions, Source, export};
use longshore_quant::FloatType;
use longshore_st_format::{Dtype, Limits, SafeTensors};

/// Tests an import of the checkpoint that `data` chooses.
///
/// An import is refused, or gives the values that a slow decoder reads in the source's tensors by the numbers that the
/// configuration has for each module.
pub(super) fn import(data: &[u8]) {
    let dir = tempfile::tempdir().expect("the system has room for temporary files");
    let checkpoint = Checkpoint::choose(&mut Choices::new(data));
    let source = dir.path().join("source");
    checkpoint.write(&source).expect("the directory is ours");
    let Ok(source) = Source::open(&source, &Limits::default()) else { return };
    // Codes stay codes; 8-bit floats are decoded, because other codes would lose.
    let options = PlanOptions { floats: true, ..PlanOptions::default() };
    let Ok(plan) = Plan::new(source, &options) else { return };
    let store = Store::open(dir.path().join("store")).expect("an empty directory is a store");
    let name = "fuzzed".parse().expect("a name");
    let options = ImportOptions { threads: NonZero::new(1), ..ImportOptions::default() };
    if plan.import(&store, &name, &options, &Silent).is_err() {
        return;
    }
    let Some(expected) = checkpoint.values() else { return };
    let model = store.model(&name).expect("it was imported");
    let out = dir.path().join("out");
    let options = ExportOptions { dequantize: Some(FloatType::F32), ..ExportOptions::default() };
    export(&store, &model, &out, &options, &Silent).expect("what was imported can be exported");
    let found = exported(&checkpoint.below(&out));
    for (name, (dims, values)) in expected {
        let (found_dims, found) = found.get(&name).unwrap_or_else(|| panic!("{name} is not in the export"));
        assert_eq!(found_dims, &dims, "{name} has another shape\n{}", checkpoint.config());
        for (at, (found, expected)) in found.iter().zip(&values).enumerate() {
            let same = found.to_bits() == expected.to_bits();
            assert!(same, "{name} at {at}: {found}, expected {expected}\n{}", checkpoint.config());
        }
    }
}

/// The float tensors of an exported directory: extents and values by name.
fn exported(dir: &Path) -> BTreeMap<String, (Vec<u64>, Vec<f32>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("it was exported") {
        let path = entry.expect("it was exported").path();
        if path.extension().is_none_or(|extension| extension != "safetensors") {
            continue;
        }
        let bytes = fs::read(&path).expect("it was exported");
        let file = SafeTensors::new(&bytes[..]).expect("an export is valid");
        for tensor in file.iter() {
            let values: Vec<f32> = match tensor.dtype {
                Dtype::F32 => {
                    tensor.data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
                }
                Dtype::BF16 => {
                    tensor.data.chunks_exact(2).map(|b| numbers::bf16(u16::from_le_bytes([b[0], b[1]]))).collect()
                }
                _ => continue,
            };
            found.insert(tensor.name.to_owned(), (tensor.shape.dims().to_vec(), values));
        }
    }
    found
}
