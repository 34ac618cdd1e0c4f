/// The program whose form an adapter has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Hugging Face's PEFT.
    Peft,
    /// mlx-lm.
    Mlx,
    /// llama.cpp, in a GGUF file.
    Gguf,
}
