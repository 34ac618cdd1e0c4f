//! The binary as scripts and people see it.
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

mod adapters;
mod bad_input;
mod chunks;
mod cuda;
mod disk;
mod experts;
mod foreign;
mod gc;
mod gguf;
mod gguf_metadata;
mod help;
mod hostile;
mod journey;
mod json;
mod kill;
mod large;
mod load;
mod machine;
mod mistakes;
mod mlx;
mod models;
mod net;
mod net_kills;
mod pipelines;
mod plans;
mod policy;
mod repair;
#[cfg(feature = "run")]
mod running;
mod special;
mod support;
#[cfg(unix)]
mod terminal;
mod together;
mod usage;
