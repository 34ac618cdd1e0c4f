//! Whole models with their values, if the files are available.

use std::path::PathBuf;

use super::{
    checkpoint::{Imported, Values, values},
    numbers::round_bf16,
};
use crate::support::{Dir, open, options};
use longshore_packer::PlanOptions;

fn models() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/models"))
}

#[test]
fn values_of_whole_models() {
    for model in ["deepseek-v3-fp8", "gpt-oss-mxfp4", "llama-modelopt-nvfp4", "qwen3-mlx-4bit"] {
        let expected = models().join("expected").join(format!("{model}.safetensors"));
        if !expected.exists() {
            continue;
        }
        let holder = Dir::new();
        holder.file("config.json", "{}");
        std::fs::copy(expected, holder.join("model.safetensors")).expect("it is there");
        let expected = values(&holder.open().expect("it is a model"));
        let is_fp8 = model.ends_with("fp8");
        let dir = Dir::new();
        for entry in std::fs::read_dir(models().join(model)).expect("it is there") {
            let entry = entry.expect("it is there");
            std::fs::copy(entry.path(), dir.join(&entry.file_name().to_string_lossy())).expect("the directory is ours");
        }
        let imported = Imported::new(&dir, &PlanOptions { floats: is_fp8, ..options("none", "default") }, false);
        let found = imported.exported();
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{model}");
        for (name, Values { dims, elements: values, .. }) in &expected {
            let values: Vec<f32> =
                if is_fp8 { values.iter().map(|value| round_bf16(*value)).collect() } else { values.clone() };
            super::checkpoint::same(&format!("{model} {name}"), &found[name], dims, &values);
        }
        let source = open(dir.path()).expect("it is a model");
        assert!(imported.names().len() < source.tensors.len(), "{model}");
    }
}
