//! Weights in 8-bit floats.

use longshore_quant::Scheme;
use longshore_st_format::{Dtype, Shape};

use super::{
    error::{CodingError, ORIGINAL},
    files::Files,
    kind::Coding,
};
use crate::{
    model::tensor::ModelTensor,
    source::form,
    tensor::{SourceParts, SourceTensor},
};

/// The longest row that is decoded, in elements. Rows are decoded whole, so this bounds memory. Rows of real models are
/// far shorter.
pub(crate) const MAX_ROW: u64 = 1 << 20;

/// Recognises the tensor of the model whose 8-bit floats are `files.tensors[at]`.
pub(super) fn recognise(files: &Files<'_>, at: usize) -> Result<Option<ModelTensor>, CodingError> {
    let tensor = &files.tensors[at];
    // Scales that belong to an unknown packing are not weights.
    let is_scale = ["scale", "scales", "scale_inv", "scale_2"].iter().any(|end| tensor.name.ends_with(end));
    if tensor.shape.rank() < 2 || is_scale {
        return Ok(None);
    }
    let refused = |packing, reason: Option<&str>| {
        let (tensor, dtype, reason) = (tensor.name.clone(), tensor.dtype, reason.map(str::to_owned));
        Err(CodingError::Packing { tensor, dtype, packing, reason, hint: ORIGINAL })
    };
    match tensor.dtype {
        Dtype::F8E4M3 => {}
        Dtype::F8E5M2 | Dtype::F8E5M2Fnuz => {
            return refused("an FP8 E5M2 weight", Some("no scheme keeps its range, and only E4M3 is decoded"));
        }
        Dtype::F8E4M3Fnuz => return refused("an FP8 E4M3 FNUZ weight", None),
        _ => return Ok(None),
    }
    let dims = tensor.shape.dims();
    if dims.len() > 3 {
        return refused("an FP8 weight", Some("it has more than three axes"));
    }
    if dims[dims.len() - 1] > MAX_ROW {
        return refused("an FP8 weight", Some(&format!("its rows are longer than {MAX_ROW} elements")));
    }
    let Some(scales) = find_scales(files, tensor)? else { return Ok(None) };
    let block = block(files, tensor, &files.tensors[scales])?;
    let is_exact = files.exact_scales.contains(&scales);
    let coding = Coding::Fp8 { block, is_exact };
    Ok(Some(ModelTensor {
        name: tensor.name.clone(),
        dtype: Dtype::BF16,
        shape: tensor.shape.clone(),
        coding,
        parts: SourceParts { weight: at, scales: Some(scales), ..SourceParts::default() },
    }))
}

/// Decides for each tensor of 8-bit floats whether mxfp8 holds it exactly. On entry, `is_exact` says only whether the
/// scales are powers of two.
///
/// A checkpoint has power-of-two scales in all of its tensors or in none: if a single tensor has them, they are a
/// coincidence. Whether the groups of mxfp8 fit the blocks is decided for each tensor on its own.
pub(super) fn settle(tensors: &mut [ModelTensor]) {
    let has_other_scales = tensors.iter().any(|tensor| matches!(tensor.coding, Coding::Fp8 { is_exact: false, .. }));
    for ModelTensor { coding, shape, .. } in tensors {
        if let Coding::Fp8 { block, is_exact } = coding {
            let columns = shape.dims().last().copied().unwrap_or_default();
            *is_exact = !has_other_scales && whole_groups(*block, columns);
        }
    }
}

/// Whether every group of mxfp8 lies within one block and one row.
fn whole_groups([_, block]: [u64; 2], columns: u64) -> bool {
    let group = u64::from(Scheme::MXFP8.group_size());
    columns > 0 && columns.is_multiple_of(group) && (block >= columns || block.is_multiple_of(group))
}

fn find_scales(files: &Files<'_>, tensor: &SourceTensor) -> Result<Option<usize>, CodingError> {
    let name = &tensor.name;
    let module = name.strip_suffix(".weight").unwrap_or(name);
    if let Some(found) = form::fp8_scales(name).find_map(|name| files.find(&name)) {
        return Ok(Some(found));
    }
    // A scale under an unknown name must not be ignored: the values would be wrong.
    let beside = |other: &&SourceTensor| {
        let rest = other.name.strip_prefix(module).unwrap_or_default();
        let is_input = ["input", "activation"].iter().any(|word| rest.contains(word));
        let own = rest.strip_prefix(".weight").unwrap_or(rest);
        let is_own = (own.starts_with('.') || own.starts_with('_')) && !own[1..].contains('.');
        is_own && own.contains("scale") && !is_input
    };
    // Names are sorted, so names with the same beginning are neighbours.
    let first = files.tensors.partition_point(|other| other.name.as_str() < module);
    let mut alike = files.tensors[first..].iter().take_while(|other| other.name.starts_with(module));
    match alike.find(beside) {
        None => Ok(None),
        Some(other) => Err(CodingError::Packing {
            tensor: name.clone(),
            dtype: tensor.dtype,
            packing: "an FP8 weight",
            reason: Some(format!("{:?} may be its scale, under a name that is not known", other.name)),
            hint: ORIGINAL,
        }),
    }
}

/// Determines the rows and columns of the block that shares one scale. If the configuration states a block size, blocks
/// have no other. Otherwise 128x128 is tried first, and then the sizes that the shape of the scales tells.
fn block(files: &Files<'_>, weight: &SourceTensor, scales: &SourceTensor) -> Result<[u64; 2], CodingError> {
    let fail = |expected: String| CodingError::Companion {
        tensor: scales.name.clone(),
        dtype: scales.dtype,
        shape: scales.shape.clone(),
        expected,
        weight: weight.name.clone(),
    };
    if !matches!(scales.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F8E8M0) {
        return Err(fail("F32, F16, BF16 or F8_E8M0".into()));
    }
    let dims = weight.shape.dims();
    let (outer, [rows, columns]) =
        (&dims[..dims.len() - 2], [dims[dims.len() - 2].max(1), dims[dims.len() - 1].max(1)]);
    let said = files.quantization.and_then(|quantization| quantization.block).map(|(rows, columns)| [rows, columns]);
    let with = |tail: &[u64]| -> Vec<u64> { outer.iter().chain(tail).copied().collect() };
    let found = scales.shape.dims();
    let grid =
        |[block_rows, block_columns]: [u64; 2]| with(&[rows.div_ceil(block_rows), columns.div_ceil(block_columns)]);
    let whole = [rows, columns];
    let is_one_each = scales.shape.elements() == Some(outer.iter().product())
        && found.iter().all(|dim| *dim == 1 || outer.contains(dim));
    let per_row = found == with(&[rows]) || found == with(&[rows, 1]);
    let likely = said.unwrap_or([128, 128]);
    if found == grid(likely) {
        return Ok(likely);
    }
    if per_row && rows > 1 {
        return Ok([1, columns]);
    }
    if is_one_each {
        return Ok(whole);
    }
    // Blocks of another size, if one block covers the whole extent or only one power of two fits.
    if let ([.., grid_rows, grid_columns], true) = (found, said.is_none() && found.len() == dims.len()) {
        let fits = |count: u64, of: u64| {
            if count == 1 {
                return Some(of);
            }
            let mut sizes = (0..32).map(|exponent| 1_u64 << exponent).filter(|size| of.div_ceil(*size) == count);
            sizes.next().filter(|_| sizes.next().is_none())
        };
        if let (true, Some(rows), Some(columns)) =
            (found[..found.len() - 2] == *outer, fits(*grid_rows, rows), fits(*grid_columns, columns))
        {
            return Ok([rows, columns]);
        }
    }
    Err(fail(format!(
        "one scale for {}, for each row, or {} for blocks of {}x{}",
        if outer.is_empty() { "the tensor" } else { "each matrix" },
        Shape::from(grid(likely)),
        likely[0],
        likely[1]
    )))
}
