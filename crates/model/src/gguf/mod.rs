//! Names in GGUF files and in checkpoints for the same things: tensors, and the facts of a configuration.
//!
//! [`NameMap`] translates between the names of tensors. A GGUF file states a configuration under keys such as
//! `llama.block_count`, and the layers' kinds, defaults and names of a family are left to whoever reads it. [`GgufConfig`] is the
//! `config.json` that says the same; where the keys leave a fact open, it says what llama.cpp does. [`keys_of`] goes the other way.

mod families;
mod layers;
mod names;
mod read;
mod reading;
mod rope;
mod value;
mod write;

pub use families::architectures;
pub use names::{Form, Heads, Mapping, NameMap, Share};
pub use read::GgufConfig;
pub use value::GgufValue;
pub use write::{KeysError, keys_of};
