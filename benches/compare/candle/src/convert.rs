//! Converts safetensors to GGUF in the way of candle's own `tensor-tools quantize`.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use candle_core::{
    DType, Device,
    quantized::{GgmlDType, QTensor, gguf_file},
    safetensors::MmapedSafetensors,
};

use crate::Failure;

/// Quantizes the matrices, keeps vectors as F32, and writes all of them to `out/model.gguf` under their original names.
pub fn convert(out: &Path, kind: GgmlDType, files: &[String]) -> Result<(), Failure> {
    std::fs::create_dir_all(out)?;
    let mut tensors = Vec::new();
    // SAFETY: the files are the comparison's own input, and nobody changes them while the program runs.
    let source = unsafe { MmapedSafetensors::multi(files)? };
    for (name, _) in source.tensors() {
        let tensor = source.load(&name, &Device::Cpu)?.to_dtype(DType::F32)?;
        let kind = if tensor.rank() < 2 { GgmlDType::F32 } else { kind };
        tensors.push((name, QTensor::quantize(&tensor, kind)?));
    }
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut file = BufWriter::new(File::create(out.join("model.gguf"))?);
    gguf_file::write(&mut file, &[], &tensors)?;
    file.flush()?;
    Ok(())
}
