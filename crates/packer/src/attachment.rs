//! The file that an attachment was made of: its header is a companion file, so that the file can be had back to the byte.

use longshore_manifest::RelativePath;

/// The names that PEFT and mlx-lm give to the weights of an adapter.
pub(crate) const WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapters.safetensors"];
/// The name that a file of llama.cpp gets, whatever it was called.
pub(crate) const GGUF: &str = "adapter.gguf";
/// The end of the name of the companion file that holds the header.
const HEADER: &str = ".header";

/// The name of the companion file that holds the header of the weights called `weights`.
pub(crate) fn header_name(weights: &str) -> RelativePath {
    RelativePath::parse(&format!("adapter/{weights}{HEADER}")).expect("two short segments of letters")
}

/// The name of the weights whose header the companion file `name` holds; `None` for any other file.
pub(crate) fn weights_of(name: &str) -> Option<&'static str> {
    let weights = name.strip_prefix("adapter/")?.strip_suffix(HEADER)?;
    WEIGHTS.into_iter().chain([GGUF]).find(|known| *known == weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognised() {
        for weights in WEIGHTS.into_iter().chain([GGUF]) {
            assert_eq!(weights_of(header_name(weights).as_str()), Some(weights));
        }
        for other in ["adapter/x.header", "adapter_model.safetensors.header", "adapter/adapters.safetensors"] {
            assert_eq!(weights_of(other), None);
        }
    }
}
