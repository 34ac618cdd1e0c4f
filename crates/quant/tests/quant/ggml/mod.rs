//! Blocks of ggml's types, against vectors captured from ggml, and the properties of decoders and encoders.

mod decode;
mod encode;
mod mlx;
mod types;
