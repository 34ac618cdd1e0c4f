//! Products with weights as they are stored, against `f64` products of the decoded weights.

mod bits;
mod errors;
mod precision;
mod shapes;
mod threads;

use longshore_quant::{
    Decoder, EncodeBuffers, Encoder, FloatType, Profile, Scheme,
    ggml::{self, GgmlType},
    matmul::{Level, Multiplier, Precision, Weights},
};

use crate::support::{bytes, gaussian};

/// Weights in a scheme, with their bytes.
pub(crate) struct Matrix {
    pub(crate) scheme: Scheme,
    pub(crate) float: FloatType,
    pub(crate) shape: [usize; 2],
    pub(crate) parts: [Vec<u8>; 3],
    pub(crate) global: Option<f32>,
}

impl Matrix {
    /// Normally distributed weights.
    pub(crate) fn new(scheme: Scheme, float: FloatType, shape: [usize; 2], seed: u64) -> Self {
        let values = gaussian(seed, shape[0] * shape[1], 0.02);
        let src = bytes(float, &values);
        let group = usize::try_from(scheme.group_size()).expect("it is small");
        let len = scheme.encoded_len(values.len() / group, float).expect("it fits");
        let (mut weight, mut scale, mut bias) = (vec![0; len.weight], vec![0; len.scale], vec![0; len.bias]);
        let out = EncodeBuffers { weight: &mut weight, scale: &mut scale, bias: &mut bias };
        Encoder::new(scheme, float, Profile::Plus).encode(&src, out).expect("the buffers fit");
        Self { scheme, float, shape, parts: [weight, scale, bias], global: None }
    }

    pub(crate) fn weights(&self) -> Weights<'_> {
        let [weight, scale, bias] = &self.parts;
        let weights = Weights::encoded(self.scheme, self.float, self.shape, [weight, scale, bias]).expect("they fit");
        match self.global {
            Some(global) => weights.with_global_scale(global),
            None => weights,
        }
    }

    pub(crate) fn decoded(&self) -> Vec<f32> {
        let mut out = vec![0; self.shape[0] * self.shape[1] * 4];
        let mut decoder = Decoder::new(self.scheme, self.float, FloatType::F32);
        if let Some(global) = self.global {
            decoder = decoder.with_global_scale(global);
        }
        let [weight, scale, bias] = &self.parts;
        decoder.decode(weight, scale, bias, &mut out).expect("the parts fit");
        crate::support::floats(FloatType::F32, &out)
    }
}

/// The types of ggml whose codes the fast path multiplies.
pub(crate) const FAST_TYPES: [GgmlType; 8] = [
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::Q4K,
    GgmlType::Q5K,
    GgmlType::Q6K,
];

/// Normally distributed weights in blocks of ggml, with their bytes and what these decode to.
pub(crate) fn blocks(ggml_type: GgmlType, [rows, columns]: [usize; 2], seed: u64) -> (Vec<u8>, Vec<f32>) {
    let values = gaussian(seed, rows * columns, 0.02);
    let encode = |ggml_type: GgmlType| {
        let mut stored = vec![0; values.len() / ggml_type.block_size() * ggml_type.block_bytes()];
        ggml::encode(ggml_type, &values, &mut stored).expect("the lengths fit");
        stored
    };
    // There is no encoder of `Q5_K`.
    let stored =
        if ggml_type == GgmlType::Q5K { values.chunks_exact(256).flat_map(q5_k).collect() } else { encode(ggml_type) };
    let mut decoded = vec![0.0; values.len()];
    ggml::decode(ggml_type, &stored, &mut decoded).expect("the lengths fit");
    (stored, decoded)
}

/// One block of `Q5_K`: 32 levels from the least to the largest number of each group of 32.
fn q5_k(values: &[f32]) -> Vec<u8> {
    let ends: Vec<[f32; 2]> = values
        .chunks_exact(32)
        .map(|group| group.iter().fold([0.0f32; 2], |[low, high], x| [low.min(*x), high.max(*x)]))
        .collect();
    let largest = |of: &dyn Fn(&[f32; 2]) -> f32| ends.iter().map(of).fold(0.0, f32::max) / 63.0;
    let [d, dmin] = [largest(&|[low, high]| (high - low) / 31.0), largest(&|[low, _]| -low)].map(half::f16::from_f32);
    let (mut scales, mut fifth, mut nibbles) = ([0u8; 12], [0u8; 32], [0u8; 128]);
    for (j, (group, [low, high])) in values.chunks_exact(32).zip(ends).enumerate() {
        let [s, m] = [(high - low) / 31.0 / d.to_f32(), -low / dmin.to_f32()].map(|x| small(x, 63));
        if j < 4 {
            scales[j] |= s;
            scales[j + 4] |= m;
        } else {
            scales[j + 4] = s & 15 | m << 4;
            scales[j - 4] |= s >> 4 << 6;
            scales[j] |= m >> 4 << 6;
        }
        let (scale, min) = (d.to_f32() * f32::from(s), dmin.to_f32() * f32::from(m));
        for (i, x) in group.iter().enumerate() {
            let code = small((x + min) / scale, 31);
            nibbles[j / 2 * 32 + i] |= (code & 15) << (j % 2 * 4);
            fifth[i] |= code >> 4 << j;
        }
    }
    [&d.to_le_bytes()[..], &dmin.to_le_bytes(), &scales, &fifth, &nibbles].concat()
}

/// The nearest whole number up to `most`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the number is within the range")]
fn small(x: f32, most: u8) -> u8 {
    x.round().clamp(0.0, f32::from(most)) as u8
}

/// The product in `f64`.
pub(crate) fn reference(w: &[f32], x: &[f32], columns: usize) -> Vec<f64> {
    let dot = |w: &[f32], x: &[f32]| w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
    x.chunks_exact(columns).flat_map(|x| w.chunks_exact(columns).map(move |w| dot(w, x))).collect()
}

/// Relative error, L2.
pub(crate) fn error(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let norm = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>().sqrt();
    let lost = norm(&mut found.iter().zip(expected).map(|(a, b)| f64::from(*a) - b));
    lost / norm(&mut expected.iter().copied())
}

/// Multiplies at every level, and checks that all give the bits of the portable one.
pub(crate) fn multiply(precision: Precision, weights: Weights<'_>, rows: usize, x: &[f32]) -> Vec<f32> {
    let mut expected = vec![1.0; rows * weights.rows()];
    let multiplier = Multiplier::new(precision);
    multiplier.with_level(Level::PORTABLE).multiply(weights, rows, x, &mut expected).expect("the lengths fit");
    for level in Level::available() {
        let mut found = vec![2.0; expected.len()];
        multiplier.with_level(level).multiply(weights, rows, x, &mut found).expect("the lengths fit");
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!(
                found.to_bits() == expected.to_bits(),
                "{precision:?} at {}, number {i} of {rows} rows: {found:e}, expected {expected:e}; {weights:?}",
                level.name()
            );
        }
    }
    expected
}
