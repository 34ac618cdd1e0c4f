//! Instruction sets that products may use.

use super::fast::{Codes, Form};
use crate::level;
#[cfg(target_arch = "x86_64")]
use crate::{
    avx2::Avx2,
    matmul::{avx2::AvxVnni, avx512::Avx512},
};

/// A set of instructions that this machine has, as far as products use them. Holding a value is the proof that the
/// machine has them.
///
/// Every level gives the same numbers, so only tests and benchmarks need to name one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(pub(super) Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    AvxVnni(AvxVnni),
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
            AvxVnni::detect().map(Kind::AvxVnni),
            #[cfg(target_arch = "x86_64")]
            Avx512::detect().map(Kind::Avx512),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Some(Kind::Neon),
        ];
        levels.into_iter().flatten().map(Self)
    }

    /// Name of the level: `portable`, `avx2`, `avx-vnni`, `avx512-vnni` or `neon`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::AvxVnni(_) => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "avx512-vnni",
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Kind::Neon => "neon",
        }
    }

    /// Whether there are kernels for blocks of input rows. The portable ones gain nothing from blocks, but are the
    /// reference.
    pub(super) fn takes_blocks(self) -> bool {
        match self.0 {
            Kind::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) | Kind::AvxVnni(_) | Kind::Avx512(_) => true,
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Kind::Neon => false,
        }
    }

    /// Whether the kernel for single input rows reads scales and biases as they are stored.
    pub(super) fn reads_stored_scales(self, form: Form) -> bool {
        let has_kernel = match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => true,
            _ => false,
        };
        has_kernel && matches!(form.codes, Codes::Nibbles | Codes::Bytes)
    }

    /// The level of the kernels that decode.
    pub(super) fn decoding(self) -> level::Level {
        if self == Self::PORTABLE { level::Level::PORTABLE } else { level::Level::detect() }
    }
}
