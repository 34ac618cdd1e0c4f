//! Recognition of the kind of a checkpoint by the names and dtypes of its tensors.

use std::{collections::HashMap, fmt};

use longshore_st_format::Dtype;
use serde::Serialize;

use super::form::{self, Packed};
use crate::tensor::SourceTensor;

/// The form in which a checkpoint stores its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// Floats, apart from at most a few tensors of other types.
    Float,
    /// 8-bit floats with scales.
    Fp8,
    /// Packed codes with scales.
    Prequantized,
    /// The components of a diffusion pipeline, each in a directory of its own.
    Pipeline,
    /// Tensors of ggml's types, in GGUF files.
    Gguf,
}

impl Kind {
    /// The kind as JSON documents name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Fp8 => "fp8",
            Self::Prequantized => "prequantized",
            Self::Pipeline => "pipeline",
            Self::Gguf => "gguf",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The tensor or document that the kind of a checkpoint was recognised by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// A tensor that only a checkpoint of this kind has.
    Tensor {
        /// The form in which the weights are stored, such as `ModelOpt NVFP4`.
        format: &'static str,
        /// Name of the tensor.
        tensor: String,
        /// The type of its elements.
        dtype: Dtype,
        /// The tensor that scales it or says how it is packed, if there is one.
        companion: Option<String>,
    },
    /// A pipeline's `model_index.json`.
    Components {
        /// The components that have a class, such as `transformer` and `vae`, in byte order.
        names: Vec<String>,
    },
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor { format, tensor, dtype, companion } => {
                write!(f, "tensor {tensor:?} of dtype {dtype}")?;
                if let Some(companion) = companion {
                    write!(f, " with {companion:?}")?;
                }
                write!(f, " is {format}")
            }
            Self::Components { names } => write!(f, "model_index.json lists {}", names.join(", ")),
        }
    }
}

/// Determines the kind of a checkpoint with these tensors, and the evidence unless it is [`Kind::Float`].
pub(crate) fn classify(tensors: &[SourceTensor]) -> (Kind, Option<Evidence>) {
    let dtypes: HashMap<&str, Dtype> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.dtype)).collect();
    let dtype_of = |name: &str| dtypes.get(name).copied();
    let exists = |name: &String| dtype_of(name).is_some();
    let packed = |tensor: &SourceTensor| {
        let Packed { form, scales, .. } = form::packed(dtype_of, tensor)?;
        Some((form.label(), scales.filter(exists)))
    };
    let e5m2 = |tensor: &SourceTensor| {
        let is_e5m2 = matches!(tensor.dtype, Dtype::F8E5M2 | Dtype::F8E5M2Fnuz);
        (is_e5m2 && tensor.shape.rank() >= 2).then_some(("FP8 E5M2", None))
    };
    let e4m3 = |tensor: &SourceTensor| {
        let is_e4m3 = matches!(tensor.dtype, Dtype::F8E4M3 | Dtype::F8E4M3Fnuz);
        (is_e4m3 && tensor.shape.rank() >= 2).then(|| ("FP8 E4M3", form::fp8_scales(&tensor.name).find(exists)))
    };
    // Weights that cannot be imported come first, then packed codes, because their scales may be 8-bit floats.
    let tests: [(Kind, &Test<'_>); 3] = [(Kind::Fp8, &e5m2), (Kind::Prequantized, &packed), (Kind::Fp8, &e4m3)];
    for (kind, test) in tests {
        let mut found = tensors.iter().filter_map(|tensor| Some((tensor, test(tensor)?)));
        if let Some((tensor, (format, companion))) = found.next() {
            let (tensor, dtype) = (tensor.name.clone(), tensor.dtype);
            return (kind, Some(Evidence::Tensor { format, tensor, dtype, companion }));
        }
    }
    (Kind::Float, None)
}

/// A test that recognises a tensor. It returns the name of the format and the companion that it was recognised by.
type Test<'a> = dyn Fn(&SourceTensor) -> Option<(&'static str, Option<String>)> + 'a;

#[cfg(test)]
mod tests {
    use longshore_st_format::Shape;

    use super::*;

    fn tensors(list: &[(&str, Dtype, &[u64])]) -> Vec<SourceTensor> {
        let tensor = |&(name, dtype, dims): &(&str, Dtype, &[u64])| SourceTensor {
            name: name.to_owned(),
            dtype,
            shape: Shape::from(dims),
            shard: 0,
            range: 0..0,
        };
        list.iter().map(tensor).collect()
    }

    #[test]
    fn kinds_by_names_and_dtypes() {
        use Dtype::{BF16, F8E4M3, F8E5M2, F8E8M0, F16, F32, I8, I32, I64, U8, U32};
        type Row<'a> = (Kind, &'a str, &'a [(&'a str, Dtype, &'a [u64])]);
        let rows: &[Row<'_>] = &[
            (Kind::Float, "", &[("a.weight", BF16, &[2, 2]), ("ids", I64, &[1, 4])]),
            (Kind::Float, "", &[("layer.scales", F32, &[4]), ("layer.weight", F32, &[4])]),
            (Kind::Float, "", &[("table.weight", U8, &[2, 2])]),
            (Kind::Fp8, "weight_scale_inv", &[("a.weight", F8E4M3, &[2, 2]), ("a.weight_scale_inv", F32, &[1, 1])]),
            (Kind::Fp8, "weight_scale\"", &[("a.weight", F8E4M3, &[2, 2]), ("a.weight_scale", BF16, &[2, 1])]),
            (Kind::Fp8, "F8_E4M3", &[("mlp.experts.down_proj", F8E4M3, &[2, 2, 2])]),
            (Kind::Fp8, "E5M2", &[("a.weight", F8E5M2, &[2, 2])]),
            (Kind::Prequantized, "MLX", &[("a.scales", BF16, &[2, 1]), ("a.weight", U32, &[2, 8])]),
            (Kind::Prequantized, "compressed", &[("a.weight_packed", U8, &[2, 8])]),
            (Kind::Prequantized, "NVFP4", &[("a.weight", U8, &[2, 8]), ("a.weight_scale", F8E4M3, &[2, 1])]),
            (Kind::Prequantized, "MXFP4", &[("e.up_blocks", U8, &[2, 2, 1, 16]), ("e.up_scales", U8, &[2, 2, 1])]),
            (Kind::Prequantized, "GPTQ", &[("a.g_idx", I32, &[8]), ("a.qweight", I32, &[2, 8])]),
            (Kind::Prequantized, "AWQ", &[("a.qweight", I32, &[2, 8]), ("a.scales", F16, &[2, 1])]),
            (Kind::Prequantized, "bitsandbytes", &[("a.weight", U8, &[8, 1]), ("a.weight.absmax", F32, &[1])]),
            (Kind::Prequantized, "bitsandbytes", &[("a.SCB", F32, &[2]), ("a.weight", I8, &[2, 2])]),
            (Kind::Prequantized, "FP4", &[("a.scale", F8E8M0, &[2, 1]), ("a.weight", I8, &[2, 16])]),
            (Kind::Prequantized, "integer", &[("a.weight", I8, &[2, 2]), ("a.weight_scale", F32, &[2, 1])]),
        ];
        for (kind, words, list) in rows {
            let (found, evidence) = classify(&tensors(list));
            assert_eq!(found, *kind, "{list:?}");
            let evidence = evidence.map(|evidence| evidence.to_string()).unwrap_or_default();
            assert!(evidence.contains(words), "{evidence}");
        }
    }
}
