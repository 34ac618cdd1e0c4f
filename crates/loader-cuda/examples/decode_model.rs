//! Decodes the quantized tensors of a stored model on the device, and writes the results and the codes for another
//! program to compare.
//!
//! ```text
//! cargo run --release -p longshore-loader-cuda --example decode_model -- STORE NAME DIRECTORY
//! ```
//!
//! The directory gets a file of raw bytes per array, and `arrays.tsv` with the columns tensor, scheme, group size,
//! part, type, extents, file. The parts are those of the stored tensor, and its decoded values as `F32` and `BF16`.
#![expect(clippy::print_stdout, reason = "it is a program")]

#[cfg(not(any(target_os = "linux", windows)))]
fn main() {
    println!("there is no CUDA for this system");
}

#[cfg(any(target_os = "linux", windows))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::{fmt::Write as _, fs, path::PathBuf};

    use longshore_loader_cuda::{CudaWeights, LoadOptions};
    use longshore_manifest::{Store, document::Role, weights::plan::Selection};
    use longshore_quant::FloatType;

    let args: Vec<_> = std::env::args().skip(1).collect();
    let [store, name, directory] = &args[..] else { return Err("expected STORE NAME DIRECTORY".into()) };
    let (store, directory) = (Store::open(store)?, PathBuf::from(directory));
    fs::create_dir_all(&directory)?;
    let model = store.model(&name.parse()?)?;
    let weights = CudaWeights::load(&store, &model, 0, &Selection::default(), &LoadOptions::default())?;
    let mut index = String::new();
    let mut count = 0;
    for tensor in weights.iter() {
        let Some(code) = tensor.quantization() else { continue };
        let mut write =
            |part: &str, dtype: &str, dims: &[u64], bytes: &[u8]| -> Result<(), Box<dyn std::error::Error>> {
                let file = format!("{count}.bin");
                fs::write(directory.join(&file), bytes)?;
                let dims: Vec<_> = dims.iter().map(u64::to_string).collect();
                let (quant_type, group) = (&code.quant_type, code.group_size);
                let dims = dims.join(",");
                writeln!(index, "{}\t{quant_type}\t{group}\t{part}\t{dtype}\t{dims}\t{file}", tensor.name())?;
                count += 1;
                Ok(())
            };
        for role in [Role::Weight, Role::Scale, Role::Bias, Role::GlobalScale] {
            if let Some(part) = tensor.companion(role) {
                write(&format!("{role:?}"), part.dtype.name(), part.shape.dims(), &part.to_host()?)?;
            }
        }
        for target in [FloatType::F32, FloatType::BF16] {
            let floats = tensor.dequantize(target)?;
            for float in floats.iter() {
                write(float.dtype().name(), float.dtype().name(), float.shape().dims(), &float.to_host()?)?;
            }
        }
    }
    fs::write(directory.join("arrays.tsv"), index)?;
    println!("{count} arrays of {name}");
    Ok(())
}
