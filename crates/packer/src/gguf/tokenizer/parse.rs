//! `tokenizer.json`, turned into what GGUF metadata states.
