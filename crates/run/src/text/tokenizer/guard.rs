//! A guard around the tokenizers crate, which panics on some files that are valid JSON.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does `work`, and turns an error or a panic into words. What `work` borrows is only read, or dropped after a panic.
pub(super) fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(panic) => {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(words.unwrap_or("it is not consistent").to_owned())
        }
    }
}
