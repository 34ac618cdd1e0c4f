//! Properties of a group that every kernel needs, and the profiles as types.

use crate::Profile;

/// MLX's CPU backend: ties to even for integers and towards zero for E2M1, most steps rounded to the element type.
pub(crate) struct Mlx;
/// MLX's Metal kernels: `f32` throughout; ties away from zero for integers, to even for E2M1.
pub(crate) struct MlxMetal;
/// The profile that picks the nearest code under the scale as stored.
pub(crate) struct Plus;

/// A profile's definition of the largest magnitude of a group that contains NaN.
pub(crate) trait Magnitude: 'static {
    /// The public name of this profile.
    #[allow(dead_code, reason = "only the kernels with intrinsics ask")]
    const PROFILE: Profile;

    /// Returns the largest magnitude of `values`, of which `non_finite` are not finite.
    fn largest(values: &[f32], non_finite: u64) -> f32;
}

/// The largest magnitude is NaN where any element is NaN.
impl Magnitude for Mlx {
    const PROFILE: Profile = Profile::Mlx;

    #[inline]
    fn largest(values: &[f32], non_finite: u64) -> f32 {
        if non_finite > 0 && values.iter().any(|value| value.is_nan()) { f32::NAN } else { largest(values) }
    }
}

/// The largest magnitude is NaN where all elements are NaN.
impl Magnitude for MlxMetal {
    const PROFILE: Profile = Profile::MlxMetal;

    #[inline]
    fn largest(values: &[f32], non_finite: u64) -> f32 {
        if non_finite > 0 && values.iter().all(|value| value.is_nan()) { f32::NAN } else { largest(values) }
    }
}

/// The largest magnitude is never NaN.
impl Magnitude for Plus {
    const PROFILE: Profile = Profile::Plus;

    #[inline]
    fn largest(values: &[f32], _non_finite: u64) -> f32 {
        largest(values)
    }
}

const LANES: usize = 8;

/// Counts the elements that are NaN or infinite.
#[inline]
pub(crate) fn non_finite(values: &[f32]) -> u64 {
    const EXPONENT: u32 = 0x7F80_0000;
    let count: u32 = values.iter().map(|value| u32::from(value.to_bits() & EXPONENT == EXPONENT)).sum();
    u64::from(count)
}

/// Returns the largest magnitude. NaN is ignored; a group of NaN gives 0.
#[inline]
fn largest(values: &[f32]) -> f32 {
    let mut max = [0.0; LANES];
    for chunk in values.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            let magnitude = chunk[lane].abs();
            max[lane] = if magnitude > max[lane] { magnitude } else { max[lane] };
        }
    }
    max.into_iter().fold(0.0, |a, b| if b > a { b } else { a })
}

/// Returns the least and the greatest element, the latter at least `floor`. Neither is ever NaN: a group of NaN gives
/// (∞, `floor`).
#[inline]
pub(crate) fn extremes(values: &[f32], floor: f32) -> (f32, f32) {
    let (mut min, mut max) = ([f32::INFINITY; LANES], [floor; LANES]);
    for chunk in values.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            // With the operands in this order, a NaN compares false and the lane keeps its value.
            min[lane] = if chunk[lane] < min[lane] { chunk[lane] } else { min[lane] };
            max[lane] = if chunk[lane] > max[lane] { chunk[lane] } else { max[lane] };
        }
    }
    (
        min.into_iter().fold(f32::INFINITY, |a, b| if b < a { b } else { a }),
        max.into_iter().fold(floor, |a, b| if b > a { b } else { a }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_no_extreme() {
        let mut values = [f32::NAN; 16];
        assert_eq!(extremes(&values, f32::NEG_INFINITY), (f32::INFINITY, f32::NEG_INFINITY));
        (values[3], values[12]) = (-2.0, 1.5);
        assert_eq!(extremes(&values, f32::NEG_INFINITY), (-2.0, 1.5));
        assert_eq!(non_finite(&values), 14);
        assert!(Mlx::largest(&values, 14).is_nan());
        assert_eq!(MlxMetal::largest(&values, 14).to_bits(), 2f32.to_bits());
        assert_eq!(Plus::largest(&values, 14).to_bits(), 2f32.to_bits());
    }

    #[test]
    fn a_group_of_nan_has_the_magnitude_that_the_profile_says() {
        let values = [f32::NAN; 16];
        assert!(Mlx::largest(&values, 16).is_nan());
        assert!(MlxMetal::largest(&values, 16).is_nan());
        assert_eq!(Plus::largest(&values, 16).to_bits(), 0);
    }

    #[test]
    fn metal_starts_its_maximum_at_zero() {
        assert_eq!(extremes(&[-3.0; 32], 0.0), (-3.0, 0.0));
        assert_eq!(extremes(&[-3.0; 32], f32::NEG_INFINITY), (-3.0, -3.0));
    }
}
