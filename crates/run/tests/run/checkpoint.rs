//! Tiny checkpoints, whose tensors have the values that `tests/reference/record.py` gives them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use longshore_run::{
    LoadOptions, Model,
    manifest::{
        st_format::{Dtype, Layout, Shape},
        weights::Source,
    },
};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

/// A recorded case.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Case {
    /// Contents of `config.json`. Missing where the checkpoint is one of `../shared/models`.
    #[serde(default)]
    pub(crate) config: Value,
    /// Shapes of the tensors.
    #[serde(default)]
    pub(crate) tensors: BTreeMap<String, Vec<u64>>,
    pub(crate) tokens: Vec<u32>,
    /// Logits after each of the tokens, or after the last of them.
    pub(crate) logits: Vec<Vec<f32>>,
}

impl Case {
    /// All cases, by name.
    pub(crate) fn all() -> BTreeMap<String, Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/cases");
        let files =
            fs::read_dir(folder).expect("the cases are there").map(|entry| entry.expect("it is readable").path());
        let read =
            |path: &Path| serde_json::from_slice(&fs::read(path).expect("it is readable")).expect("it is a case");
        files
            .map(|path| (path.file_stem().expect("it has a name").to_string_lossy().into_owned(), read(&path)))
            .collect()
    }

    /// The cases of decoders that the test can make, by name.
    pub(crate) fn decoders() -> BTreeMap<String, Self> {
        let all = Self::all().into_iter();
        all.filter(|(name, case)| !case.tensors.is_empty() && !name.contains("bert")).collect()
    }

    /// The case of this name.
    pub(crate) fn named(name: &str) -> Self {
        Self::all().remove(name).expect("it is recorded")
    }

    /// Writes the checkpoint.
    pub(crate) fn write(&self) -> TempDir {
        let folder = tempfile::tempdir().expect("there is room");
        self.write_to(folder.path());
        folder
    }

    /// Writes the checkpoint to a directory.
    pub(crate) fn write_to(&self, folder: &Path) {
        fs::write(folder.join("config.json"), self.config.to_string()).expect("there is room");
        // Names of codes, which are bytes, end like this.
        let dtype = |name: &str| if name.ends_with("_blocks") { Dtype::U8 } else { Dtype::F32 };
        let tensors = self.tensors.iter().map(|(name, shape)| (name.as_str(), dtype(name), Shape::from(shape.clone())));
        let layout = Layout::new(&BTreeMap::default(), tensors).expect("the shapes are small");
        let mut bytes = layout.header().to_vec();
        bytes.resize(usize::try_from(layout.file_len()).expect("it is small"), 0);
        for part in layout.parts().filter(|part| part.dtype == Dtype::F32) {
            let start = usize::try_from(part.range.start).expect("it is small");
            let values = values(part.name, &self.tensors[part.name]);
            for (at, value) in values.iter().enumerate() {
                bytes[start + 4 * at..][..4].copy_from_slice(&value.to_le_bytes());
            }
        }
        fs::write(folder.join("model.safetensors"), bytes).expect("there is room");
    }

    /// Opens the checkpoint. The directory has to live as long as the model.
    pub(crate) fn open(&self, options: LoadOptions) -> (TempDir, Model) {
        let folder = self.write();
        let source = Source::open(folder.path()).expect("it is a checkpoint");
        (folder, Model::open(source, options).expect("it can be run"))
    }
}

/// A checkpoint or a file of `../shared/models`. Tests pass without it, and say so.
#[expect(clippy::print_stderr, reason = "a test that checks nothing says so")]
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

/// Values of a tensor, as the recorder makes them.
pub(crate) fn values(name: &str, shape: &[u64]) -> Vec<f32> {
    let state = name
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325_u64, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
    let is_norm = name.contains("norm") && name.ends_with("weight");
    let last = shape.last().copied().unwrap_or(1) as f64;
    (0..shape.iter().product::<u64>())
        .map(|at| {
            let mixed = state.wrapping_add((at + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            let uniform = ((mixed ^ (mixed >> 31)) >> 40) as f64 / f64::from(1 << 23) - 1.0;
            let value = match (shape.len(), is_norm) {
                (0 | 1, true) => 1.0 + 0.25 * uniform,
                (0 | 1, false) => 0.25 * uniform,
                _ => uniform * 2.0 / last.sqrt(),
            };
            value as f32
        })
        .collect()
}

/// The largest difference of two logits.
pub(crate) fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
