//! ggml's block types, as the table names them.

use longshore_st_format::{Dtype, Shape};

use super::{Quantization, Role, TensorEntry};

/// One of ggml's block types. A tensor of a GGUF file that has it is kept as the blocks that the file holds.
///
/// ```
/// use longshore_manifest::document::GgmlBlocks;
///
/// let blocks = GgmlBlocks::of_ggml("Q4_K").expect("ggml has it");
/// assert_eq!((blocks.quant_type, blocks.elements, blocks.bytes), ("q4_k", 256, 144));
/// assert_eq!(GgmlBlocks::of("q4_k"), Some(blocks));
/// assert_eq!(GgmlBlocks::of("int4"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct GgmlBlocks {
    /// Name in ggml, such as `Q4_K`.
    pub name: &'static str,
    /// Name in a table, as [`Quantization::quant_type`]: ggml's in lower case. `MXFP4` and `NVFP4` are `ggml_mxfp4` and
    /// `ggml_nvfp4`, because `mxfp4` and `nvfp4` have codes and scales in arrays of their own.
    pub quant_type: &'static str,
    /// Number of elements of a block, all in one row.
    pub elements: u32,
    /// Length of a block in bytes.
    pub bytes: u32,
}

/// All block types, in the order of ggml's ids.
const ALL: &[GgmlBlocks] = &[
    GgmlBlocks { name: "Q4_0", quant_type: "q4_0", elements: 32, bytes: 18 },
    GgmlBlocks { name: "Q4_1", quant_type: "q4_1", elements: 32, bytes: 20 },
    GgmlBlocks { name: "Q5_0", quant_type: "q5_0", elements: 32, bytes: 22 },
    GgmlBlocks { name: "Q5_1", quant_type: "q5_1", elements: 32, bytes: 24 },
    GgmlBlocks { name: "Q8_0", quant_type: "q8_0", elements: 32, bytes: 34 },
    GgmlBlocks { name: "Q8_1", quant_type: "q8_1", elements: 32, bytes: 36 },
    GgmlBlocks { name: "Q2_K", quant_type: "q2_k", elements: 256, bytes: 84 },
    GgmlBlocks { name: "Q3_K", quant_type: "q3_k", elements: 256, bytes: 110 },
    GgmlBlocks { name: "Q4_K", quant_type: "q4_k", elements: 256, bytes: 144 },
    GgmlBlocks { name: "Q5_K", quant_type: "q5_k", elements: 256, bytes: 176 },
    GgmlBlocks { name: "Q6_K", quant_type: "q6_k", elements: 256, bytes: 210 },
    GgmlBlocks { name: "Q8_K", quant_type: "q8_k", elements: 256, bytes: 292 },
    GgmlBlocks { name: "IQ2_XXS", quant_type: "iq2_xxs", elements: 256, bytes: 66 },
    GgmlBlocks { name: "IQ2_XS", quant_type: "iq2_xs", elements: 256, bytes: 74 },
    GgmlBlocks { name: "IQ3_XXS", quant_type: "iq3_xxs", elements: 256, bytes: 98 },
    GgmlBlocks { name: "IQ1_S", quant_type: "iq1_s", elements: 256, bytes: 50 },
    GgmlBlocks { name: "IQ4_NL", quant_type: "iq4_nl", elements: 32, bytes: 18 },
    GgmlBlocks { name: "IQ3_S", quant_type: "iq3_s", elements: 256, bytes: 110 },
    GgmlBlocks { name: "IQ2_S", quant_type: "iq2_s", elements: 256, bytes: 82 },
    GgmlBlocks { name: "IQ4_XS", quant_type: "iq4_xs", elements: 256, bytes: 136 },
    GgmlBlocks { name: "IQ1_M", quant_type: "iq1_m", elements: 256, bytes: 56 },
    GgmlBlocks { name: "TQ1_0", quant_type: "tq1_0", elements: 256, bytes: 54 },
    GgmlBlocks { name: "TQ2_0", quant_type: "tq2_0", elements: 256, bytes: 66 },
    GgmlBlocks { name: "MXFP4", quant_type: "ggml_mxfp4", elements: 32, bytes: 17 },
    GgmlBlocks { name: "NVFP4", quant_type: "ggml_nvfp4", elements: 64, bytes: 36 },
    GgmlBlocks { name: "Q1_0", quant_type: "q1_0", elements: 128, bytes: 18 },
    GgmlBlocks { name: "Q2_0", quant_type: "q2_0", elements: 64, bytes: 18 },
];

impl GgmlBlocks {
    /// Returns the type that a table calls `quant_type`. `None` for any other code.
    #[must_use]
    pub fn of(quant_type: &str) -> Option<&'static Self> {
        ALL.iter().find(|known| known.quant_type == quant_type)
    }

    /// Returns the type that ggml calls `name`. `None` for a type whose blocks are single numbers, and for any other name.
    #[must_use]
    pub fn of_ggml(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|known| known.name == name)
    }

    /// Returns the coding of a tensor with these blocks. Its group is a block.
    #[must_use]
    pub fn quantization(&self) -> Quantization {
        Quantization { quant_type: self.quant_type.into(), group_size: self.elements }
    }

    /// Returns the shape of the array, of [`Dtype::U8`], that holds a tensor of shape `[…, K]`: `[…, bytes of a row]`. `None`
    /// if blocks do not fill a row.
    #[must_use]
    pub fn shape(&self, shape: &Shape) -> Option<Shape> {
        let (columns, outer) = shape.dims().split_last()?;
        if !columns.is_multiple_of(self.elements.into()) {
            return None;
        }
        let row = (columns / u64::from(self.elements)).checked_mul(self.bytes.into())?;
        Some(Shape::from(outer.iter().copied().chain([row]).collect::<Vec<u64>>()))
    }

    /// Checks the parts of `tensor`, whose coding is one of these blocks in groups of `group_size`.
    pub(super) fn check(&self, tensor: &TensorEntry, group_size: u32) -> Result<(), String> {
        let Self { quant_type, elements, .. } = self;
        if group_size != *elements {
            return Err(format!("it is {quant_type} in groups of {group_size} elements, expected {elements}"));
        }
        if tensor.dtype != Dtype::F32 {
            return Err(format!("it is {quant_type} of {}, expected F32", tensor.dtype));
        }
        let Some(expected) = self.shape(&tensor.shape) else {
            return Err(format!(
                "it is {quant_type}, whose blocks of {elements} do not fill the rows of {}",
                tensor.shape
            ));
        };
        match &*tensor.parts {
            [part] if (part.role, part.dtype, &part.shape) == (Role::Weight, Dtype::U8, &expected) => Ok(()),
            [part] => Err(format!(
                "its {:?} is {} {}, expected U8 {expected} for {quant_type} {}",
                part.role, part.dtype, part.shape, tensor.shape
            )),
            parts => Err(format!("it is {quant_type} and has {} parts, expected its blocks alone", parts.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use longshore_gguf::GgmlType;

    use super::*;

    #[test]
    fn they_are_those_of_the_format() {
        let blocks = GgmlType::ALL.iter().filter(|known| known.block_size() > 1);
        assert!(blocks.clone().map(|known| known.name()).eq(ALL.iter().map(|known| known.name)));
        for (known, found) in blocks.zip(ALL) {
            assert_eq!(
                (known.block_size(), known.block_bytes()),
                (found.elements.into(), found.bytes.into()),
                "{known}"
            );
            assert!(found.quant_type.ends_with(&known.name().to_lowercase()), "{known}");
            assert!(super::super::Coding::of(found.quant_type).is_none(), "{known} is not another code");
            assert_eq!(GgmlBlocks::of(found.quant_type), GgmlBlocks::of_ggml(found.name));
        }
    }

    #[test]
    fn blocks_fill_rows() {
        let blocks = GgmlBlocks::of("q8_0").expect("it is known");
        assert_eq!(blocks.shape(&Shape::new([3, 64])), Some(Shape::new([3, 68])));
        assert_eq!(blocks.shape(&Shape::new([0])), Some(Shape::new([0])));
        for not in [Shape::new([]), Shape::new([64, 33]), Shape::new([u64::MAX - 31])] {
            assert_eq!(blocks.shape(&not), None, "{not}");
        }
    }
}
