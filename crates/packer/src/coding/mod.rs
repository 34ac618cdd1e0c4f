//! How a source stores the values of its tensors: as they are, as 8-bit floats with scales, or as packed codes.
//!
//! A quantized weight of a checkpoint is several tensors of its files. Here they become one [`ModelTensor`], with the name,
//! type and shape that it has in a float checkpoint, so that stacking and policies need not know how it is stored.

mod error;
pub(crate) mod form;
mod fp8;
mod packed;
mod scales;
mod transposed;
mod unknown;

use std::collections::{HashMap, HashSet};

pub use error::CodingError;
pub(crate) use fp8::MAX_ROW;
use longshore_quant::Scheme;
use longshore_st_format::{Dtype, Shape};
pub(crate) use scales::powers_of_two;

use crate::{
    config::{ModelConfig, SourceQuantization},
    plan::PlannedTensor,
    source::{SourceTensor, Stored},
};

/// How the source stores a tensor's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Coding {
    /// As elements of the tensor's own type. One source.
    Plain,
    /// As F64, which becomes F32. One source.
    Double,
    /// As E4M3 bytes, each times the scale of its block. Sources: the weight and its scales.
    Fp8 {
        /// Rows and columns of the last two axes that share a scale.
        block: [u64; 2],
        /// Whether mxfp8 holds the same values: its scales are powers of two, and those of whole groups.
        is_exact: bool,
    },
    /// As codes of a scheme, packed as in MLX but for names and types. Sources: codes and scales, then what the layout has.
    Packed {
        /// The scheme of the codes.
        scheme: Scheme,
        /// What else there is.
        layout: PackedLayout,
    },
    /// As integers of a transposed matrix, in the way of AWQ or GPTQ. Sources: `qweight`, `scales`, `qzeros`, and `g_idx` where
    /// there is one.
    Transposed {
        /// The affine scheme with the same codes.
        scheme: Scheme,
        /// How they are packed.
        packing: longshore_quant::layout::Packing,
    },
}

/// What a packed weight has beside its codes and scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PackedLayout {
    /// MLX's own: biases if the scheme has them.
    Mlx,
    /// `ModelOpt`'s NVFP4: one scale for the tensor, which multiplies; none if it is missing.
    ModelOpt,
    /// compressed-tensors' NVFP4: one scale for the tensor, which divides.
    CompressedTensors,
    /// gpt-oss's MXFP4 blocks, `[experts, out, in]` where the float checkpoint has `[experts, in, out]`.
    Blocks,
    /// A store's own: biases if the scheme has them, else a global scale, for all or for each expert, if there is one.
    Stored,
    /// compressed-tensors' symmetric integers, offset by half their range: biases follow from the scales.
    Symmetric,
}

impl Coding {
    /// The scheme in which the source's own codes can be kept.
    #[must_use]
    pub fn exact_scheme(self) -> Option<Scheme> {
        match self {
            Self::Plain | Self::Double | Self::Fp8 { is_exact: false, .. } => None,
            Self::Fp8 { is_exact: true, .. } => Some(Scheme::MXFP8),
            Self::Packed { scheme, .. } | Self::Transposed { scheme, .. } => Some(scheme),
        }
    }
}

/// Roles of sources, by their place in the order that a [`Coding`] says.
pub(crate) const WEIGHT: usize = 0;
pub(crate) const SCALES: usize = 1;
/// Of NVFP4.
pub(crate) const GLOBAL: usize = 2;
/// Of MLX's affine schemes.
pub(crate) const BIASES: usize = 2;
/// Of AWQ and GPTQ.
pub(crate) const ZEROS: usize = 2;
/// Of GPTQ.
pub(crate) const GROUP_INDEX: usize = 3;

/// A tensor of the model, in however many tensors the source stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelTensor {
    /// Its name in a float checkpoint.
    pub name: String,
    /// The type of its values, once decoded.
    pub dtype: Dtype,
    /// Its logical shape.
    pub shape: Shape,
    pub coding: Coding,
    /// Indices of the tensors that hold it, in the order that the coding says.
    pub sources: Vec<usize>,
}

/// What a member's files hold.
#[derive(Debug, Default)]
pub(crate) struct ModelTensors {
    /// In byte order of the names.
    pub tensors: Vec<ModelTensor>,
    pub warnings: Vec<String>,
}

/// The tensors of a model whose files hold `tensors`, in byte order of the names. Eight-bit floats without scales are values
/// as any others.
pub(crate) fn read(
    tensors: &[SourceTensor],
    exact_scales: &HashSet<usize>,
    config: Option<&ModelConfig>,
) -> Result<ModelTensors, CodingError> {
    let names = tensors.iter().enumerate().map(|(at, tensor)| (tensor.name.as_str(), at)).collect();
    let quantization = config.and_then(|config| config.quantization.as_ref());
    let float = config.and_then(|config| config.dtype).unwrap_or(Dtype::BF16);
    let files = Files { tensors, names, exact_scales, quantization, float };
    let mut used = HashSet::new();
    let mut found = ModelTensors::default();
    // Packed codes first: their scales may be 8-bit floats, too.
    for recognise in [packed::recognise, fp8::recognise] {
        for at in 0..tensors.len() {
            if used.contains(&at) {
                continue;
            }
            if let Some(coded) = recognise(&files, at)? {
                used.extend(coded.sources.iter().copied());
                used.extend(files.unused(&coded.name));
                found.tensors.push(coded);
            }
        }
    }
    if let Some(at) = (0..tensors.len()).find(|at| !used.contains(at) && unknown::is_packed(&files, *at)) {
        let SourceTensor { name, dtype, .. } = &tensors[at];
        return Err(unknown::refusal(name, *dtype, quantization));
    }
    let is_unscaled = |(at, tensor): &(usize, &SourceTensor)| {
        !used.contains(at) && tensor.dtype == Dtype::F8E4M3 && tensor.shape.rank() >= 2
    };
    let mut unscaled = tensors.iter().enumerate().filter(is_unscaled);
    if let Some((_, first)) = unscaled.next() {
        let (count, first) = (1 + unscaled.count(), &first.name);
        found.warnings.push(format!("{count} FP8 tensors have no scale and are taken as they are, {first} first"));
    }
    let plain = tensors.iter().enumerate().filter(|(at, _)| !used.contains(at)).map(|(at, tensor)| ModelTensor {
        name: tensor.name.clone(),
        dtype: if tensor.dtype == Dtype::F64 { Dtype::F32 } else { tensor.dtype },
        shape: tensor.shape.clone(),
        coding: if tensor.dtype == Dtype::F64 { Coding::Double } else { Coding::Plain },
        sources: vec![at],
    });
    found.tensors.extend(plain);
    found.tensors.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = found.tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let source = |tensor: &ModelTensor| tensors[tensor.sources[0]].name.clone();
        let (first, second) = (source(&pair[0]), source(&pair[1]));
        return Err(CodingError::Clash { name: pair[0].name.clone(), first, second });
    }
    fp8::settle(&mut found.tensors);
    Ok(found)
}

/// The tensors of a model of a store, as its table says.
pub(crate) fn of_store(stored: &Stored) -> ModelTensors {
    let tensors = stored.tensors.iter().map(|tensor| ModelTensor {
        name: tensor.name.clone(),
        dtype: if tensor.dtype == Dtype::F64 { Dtype::F32 } else { tensor.dtype },
        shape: tensor.shape.clone(),
        coding: match tensor.scheme {
            Some(scheme) => Coding::Packed { scheme, layout: PackedLayout::Stored },
            None if tensor.dtype == Dtype::F64 => Coding::Double,
            None => Coding::Plain,
        },
        sources: tensor.parts.clone(),
    });
    ModelTensors { tensors: tensors.collect(), warnings: Vec::new() }
}

/// Whether the source has a global scale for each of the tensors that `tensor`, packed NVFP4, is made of.
pub(crate) fn has_global_scale(tensor: &PlannedTensor) -> bool {
    match tensor.coding {
        Coding::Packed { scheme, layout: PackedLayout::Stored } => {
            !scheme.has_bias() && tensor.source(GLOBAL, 0).is_some()
        }
        Coding::Packed { layout: PackedLayout::ModelOpt | PackedLayout::CompressedTensors, .. } => {
            tensor.source(GLOBAL, 0).is_some()
        }
        _ => false,
    }
}

/// What the recognition of one tensor may look at.
struct Files<'s> {
    tensors: &'s [SourceTensor],
    names: HashMap<&'s str, usize>,
    /// Scales that are powers of two throughout, by the tensors' index.
    exact_scales: &'s HashSet<usize>,
    quantization: Option<&'s SourceQuantization>,
    /// The type of decoded values where scales have none.
    float: Dtype,
}

impl<'s> Files<'s> {
    fn find(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    fn named(&self, name: &str) -> Option<&'s SourceTensor> {
        self.find(name).map(|at| &self.tensors[at])
    }

    /// Tensors beside a coded weight that only say how activations were quantized, or repeat what shapes say.
    fn unused(&self, weight: &str) -> impl Iterator<Item = usize> {
        let module = weight.strip_suffix(".weight").unwrap_or(weight).to_owned();
        ["input_scale", "input_global_scale", "input_scale_inv", "activation_scale", "weight_shape"]
            .into_iter()
            .filter_map(move |suffix| self.find(&format!("{module}.{suffix}")))
    }
}
