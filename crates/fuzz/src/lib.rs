//! Fuzz targets: properties of the parsers that read untrusted input.
//!
//! A target takes arbitrary bytes and panics where a promise is broken. A parser may refuse its input but must not
//! panic, and a value that it returns keeps the promises of its type. The binaries in `libfuzzer/` call these functions
//! with bytes from libFuzzer. `tests/replay.rs` calls them with every file in `corpus/` and `regressions/`, so
//! `cargo test` replays all findings.

mod blob;
mod checkpoint;
mod documents;
mod gguf_file;
mod import;
mod names;
mod policy;
mod safetensors_file;
mod trace;

/// A fuzz target: a function that takes arbitrary bytes.
pub type Target = fn(&[u8]);

/// All targets, each with the name of its folder in `corpus/`.
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
    ("import", import::import),
    ("trace", trace::trace),
];

/// Returns the target called `name`.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}
