//! The kernel for a level, looked up once per tensor.

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
use crate::neon::Neon;
use crate::{
    EncodeBuffers, EncodeStats, FloatType, GlobalScale, Importance, Profile, Scheme,
    level::{Kind, Level},
    portable::{DecodeKernel, EncodeKernel, Params, Portable},
    search::{self, SearchKernel},
    table::Kernels,
};

/// What encodes: a kernel that takes the weights as they come, or one that searches.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Encode {
    Direct(EncodeKernel),
    Search(SearchKernel),
}

impl Encode {
    /// Encodes whole groups. Only a search makes use of an importance.
    pub(crate) fn run(
        self,
        params: &Params<GlobalScale>,
        importance: Option<Importance<'_>>,
        src: &[u8],
        out: EncodeBuffers<'_>,
    ) -> EncodeStats {
        match self {
            Self::Direct(kernel) => kernel(params, src, out),
            Self::Search(kernel) => kernel(params, importance, src, out),
        }
    }
}

/// The encode kernel for elements of type `float`.
pub(crate) fn encoder(level: Level, scheme: Scheme, float: FloatType, profile: Profile) -> Encode {
    let kernel = if profile == Profile::Best {
        match level.0 {
            Kind::Portable => search::searcher(scheme, float),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(avx2) => avx2.searcher(scheme, float),
            // The portable build of a search uses these instructions.
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Kind::Neon => search::searcher(scheme, float),
        }
        .map(Encode::Search)
    } else {
        match level.0 {
            Kind::Portable => Portable.encoder(scheme, float, profile),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(avx2) => avx2.encoder(scheme, float, profile),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Kind::Neon => Neon.encoder(scheme, float, profile),
        }
        .map(Encode::Direct)
    };
    kernel.expect("every level has a kernel for every scheme that can be made, in every profile")
}

/// The decode kernel for scales of type `stored` (affine schemes only) and an output of type `output`.
pub(crate) fn decoder(level: Level, scheme: Scheme, stored: FloatType, output: FloatType) -> DecodeKernel {
    match level.0 {
        Kind::Portable => Portable.decoder(scheme, stored, output),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(avx2) => avx2.decoder(scheme, stored, output),
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        Kind::Neon => Neon.decoder(scheme, stored, output),
    }
}
