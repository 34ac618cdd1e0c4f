//! EAGLE-3: a draft head inside a model's files, which proposes tokens from hidden states of the model.

mod config;
mod drafter;
mod head;

pub(crate) use drafter::Drafter;
pub use head::Eagle;
