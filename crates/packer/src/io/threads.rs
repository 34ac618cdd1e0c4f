//! The number of threads that work is shared among.

use std::num::NonZero;

/// The number of threads to use where `asked` were asked for: all that the machine has if none.
pub(crate) fn threads(asked: Option<NonZero<usize>>) -> usize {
    asked.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get)
}
