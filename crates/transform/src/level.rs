//! The instructions that loops are compiled for. All levels give the same bits: sums have one order, and where a product is
//! added before it is rounded, it is so at every level.

/// A set of instructions that this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Those of every machine of this kind.
    Base,
    /// AVX2, with fused multiplication and addition.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The widest level that this machine has.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let is_fused = std::arch::is_x86_feature_detected!("fma");
            if is_fused && std::arch::is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if is_fused && std::arch::is_x86_feature_detected!("avx2") {
                return Self::Avx2;
            }
        }
        Self::Base
    }

    /// The levels of this machine.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::Base];
        #[cfg(target_arch = "x86_64")]
        {
            let is_fused = std::arch::is_x86_feature_detected!("fma");
            all.extend((is_fused && std::arch::is_x86_feature_detected!("avx2")).then_some(Self::Avx2));
            all.extend((is_fused && std::arch::is_x86_feature_detected!("avx512f")).then_some(Self::Avx512));
        }
        all
    }
}
