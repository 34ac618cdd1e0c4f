//! Counting numbers that are infinite or NaN.

use longshore_quant::{FloatType, Format, Scheme};
use longshore_st_format::Dtype;

use crate::execute::read::packed::NAN;

/// Number of scales or biases that are infinite or NaN.
pub(super) fn not_finite(scheme: Scheme, dtype: Dtype, scales: &[u8]) -> u64 {
    let count = match (scheme.format(), dtype) {
        (Format::Affine { .. }, Dtype::F32) => return floats(FloatType::F32, scales),
        (Format::Affine { .. }, Dtype::F16) => return floats(FloatType::F16, scales),
        (Format::Affine { .. }, _) => return floats(FloatType::BF16, scales),
        _ if scheme == Scheme::NVFP4 => scales.iter().filter(|byte| **byte & NAN == NAN).count(),
        // The NaN of E8M0.
        _ => scales.iter().map(|byte| usize::from(*byte == u8::MAX)).sum(),
    };
    count as u64
}

/// Number of elements that are infinite or NaN.
pub(super) fn floats(float: FloatType, bytes: &[u8]) -> u64 {
    let count = match float {
        FloatType::F32 => bytes.chunks_exact(4).filter(|bytes| bytes[3] & 0x7F == 0x7F && bytes[2] & 0x80 != 0).count(),
        FloatType::F16 => bytes.chunks_exact(2).filter(|bytes| bytes[1] & 0x7C == 0x7C).count(),
        FloatType::BF16 => {
            bytes.chunks_exact(2).filter(|bytes| bytes[1] & 0x7F == 0x7F && bytes[0] & 0x80 != 0).count()
        }
    };
    count as u64
}
