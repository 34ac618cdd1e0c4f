//! Schemes: formats of MLX with a group size.

mod error;
mod name;
mod parts;

pub use error::SchemeError;
pub use parts::{EncodedLen, Part, PartKind, Parts};

use crate::FloatType;

/// Encoding of a group of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Unsigned integers with a float scale and a float bias per group: value = code × scale + bias.
    Affine {
        /// Bits per code: 2, 3, 4, 5, 6 or 8.
        bits: u8,
    },
    /// E2M1 codes with an E4M3 scale for each 16 elements, and optionally one F32 scale for the tensor.
    Nvfp4,
    /// E2M1 codes with a power-of-two scale for each 32 elements.
    Mxfp4,
    /// E4M3 codes with a power-of-two scale for each 32 elements.
    Mxfp8,
}

impl Format {
    /// Bits per code.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Affine { bits } => bits,
            Self::Nvfp4 | Self::Mxfp4 => 4,
            Self::Mxfp8 => 8,
        }
    }

    /// Default number of elements per group: 64 for affine, and the only size of the other formats.
    #[must_use]
    pub const fn default_group_size(self) -> u32 {
        match self {
            Self::Affine { .. } => 64,
            Self::Nvfp4 => 16,
            Self::Mxfp4 | Self::Mxfp8 => 32,
        }
    }
}

/// A quantization scheme: a [`Format`] and the number of consecutive elements of a row that share one scale.
///
/// Every value is a scheme that MLX can decode, because widths and groups are checked on creation. A scheme parses from
/// a user's request (`int4`, `int4-g32`, `nvfp4`) and displays in the same way.
///
/// ```
/// use longshore_quant::Scheme;
///
/// let scheme: Scheme = "INT4-g32".parse()?;
/// assert_eq!((scheme.quant_type(), scheme.group_size()), ("int4", 32));
/// assert_eq!(scheme.to_string(), "int4-g32");
/// assert_eq!("fp8".parse::<Scheme>()?, Scheme::INT8);
/// # Ok::<(), longshore_quant::SchemeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scheme {
    format: Format,
    group_size: u32,
}

impl Scheme {
    /// Affine, 4 bits per code, groups of 64.
    pub const INT4: Self = Self { format: Format::Affine { bits: 4 }, group_size: 64 };
    /// Affine, 8 bits per code, groups of 64.
    pub const INT8: Self = Self { format: Format::Affine { bits: 8 }, group_size: 64 };
    /// E2M1 codes, E4M3 scales, groups of 16.
    pub const NVFP4: Self = Self { format: Format::Nvfp4, group_size: 16 };
    /// E2M1 codes, power-of-two scales, groups of 32.
    pub const MXFP4: Self = Self { format: Format::Mxfp4, group_size: 32 };
    /// E4M3 codes, power-of-two scales, groups of 32.
    pub const MXFP8: Self = Self { format: Format::Mxfp8, group_size: 32 };

    /// Code widths of affine schemes, in bits.
    pub const AFFINE_BITS: [u8; 6] = [2, 3, 4, 5, 6, 8];
    /// Group sizes of affine schemes, in elements.
    pub const AFFINE_GROUPS: [u32; 3] = [32, 64, 128];

    /// Iterates over every scheme: affine ones with the default group, affine ones with other groups, floating-point
    /// ones.
    pub fn all() -> impl Iterator<Item = Self> {
        let default = Format::Affine { bits: 8 }.default_group_size();
        let others = Self::AFFINE_GROUPS.into_iter().filter(move |group| *group != default);
        let affine = std::iter::once(default).chain(others).flat_map(|group_size| {
            Self::AFFINE_BITS.into_iter().map(move |bits| Self { format: Format::Affine { bits }, group_size })
        });
        affine.chain([Self::NVFP4, Self::MXFP4, Self::MXFP8])
    }

    /// Creates the affine scheme with `bits` per code and `group_size` elements per group.
    ///
    /// # Errors
    ///
    /// [`SchemeError::Bits`] unless `bits` is one of [`AFFINE_BITS`](Self::AFFINE_BITS), [`SchemeError::GroupSize`]
    /// unless `group_size` is one of [`AFFINE_GROUPS`](Self::AFFINE_GROUPS).
    pub fn affine(bits: u8, group_size: u32) -> Result<Self, SchemeError> {
        if !Self::AFFINE_BITS.contains(&bits) {
            return Err(SchemeError::Bits { found: bits });
        }
        Self { format: Format::Affine { bits }, group_size }.checked()
    }

    /// Returns this scheme where its format allows its group size.
    fn checked(self) -> Result<Self, SchemeError> {
        let fits = if self.is_affine() {
            Self::AFFINE_GROUPS.contains(&self.group_size)
        } else {
            self.group_size == self.format.default_group_size()
        };
        if fits {
            Ok(self)
        } else {
            Err(SchemeError::GroupSize {
                quant_type: self.quant_type(),
                expected: if self.is_affine() {
                    "32, 64 or 128"
                } else if self.format == Format::Nvfp4 {
                    "16"
                } else {
                    "32"
                },
                found: self.group_size,
            })
        }
    }

    /// The format of the codes and scales.
    #[must_use]
    pub const fn format(self) -> Format {
        self.format
    }

    /// Elements that share one scale.
    #[must_use]
    pub const fn group_size(self) -> u32 {
        self.group_size
    }

    /// Bits per code.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.format.bits()
    }

    /// Returns true where codes are integers with a scale and a bias.
    #[must_use]
    pub const fn is_affine(self) -> bool {
        matches!(self.format, Format::Affine { .. })
    }

    /// Returns true where an encoded tensor has a third part, the bias. Only affine schemes do.
    #[must_use]
    pub const fn has_bias(self) -> bool {
        self.is_affine()
    }

    /// The 8-bit scheme of this scheme's family: affine with the same group for affine schemes, mxfp8 for the others.
    #[must_use]
    pub const fn eight_bit(self) -> Self {
        if self.is_affine() {
            Self { format: Format::Affine { bits: 8 }, group_size: self.group_size }
        } else {
            Self::MXFP8
        }
    }

    /// Stored bits per weight, scales and biases included. `float` is the type of an affine scheme's scales and biases.
    #[must_use]
    pub fn bits_per_weight(self, float: FloatType) -> f64 {
        let per_group = if self.is_affine() { 2 * 8 * float.size() } else { 8 };
        let per_group = u32::try_from(per_group).expect("two floats are at most 64 bits");
        f64::from(self.bits()) + f64::from(per_group) / f64::from(self.group_size)
    }
}
