//! Weights in packed codes, as their writers name them.

use longshore_quant::{Format, Scheme};
use longshore_st_format::{Dtype, Shape};

use super::{
    Coding, CodingError, Files, ModelTensor, PackedLayout,
    error::ORIGINAL,
    form::{self, Form, Packed},
    transposed,
};
use crate::{
    config::{QuantizationMethod, WeightCoding},
    source::SourceTensor,
};

const MLX: &str = Form::Mlx.label();
const NVFP4: &str = Form::ModelOptNvfp4.label();
const PACKED: &str = Form::CompressedTensors.label();
const BLOCKS: &str = Form::Blocks.label();
const AS_NVFP4: &str = "import the original checkpoint, or one in NVFP4";

pub(super) type Recognised = Result<Option<ModelTensor>, CodingError>;

/// The model's tensor whose codes are `files.tensors[at]`.
pub(super) fn recognise(files: &Files<'_>, at: usize) -> Recognised {
    let found = Found { files, at, tensor: &files.tensors[at] };
    let (name, dtype) = (found.tensor.name.as_str(), found.tensor.dtype);
    let Some(Packed { form, stem, .. }) =
        form::packed(|name| files.named(name).map(|tensor| tensor.dtype), found.tensor)
    else {
        let module = name.strip_suffix(".weight").filter(|module| found.is_said_to_be_mlx(module));
        return module.map_or(Ok(None), |module| mlx(&found, module));
    };
    match form {
        Form::CompressedTensors if dtype == Dtype::U8 => compressed_nvfp4(&found, stem),
        Form::CompressedTensors => pack_quantized(&found, stem),
        Form::Qweight => transposed::recognise(&found, stem),
        Form::Blocks => blocks(&found, stem),
        Form::Mlx => mlx(&found, stem),
        Form::ModelOptNvfp4 => modelopt(&found, stem),
        Form::ScaledBytes => found.refused(form.label(), None, AS_NVFP4),
        Form::SubByteFloat | Form::BitsAndBytes4 | Form::BitsAndBytes8 | Form::Integers => {
            found.refused(form.label(), None, ORIGINAL)
        }
    }
}

/// A tensor of codes.
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

    /// The tensor of this name, which the weight needs.
    pub(super) fn need(&self, name: &str, packing: &'static str) -> Result<usize, CodingError> {
        self.files.find(name).ok_or_else(|| CodingError::Missing {
            tensor: self.tensor.name.clone(),
            packing,
            missing: name.to_owned(),
        })
    }

    /// Makes sure of a companion's type and shape.
    pub(super) fn expect(&self, at: usize, dtypes: &[Dtype], dims: &[u64]) -> Result<(), CodingError> {
        let tensor = &self.files.tensors[at];
        if dtypes.contains(&tensor.dtype) && tensor.shape.dims() == dims {
            return Ok(());
        }
        let types: Vec<String> = dtypes.iter().map(ToString::to_string).collect();
        Err(self.unexpected(at, format!("{} {}", types.join(" or "), Shape::from(dims))))
    }

    fn unexpected(&self, at: usize, expected: String) -> CodingError {
        let SourceTensor { name, dtype, shape, .. } = &self.files.tensors[at];
        let weight = self.tensor.name.clone();
        CodingError::Companion { tensor: name.clone(), dtype: *dtype, shape: shape.clone(), expected, weight }
    }

    /// The extents but the last, and the last, of a matrix or a stack of them.
    fn matrix(&self, packing: &'static str) -> Result<(&[u64], u64), CodingError> {
        match self.tensor.shape.dims() {
            [outer @ .., last] if (1..=2).contains(&outer.len()) => Ok((outer, *last)),
            _ => Err(self.problem(packing, "expected two or three axes".into())),
        }
    }

    /// The columns of a weight whose rows take `units` of `bits` bits, of which codes take `code_bits`.
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

    /// Whether only its scales can be missing.
    fn is_said_to_be_mlx(&self, module: &str) -> bool {
        let is_mlx = self.files.quantization.is_some_and(|said| said.method == QuantizationMethod::Mlx);
        is_mlx && self.tensor.dtype == Dtype::U32 && self.tensor.shape.rank() >= 2 && self.said(module).is_some()
    }

    pub(super) fn said(&self, module: &str) -> Option<&WeightCoding> {
        self.files.quantization?.of_module(module)
    }

    pub(super) fn tensor(
        &self,
        name: String,
        dtype: Dtype,
        outer: &[u64],
        columns: u64,
        coding: Coding,
        rest: Vec<usize>,
    ) -> ModelTensor {
        let dims: Vec<u64> = outer.iter().copied().chain([columns]).collect();
        let sources = std::iter::once(self.at).chain(rest).collect();
        ModelTensor { name, dtype, shape: Shape::from(dims), coding, sources }
    }
}

/// `weight` U32, `scales`, and for affine schemes `biases`.
fn mlx(found: &Found<'_, '_>, module: &str) -> Recognised {
    const FLOATS: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::BF16];
    let (outer, words) = found.matrix(MLX)?;
    let scales = found.need(&format!("{module}.scales"), MLX)?;
    let biases = found.files.find(&format!("{module}.biases"));
    let groups = found.files.tensors[scales].shape.dims().last().copied().unwrap_or_default();
    let scale_dtype = found.files.tensors[scales].dtype;
    let said = found.said(module);
    let scheme = if let Some(biases) = biases {
        if !FLOATS.contains(&scale_dtype) {
            return Err(found.unexpected(scales, "F32, F16 or BF16".into()));
        }
        found.expect(biases, &[scale_dtype], found.files.tensors[scales].shape.dims())?;
        let (bits, group) = said.and_then(|said| said.bits.zip(said.group_size)).ok_or_else(|| {
            found.problem(MLX, "config.json does not say its bits and group_size, which shapes do not tell".into())
        })?;
        let bits = u8::try_from(bits).unwrap_or(u8::MAX);
        Scheme::affine(bits, group).map_err(|error| found.problem(MLX, error.to_string()))?
    } else {
        if scale_dtype != Dtype::U8 {
            return Err(found.need(&format!("{module}.biases"), MLX).expect_err("it was looked for"));
        }
        // Groups of 16, 32 and 32 elements of 4, 4 and 8 bits: the ratio tells.
        match words.checked_div(groups).filter(|_| groups > 0 && words % groups == 0) {
            Some(2) => Scheme::NVFP4,
            Some(4) => Scheme::MXFP4,
            Some(8) => Scheme::MXFP8,
            _ => return Err(found.problem(MLX, format!("{groups} scales for rows of {words} words are no scheme's"))),
        }
    };
    if let Some(mode) = said.and_then(|said| said.mode.as_deref()).filter(|mode| *mode != mode_of(scheme)) {
        return Err(found.problem(MLX, format!("config.json says mode {mode:?}, but its parts are those of {scheme}")));
    }
    let columns = found.columns(MLX, words, 32, u64::from(scheme.bits()))?;
    if groups.checked_mul(u64::from(scheme.group_size())) != Some(columns) {
        return Err(found.problem(
            MLX,
            format!("config.json says {scheme}, which makes {columns} columns of its words, but it has {groups} scales for each row"),
        ));
    }
    let scale_dims: Vec<u64> = outer.iter().copied().chain([groups]).collect();
    found.expect(scales, &[scale_dtype], &scale_dims)?;
    let dtype = if scheme.is_affine() { scale_dtype } else { found.files.float };
    let coding = Coding::Packed { scheme, layout: PackedLayout::Mlx };
    let rest = std::iter::once(scales).chain(biases).collect();
    Ok(Some(found.tensor(format!("{module}.weight"), dtype, outer, columns, coding, rest)))
}

fn mode_of(scheme: Scheme) -> &'static str {
    match scheme.format() {
        Format::Affine { .. } => "affine",
        _ => scheme.quant_type(),
    }
}

/// `weight` U8, two codes to a byte, `weight_scale` E4M3, and `weight_scale_2`.
fn modelopt(found: &Found<'_, '_>, module: &str) -> Recognised {
    let (outer, bytes) = found.matrix(NVFP4)?;
    let columns = nvfp4_columns(found, NVFP4, bytes)?;
    let scales = found.need(&format!("{module}.weight_scale"), NVFP4)?;
    nvfp4_scales(found, scales, outer, columns)?;
    let global = found.files.find(&format!("{module}.weight_scale_2"));
    if let Some(global) = global {
        one_f32(found, global)?;
    }
    let coding = Coding::Packed { scheme: Scheme::NVFP4, layout: PackedLayout::ModelOpt };
    let rest = std::iter::once(scales).chain(global).collect();
    Ok(Some(found.tensor(format!("{module}.weight"), found.files.float, outer, columns, coding, rest)))
}

/// `weight_packed` U8, `weight_scale` E4M3 and `weight_global_scale`, a divisor.
fn compressed_nvfp4(found: &Found<'_, '_>, module: &str) -> Recognised {
    let scales = found.need(&format!("{module}.weight_scale"), PACKED)?;
    if found.files.tensors[scales].dtype != Dtype::F8E4M3 {
        let reason = format!("its scales are {}, where NVFP4 has F8_E4M3", found.files.tensors[scales].dtype);
        return found.refused(PACKED, Some(reason), AS_NVFP4);
    }
    let (outer, bytes) = found.matrix(PACKED)?;
    let columns = nvfp4_columns(found, PACKED, bytes)?;
    nvfp4_scales(found, scales, outer, columns)?;
    let global = found.need(&format!("{module}.weight_global_scale"), PACKED)?;
    one_f32(found, global)?;
    let coding = Coding::Packed { scheme: Scheme::NVFP4, layout: PackedLayout::CompressedTensors };
    let rest = vec![scales, global];
    Ok(Some(found.tensor(format!("{module}.weight"), found.files.float, outer, columns, coding, rest)))
}

fn nvfp4_columns(found: &Found<'_, '_>, packing: &'static str, bytes: u64) -> Result<u64, CodingError> {
    let columns = found.columns(packing, bytes, 8, 4)?;
    if columns.is_multiple_of(u64::from(Scheme::NVFP4.group_size())) {
        Ok(columns)
    } else {
        Err(found.problem(packing, format!("{columns} columns are no whole groups of 16")))
    }
}

fn nvfp4_scales(found: &Found<'_, '_>, scales: usize, outer: &[u64], columns: u64) -> Result<(), CodingError> {
    let dims: Vec<u64> = outer.iter().copied().chain([columns / 16]).collect();
    found.expect(scales, &[Dtype::F8E4M3], &dims)
}

fn one_f32(found: &Found<'_, '_>, at: usize) -> Result<(), CodingError> {
    let tensor = &found.files.tensors[at];
    if (tensor.dtype, tensor.shape.elements()) == (Dtype::F32, Some(1)) {
        return Ok(());
    }
    Err(found.unexpected(at, "one F32".into()))
}

/// `<stem>_blocks` U8 `[experts, out, groups, 16]` and `<stem>_scales` U8 `[experts, out, groups]`.
fn blocks(found: &Found<'_, '_>, stem: &str) -> Recognised {
    let [experts, rows, groups, 16] = *found.tensor.shape.dims() else {
        return Err(found.problem(BLOCKS, "expected [experts, out, groups, 16]".into()));
    };
    let scales = found.need(&format!("{stem}_scales"), BLOCKS)?;
    found.expect(scales, &[Dtype::U8], &[experts, rows, groups])?;
    let columns = found.columns(BLOCKS, groups, 128, 4)?;
    let coding = Coding::Packed { scheme: Scheme::MXFP4, layout: PackedLayout::Blocks };
    Ok(Some(found.tensor(stem.to_owned(), found.files.float, &[experts, rows], columns, coding, vec![scales])))
}

/// `weight_packed` I32 and `weight_scale`.
fn pack_quantized(found: &Found<'_, '_>, module: &str) -> Recognised {
    if found.tensor.dtype != Dtype::I32 {
        return found.refused(PACKED, None, AS_NVFP4);
    }
    for (suffix, reason) in [
        ("weight_zero_point", "its codes have zero points; only symmetric ones can be repacked without loss"),
        ("weight_g_idx", "its columns are in another order (actorder)"),
    ] {
        if found.files.find(&format!("{module}.{suffix}")).is_some() {
            return found.refused(PACKED, Some(reason.into()), ORIGINAL);
        }
    }
    let (outer, words) = found.matrix(PACKED)?;
    let scales = found.need(&format!("{module}.weight_scale"), PACKED)?;
    let scale = &found.files.tensors[scales];
    let bits = found.said(module).and_then(|said| said.bits);
    let Some(bits @ (4 | 8)) = bits else {
        let problem = bits.map_or_else(
            || "config.json does not say how many bits its codes have".to_owned(),
            |bits| format!("config.json says {bits} bits, expected 4 or 8"),
        );
        return Err(found.problem(PACKED, problem));
    };
    let columns = found.columns(PACKED, words, 32, u64::from(bits))?;
    let groups = scale.shape.dims().last().copied().unwrap_or_default();
    let scheme = affine(found, PACKED, module, bits, [columns, groups])?;
    let dims: Vec<u64> = outer.iter().copied().chain([groups]).collect();
    found.expect(scales, &[Dtype::F32, Dtype::F16, Dtype::BF16], &dims)?;
    let coding = Coding::Packed { scheme, layout: PackedLayout::Symmetric };
    Ok(Some(found.tensor(format!("{module}.weight"), scale.dtype, outer, columns, coding, vec![scales])))
}

/// The affine scheme of rows of `columns` with `groups` scales.
pub(super) fn affine(
    found: &Found<'_, '_>,
    packing: &'static str,
    module: &str,
    bits: u32,
    [columns, groups]: [u64; 2],
) -> Result<Scheme, CodingError> {
    let group = columns.checked_div(groups).filter(|group| group * groups == columns);
    // Another number of bits makes another number of columns of the same words.
    let said = found.said(module).and_then(|said| said.group_size);
    if let (Some(said), Some(group)) = (said, group.filter(|group| said.is_some_and(|said| *group != u64::from(said))))
    {
        let problem = format!(
            "config.json says {bits} bits in groups of {said}, but {columns} columns with {groups} scales are in groups of {group}"
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
