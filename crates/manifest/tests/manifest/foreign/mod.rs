//! Tests of stores that other programs own.

mod fixtures;
mod golden;
mod hints;
mod refused;
mod store;
mod tables;

pub(crate) use fixtures::{Arrays, Ollama};
