//! Blobs and stores as ollama writes them, made from a description of their bytes.

use std::path::PathBuf;

use longshore_manifest::{Descriptor, Digest, Manifest, Store, document::media_type};

use crate::util::{bytes, put};

/// Arrays of a blob, in data order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arrays {
    metadata: Vec<(String, String)>,
    arrays: Vec<(String, &'static str, Vec<u64>, Vec<u8>)>,
}

impl Arrays {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn metadata(mut self, key: &str, value: &str) -> Self {
        self.metadata.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Adds an array of arbitrary bytes of the right length.
    pub(crate) fn array(self, name: &str, dtype: &'static str, dims: &[u64]) -> Self {
        let size = match dtype {
            "U8" | "F8_E4M3" => 1,
            "BF16" | "F16" => 2,
            _ => 4,
        };
        let len = usize::try_from(dims.iter().product::<u64>() * size).unwrap();
        let seed = u8::try_from(self.arrays.len()).unwrap();
        self.data(name, dtype, dims, bytes(len, seed + 1))
    }

    pub(crate) fn data(mut self, name: &str, dtype: &'static str, dims: &[u64], data: Vec<u8>) -> Self {
        self.arrays.push((name.to_owned(), dtype, dims.to_vec(), data));
        self
    }

    /// Adds affine codes with their scales and biases in BF16: `bits` and a group size for `[outer…, columns]`.
    pub(crate) fn affine(self, name: &str, bits: u64, group: u64, outer: &[u64], columns: u64) -> Self {
        let dims = |last| [outer, &[last]].concat();
        self.array(name, "U32", &dims(columns * bits / 32))
            .array(&format!("{name}.scale"), "BF16", &dims(columns / group))
            .array(&format!("{name}.bias"), "BF16", &dims(columns / group))
    }

    /// Adds codes with scales of one byte.
    pub(crate) fn float(self, name: &str, bits: u64, group: u64, outer: &[u64], columns: u64) -> Self {
        let dims = |last| [outer, &[last]].concat();
        self.array(name, "U32", &dims(columns * bits / 32)).array(
            &format!("{name}.scale"),
            "U8",
            &dims(columns / group),
        )
    }

    fn file(&self, entry: impl Fn(&str, &[u64], [usize; 2]) -> String, padded: bool) -> Vec<u8> {
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        let mut end = 0;
        let mut entries: Vec<_> = self
            .arrays
            .iter()
            .map(|(name, dtype, dims, data)| {
                let start = end;
                end += data.len();
                (name.as_str(), format!("{}:{}", quoted(name), entry(dtype, dims, [start, end])))
            })
            .collect();
        // `__metadata__` sorts before every name here.
        entries.sort_unstable();
        let mut metadata = self.metadata.clone();
        metadata.sort_unstable();
        let pairs: Vec<_> = metadata.iter().map(|(key, value)| format!("{}:{}", quoted(key), quoted(value))).collect();
        let mut members: Vec<String> = entries.into_iter().map(|(_, text)| text).collect();
        match (pairs.is_empty(), padded) {
            (false, _) => members.insert(0, format!("\"__metadata__\":{{{}}}", pairs.join(","))),
            (true, false) => members.insert(0, "\"__metadata__\":null".to_owned()),
            (true, true) => {}
        }
        let mut header = format!("{{{}}}", members.join(","));
        while padded && !header.len().is_multiple_of(8) {
            header.push(' ');
        }
        let data = self.arrays.iter().flat_map(|(.., data)| data);
        (header.len() as u64).to_le_bytes().into_iter().chain(header.bytes()).chain(data.copied()).collect()
    }

    /// Writes the blob like ollama's own encoder: entries are dtype, shape, offsets; padded to a multiple of 8.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let entry = |dtype: &str, dims: &[u64], [start, end]: [usize; 2]| {
            let dims = serde_json::to_string(dims).unwrap();
            format!("{{\"dtype\":\"{dtype}\",\"shape\":{dims},\"data_offsets\":[{start},{end}]}}")
        };
        self.file(entry, true)
    }

    /// Writes the blob like MLX: entries are sorted, there is no padding, and absent metadata is null.
    pub(crate) fn mlx(&self) -> Vec<u8> {
        let entry = |dtype: &str, dims: &[u64], [start, end]: [usize; 2]| {
            let dims = serde_json::to_string(dims).unwrap();
            format!("{{\"data_offsets\":[{start},{end}],\"dtype\":\"{dtype}\",\"shape\":{dims}}}")
        };
        self.file(entry, false)
    }
}

/// A store of ollama, with the layers of a model that is being made.
pub(crate) struct Ollama {
    pub(crate) root: PathBuf,
    layers: Vec<Descriptor>,
    config: String,
    _dir: tempfile::TempDir,
}

impl Ollama {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("models");
        Self { root, layers: Vec::new(), config: config(""), _dir: dir }
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(&self.root).unwrap()
    }

    fn blob(&self, kind: &str, name: Option<&str>, bytes: &[u8]) -> Descriptor {
        let digest = Digest::of(bytes);
        put(&self.root.join("blobs").join(digest.file_name()), bytes);
        Descriptor { media_type: kind.into(), digest, size: bytes.len() as u64, name: name.map(Into::into) }
    }

    pub(crate) fn layer(mut self, kind: &str, name: Option<&str>, bytes: &[u8]) -> Self {
        self.layers.push(self.blob(kind, name, bytes));
        self
    }

    pub(crate) fn tensor(self, name: &str, bytes: &[u8]) -> Self {
        self.layer(media_type::TENSOR, Some(name), bytes)
    }

    /// Adds a layer of a blob that is written only once.
    pub(crate) fn same(mut self, name: &str, bytes: &[u8]) -> Self {
        let last = self.layers.last().filter(|last| last.size == bytes.len() as u64).cloned();
        match last {
            Some(last) => self.layers.push(Descriptor { name: Some(name.into()), ..last }),
            None => return self.tensor(name, bytes),
        }
        self
    }

    /// Adds one blob in the form from before v0.16, with no name of its own.
    pub(crate) fn unnamed(self, name: &str, dtype: &'static str, dims: &[u64]) -> Self {
        let seed = name.bytes().fold(0, u8::wrapping_add);
        let mut arrays = Arrays::new().array("data", dtype, dims);
        let len = arrays.arrays[0].3.len();
        arrays.arrays[0].3 = bytes(len, seed);
        self.tensor(name, &arrays.encoded())
    }

    pub(crate) fn json(self, name: &str, text: &str) -> Self {
        self.layer(media_type::JSON, Some(name), text.as_bytes())
    }

    pub(crate) fn config(mut self, text: String) -> Self {
        self.config = text;
        self
    }

    /// Stores the layers as a model of this name.
    pub(crate) fn named(mut self, path: &str) -> Self {
        let config = self.blob(media_type::CONFIG, None, self.config.as_bytes());
        let manifest = Manifest::new(config, std::mem::take(&mut self.layers));
        put(&self.root.join("manifests").join(path), &manifest.to_bytes());
        self
    }

    /// Stores the layers as the model `m`.
    pub(crate) fn done(self) -> Self {
        self.named("registry.ollama.ai/library/m/latest")
    }
}

/// Makes the config document of a safetensors model with this `file_type`.
pub(crate) fn config(file_type: &str) -> String {
    format!(
        "{{\"model_format\":\"safetensors\",\"model_family\":\"\",\"model_families\":null,\"model_type\":\"\",\
         \"file_type\":{file_type:?},\"requires\":\"0.14.0\",\"capabilities\":[\"completion\"],\"architecture\":\"\",\
         \"os\":\"\",\"rootfs\":{{\"type\":\"\",\"diff_ids\":null}}}}"
    )
}
