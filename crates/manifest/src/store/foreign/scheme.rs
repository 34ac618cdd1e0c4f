//! Coding of a tensor's values, from metadata or else from the shapes of its parts.

use longshore_st_format::{Dtype, Shape};

use super::{Array, Hints, TableError};
use crate::document::{Coding, Quantization, Role};

/// Arrays of a quantized tensor that indicate its type.
pub(super) struct Parts<'a> {
    pub(super) weight: &'a Array<'a>,
    pub(super) scale: &'a Array<'a>,
    pub(super) bias: Option<&'a Array<'a>>,
}

/// Statement of a tensor's type in metadata or a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// Canonical name of the type.
    pub(super) quant_type: String,
    /// Group size, or `None` if it is not stated.
    pub(super) group_size: Option<u32>,
}

impl Said {
    /// Parses a type by any name that ollama has used for it. A group size that is not a number matches no tensor.
    pub(super) fn new(quant_type: &str, group_size: Option<&str>) -> Self {
        let name = quant_type.trim().to_ascii_lowercase();
        let canonical = match name.as_str() {
            "q4" | "fp4" => "int4",
            "q8" | "fp8" => "int8",
            other => other,
        };
        let group_size = group_size.map(|text| text.trim().parse().unwrap_or(0));
        Self { quant_type: canonical.to_owned(), group_size }
    }
}

/// Returns the type of a quantized tensor, and the type and shape of its values.
///
/// The blob's statement about the tensor comes first, then its statement about all its tensors, and then that of
/// `config.json`, which describes the imported checkpoint. The first statement that fits the parts is used, because an
/// importer has labelled every tensor with the checkpoint's usual type. If the blob makes a statement and none fits,
/// the tensor is refused.
pub(super) fn of(parts: &Parts<'_>, hints: &Hints) -> Result<(Quantization, Dtype, Shape), TableError> {
    let [own_type, blob_type] = parts.weight.metadata("quant_type");
    let [own_group, blob_group] = parts.weight.metadata("group_size");
    let own = own_type.map(|name| Said::new(name, own_group.or(blob_group)));
    let blob = blob_type.map(|name| Said::new(name, blob_group));
    let said: Vec<Said> = own.into_iter().chain(blob).collect();
    let found = said.iter().chain(hints.said(parts.weight.name).iter()).find_map(|said| parts.as_said(said));
    let found = match (found, said.first()) {
        (Some(found), _) => found,
        (None, Some(said)) => return Err(parts.contradiction(said)),
        (None, None) => parts.inferred(hints)?,
    };
    let columns = parts.columns(&found.quant_type).unwrap_or_default();
    let mut dims = parts.weight.info.shape().dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = columns;
    }
    let is_affine = Coding::of(&found.quant_type).is_some_and(|coding| coding.is_affine);
    let dtype = if is_affine { parts.scale.info.dtype() } else { hints.float };
    Ok((found, dtype, Shape::from(dims)))
}

/// Refuses plain values that have a scale, or that the metadata calls codes.
pub(super) fn check_plain(array: &Array<'_>) -> Result<(), TableError> {
    let said = array.metadata("quant_type").into_iter().flatten().next();
    match said.zip(array.beside(Role::Scale.suffix())) {
        None => Ok(()),
        Some((said, scale)) => {
            Err(Parts { weight: array, scale: &scale, bias: None }.contradiction(&Said::new(said, None)))
        }
    }
}

impl Parts<'_> {
    /// Returns the numbers of words and of scales of a row.
    fn row(&self) -> (u64, u64) {
        let last = |array: &Array<'_>| array.info.shape().dims().last().copied().unwrap_or_default();
        (last(self.weight), last(self.scale))
    }

    /// Returns the number of codes of a row, if they are of this type.
    fn columns(&self, quant_type: &str) -> Option<u64> {
        let bits = Coding::of(quant_type)?.bits;
        let total = self.row().0.checked_mul(32)?;
        total.is_multiple_of(bits).then(|| total / bits)
    }

    /// Returns the stated type, if the parts fit it.
    fn as_said(&self, said: &Said) -> Option<Quantization> {
        let coding = Coding::of(&said.quant_type)?;
        let is_affine = self.bias.is_some();
        let (columns, groups) = (self.columns(&said.quant_type)?, self.row().1);
        let group = columns.checked_div(groups).filter(|group| *group > 0 && group * groups == columns)?;
        let group_size = u32::try_from(group).ok()?;
        let fits = coding.is_affine == is_affine
            && said.group_size.is_none_or(|said| said == group_size)
            && coding.group_size.is_none_or(|own| own == group_size);
        fits.then(|| Quantization { quant_type: said.quant_type.clone(), group_size })
    }

    /// Returns the type that the shapes imply. Without a bias it is certain, because each of the three possible types
    /// has one group size. With a bias, only the types that ollama wrote without metadata are considered: int4 in
    /// groups of 32 and int8 in groups of 64. The hints choose among all others.
    fn inferred(&self, hints: &Hints) -> Result<Quantization, TableError> {
        let all = |sizes: &[u32], types: &[&str]| -> Vec<Quantization> {
            let said = types.iter().flat_map(|quant_type| {
                sizes.iter().map(|size| Said { quant_type: (*quant_type).to_owned(), group_size: Some(*size) })
            });
            said.filter_map(|said| self.as_said(&said)).collect()
        };
        let certain = match self.bias {
            None => all(&[16, 32], &["nvfp4", "mxfp4", "mxfp8"]),
            Some(_) => [all(&[32], &["int4"]), all(&[64], &["int8"])].concat(),
        };
        if let [only] = &*certain {
            return Ok(only.clone());
        }
        let hinted = hints.weak.iter().find_map(|said| self.as_said(said));
        hinted.ok_or_else(|| {
            let candidates = all(&[32, 64, 128], &["int2", "int3", "int4", "int5", "int6", "int8"]);
            TableError::Ambiguous {
                digest: self.weight.blob,
                tensor: self.weight.name.to_owned(),
                parts: self.describe(),
                candidates: candidates.iter().map(ToString::to_string).collect(),
            }
        })
    }

    fn contradiction(&self, said: &Said) -> TableError {
        let group = said.group_size.map_or_else(String::new, |size| format!(" in groups of {size}"));
        TableError::Contradiction {
            digest: self.weight.blob,
            tensor: self.weight.name.to_owned(),
            parts: self.describe(),
            said: format!("{}{group}", said.quant_type),
        }
    }

    fn describe(&self) -> String {
        let bias = self.bias.map_or_else(|| "no bias".to_owned(), |bias| format!("a bias {}", bias.describe()));
        format!("codes {}, a scale {} and {bias}", self.weight.describe(), self.scale.describe())
    }
}
