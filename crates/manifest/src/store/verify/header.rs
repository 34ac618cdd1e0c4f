//! Check that a blob's header matches the tensor table.

use std::collections::HashSet;

use longshore_st_format::Header;

use crate::document::{BlobEntry, Part, TensorEntry};

/// Returns how the table's tensors differ from the arrays in the blob's header, or `None` if they agree.
pub(super) fn disagreement(entry: &BlobEntry, header: &Header) -> Option<String> {
    if let Some(detail) = entry.tensors.iter().find_map(|tensor| tensor_differs(tensor, header)) {
        return Some(detail);
    }
    let names = entry.tensors.iter().flat_map(|tensor| tensor.parts.iter().map(|part| part_name(tensor, part)));
    let listed: HashSet<String> = names.collect();
    let extra = header.names().find(|name| !listed.contains(*name))?;
    Some(format!("it has {extra:?}, which the table does not list"))
}

/// Returns how a tensor's parts differ from the arrays in the blob's header, or `None` if they agree.
fn tensor_differs(tensor: &TensorEntry, header: &Header) -> Option<String> {
    if let Some(quantization) = &tensor.quantization {
        let expected =
            [("quant_type", quantization.quant_type.clone()), ("group_size", quantization.group_size.to_string())];
        for (key, expected) in expected {
            let found = header.metadata().get(key);
            if found != Some(&expected) {
                let found = found.map_or("is not given".to_owned(), |found| format!("is {found:?}"));
                return Some(format!("{key} {found}, expected {expected:?} for {:?}", tensor.name));
            }
        }
    }
    tensor.parts.iter().find_map(|part| {
        let name = part_name(tensor, part);
        let Some(info) = header.get(&name) else { return Some(format!("it has no {name:?}")) };
        let range = info.file_range(header);
        let expected = part.offset..part.offset + part.length;
        let same = info.dtype() == part.dtype && *info.shape() == part.shape && range == expected;
        (!same).then(|| {
            format!(
                "{name:?} is {} {} at {range:?}, expected {} {} at {expected:?}",
                info.dtype(),
                info.shape(),
                part.dtype,
                part.shape,
            )
        })
    })
}

fn part_name(tensor: &TensorEntry, part: &Part) -> String {
    format!("{}{}", tensor.name, part.role.suffix())
}
