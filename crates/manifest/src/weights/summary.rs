//! The coding of a model whose tensors have several.

use std::fmt;

use crate::document::Quantization;

/// Coding of a model's quantized tensors, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelQuantization {
    /// The requested coding, or the most frequent one if no quantized tensor has the requested type or none was requested.
    pub quantization: Quantization,
    /// Whether some quantized tensors have another coding.
    pub is_mixed: bool,
}

impl ModelQuantization {
    /// Describes tensors of these codings. `requested` is the coding that the import was asked for. `None` if there is no
    /// coding.
    pub fn of<'q>(requested: Option<&Quantization>, codings: impl Iterator<Item = &'q Quantization>) -> Option<Self> {
        let mut counts: Vec<(&Quantization, usize)> = Vec::new();
        for coding in codings {
            match counts.iter_mut().find(|(found, _)| *found == coding) {
                Some((_, count)) => *count += 1,
                None => counts.push((coding, 1)),
            }
        }
        let most = counts.iter().max_by(|a, b| (a.1, b.0).cmp(&(b.1, a.0)))?.0;
        let has_type = |asked: &&Quantization| counts.iter().any(|(found, _)| found.quant_type == asked.quant_type);
        let quantization = match counts[..] {
            [(only, _)] => only,
            _ => requested.filter(has_type).unwrap_or(most),
        };
        Some(Self { quantization: quantization.clone(), is_mixed: counts.len() > 1 })
    }
}

/// Spells the coding as in a request, with a remark if it is not that of all: `int4-g64, mixed`.
impl fmt::Display for ModelQuantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remark = if self.is_mixed { ", mixed" } else { "" };
        write!(f, "{}{remark}", self.quantization)
    }
}
