//! What GGUF files and checkpoints call the same things.

mod names;

pub use names::{Form, Heads, Mapping, NameMap, Share};
