//! Tests of float types.

use longshore_quant::FloatType;
use proptest::prelude::*;

use crate::support::floats;

proptest! {
    #[test]
    fn the_largest_magnitude_is_that_of_a_finite_element(
        float in proptest::sample::select(FloatType::ALL.to_vec()),
        src in prop::collection::vec(any::<u8>(), 0..600),
        cut in 0usize..150,
    ) {
        let whole = &src[..src.len() / float.size() * float.size()];
        let expected = floats(float, whole).into_iter().filter(|value| value.is_finite()).map(f32::abs).fold(0.0, f32::max);
        prop_assert_eq!(float.max_abs(&src).to_bits(), expected.to_bits());
        let (head, tail) = src.split_at((cut * float.size()).min(whole.len()));
        let largest = float.max_abs(head).max(float.max_abs(tail));
        prop_assert_eq!(largest.to_bits(), expected.to_bits());
    }
}
