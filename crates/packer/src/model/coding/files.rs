//! The tensors of a checkpoint and its configuration, as the recognition of codes uses them.

use std::collections::{HashMap, HashSet};

use longshore_model::{
    ModelConfig, QuantizationMethod, SourceQuantization, WeightCoding,
    modules::{ModuleError, NamedModules},
};
use longshore_quant::Scheme;
use longshore_st_format::{Dtype, Shape};

use super::{
    error::{CodingError, ORIGINAL},
    kind::Coding,
};
use crate::{
    model::tensor::ModelTensor,
    tensor::{SourceParts, SourceTensor},
};

pub(super) type Recognised = Result<Option<ModelTensor>, CodingError>;

/// Input for recognising one tensor: all tensors of the member, and its configuration.
pub(super) struct Files<'s> {
    pub(super) tensors: &'s [SourceTensor],
    pub(super) names: HashMap<&'s str, usize>,
    /// Indices of the scale tensors whose elements are all powers of two.
    pub(super) exact_scales: &'s HashSet<usize>,
    /// The values of the tensors called `weight_shape`, by their indices.
    pub(super) stated_shapes: &'s HashMap<usize, Vec<i64>>,
    pub(super) config: Option<&'s ModelConfig>,
    pub(super) quantization: Option<&'s SourceQuantization>,
    /// The quantization that the configuration has for each module.
    pub(super) modules: Option<NamedModules<'s>>,
    /// Type of the decoded values if the type of the scales does not tell it.
    pub(super) float: Dtype,
}

impl<'s> Files<'s> {
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    pub(super) fn named(&self, name: &str) -> Option<&'s SourceTensor> {
        self.find(name).map(|at| &self.tensors[at])
    }

    /// Indices of tensors beside a coded weight that are not needed: they say how activations were quantized, or repeat
    /// a shape.
    pub(super) fn unused(&self, weight: &str) -> impl Iterator<Item = usize> {
        let module = weight.strip_suffix(".weight").unwrap_or(weight).to_owned();
        ["input_scale", "input_global_scale", "input_scale_inv", "activation_scale", "weight_shape"]
            .into_iter()
            .filter_map(move |suffix| self.find(&format!("{module}.{suffix}")))
    }
}

/// Matches the configuration's names against the modules that tensors belong to.
pub(super) fn named_modules<'s>(
    quantization: &'s SourceQuantization,
    tensors: &'s [SourceTensor],
) -> Result<NamedModules<'s>, ModuleError> {
    let modules = tensors.iter().filter_map(|tensor| Some(tensor.name.rsplit_once('.')?.0));
    NamedModules::new(quantization, modules)
}

/// A tensor that holds codes, together with the files that it belongs to.
pub(super) struct Found<'f, 's> {
    pub(super) files: &'f Files<'s>,
    pub(super) at: usize,
    pub(super) tensor: &'s SourceTensor,
}

impl Found<'_, '_> {
    pub(super) fn refused(&self, packing: &'static str, reason: Option<String>, hint: &'static str) -> Recognised {
        let SourceTensor { name, dtype, .. } = self.tensor;
        Err(CodingError::Packing { tensor: name.clone(), dtype: *dtype, packing, reason, hint })
    }

    pub(super) fn problem(&self, packing: &'static str, problem: String) -> CodingError {
        let SourceTensor { name, shape, .. } = self.tensor;
        CodingError::Configuration { tensor: name.clone(), shape: shape.clone(), packing, problem }
    }

    /// The index of the tensor called `name`, which the weight needs.
    pub(super) fn need(&self, name: &str, packing: &'static str) -> Result<usize, CodingError> {
        self.files.find(name).ok_or_else(|| CodingError::Missing {
            tensor: self.tensor.name.clone(),
            packing,
            missing: name.to_owned(),
        })
    }

    /// Checks the type and shape of a tensor beside the weight.
    pub(super) fn expect(&self, at: usize, dtypes: &[Dtype], dims: &[u64]) -> Result<(), CodingError> {
        let tensor = &self.files.tensors[at];
        if dtypes.contains(&tensor.dtype) && tensor.shape.dims() == dims {
            return Ok(());
        }
        let types: Vec<String> = dtypes.iter().map(ToString::to_string).collect();
        Err(self.unexpected(at, format!("{} {}", types.join(" or "), Shape::from(dims))))
    }

    pub(super) fn unexpected(&self, at: usize, expected: String) -> CodingError {
        let SourceTensor { name, dtype, shape, .. } = &self.files.tensors[at];
        let weight = self.tensor.name.clone();
        CodingError::Companion { tensor: name.clone(), dtype: *dtype, shape: shape.clone(), expected, weight }
    }

    /// Splits the shape of a matrix, or of a stack of matrices, into the outer extents and the last one.
    pub(super) fn matrix(&self, packing: &'static str) -> Result<(&[u64], u64), CodingError> {
        match self.tensor.shape.dims() {
            [outer @ .., last] if (1..=2).contains(&outer.len()) => Ok((outer, *last)),
            _ => Err(self.problem(packing, "expected two or three axes".into())),
        }
    }

    /// The number of columns of a weight whose rows are stored in `units` of `bits` bits, with codes of `code_bits`
    /// bits.
    pub(super) fn columns(
        &self,
        packing: &'static str,
        units: u64,
        bits: u64,
        code_bits: u64,
    ) -> Result<u64, CodingError> {
        let columns =
            units.checked_mul(bits).filter(|bits| bits.is_multiple_of(code_bits)).map(|bits| bits / code_bits);
        columns.filter(|columns| *columns > 0).ok_or_else(|| {
            self.problem(
                packing,
                format!("rows of {units} units of {bits} bits hold no whole number of {code_bits}-bit codes"),
            )
        })
    }

    /// Whether the configuration says that MLX quantized this module and the tensor looks like its codes. Only the
    /// scales can then be missing.
    pub(super) fn is_said_to_be_mlx(&self, module: &str) -> bool {
        let is_mlx = self.files.quantization.is_some_and(|said| said.method == QuantizationMethod::Mlx);
        is_mlx && self.tensor.dtype == Dtype::U32 && self.tensor.shape.rank() >= 2 && self.said(module).is_some()
    }

    pub(super) fn said(&self, module: &str) -> Option<&WeightCoding> {
        self.files.modules.as_ref()?.of(module)
    }

    /// Bits and group size by which the weight of a module is read, for messages: whether the configuration says them.
    pub(super) fn numbers(&self, module: &str, bits: u32, group_size: u32) -> String {
        let is_said = self.said(module).is_some_and(|said| said.bits.is_some() && said.group_size.is_some());
        let who = if is_said { "config.json says" } else { "it is read as" };
        format!("{who} {bits} bits in groups of {group_size}")
    }

    /// Refuses codes of a module that the configuration excludes from quantization, and so does not describe.
    pub(super) fn is_described(&self, packing: &'static str, module: &str) -> Result<(), CodingError> {
        match &self.files.modules {
            Some(modules) if modules.of(module).is_none() => {
                Err(self.problem(packing, "by config.json, its module is not quantized".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Creates the model's tensor of shape `[outer…, columns]`. Its weight is this tensor of codes; `parts` has the
    /// other parts.
    pub(super) fn tensor(
        &self,
        name: String,
        dtype: Dtype,
        outer: &[u64],
        columns: u64,
        coding: Coding,
        parts: SourceParts,
    ) -> ModelTensor {
        let dims: Vec<u64> = outer.iter().copied().chain([columns]).collect();
        let parts = SourceParts { weight: self.at, ..parts };
        ModelTensor { name, dtype, shape: Shape::from(dims), coding, parts }
    }
}

/// The affine scheme of a weight with `columns` columns and `groups` scales in each row.
pub(super) fn affine(
    found: &Found<'_, '_>,
    packing: &'static str,
    module: &str,
    bits: u32,
    [columns, groups]: [u64; 2],
) -> Result<Scheme, CodingError> {
    let group = columns.checked_div(groups).filter(|group| group * groups == columns);
    // With another number of bits, the same words hold another number of columns.
    let said = found.said(module).and_then(|said| said.group_size);
    if let (Some(said), Some(group)) = (said, group.filter(|group| said.is_some_and(|said| *group != u64::from(said))))
    {
        let problem = format!(
            "{}, but {columns} columns with {groups} scales are in groups of {group}",
            found.numbers(module, bits, said)
        );
        return Err(found.problem(packing, problem));
    }
    let scheme = group
        .and_then(|group| u32::try_from(group).ok())
        .map(|group| Scheme::affine(u8::try_from(bits).unwrap_or(u8::MAX), group));
    match scheme {
        Some(Ok(scheme)) => Ok(scheme),
        Some(Err(error)) => Err(CodingError::Packing {
            tensor: found.tensor.name.clone(),
            dtype: found.tensor.dtype,
            packing,
            reason: Some(format!("MLX's formats cannot hold it: {error}")),
            hint: ORIGINAL,
        }),
        None => Err(found.problem(packing, format!("{groups} scales for rows of {columns} columns"))),
    }
}
