//! Recognition of weights that are stored as packed codes, one function for each form.

use longshore_quant::Scheme;
use longshore_st_format::Dtype;

use super::{
    error::{CodingError, ORIGINAL},
    files::{Files, Found, Recognised, affine},
    kind::{Coding, PackedLayout},
    mlx, transposed,
};
use crate::{
    source::form::{self, Form, Packed},
    tensor::SourceParts,
};

const NVFP4: &str = Form::ModelOptNvfp4.label();
const PACKED: &str = Form::CompressedTensors.label();
const BLOCKS: &str = Form::Blocks.label();
const FP4_BYTES: &str = Form::Fp4Bytes.label();
const AS_NVFP4: &str = "import the original checkpoint, or one in NVFP4";

/// Recognises the tensor of the model whose codes are `files.tensors[at]`.
pub(super) fn recognise(files: &Files<'_>, at: usize) -> Recognised {
    let found = Found { files, at, tensor: &files.tensors[at] };
    let (name, dtype) = (found.tensor.name.as_str(), found.tensor.dtype);
    let Some(Packed { form, stem, scales }) =
        form::packed(|name| files.named(name).map(|tensor| tensor.dtype), found.tensor)
    else {
        let module = name.strip_suffix(".weight").filter(|module| found.is_said_to_be_mlx(module));
        return module.map_or(Ok(None), |module| mlx::recognise(&found, module));
    };
    match form {
        Form::CompressedTensors if dtype == Dtype::U8 => compressed_nvfp4(&found, stem),
        Form::CompressedTensors => pack_quantized(&found, stem),
        Form::Qweight => transposed::recognise(&found, stem),
        Form::Blocks => blocks(&found, stem),
        Form::Mlx => mlx::recognise(&found, stem),
        Form::ModelOptNvfp4 => modelopt(&found, stem),
        Form::Fp4Bytes => fp4_bytes(&found, stem, &scales.expect("the form has scales")),
        Form::ScaledBytes => found.refused(form.label(), None, AS_NVFP4),
        Form::SubByteFloat | Form::BitsAndBytes4 | Form::BitsAndBytes8 | Form::Integers => {
            found.refused(form.label(), None, ORIGINAL)
        }
    }
}

/// Recognises NVFP4 of `ModelOpt`: `weight` U8 with two codes to a byte, `weight_scale` E4M3, and optionally
/// `weight_scale_2`.
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
    let parts = SourceParts { scales: Some(scales), global_scale: global, ..SourceParts::default() };
    Ok(Some(found.tensor(format!("{module}.weight"), found.files.float, outer, columns, coding, parts)))
}

/// Recognises NVFP4 of compressed-tensors: `weight_packed` U8, `weight_scale` E4M3 and `weight_global_scale`, a
/// divisor.
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
    let parts = SourceParts { scales: Some(scales), global_scale: Some(global), ..SourceParts::default() };
    Ok(Some(found.tensor(format!("{module}.weight"), found.files.float, outer, columns, coding, parts)))
}

/// Recognises `weight` I8, two FP4 codes to a byte, the first in the low bits, with E8M0 scales for 32 codes each.
fn fp4_bytes(found: &Found<'_, '_>, module: &str, scales: &str) -> Recognised {
    let (outer, bytes) = found.matrix(FP4_BYTES)?;
    let columns = found.columns(FP4_BYTES, bytes, 8, 4)?;
    let group = u64::from(Scheme::MXFP4.group_size());
    if !columns.is_multiple_of(group) {
        return Err(found.problem(FP4_BYTES, format!("{columns} columns are no whole groups of {group}")));
    }
    let scales = found.need(scales, FP4_BYTES)?;
    let dims: Vec<u64> = outer.iter().copied().chain([columns / group]).collect();
    found.expect(scales, &[Dtype::F8E8M0], &dims)?;
    let coding = Coding::Packed { scheme: Scheme::MXFP4, layout: PackedLayout::Bytes };
    let parts = SourceParts { scales: Some(scales), ..SourceParts::default() };
    Ok(Some(found.tensor(format!("{module}.weight"), found.files.float, outer, columns, coding, parts)))
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

/// Recognises MXFP4: `<stem>_blocks` U8 `[experts, out, groups, 16]` and `<stem>_scales` U8 `[experts, out, groups]`.
fn blocks(found: &Found<'_, '_>, stem: &str) -> Recognised {
    let [experts, rows, groups, 16] = *found.tensor.shape.dims() else {
        return Err(found.problem(BLOCKS, "expected [experts, out, groups, 16]".into()));
    };
    let scales = found.need(&format!("{stem}_scales"), BLOCKS)?;
    found.expect(scales, &[Dtype::U8], &[experts, rows, groups])?;
    let columns = found.columns(BLOCKS, groups, 128, 4)?;
    let coding = Coding::Packed { scheme: Scheme::MXFP4, layout: PackedLayout::Blocks };
    let parts = SourceParts { scales: Some(scales), ..SourceParts::default() };
    Ok(Some(found.tensor(stem.to_owned(), found.files.float, &[experts, rows], columns, coding, parts)))
}

/// Recognises integers of compressed-tensors: `weight_packed` I32 and `weight_scale`.
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
    found.is_described(PACKED, module)?;
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
    if !found.has_stated_shape(PACKED, module, outer, columns)? {
        found.agrees(PACKED, module, scheme, [columns, groups])?;
    }
    let dims: Vec<u64> = outer.iter().copied().chain([groups]).collect();
    found.expect(scales, &[Dtype::F32, Dtype::F16, Dtype::BF16], &dims)?;
    let coding = Coding::Packed { scheme, layout: PackedLayout::Symmetric };
    let parts = SourceParts { scales: Some(scales), ..SourceParts::default() };
    Ok(Some(found.tensor(format!("{module}.weight"), scale.dtype, outer, columns, coding, parts)))
}
