//! Adapters: low-rank updates of a model's weights, and tensors that replace the model's.
//!
//! [`Adapter::read`] takes the adapter's document and the list of its tensors. [`Adapter::fit`] finds the tensors of a base
//! that they change, and returns the [`Updates`]: products to add, [`Magnitude`]s of rows, and replacements. Every tensor
//! of the adapter is used, or fitting fails and names it.
//!
//! | format | names of tensors | the update of W `[out, in]` |
//! |---|---|---|
//! | PEFT | `base_model.model.<module>.lora_A.weight` `[r, in]`, `.lora_B.weight` `[out, r]` | alpha / r · B · A, or alpha / √r |
//! | PEFT, embeddings | `.lora_embedding_A` `[r, V]`, `.lora_embedding_B` `[H, r]` | the same, transposed |
//! | PEFT, stacked experts | A `[E × r, a]` by experts, B `[b, r × E]` by ranks | for each expert |
//! | mlx-lm | `<module>.lora_a` `[in, r]`, `.lora_b` `[r, out]` | scale · (a · b)ᵀ |
//! | llama.cpp | `<ggml's name>.lora_a` `[r, in]`, `.lora_b` `[out, r]`; stacked `[E, r, in]`, `[E, out, r]` | alpha / r · b · a; without an alpha, b · a |
//! | llama.cpp, embedding | `token_embd.weight.lora_a` `[V, r]`, `.lora_b` `[H, r]` | the same, transposed |
//!
//! A file of llama.cpp has the rows of B, like the weight's own, in the order of a GGUF file: [`Adapter::with_base`] takes the facts by
//! which they are put back in that of a checkpoint.
//!
//! With `DoRA`, W becomes m · (W + update) / ‖row‖, each row with its magnitude m.

mod config;
mod error;
mod fit;
mod format;
mod fused;
mod gguf;
mod names;
mod pattern;
mod read;
mod settings;
mod shapes;
mod update;

pub use error::AdapterError;
pub use format::Format;
pub use gguf::{DOCUMENT as GGUF_DOCUMENT, KEYS as GGUF_KEYS};
pub use read::{Adapter, Listed};
pub use update::{BaseTensor, Magnitude, ProductUpdate, Replacement, Updates, View};
