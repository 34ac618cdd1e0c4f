//! The kernel for a level, looked up once per tensor.

use crate::{
    FloatType, Profile, Scheme,
    level::{Kind, Level},
    portable::{self, DecodeKernel, EncodeKernel},
};

/// The encode kernel for elements of type `float`, if there is one.
pub(crate) fn encoder(level: Level, scheme: Scheme, float: FloatType, profile: Profile) -> Option<EncodeKernel> {
    match level.0 {
        Kind::Portable => portable::encoder(scheme, float, profile),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(avx2) => avx2.encoder(scheme, float, profile),
    }
}

/// The decode kernel for scales of type `stored` (affine schemes only) and an output of type `output`.
pub(crate) fn decoder(level: Level, scheme: Scheme, stored: FloatType, output: FloatType) -> DecodeKernel {
    match level.0 {
        Kind::Portable => portable::decoder(scheme, stored, output),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(avx2) => avx2.decoder(scheme, stored, output),
    }
}
