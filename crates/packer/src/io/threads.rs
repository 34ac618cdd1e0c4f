//! The number of threads that share a piece of work.

use std::num::NonZero;

/// The number of threads to use: `asked`, or the number of processors that the machine offers if `asked` is `None`.
pub(crate) fn threads(asked: Option<NonZero<usize>>) -> usize {
    asked.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get)
}
