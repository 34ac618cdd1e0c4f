//! `inspect`: headers only.

mod gguf;
mod source;

pub(super) use source::run;
