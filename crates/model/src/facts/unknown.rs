//! Facts that are unknown.

/// Whether a fact is unknown, and so not written.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
