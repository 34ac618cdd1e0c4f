//! Selects the kernels of a level, once per tensor.

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
use crate::neon::Neon;
use crate::{
    FloatType, Profile, Scheme,
    kernels::{Encode, Kernels},
    level::{Kind, Level},
    portable::{DecodeKernel, Portable},
};

/// Returns the encode kernel for elements of type `float`.
pub(crate) fn encoder(level: Level, scheme: Scheme, float: FloatType, profile: Profile) -> Encode {
    match level.0 {
        Kind::Portable => Portable.encoder(scheme, float, profile),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(avx2) => avx2.encoder(scheme, float, profile),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512(avx512) => avx512.encoder(scheme, float, profile),
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        Kind::Neon => Neon.encoder(scheme, float, profile),
    }
    .expect("every level has a kernel for every scheme that can be made, in every profile")
}

/// Returns the decode kernel for scales of type `stored` (affine schemes only) and an output of type `output`.
pub(crate) fn decoder(level: Level, scheme: Scheme, stored: FloatType, output: FloatType) -> DecodeKernel {
    match level.0 {
        Kind::Portable => Portable.decoder(scheme, stored, output),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(avx2) => avx2.decoder(scheme, stored, output),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512(avx512) => avx512.decoder(scheme, stored, output),
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        Kind::Neon => Neon.decoder(scheme, stored, output),
    }
}
