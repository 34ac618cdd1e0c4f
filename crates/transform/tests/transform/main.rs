//! The public interface.

mod fitted;
mod gptq;
mod llama_cpp;
mod refused;
mod rotation;

use longshore_transform::adapter::{Adapter, AdapterError, BaseTensor, Listed, Updates};

const PEFT: &str = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4}"#;
const MLX: &str = r#"{"fine_tune_type": "lora", "lora_parameters": {"rank": 2, "scale": 20.0}}"#;

/// Reads an adapter, with PEFT's beginning of names where they have none, and fits it.
fn fit(
    config: &str,
    tensors: &[(&str, &[u64])],
    base: &[(&str, &[u64])],
    is_tied: bool,
) -> Result<Updates, AdapterError> {
    let listed: Vec<Listed> = tensors.iter().map(|(name, shape)| Listed::new(*name, *shape)).collect();
    let base: Vec<BaseTensor> = base.iter().map(|(name, shape)| BaseTensor::new(*name, *shape)).collect();
    Adapter::read(config.as_bytes(), &listed)?.fit(&base, is_tied)
}
