//! What the fuzzers assert of the parsers that read input from anybody.
//!
//! A target takes any bytes and panics where a promise is broken: a parser may refuse, but not panic, and what it accepts keeps
//! the promises of its type. The binaries in `libfuzzer/` call these functions with bytes that libFuzzer makes up;
//! `tests/replay.rs` calls them with every file in `corpus/` and `regressions/`, so that `cargo test` replays what was found.

mod blob;
mod checkpoint;
mod documents;
mod gguf_file;
mod names;
mod policy;
mod safetensors_file;

/// A function that takes any bytes.
pub type Target = fn(&[u8]);

/// Every target with the name of its folder in `corpus/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("header", safetensors_file::header),
    ("safetensors", safetensors_file::file),
    ("shard_index", checkpoint::shard_index),
    ("manifest", documents::manifest),
    ("config", documents::config),
    ("model_name", names::model_name),
    ("relative_path", names::relative_path),
    ("digest", names::digest),
    ("policy", policy::policy),
    ("blob", blob::blob),
    ("gguf", gguf_file::file),
    ("gguf_split", gguf_file::split),
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}
