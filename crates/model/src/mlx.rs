//! Weights that MLX has quantized, recognised by the arrays of a module and by what `config.json` says of it.
//!
//! mlx-lm stores a quantized module as `<module>.weight` of packed codes, `<module>.scales` and, for affine codes,
//! `<module>.biases`. The arrays do not tell the bits of an affine code, so that `config.json` has to.

use longshore_st_format::{Dtype, Shape};

use crate::WeightCoding;

/// End of the name of a module's packed codes.
pub const WEIGHT: &str = ".weight";
/// End of the name of a module's scales.
pub const SCALES: &str = ".scales";
/// End of the name of a module's biases, which affine codes have.
pub const BIASES: &str = ".biases";

/// One array: the type of its elements and its extents.
pub type Array<'a> = (Dtype, &'a Shape);

/// The arrays of one quantized module.
#[derive(Debug, Clone, Copy)]
pub struct Module<'a> {
    /// Packed codes, U32 `[…, out, in × bits / 32]`: a matrix, or a stack of them.
    pub weight: Array<'a>,
    /// One scale for each group, `[…, out, in / group_size]`.
    pub scales: Array<'a>,
    /// One bias for each group, of the type and shape of the scales, if the code is affine.
    pub biases: Option<Array<'a>>,
}

/// The code of one quantized module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Coding {
    /// `int2` to `int8`, `nvfp4`, `mxfp4` or `mxfp8`.
    pub quant_type: &'static str,
    /// Bits of one code.
    pub bits: u32,
    /// Consecutive elements of a row that share a scale.
    pub group_size: u32,
    /// Elements of a row: the last extent of the module's logical shape.
    pub columns: u64,
}

/// A reason for which arrays are not a module that MLX has quantized. The messages name no tensor; callers know it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The codes are no matrix and no stack of matrices.
    #[error("expected two or three axes")]
    Rank,
    /// There are biases, and the scales beside them are no floats.
    #[error("its scales are {found}, expected F32, F16 or BF16")]
    ScaleType {
        /// Their type.
        found: Dtype,
    },
    /// The biases have another type or shape than the scales.
    #[error("its biases are {found} {shape}, expected the type and shape of its scales")]
    Biases {
        /// Their type.
        found: Dtype,
        /// Their shape.
        shape: Shape,
    },
    /// The scales are those of an affine code, and there are no biases.
    #[error("it has scales of {found} and no biases")]
    NoBiases {
        /// The type of the scales.
        found: Dtype,
    },
    /// The configuration does not say what only it can.
    #[error("config.json does not say its bits and group_size, which shapes do not tell")]
    NotSaid,
    /// There is no affine code of these numbers.
    #[error("config.json says {bits} bits in groups of {group_size}, which no affine code has")]
    NoScheme {
        /// Bits of one code.
        bits: u32,
        /// Elements of a group.
        group_size: u32,
    },
    /// The ratio of codes to scales is that of no code without biases.
    #[error("{groups} scales for rows of {words} words are no scheme's")]
    Ratio {
        /// Scales of a row.
        groups: u64,
        /// 32-bit words of a row.
        words: u64,
    },
    /// The configuration names another mode than the arrays have.
    #[error("config.json says mode {said:?}, but its parts are those of {found}")]
    Mode {
        /// The mode in the configuration.
        said: String,
        /// The code that the arrays have, as a request for it is written.
        found: String,
    },
    /// The words of a row hold no whole number of codes.
    #[error("rows of {words} units of 32 bits hold no whole number of {bits}-bit codes")]
    Words {
        /// 32-bit words of a row.
        words: u64,
        /// Bits of one code.
        bits: u32,
    },
    /// Codes and scales disagree about the length of a row.
    #[error(
        "config.json says {said}, which makes {columns} columns of its words, but it has {groups} scales for each row"
    )]
    Groups {
        /// The code in the configuration, as a request for it is written.
        said: String,
        /// Elements of a row, by its codes.
        columns: u64,
        /// Scales of a row.
        groups: u64,
    },
    /// The scales have other extents than the codes, but for the last.
    #[error("its scales are {found}, expected {expected}")]
    ScaleShape {
        /// Their shape.
        found: Shape,
        /// The shape that fits the codes.
        expected: Shape,
    },
}

/// Bits that an affine code of MLX can have, with its name.
const AFFINE: [(u32, &str); 6] = [(2, "int2"), (3, "int3"), (4, "int4"), (5, "int5"), (6, "int6"), (8, "int8")];
/// Groups that an affine code of MLX can have.
const AFFINE_GROUPS: [u32; 3] = [32, 64, 128];

impl Module<'_> {
    /// Tells the code of the module's weight, of which the configuration says `said`.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] where the arrays cannot be those of one module, or the configuration contradicts them.
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

    /// The name, bits and group of an affine code, whose bits and group the configuration says.
    fn affine(&self, biases: Array<'_>, said: Option<&WeightCoding>) -> Result<(&'static str, u32, u32), LayoutError> {
        let (found, shape) = self.scales;
        if !matches!(found, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(LayoutError::ScaleType { found });
        }
        if biases != (found, shape) {
            return Err(LayoutError::Biases { found: biases.0, shape: biases.1.clone() });
        }
        let (bits, group_size) = said.and_then(|said| said.bits.zip(said.group_size)).ok_or(LayoutError::NotSaid)?;
        let name = AFFINE.iter().find(|(known, _)| *known == bits).filter(|_| AFFINE_GROUPS.contains(&group_size));
        let (_, quant_type) = name.ok_or(LayoutError::NoScheme { bits, group_size })?;
        Ok((quant_type, bits, group_size))
    }

    /// The name, bits and group of a code of floats. Groups have 16, 32 and 32 elements of 4, 4 and 8 bits: the ratio of words to scales
    /// tells them apart.
    fn float(&self, words: u64, groups: u64) -> Result<(&'static str, u32, u32), LayoutError> {
        if self.scales.0 != Dtype::U8 {
            return Err(LayoutError::NoBiases { found: self.scales.0 });
        }
        match words.checked_div(groups).filter(|_| groups > 0 && words % groups == 0) {
            Some(2) => Ok(("nvfp4", 4, 16)),
            Some(4) => Ok(("mxfp4", 4, 32)),
            Some(8) => Ok(("mxfp8", 8, 32)),
            _ => Err(LayoutError::Ratio { groups, words }),
        }
    }
}

/// A code as a request for it is written, without the usual group: `int4`, `int4-g32`, `nvfp4`.
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
        assert_eq!(module.coding(None), Err(LayoutError::NotSaid));
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
