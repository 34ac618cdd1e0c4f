//! Profiles: methods to choose scales and codes.

use std::{fmt, str::FromStr};

/// Method by which an encoder chooses scales and codes. The output of every profile decodes with stock MLX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Profile {
    /// The bits of MLX's CPU backend, version 0.32.4.
    Mlx,
    /// The bits of MLX's Metal kernels, written from their source and not compared with real hardware.
    MlxMetal,
    /// MLX's scales, with the codes that are nearest under the scale and bias as stored. Costs as much as
    /// [`Mlx`](Self::Mlx) and loses less. The floating-point formats are computed in `f32` with ties to even. A group
    /// of nvfp4 that MLX would round to zero, for want of a small enough scale, gets the smallest scale.
    #[default]
    Plus,
    /// Searches the scales and biases that can be stored for the least squared error, decoded in `f32`. By that measure
    /// no group is worse than under [`Mlx`](Self::Mlx). A decoder that rounds each step to BF16 or F16, as MLX's does
    /// for these types, adds its own error to both. Far slower than [`Plus`](Self::Plus).
    /// [`Encoder::encode_weighted`](crate::Encoder::encode_weighted) weights the search by column. mxfp8 is not
    /// searched: MLX's scale is already the best.
    Best,
}

impl Profile {
    /// All profiles, in the order in which help texts list them.
    pub const ALL: [Self; 4] = [Self::Mlx, Self::MlxMetal, Self::Plus, Self::Best];

    /// Name of the profile on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mlx => "mlx",
            Self::MlxMetal => "mlx-metal",
            Self::Plus => "plus",
            Self::Best => "best",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Error from parsing a profile name that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a profile (mlx, mlx-metal, plus or best), found {found:?}")]
#[non_exhaustive]
pub struct UnknownProfile {
    /// The name as found.
    pub found: String,
}

/// Parses a profile's name in any case, and ignores blanks around it.
impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.name().eq_ignore_ascii_case(text.trim()))
            .ok_or_else(|| UnknownProfile { found: text.into() })
    }
}
