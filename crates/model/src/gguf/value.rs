//! Values of GGUF metadata that a configuration becomes.

/// A value of GGUF metadata, of one of the types that llama.cpp reads configurations in.
#[derive(Debug, Clone, PartialEq)]
pub enum GgufValue {
    /// A `u32`.
    U32(u32),
    /// An `f32`.
    F32(f32),
    /// A `bool`.
    Bool(bool),
    /// A string.
    Text(String),
    /// An array of `i32`, with one number for each layer.
    Numbers(Vec<i32>),
    /// An array of `bool`, with one for each layer.
    Flags(Vec<bool>),
}
