//! Instruction sets that the kernels may use.

#[cfg(target_arch = "x86_64")]
use crate::{avx2::Avx2, avx512::Avx512};

/// A set of instructions that this machine has. Holding a value is the proof that the machine has them.
///
/// Every level gives the same bytes, so only tests and benchmarks need to name one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(pub(crate) Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    Neon,
}

impl Level {
    /// Only the instructions that the compilation target guarantees.
    pub const PORTABLE: Self = Self(Kind::Portable);

    /// Returns the fastest level of this machine. The standard library caches the detection.
    #[must_use]
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Self::PORTABLE)
    }

    /// Iterates over all levels of this machine, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        let levels = [
            Some(Kind::Portable),
            #[cfg(target_arch = "x86_64")]
            Avx2::detect().map(Kind::Avx2),
            #[cfg(target_arch = "x86_64")]
            Avx512::detect().map(Kind::Avx512),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Some(Kind::Neon),
        ];
        levels.into_iter().flatten().map(Self)
    }

    /// The proof for kernels that are written for AVX2 alone.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn avx2(self) -> Option<Avx2> {
        match self.0 {
            Kind::Portable => None,
            Kind::Avx2(avx2) => Some(avx2),
            Kind::Avx512(avx512) => Some(avx512.avx2()),
        }
    }

    /// Name of the level: `portable`, `avx2`, `avx512` or `neon`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "avx512",
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Kind::Neon => "neon",
        }
    }
}
