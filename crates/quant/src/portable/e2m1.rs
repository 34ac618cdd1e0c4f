//! E2M1, the 4-bit float of nvfp4 and mxfp4: a sign bit above a code for one of eight magnitudes.

/// Mask of a code's bits below its sign.
pub(crate) const MAGNITUDE: u8 = 0x7;

/// Value of each code.
const VALUES: [f32; 16] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

#[inline]
pub(crate) fn decode(code: u8) -> f32 {
    VALUES[usize::from(code & 15)]
}

/// Half-way points between magnitudes. `MIDDLES[i]` lies between the codes i and i + 1.
const MIDDLES: [f32; 7] = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0];

/// Returns the code of the nearest value, ties to the even code. Zero keeps its sign. NaN gives the largest code,
/// without a sign, as in MLX's Metal kernels.
#[inline]
pub(crate) fn nearest_even(value: f32) -> u8 {
    let magnitude = value.abs();
    let mut code = 0;
    for (below, middle) in (0u8..).zip(MIDDLES) {
        // A tie goes to the even neighbour, which is up only from an odd code.
        let up = if below % 2 == 0 { magnitude > middle } else { magnitude >= middle };
        code += u8::from(up);
    }
    let sign = if value.is_sign_negative() { 8 } else { 0 };
    if value.is_nan() { 7 } else { code | sign }
}

/// Returns the code that MLX's CPU backend picks: the first one of least |value − VALUES[code]|, each difference
/// rounded to `f32`.
///
/// Ties therefore go towards zero, and no negative zero is produced. NaN, infinities and magnitudes so large that
/// subtracting 6 changes nothing give code 0.
#[inline]
pub(crate) fn first_nearest(value: f32) -> u8 {
    let magnitude = value.abs();
    // Below this magnitude the differences that decide are exact, so comparing with the half-way points gives the same
    // code.
    if magnitude < 8.0 {
        let code: u8 = MIDDLES.iter().map(|&middle| u8::from(magnitude > middle)).sum();
        let sign = if value < 0.0 && code != 0 { 8 } else { 0 };
        return code | sign;
    }
    first_nearest_by_distance(value)
}

fn first_nearest_by_distance(value: f32) -> u8 {
    let (mut best, mut least) = (0, (value - VALUES[0]).abs());
    for (code, known) in (0u8..).zip(VALUES).skip(1) {
        let distance = (value - known).abs();
        if distance < least {
            (best, least) = (code, distance);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_its_own_nearest() {
        for code in 0..16 {
            assert_eq!(nearest_even(decode(code)), code);
            assert_eq!(first_nearest(decode(code)), if code == 8 { 0 } else { code });
        }
        for (neighbours, middle) in VALUES[..8].windows(2).zip(MIDDLES) {
            assert_eq!(f32::midpoint(neighbours[0], neighbours[1]).to_bits(), middle.to_bits());
        }
    }

    #[test]
    fn ties_go_to_even_or_towards_zero() {
        for (below, middle) in (0u8..).zip(MIDDLES) {
            assert_eq!(nearest_even(middle), below + below % 2);
            assert_eq!(nearest_even(-middle), 8 | (below + below % 2));
            assert_eq!(first_nearest(middle), below);
            assert_eq!(first_nearest(-middle), if below == 0 { 0 } else { 8 | below });
        }
        assert_eq!(nearest_even(-0.0), 8);
        assert_eq!(first_nearest(-0.0), 0);
    }

    #[test]
    fn the_shortcut_is_the_definition() {
        for high in 0..=0xFFFFu32 {
            for low in [0, 1, 0xFFFF] {
                let value = f32::from_bits(high << 16 | low);
                assert_eq!(first_nearest(value), first_nearest_by_distance(value), "{value:e}");
            }
        }
    }

    #[test]
    fn what_lies_outside() {
        assert_eq!(nearest_even(f32::NAN), 7);
        assert_eq!(nearest_even(f32::NEG_INFINITY), 15);
        assert_eq!(first_nearest(f32::NAN), 0);
        assert_eq!(first_nearest(f32::INFINITY), 0);
        assert_eq!(first_nearest(1e30), 0);
        assert_eq!(first_nearest(-100.0), 15);
    }
}
