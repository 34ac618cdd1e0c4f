//! Instruction sets that the kernels may use.

#[cfg(target_arch = "x86_64")]
use crate::avx2::Avx2;

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
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    Neon,
}

impl Level {
    /// Only the instructions that the compilation target guarantees.
    pub const PORTABLE: Self = Self(Kind::Portable);

    /// Returns the fastest level of this machine. The standard library caches the detection.
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = Avx2::detect() {
            return Self(Kind::Avx2(avx2));
        }
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        return Self(Kind::Neon);
        #[cfg(not(all(target_arch = "aarch64", target_endian = "little")))]
        Self::PORTABLE
    }

    /// Iterates over all levels of this machine, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        let best = Self::detect();
        std::iter::once(Self::PORTABLE).chain((best != Self::PORTABLE).then_some(best))
    }

    /// Name of the level: `portable`, `avx2` or `neon`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Kind::Neon => "neon",
        }
    }
}
