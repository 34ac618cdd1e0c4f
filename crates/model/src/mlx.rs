//! Recognition of weights that MLX has quantized, from the arrays of a module and the module's description in
//! `config.json`.
//!
//! mlx-lm stores a quantized module as `<module>.weight` with packed codes, `<module>.scales` and, for affine codes,
//! `<module>.biases`. The shapes of these arrays do not determine the bits of an affine code, so `config.json` has to
//! state them.

use longshore_st_format::{Dtype, Shape};

use crate::config::quantization::WeightCoding;

/// Name ending of a module's packed codes.
pub const WEIGHT: &str = ".weight";
/// Name ending of a module's scales.
pub const SCALES: &str = ".scales";
/// Name ending of a module's biases. Only affine codes have biases.
pub const BIASES: &str = ".biases";

/// One array: type of its elements, and shape.
pub type Array<'a> = (Dtype, &'a Shape);

/// Arrays of one quantized module.
#[derive(Debug, Clone, Copy)]
pub struct Module<'a> {
    /// Packed codes, U32 `[…, out, in × bits / 32]`: one matrix or a stack of matrices.
    pub weight: Array<'a>,
    /// One scale per group, `[…, out, in / group_size]`.
    pub scales: Array<'a>,
    /// One bias per group if the code is affine. Type and shape are those of the scales.
    pub biases: Option<Array<'a>>,
}

/// Code of one quantized module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Coding {
    /// Name of the code: `int2` to `int8`, `nvfp4`, `mxfp4` or `mxfp8`.
    pub quant_type: &'static str,
    /// Bits of one code.
    pub bits: u32,
    /// Number of consecutive elements of a row that share a scale.
    pub group_size: u32,
    /// Number of elements of a row: the last extent of the module's logical shape.
    pub columns: u64,
}

/// Reason why arrays are not a module that MLX has quantized. The messages do not name the tensor, because the caller
/// knows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The packed codes are neither a matrix nor a stack of matrices.
    #[error("expected two or three axes")]
    Rank,
    /// The module has biases, but its scales are not floats.
    #[error("its scales are {found}, expected F32, F16 or BF16")]
    ScaleType {
        /// Type of the scales.
        found: Dtype,
    },
    /// The biases differ from the scales in type or shape.
    #[error("its biases are {found} {shape}, expected the type and shape of its scales")]
    Biases {
        /// Type of the biases.
        found: Dtype,
        /// Shape of the biases.
        shape: Shape,
    },
    /// The scales are those of an affine code, but the module has no biases.
    #[error("it has scales of {found} and no biases")]
    NoBiases {
        /// Type of the scales.
        found: Dtype,
    },
    /// The configuration does not state the bits or the group size, which the shapes do not determine.
    #[error("config.json does not say its {missing}, which shapes do not tell")]
    NotSaid {
        /// Missing members: `bits`, `group_size`, or both.
        missing: &'static str,
    },
    /// MLX has no affine code with these bits and this group size.
    #[error("config.json says {bits} bits in groups of {group_size}, which no affine code has")]
    NoScheme {
        /// Bits of one code.
        bits: u32,
        /// Number of elements of a group.
        group_size: u32,
    },
    /// No code without biases has this ratio of codes to scales.
    #[error("{groups} scales for rows of {words} words match no scheme")]
    Ratio {
        /// Number of scales of a row.
        groups: u64,
        /// Number of 32-bit words of a row.
        words: u64,
    },
    /// The configuration names another mode than that of the arrays.
    #[error("config.json says mode {said:?}, but its parts are those of {found}")]
    Mode {
        /// Mode in the configuration.
        said: String,
        /// Code of the arrays, spelled as in a request, such as `int4-g32`.
        found: String,
    },
    /// The words of a row do not hold a whole number of codes.
    #[error(
        "config.json says {bits} bits, but rows of {words} units of 32 bits hold no whole number of {bits}-bit codes"
    )]
    Words {
        /// Number of 32-bit words of a row.
        words: u64,
        /// Bits of one code.
        bits: u32,
    },
    /// Codes and scales disagree about the length of a row.
    #[error(
        "config.json says {said}, which makes {columns} columns of its words, but it has {groups} scales for each row"
    )]
    Groups {
        /// Code in the configuration, spelled as in a request, such as `int4-g32`.
        said: String,
        /// Number of elements of a row, computed from the codes.
        columns: u64,
        /// Number of scales of a row.
        groups: u64,
    },
    /// The scales differ from the codes in an extent other than the last.
    #[error("its scales are {found}, expected {expected}")]
    ScaleShape {
        /// Shape of the scales.
        found: Shape,
        /// Shape of scales that would fit the codes.
        expected: Shape,
    },
}

/// Bits of each affine code of MLX, with the code's name.
const AFFINE: [(u32, &str); 6] = [(2, "int2"), (3, "int3"), (4, "int4"), (5, "int5"), (6, "int6"), (8, "int8")];
/// Group sizes of MLX's affine codes.
const AFFINE_GROUPS: [u32; 3] = [32, 64, 128];

impl Module<'_> {
    /// Determines the code of the module's weight. `said` is the configuration's description of the module.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] if the arrays cannot belong to one module, or if the configuration contradicts them.
    pub fn coding(&self, said: Option<&WeightCoding>) -> Result<Coding, LayoutError> {
        let [outer @ .., words] = self.weight.1.dims() else { return Err(LayoutError::Rank) };
        if !(1..=2).contains(&outer.len()) {
            return Err(LayoutError::Rank);
        }
        let groups = self.scales.1.dims().last().copied().unwrap_or_default();
        let (quant_type, bits, group_size) = match self.biases {
            Some(biases) => self.affine(biases, said)?,
            None => self.float(*words, groups)?,
        };
        let mode = if self.biases.is_some() { "affine" } else { quant_type };
        if let Some(said) = said.and_then(|said| said.mode.clone()).filter(|said| said != mode) {
            return Err(LayoutError::Mode { said, found: request(quant_type, group_size) });
        }
        let of_row = words.checked_mul(32).filter(|row| row.is_multiple_of(u64::from(bits)));
        let columns = of_row.map(|row| row / u64::from(bits)).filter(|columns| *columns > 0);
        let columns = columns.ok_or(LayoutError::Words { words: *words, bits })?;
        if groups.checked_mul(u64::from(group_size)) != Some(columns) {
            return Err(LayoutError::Groups { said: request(quant_type, group_size), columns, groups });
        }
        let expected: Vec<u64> = outer.iter().copied().chain([groups]).collect();
        if self.scales.1.dims() != expected {
            return Err(LayoutError::ScaleShape { found: self.scales.1.clone(), expected: Shape::from(expected) });
        }
        Ok(Coding { quant_type, bits, group_size, columns })
    }

    /// Returns the name, bits and group size of an affine code. Bits and group size come from the configuration.
    fn affine(&self, biases: Array<'_>, said: Option<&WeightCoding>) -> Result<(&'static str, u32, u32), LayoutError> {
        let (found, shape) = self.scales;
        if !matches!(found, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(LayoutError::ScaleType { found });
        }
        if biases != (found, shape) {
            return Err(LayoutError::Biases { found: biases.0, shape: biases.1.clone() });
        }
        let (bits, group_size) = match said.map(|said| (said.bits, said.group_size)) {
            Some((Some(bits), Some(group_size))) => (bits, group_size),
            Some((Some(_), None)) => return Err(LayoutError::NotSaid { missing: "group_size" }),
            Some((None, Some(_))) => return Err(LayoutError::NotSaid { missing: "bits" }),
            Some((None, None)) | None => return Err(LayoutError::NotSaid { missing: "bits and group_size" }),
        };
        let name = AFFINE.iter().find(|(known, _)| *known == bits).filter(|_| AFFINE_GROUPS.contains(&group_size));
        let (_, quant_type) = name.ok_or(LayoutError::NoScheme { bits, group_size })?;
        Ok((quant_type, bits, group_size))
    }

    /// Returns the name, bits and group size of a float code. The three codes have groups of 16, 32 and 32 elements of
    /// 4, 4 and 8 bits, so the ratio of words to scales identifies the code.
    fn float(&self, words: u64, groups: u64) -> Result<(&'static str, u32, u32), LayoutError> {
        if self.scales.0 != Dtype::U8 {
            return Err(LayoutError::NoBiases { found: self.scales.0 });
        }
        match words.checked_div(groups).filter(|_| groups > 0 && words.is_multiple_of(groups)) {
            Some(2) => Ok(("nvfp4", 4, 16)),
            Some(4) => Ok(("mxfp4", 4, 32)),
            Some(8) => Ok(("mxfp8", 8, 32)),
            _ => Err(LayoutError::Ratio { groups, words }),
        }
    }
}

/// Spells a code as in a request, without the group size if it is the usual one: `int4`, `int4-g32`, `nvfp4`.
fn request(quant_type: &str, group_size: u32) -> String {
    let is_usual = group_size == 64 || !quant_type.starts_with("int");
    if is_usual { quant_type.to_owned() } else { format!("{quant_type}-g{group_size}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(bits: u32, group_size: u32) -> WeightCoding {
        WeightCoding { bits: Some(bits), group_size: Some(group_size), ..WeightCoding::default() }
    }

    #[test]
    fn affine_codes_by_what_the_configuration_says() {
        let (weight, scales) = (Shape::new([128, 32]), Shape::new([128, 2]));
        let arrays = (Dtype::F16, &scales);
        let module = Module { weight: (Dtype::U32, &weight), scales: arrays, biases: Some(arrays) };
        let coding = module.coding(Some(&said(8, 64))).expect("32 words are 128 codes of 8 bits");
        assert_eq!((coding.quant_type, coding.columns), ("int8", 128));
        let coding = module.coding(Some(&said(4, 128))).expect("32 words are 256 codes of 4 bits");
        assert_eq!((coding.quant_type, coding.columns), ("int4", 256));
        let missing = |said: Option<&WeightCoding>| module.coding(said).expect_err("it is not described").to_string();
        assert!(missing(None).contains("its bits and group_size,"));
        assert!(missing(Some(&WeightCoding { bits: None, ..said(4, 64) })).contains("its bits,"));
        assert!(missing(Some(&WeightCoding { group_size: None, ..said(4, 64) })).contains("its group_size,"));
        assert_eq!(module.coding(Some(&said(7, 64))), Err(LayoutError::NoScheme { bits: 7, group_size: 64 }));
        let error = module.coding(Some(&said(4, 64))).expect_err("256 columns are four groups of 64");
        assert!(
            matches!(error, LayoutError::Groups { ref said, columns: 256, groups: 2 } if said == "int4"),
            "{error}"
        );
        let other = Module { biases: Some((Dtype::BF16, &scales)), ..module };
        assert!(matches!(other.coding(Some(&said(8, 64))), Err(LayoutError::Biases { .. })));
    }

    #[test]
    fn codes_of_floats_by_their_shapes() {
        for (groups, quant_type) in [(8, "nvfp4"), (4, "mxfp4"), (2, "mxfp8")] {
            let (weight, scales) = (Shape::new([3, 16]), Shape::new([3, groups]));
            let module = Module { weight: (Dtype::U32, &weight), scales: (Dtype::U8, &scales), biases: None };
            assert_eq!(module.coding(None).map(|coding| coding.quant_type), Ok(quant_type));
            let mode = WeightCoding { mode: Some("affine".into()), ..WeightCoding::default() };
            assert!(matches!(module.coding(Some(&mode)), Err(LayoutError::Mode { .. })));
        }
        let (weight, scales) = (Shape::new([3, 16]), Shape::new([3, 5]));
        let module = Module { weight: (Dtype::U32, &weight), scales: (Dtype::U8, &scales), biases: None };
        assert_eq!(module.coding(None), Err(LayoutError::Ratio { groups: 5, words: 16 }));
    }
}
