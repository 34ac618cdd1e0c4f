//! Checks of the ways in which a tensor's values were rearranged and changed.

use longshore_st_format::Dtype;

use super::{Arrangement, Change, TensorEntry};

/// Checks that the sources can have been made into one tensor of this shape and type.
pub(super) fn check(tensor: &TensorEntry) -> Result<(), String> {
    let sources = tensor.source_names().count() as u64;
    if let Some(expected) = problem(tensor, sources) {
        return Err(format!(
            "it is {} of {sources} sources with the transform {:?}, expected {expected}",
            tensor.shape, tensor.arrangement
        ));
    }
    if !tensor.change.is_none() && (tensor.dtype != Dtype::F32 || tensor.quantization.is_some()) {
        return Err(format!("it has the change {:?}, expected that of plain F32 only", tensor.change));
    }
    if !tensor.ulps.is_empty() && (tensor.change.is_none() || tensor.ulps.len() as u64 != tensor.elements()) {
        return Err(format!("it has {} ulps, expected one for each value that was changed", tensor.ulps.len()));
    }
    let is_known_to_all = matches!(tensor.arrangement, Arrangement::None | Arrangement::Stack | Arrangement::Transpose);
    if is_known_to_all && (tensor.offset != 0 || !tensor.change.is_none()) {
        // A reader that does not know of the two fields takes the values for those of the source.
        return Err(format!("its values are not those of its source, but its transform is {:?}", tensor.arrangement));
    }
    if tensor.offset != 0 && tensor.change != Change::None {
        return Err("it has both an offset and a change of its values".to_owned());
    }
    Ok(())
}

/// Returns the expectation that a tensor does not meet whose arrangement does not fit it.
fn problem(tensor: &TensorEntry, sources: u64) -> Option<&'static str> {
    let dims = tensor.shape.dims();
    let rank = dims.len();
    // A row holds whole groups of codes, or a single element of a plain list.
    let has_rows = |axis: usize| axis + 1 < rank || axis + 1 == rank && tensor.quantization.is_none();
    let one = |fits: bool, expected| match fits {
        _ if sources > 1 => Some("one source at most"),
        true => None,
        false => Some(expected),
    };
    match tensor.arrangement {
        Arrangement::Stack if dims.first() == Some(&sources) => None,
        Arrangement::Stack => Some("as many sources as its first extent"),
        Arrangement::Transpose if rank < 3 => Some("three axes or more"),
        Arrangement::Transpose | Arrangement::None | Arrangement::Reshape => one(true, ""),
        Arrangement::Halves { heads } => {
            let pairs = heads.checked_mul(2).filter(|pairs| *pairs > 0);
            let fits = pairs.is_some_and(|pairs| dims.first().is_some_and(|rows| rows.is_multiple_of(pairs)));
            one(fits && has_rows(0), "rows of whole pairs for each head")
        }
        Arrangement::Interleave { axis } | Arrangement::Concatenate { axis } => {
            let axis = usize::from(axis);
            let fits = sources > 1 && has_rows(axis) && dims[axis].is_multiple_of(sources);
            (!fits).then_some("rows that two or more sources share evenly")
        }
        Arrangement::Rows { axis, first, of } => {
            let axis = usize::from(axis);
            let fits = || first.checked_add(dims[axis]).is_some_and(|end| end <= of);
            one(has_rows(axis) && fits(), "no more rows than the source has")
        }
        Arrangement::LatentHeads { heads, keys } => {
            let fits = matches!(dims, [rows, _] if heads > 0 && rows.is_multiple_of(heads) && keys <= rows / heads);
            let fits = fits && sources == 2 && tensor.quantization.is_none() && tensor.dtype.bits().is_multiple_of(8);
            (!fits).then_some("two plain sources whose heads fill the rows of a matrix")
        }
    }
}
