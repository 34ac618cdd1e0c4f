//! Squared errors in `f64`, exact enough that rounding does not decide between candidates.

/// A candidate encoding of a group.
#[derive(Clone, PartialEq)]
pub(crate) struct Answer<S> {
    pub(crate) stored: S,
    pub(crate) codes: [u8; crate::portable::MAX_GROUP],
}

/// Computes the weighted squared error of restored numbers.
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

/// Returns the candidate with the least error, the first of equals. Any number beats an error that is NaN.
pub(super) fn least<S>(
    answers: impl IntoIterator<Item = Answer<S>>,
    mut error: impl FnMut(&Answer<S>) -> f64,
) -> Answer<S> {
    let mut answers = answers.into_iter();
    let mut best = answers.next().expect("there are answers to choose from");
    let mut least = None;
    for answer in answers {
        let so_far = *least.get_or_insert_with(|| error(&best));
        let found = error(&answer);
        if found < so_far || so_far.is_nan() {
            (best, least) = (answer, Some(found));
        }
    }
    best
}
