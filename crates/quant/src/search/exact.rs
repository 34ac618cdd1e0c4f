//! Squared errors without rounding that could decide.

/// What a group would be encoded as.
#[derive(Clone)]
pub(crate) struct Answer<S> {
    pub(crate) stored: S,
    pub(crate) codes: [u8; crate::portable::MAX_GROUP],
}

/// The weighted squared error of restored numbers.
pub(super) fn squared_error(
    values: &[f32],
    weights: impl Iterator<Item = f32>,
    restored: impl Fn(usize) -> f32,
) -> f64 {
    let mut sum = 0.0;
    for (i, (value, weight)) in values.iter().zip(weights).enumerate() {
        let difference = f64::from(*value) - f64::from(restored(i));
        sum += f64::from(weight) * difference * difference;
    }
    sum
}

/// The answer of least error, the first of equals. An error that is NaN is beaten by any number.
pub(super) fn least<S>(answers: impl IntoIterator<Item = Answer<S>>, error: impl Fn(&Answer<S>) -> f64) -> Answer<S> {
    answers
        .into_iter()
        .map(|answer| (error(&answer), answer))
        .reduce(|best, other| if other.0 < best.0 || best.0.is_nan() { other } else { best })
        .expect("there are answers to choose from")
        .1
}
