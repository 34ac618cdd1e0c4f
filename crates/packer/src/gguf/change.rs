//! Changes of F32 values between GGUF and checkpoints, each undone to the bit.
//!
//! The functions use nothing but additions, multiplications and divisions of F64, so that every machine computes the same
//! bits.

use std::f64::consts::{LN_2, LOG2_E, SQRT_2};

use longshore_manifest::document::Change;

/// Largest correction: how far a value of a file may be from ours, in steps of F32. Other programs' exponentials are off by
/// about one.
const MOST: i32 = 4;

/// Changes F32 values of a GGUF file to those of the model. Adds to `ulps` the steps of F32 by which each value of the file is
/// above the one that [`undo`] would compute without them. Returns false if a change cannot be undone even so; the values are of
/// no use then.
pub(crate) fn find(change: Change, bytes: &mut [u8], ulps: &mut Vec<i8>) -> bool {
    for bytes in bytes.as_chunks_mut::<4>().0 {
        let before = f32::from_le_bytes(*bytes);
        let after = of_model(change, before);
        let steps = steps(of_file(change, after), before).filter(|steps| *steps == 0 || change == Change::LogNegative);
        let steps = steps.and_then(|steps| i8::try_from(steps).ok()).filter(|_| after.is_finite());
        let Some(steps) = steps else { return false };
        ulps.push(steps);
        *bytes = after.to_le_bytes();
    }
    true
}

/// Changes F32 values of a GGUF file to those of the model. `ulps` are those that were [found](find), or none where all are 0.
/// Returns false if others would be found.
pub(crate) fn apply(change: Change, ulps: &[i8], bytes: &mut [u8]) -> bool {
    let mut found = Vec::with_capacity(bytes.len() / 4);
    find(change, bytes, &mut found)
        && if ulps.is_empty() { found.iter().all(|steps| *steps == 0) } else { found == ulps }
}

/// Changes F32 values of the model back to those of the GGUF file.
pub(crate) fn undo(change: Change, ulps: &[i8], bytes: &mut [u8]) {
    if change == Change::None {
        return;
    }
    let steps = ulps.iter().copied().chain(std::iter::repeat(0));
    for (bytes, steps) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(steps) {
        let bits = of_file(change, f32::from_le_bytes(*bytes)).to_bits();
        *bytes = bits.wrapping_add_signed(steps.into()).to_le_bytes();
    }
}

/// The corrections of `len` bytes of values from byte `at`, of all.
pub(crate) fn part(ulps: &[i8], at: u64, len: usize) -> &[i8] {
    let first = usize::try_from(at / 4).unwrap_or(usize::MAX);
    ulps.get(first..first.saturating_add(len / 4)).unwrap_or_default()
}

/// The steps from one number to another of the same sign, away from zero. `None` if they are too many.
fn steps(from: f32, to: f32) -> Option<i32> {
    let is_one_side = from.is_sign_negative() == to.is_sign_negative() && to.is_finite();
    let steps = to.to_bits().wrapping_sub(from.to_bits()).cast_signed();
    (from.to_bits() == to.to_bits() || is_one_side).then_some(steps).filter(|steps| steps.abs() <= MOST)
}

fn of_file(change: Change, value: f32) -> f32 {
    match change {
        Change::MinusOne => value + 1.0,
        Change::LogNegative => -narrow(exp(f64::from(value))),
        _ => value,
    }
}

fn of_model(change: Change, value: f32) -> f32 {
    match change {
        Change::MinusOne => value - 1.0,
        Change::LogNegative => log_of_negative(value),
        _ => value,
    }
}

/// The logarithm of `-value`: the BF16 whose exponential is `-value` or a neighbour, if there is one, since checkpoints have BF16. Else
/// the F32 nearest to the logarithm.
fn log_of_negative(value: f32) -> f32 {
    let nearest = narrow(ln(-f64::from(value)));
    let short = rounded_to_bf16(nearest);
    let fits = steps(of_file(Change::LogNegative, short), value).is_some();
    if fits { short } else { nearest }
}

/// The nearest BF16, ties to even. What becomes of a NaN does not matter.
fn rounded_to_bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits(bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000)
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to the nearest is what is asked for")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// The exponential, to about the last bit of F64. Arguments whose exponential F32 does not hold give 0 or infinity.
fn exp(value: f64) -> f64 {
    // The logarithm of 2 in two parts. A product of the first with a small integer is exact.
    const HIGH: f64 = 0.693_147_180_369_123_8;
    const LOW: f64 = 1.908_214_929_270_587_7e-10;
    /// Terms of the series. The last is below the last bit for an argument of at most half the logarithm of 2.
    const TERMS: u8 = 16;
    if value.is_nan() || value.abs() >= 200.0 {
        return if value > 0.0 { f64::INFINITY } else { 0.0 };
    }
    let power = (value * LOG2_E).round();
    let rest = (value - power * HIGH) - power * LOW;
    let sum = (1..=TERMS).rev().fold(1.0, |sum, term| 1.0 + sum * rest / f64::from(term));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 700 and 1400")]
    let scale = f64::from_bits(((power + 1023.0) as u64) << 52);
    sum * scale
}

/// The natural logarithm, to about the last bit of F64. Not a number unless `value` is a positive normal number.
fn ln(value: f64) -> f64 {
    const TERMS: u8 = 30;
    if !(value.is_normal() && value > 0.0) {
        return f64::NAN;
    }
    let bits = value.to_bits();
    let mut power = f64::from(u16::try_from(bits >> 52).expect("the sign is clear, so 11 bits are left")) - 1023.0;
    let mut factor = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    if factor > SQRT_2 {
        (factor, power) = (factor / 2.0, power + 1.0);
    }
    // ln(f) = 2 (z + z³/3 + z⁵/5 + …) with z = (f - 1) / (f + 1), which is at most 0.172.
    let z = (factor - 1.0) / (factor + 1.0);
    let sum = (0..TERMS).rev().fold(0.0, |sum, term| sum * z * z + 1.0 / f64::from(2 * u16::from(term) + 1));
    power * LN_2 + 2.0 * z * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(change: Change, value: f32) -> Option<f32> {
        let (mut bytes, mut ulps) = (value.to_le_bytes(), Vec::new());
        let after = find(change, &mut bytes, &mut ulps).then(|| f32::from_le_bytes(bytes))?;
        let mut again = value.to_le_bytes();
        assert!(apply(change, &ulps, &mut again) && again == bytes, "{value}");
        assert!(!apply(change, &[ulps[0] + 1], &mut value.to_le_bytes()), "{value}");
        undo(change, &ulps, &mut bytes);
        assert_eq!(bytes, value.to_le_bytes(), "{value}");
        Some(after)
    }

    #[test]
    fn exponential_and_logarithm_are_those_of_the_system() {
        let near = |found: f64, expected: f64| (found - expected).abs() <= expected.abs() * 4e-16 + 1e-300;
        for step in -2000..2000 {
            let value = f64::from(step) * 0.043;
            assert!(near(exp(value), value.exp()), "{value}: {} {}", exp(value), value.exp());
            let value = value.abs() + 1e-3;
            assert!((ln(value) - value.ln()).abs() < 1e-15 * value.ln().abs().max(1.0), "{value}");
        }
        assert_eq!((exp(0.0), ln(1.0)), (1.0, 0.0));
        assert!(ln(0.0).is_nan() && ln(-1.0).is_nan() && ln(f64::INFINITY).is_nan());
        assert_eq!((exp(1e9), exp(-1e9)), (f64::INFINITY, 0.0));
    }

    #[test]
    fn every_bf16_of_a_norm_comes_back() {
        for bits in 0..=u16::MAX {
            let value = f32::from_bits(u32::from(bits) << 16);
            // Below, adding 1 loses bits; above, the sum is no longer exact.
            if (2.0_f32.powi(-16)..2.0_f32.powi(24)).contains(&value.abs()) {
                assert_eq!(changed(Change::MinusOne, value + 1.0), Some(value));
            }
        }
        assert_eq!(changed(Change::MinusOne, 1.0 + 1e-30), Some(0.0));
        // Subtracting 1 would round these.
        for lost in [1e-5, 0.1, -0.1, 1e-30, f32::NAN, f32::INFINITY] {
            assert_eq!(changed(Change::MinusOne, lost), None, "{lost}");
        }
    }

    #[test]
    fn every_bf16_of_a_decay_comes_back() {
        for bits in 0..=u16::MAX {
            let value = f32::from_bits(u32::from(bits) << 16);
            if (1e-3..16.0).contains(&value.abs()) {
                let file = -narrow(f64::from(value).exp());
                assert_eq!(changed(Change::LogNegative, file), Some(value));
            }
        }
        for lost in [0.0, 1.0, f32::NAN, f32::NEG_INFINITY] {
            assert_eq!(changed(Change::LogNegative, lost), None, "{lost}");
        }
        // A value that no other program may have computed has a logarithm of F32.
        let log = changed(Change::LogNegative, -1.000_1).expect("it is near");
        assert!((log - 1e-4).abs() < 1e-6, "{log}");
    }

    #[test]
    fn exponentials_of_others_are_corrected() {
        for (log, away) in [(0.691_406_25_f32, 1), (1.789_062_5, -1), (1.945_312_5, 2), (0.0, 0)] {
            let ours = -narrow(exp(f64::from(log)));
            let theirs = f32::from_bits(ours.to_bits().wrapping_add_signed(away));
            assert_eq!(changed(Change::LogNegative, theirs), Some(log));
        }
    }
}
