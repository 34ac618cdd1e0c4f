//! Random numbers that depend on a seed and a position alone.

/// A number from 0 up to but without 1, in steps of 2⁻⁵³. Any position can be computed without those before it.
pub(super) fn unit(seed: u64, position: u64) -> f64 {
    // SplitMix64: a counter in steps of the golden ratio, mixed. The seed is mixed first, so that neighbouring seeds share nothing.
    let state = mix(seed.wrapping_add(STEP)).wrapping_add(position.wrapping_add(1).wrapping_mul(STEP));
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let number = (mix(state) >> 11) as f64;
    number * 2.0_f64.powi(-53)
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut state: u64) -> u64 {
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_even_and_repeat() {
        let numbers: Vec<f64> = (0..10_000).map(|position| unit(3, position)).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        let mean = numbers.iter().sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        assert_eq!(unit(3, 17).to_bits(), numbers[17].to_bits());
        assert_ne!(unit(4, 17).to_bits(), numbers[17].to_bits());
    }
}
