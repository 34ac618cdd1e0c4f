//! The searches for the scales of a group of `Q4_K` or `Q6_K`.
//!
//! A search tries a few scales near the obvious one. For each, it rounds the values to codes, solves for the scale that
//! fits these codes best in the sense of weighted least squares, and keeps the best fit. The order of the operations is
//! ggml's, since it determines the bits.

/// Rounds to the nearest integer, ties to even. The magnitude is at most 2^22; another number gives any integer of at
/// most 23 bits.
pub(super) fn nearest(value: f32) -> i32 {
    // 1.5 × 2^23: the sum has no fraction, and its low bits are the integer.
    let bits = (value + 12_582_912.0).to_bits() & 0x007F_FFFF;
    bits.cast_signed() - 0x0040_0000
}

/// A scale below this counts as none.
pub(super) const LEAST: f32 = 1e-15;

/// Codes of a group, and what they are multiplied with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symmetric {
    pub(super) scale: f32,
    /// From −32 to 31.
    pub(super) codes: [i8; 16],
}

/// Rounds a multiple of a value to a code of `Q6_K`.
pub(super) fn code_of_six_bits(value: f32) -> i8 {
    i8::try_from(nearest(value).clamp(-32, 31)).expect("it has been clamped")
}

/// Finds the scale of a group of `Q6_K`. A value weighs as much as its square.
pub(super) fn symmetric(values: &[f32; 16]) -> Symmetric {
    let mut peak = 0f32;
    for value in values {
        if value.abs() > peak.abs() {
            peak = *value;
        }
    }
    if peak.abs() < LEAST {
        return Symmetric { scale: 0.0, codes: [-32; 16] };
    }
    let mut best = Symmetric { scale: 0.0, codes: [0; 16] };
    let mut fit = 0f32;
    // The obvious scale, at which the peak is −32, comes first.
    for step in std::iter::once(0i8).chain((-9..=9).filter(|step| *step != 0)) {
        let inverse = -(32.0 + 0.1 * f32::from(step)) / peak;
        let codes = values.map(|value| code_of_six_bits(inverse * value));
        let (mut with_values, mut with_codes) = (0f32, 0f32);
        for (value, code) in values.iter().zip(codes) {
            let (weight, code) = (value * value, f32::from(code));
            with_values += weight * value * code;
            with_codes += weight * code * code;
        }
        if step == 0 {
            let scale = if with_codes == 0.0 { 0.0 } else { with_values / with_codes };
            (best, fit) = (Symmetric { scale, codes }, scale * with_values);
        } else if with_codes > 0.0 && with_values * with_values > fit * with_codes {
            let scale = with_values / with_codes;
            (best, fit) = (Symmetric { scale, codes }, scale * with_values);
        }
    }
    best
}

/// Codes of a group: a value is scale × code − min.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spanning {
    pub(super) scale: f32,
    pub(super) min: f32,
    /// From 0 to 15.
    pub(super) codes: [u8; 32],
}

/// Rounds a multiple of a value to a code of `Q4_K`.
pub(super) fn code_of_four_bits(value: f32) -> u8 {
    u8::try_from(nearest(value).clamp(0, 15)).expect("it has been clamped")
}

/// Finds the scale and the minimum of a group of `Q4_K`. A value weighs as much as its magnitude plus the root of the
/// mean square of the group.
pub(super) fn spanning(values: &[f32; 32]) -> Spanning {
    let squares = values.iter().fold(0f32, |sum, value| sum + value * value);
    let rms = (squares / 32.0).sqrt();
    let weights = values.map(|value| rms + value.abs());
    let weighted = || values.iter().copied().zip(weights);

    let (mut low, mut high) = (values[0], values[0]);
    let (mut all, mut of_values) = (weights[0], weights[0] * values[0]);
    for (value, weight) in weighted().skip(1) {
        if value < low {
            low = value;
        }
        if value > high {
            high = value;
        }
        all += weight;
        of_values += weight * value;
    }
    if low > 0.0 {
        low = 0.0;
    }
    #[expect(clippy::float_cmp, reason = "only equal values have no span")]
    if high == low {
        return Spanning { scale: 0.0, min: -low, codes: [0; 32] };
    }

    let error = |codes: &[u8; 32], scale: f32, low: f32| {
        weighted().zip(codes).fold(0f32, |sum, ((value, weight), code)| {
            let off = scale * f32::from(*code) + low - value;
            sum + weight * (off * off)
        })
    };
    let inverse = 15.0 / (high - low);
    let mut scale = 1.0 / inverse;
    let mut codes = values.map(|value| code_of_four_bits(inverse * (value - low)));
    let mut least = error(&codes, scale, low);
    for step in 0..=20u8 {
        let inverse = (-1.0 + 0.1 * f32::from(step) + 15.0) / (high - low);
        let tried = values.map(|value| code_of_four_bits(inverse * (value - low)));
        let (mut of_codes, mut of_squares, mut of_products) = (0f32, 0f32, 0f32);
        for ((value, weight), code) in weighted().zip(tried) {
            let code = f32::from(code);
            of_codes += weight * code;
            of_squares += weight * code * code;
            of_products += weight * code * value;
        }
        let determinant = all * of_squares - of_codes * of_codes;
        if determinant > 0.0 {
            let mut new_scale = (all * of_products - of_values * of_codes) / determinant;
            let mut new_low = (of_squares * of_values - of_codes * of_products) / determinant;
            if new_low > 0.0 {
                new_low = 0.0;
                new_scale = of_products / of_squares;
            }
            let found = error(&tried, new_scale, new_low);
            if found < least {
                // The next steps start from this minimum too.
                (least, scale, low, codes) = (found, new_scale, new_low, tried);
            }
        }
    }
    Spanning { scale, min: -low, codes }
}
