//! What an adapter's document says of merging, in whichever form it is written.

use longshore_model::gguf::NameMap;

use super::{error::AdapterError, format::Format, pattern::Patterns};

/// What a document says of merging.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) format: Format,
    pub(super) is_fan_in_fan_out: bool,
    /// Whether every pair has magnitudes.
    pub(super) is_dora: bool,
    pub(super) scaling: Scaling,
    /// The name of the architecture in ggml, and its names of tensors. `None` for an adapter of a checkpoint.
    pub(super) ggml: Option<(String, NameMap)>,
}

/// The way to the factor of a product.
#[derive(Debug)]
pub(super) enum Scaling {
    /// alpha / rank, or alpha / √rank.
    Ratio { rank: f64, alpha: f64, is_root: bool, ranks: Patterns, alphas: Patterns },
    /// The factor as the document has it.
    Factor { scale: f64, rank: Option<f64> },
    /// alpha / rank, or 1 where alpha is 0.
    Alpha(f64),
}

impl Settings {
    /// The factor of a product of rank `rank`. `tensor` is one of the factors, in messages.
    pub(super) fn scale(&self, module: &str, rank: u64, tensor: &str) -> Result<f32, AdapterError> {
        #[expect(clippy::cast_precision_loss, reason = "ranks are small")]
        let found = rank as f64;
        let (scale, expected, by) = match &self.scaling {
            Scaling::Ratio { rank, alpha, is_root, ranks, alphas } => {
                let by = ranks.of(module);
                let alpha = alphas.of(module).unwrap_or(*alpha);
                let divisor = if *is_root { found.sqrt() } else { found };
                (alpha / divisor, by.or(Some(*rank)), if by.is_some() { "rank_pattern" } else { "r" })
            }
            Scaling::Factor { scale, rank } => (*scale, *rank, "lora_parameters.rank"),
            Scaling::Alpha(0.0) => (1.0, None, ""),
            Scaling::Alpha(alpha) => (alpha / found, None, ""),
        };
        #[expect(clippy::float_cmp, reason = "both are whole numbers, or the document is wrong")]
        let differs = expected.filter(|expected| *expected != found);
        if let Some(expected) = differs {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number for a message")]
            let expected = expected as u64;
            let by = format!("{by} of adapter_config.json");
            return Err(AdapterError::Rank { tensor: tensor.to_owned(), found: rank, expected, by });
        }
        #[expect(clippy::cast_possible_truncation, reason = "rounding to F32 is part of the merge")]
        let scale = scale as f32;
        if scale.is_finite() {
            return Ok(scale);
        }
        Err(AdapterError::Setting { setting: "a scale", found: scale.to_string(), expected: "a finite number" })
    }
}
