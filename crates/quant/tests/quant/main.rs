//! Integration tests: encoders and decoders against vectors captured from MLX, and their properties; schemes, profiles
//! and policies.

mod decode;
mod encode;
mod float;
mod ggml;
mod golden;
mod layout;
mod level;
mod matmul;
mod measure;
#[cfg(feature = "rayon")]
mod parallel;
#[cfg(feature = "policy")]
mod policy;
mod profile;
mod scheme;
mod search;
mod support;
