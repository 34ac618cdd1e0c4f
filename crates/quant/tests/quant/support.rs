//! Helpers that encode whole tensors into fresh buffers, and generate numbers to encode.

use longshore_quant::{Decoder, EncodeBuffers, EncodeStats, Encoder, FloatType, Level, Profile, Scheme};

/// Parts of an encoded tensor, and the stats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) weight: Vec<u8>,
    pub(crate) scale: Vec<u8>,
    pub(crate) bias: Vec<u8>,
    pub(crate) stats: EncodeStats,
}

/// Encodes all of `src` at every level, and checks that the results are equal.
pub(crate) fn encode(encoder: &Encoder, src: &[u8]) -> Encoded {
    let found = encode_once(&encoder.with_level(Level::PORTABLE), src);
    for level in Level::available() {
        let other = encode_once(&encoder.with_level(level), src);
        assert!(other == found, "{encoder:?} at {}: {}", level.name(), difference(&other, &found));
    }
    found
}

/// Describes the first byte in which two encoded tensors differ.
fn difference(found: &Encoded, expected: &Encoded) -> String {
    let parts = |of: &Encoded| [of.weight.clone(), of.scale.clone(), of.bias.clone()];
    for (name, (found, expected)) in ["weight", "scale", "bias"].iter().zip(parts(found).iter().zip(&parts(expected))) {
        if let Some(at) = found.iter().zip(expected).position(|(a, b)| a != b) {
            return format!("{name} byte {at} is {:#04x}, expected {:#04x}", found[at], expected[at]);
        }
    }
    format!("{:?}, expected {:?}", found.stats, expected.stats)
}

fn encode_once(encoder: &Encoder, src: &[u8]) -> Encoded {
    let scheme = encoder.scheme();
    let groups = src.len() / encoder.float().size() / usize::try_from(scheme.group_size()).expect("it is small");
    let len = scheme.encoded_len(groups, encoder.float()).expect("the source is in memory");
    let (mut weight, mut scale, mut bias) = (vec![0xA5; len.weight], vec![0xA5; len.scale], vec![0xA5; len.bias]);
    let out = EncodeBuffers { weight: &mut weight, scale: &mut scale, bias: &mut bias };
    let stats = encoder.encode(src, out).expect("the buffers fit");
    Encoded { weight, scale, bias, stats }
}

/// Decodes at every level, and checks that the results are equal but for the payload and sign of a NaN.
pub(crate) fn decode_with(decoder: &Decoder, [weight, scale, bias]: [&[u8]; 3], out: &mut [u8]) {
    decoder.with_level(Level::PORTABLE).decode(weight, scale, bias, out).expect("the parts fit");
    for level in Level::available() {
        let mut other = vec![0xA5; out.len()];
        decoder.with_level(level).decode(weight, scale, bias, &mut other).expect("the parts fit");
        if other != out {
            let size = decoder.output().size();
            for (i, (a, b)) in other.chunks_exact(size).zip(out.chunks_exact(size)).enumerate() {
                let (x, y) = (floats(decoder.output(), a)[0], floats(decoder.output(), b)[0]);
                let same = a == b || x.is_nan() && y.is_nan();
                assert!(same, "{decoder:?} at {}, element {i}: {x:e}, expected {y:e}", level.name());
            }
        }
    }
}

/// Decodes all of `parts` to `f32`.
pub(crate) fn decode(scheme: Scheme, stored: FloatType, parts: &Encoded) -> Vec<f32> {
    let elements = parts.weight.len() * 8 / usize::from(scheme.bits());
    let mut out = vec![0xA5; elements * 4];
    let decoder = Decoder::new(scheme, stored, FloatType::F32);
    decode_with(&decoder, [&parts.weight, &parts.scale, &parts.bias], &mut out);
    floats(FloatType::F32, &out)
}

/// Converts little-endian elements to numbers.
pub(crate) fn floats(float: FloatType, bytes: &[u8]) -> Vec<f32> {
    match float {
        FloatType::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        FloatType::F16 => bytes.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        FloatType::BF16 => bytes.chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
    }
}

/// Converts numbers to little-endian elements.
pub(crate) fn bytes(float: FloatType, values: &[f32]) -> Vec<u8> {
    match float {
        FloatType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        FloatType::F16 => values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect(),
        FloatType::BF16 => values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect(),
    }
}

/// Generates `count` normally distributed numbers. A seed gives the same numbers on every machine.
pub(crate) fn gaussian(seed: u64, count: usize, sigma: f64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let fraction = (state >> 11) as f64 / (1u64 << 53) as f64;
        fraction
    };
    // The sum of twelve uniform numbers has variance 1, and involves no function whose last bit depends on the
    // platform.
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
    (0..count).map(|_| (((0..12).map(|_| uniform()).sum::<f64>() - 6.0) * sigma) as f32).collect()
}

/// Sum of squared differences.
pub(crate) fn squared_error(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
}

/// Iterates over all affine schemes.
pub(crate) fn affine_schemes() -> impl Iterator<Item = Scheme> {
    Scheme::all().filter(|scheme| scheme.is_affine())
}

/// The profiles that encode without a search.
pub(crate) const PROFILES: [Profile; 3] = [Profile::Mlx, Profile::MlxMetal, Profile::Plus];
