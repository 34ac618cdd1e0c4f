//! Names and sizes of the types.

use std::{fmt, str::FromStr};

/// Defines the types from one table: variant, id, name, elements of a block, bytes of a block.
macro_rules! types {
    ($($(#[$doc:meta])* $variant:ident $id:literal $name:literal $elements:literal $bytes:literal;)*) => {
        /// The type of a tensor's blocks, by the ids and names that ggml gives them.
        ///
        /// A row is a whole number of blocks, and a block never crosses a row. Fields of several bytes are little-endian.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum GgmlType {
            $($(#[$doc])* $variant,)*
        }

        impl GgmlType {
            /// Every type, in the order of the ids.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number that stands for it in a file.
            #[must_use]
            pub const fn id(self) -> u32 {
                match self { $(Self::$variant => $id,)* }
            }

            /// The name that ggml gives it, `"Q4_K"` for example.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The number of elements in one block; 1 where elements are stored one by one.
            #[must_use]
            pub const fn block_size(self) -> usize {
                match self { $(Self::$variant => $elements,)* }
            }

            /// The length of one block in bytes.
            #[must_use]
            pub const fn block_bytes(self) -> usize {
                match self { $(Self::$variant => $bytes,)* }
            }
        }
    };
}

types! {
    /// IEEE 754 single precision.
    F32 0 "F32" 1 4;
    /// IEEE 754 half precision.
    F16 1 "F16" 1 2;
    /// 4 bits and a scale for each 32 elements.
    Q4_0 2 "Q4_0" 32 18;
    /// 4 bits, a scale and a minimum for each 32 elements.
    Q4_1 3 "Q4_1" 32 20;
    /// 5 bits and a scale for each 32 elements.
    Q5_0 6 "Q5_0" 32 22;
    /// 5 bits, a scale and a minimum for each 32 elements.
    Q5_1 7 "Q5_1" 32 24;
    /// 8 bits and a scale for each 32 elements.
    Q8_0 8 "Q8_0" 32 34;
    /// 8 bits, a scale and a sum for each 32 elements: a type of activations.
    Q8_1 9 "Q8_1" 32 36;
    /// 2 bits in blocks of 256, with scales and minima of their own for each 16.
    Q2K 10 "Q2_K" 256 84;
    /// 3 bits in blocks of 256, with a scale of its own for each 16.
    Q3K 11 "Q3_K" 256 110;
    /// 4 bits in blocks of 256, with scales and minima of their own for each 32.
    Q4K 12 "Q4_K" 256 144;
    /// 5 bits in blocks of 256, with scales and minima of their own for each 32.
    Q5K 13 "Q5_K" 256 176;
    /// 6 bits in blocks of 256, with a scale of its own for each 16.
    Q6K 14 "Q6_K" 256 210;
    /// 8 bits in blocks of 256: a type of activations.
    Q8K 15 "Q8_K" 256 292;
    /// 2.06 bits by a codebook.
    IQ2XXS 16 "IQ2_XXS" 256 66;
    /// 2.31 bits by a codebook.
    IQ2XS 17 "IQ2_XS" 256 74;
    /// 3.06 bits by a codebook.
    IQ3XXS 18 "IQ3_XXS" 256 98;
    /// 1.56 bits by a codebook.
    IQ1S 19 "IQ1_S" 256 50;
    /// 4 bits that stand for 16 uneven steps, and a scale for each 32 elements.
    IQ4NL 20 "IQ4_NL" 32 18;
    /// 3.44 bits by a codebook.
    IQ3S 21 "IQ3_S" 256 110;
    /// 2.56 bits by a codebook.
    IQ2S 22 "IQ2_S" 256 82;
    /// 4.25 bits: the steps of [`Self::IQ4NL`] in blocks of 256.
    IQ4XS 23 "IQ4_XS" 256 136;
    /// Signed byte.
    I8 24 "I8" 1 1;
    /// Signed 16-bit integer.
    I16 25 "I16" 1 2;
    /// Signed 32-bit integer.
    I32 26 "I32" 1 4;
    /// Signed 64-bit integer.
    I64 27 "I64" 1 8;
    /// IEEE 754 double precision.
    F64 28 "F64" 1 8;
    /// 1.75 bits by a codebook.
    IQ1M 29 "IQ1_M" 256 56;
    /// The upper half of an [`Self::F32`].
    BF16 30 "BF16" 1 2;
    /// Three values, five in a byte, and a scale for each 256 elements.
    TQ1_0 34 "TQ1_0" 256 54;
    /// Three values in 2 bits each, and a scale for each 256 elements.
    TQ2_0 35 "TQ2_0" 256 66;
    /// 4-bit floats and a power of two for each 32 elements.
    MXFP4 39 "MXFP4" 32 17;
    /// 4-bit floats in blocks of 64, with an 8-bit float as the scale of each 16.
    NVFP4 40 "NVFP4" 64 36;
    /// 1 bit and a scale for each 128 elements.
    Q1_0 41 "Q1_0" 128 18;
    /// 2 bits and a scale for each 64 elements.
    Q2_0 42 "Q2_0" 64 18;
}

/// Ids that ggml has given up: nothing says any more how long their blocks are.
const REMOVED: [(u32, &str); 8] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
];

/// An id or a name that stands for no type whose size is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownGgmlType {
    /// An id that ggml has not given to any type that we know.
    #[error("unknown ggml type {id}: expected at most {last}, or a newer version of this program", last = last_id())]
    Id {
        /// The id as found.
        id: u32,
    },
    /// The id of a type that ggml has removed.
    #[error("ggml type {id} is {name}, which ggml has removed: the size of its blocks is not known")]
    Removed {
        /// The id as found.
        id: u32,
        /// The name that the type had.
        name: &'static str,
    },
    /// No type's name. Names are case-sensitive.
    #[error("unknown ggml type {found:?}: expected a name such as \"Q4_K\"")]
    Name {
        /// The name as found.
        found: Box<str>,
    },
}

impl GgmlType {
    /// The type with this id.
    ///
    /// # Errors
    ///
    /// [`UnknownGgmlType::Id`], [`UnknownGgmlType::Removed`].
    pub fn from_id(id: u32) -> Result<Self, UnknownGgmlType> {
        let known = Self::ALL.iter().copied().find(|known| known.id() == id);
        known.ok_or_else(|| match REMOVED.iter().find(|(removed, _)| *removed == id) {
            Some(&(id, name)) => UnknownGgmlType::Removed { id, name },
            None => UnknownGgmlType::Id { id },
        })
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for GgmlType {
    type Err = UnknownGgmlType;

    fn from_str(name: &str) -> Result<Self, UnknownGgmlType> {
        let known = Self::ALL.iter().copied().find(|known| known.name() == name);
        known.ok_or_else(|| UnknownGgmlType::Name { found: name.into() })
    }
}

fn last_id() -> u32 {
    GgmlType::ALL.last().map_or(0, |last| last.id())
}
