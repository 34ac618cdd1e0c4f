//! An adapter in the form of llama.cpp: a GGUF file whose tensors are factors under ggml's names.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use longshore_gguf::{Header, Limits, Metadata, SplitSet, Value};
use longshore_manifest::RelativePath;
use longshore_transform::adapter::{Adapter, GGUF_DOCUMENT, GGUF_KEYS};

use super::inventory;
use crate::{
    attachment::{GGUF, header_name},
    gguf::facts,
    io::hash,
    source::{
        adapter::{Found, listed},
        companions::{Companion, CompanionKind},
        error::SourceError,
        inventory::{Contents, Inventory},
    },
    tensor::Shard,
};

/// Reads the header of an adapter's file, and hashes the file.
pub(in crate::source) fn find(path: &Path) -> Result<Found, SourceError> {
    let fail = |problem: String, hint| SourceError::AdapterFile { path: path.to_owned(), problem, hint };
    let set = SplitSet::open(path, &Limits::default())?;
    let [file] = set.members() else {
        return Err(fail("it is one of several files, which adapters never are".into(), None));
    };
    let document = document(set.metadata());
    let (digest, len) = hash::digest(path).map_err(|source| SourceError::Io { path: path.to_owned(), source })?;
    let plain = |name: &str| matches!(name, "F32" | "F16" | "BF16");
    if let Some(tensor) = file.header.iter().find(|tensor| !plain(tensor.ggml_type().name())) {
        let (name, found) = (tensor.name(), tensor.ggml_type().name());
        let hint = Some("convert it with --outtype f16, bf16 or f32");
        return Err(fail(format!("its tensor {name:?} is {found}, expected F32, F16 or BF16"), hint));
    }
    let tensors: Vec<_> = inventory::tensors(&set)?.into_iter().map(|(tensor, _)| tensor).collect();
    let adapter = Adapter::read(&document, &listed(&tensors)).map_err(|error| fail(error.to_string(), error.hint()))?;
    if tensors.is_empty() {
        return Err(fail("it has no tensors".into(), None));
    }
    let inventory = Inventory {
        shards: vec![Shard::file(path.to_owned(), GGUF, len).with_digest(digest)],
        tensors,
        metadata: BTreeMap::new(),
        index: None,
        warnings: Vec::new(),
        contents: Contents::Checkpoint { exact_scales: HashSet::new(), stated_shapes: HashMap::new() },
    };
    let files = Some(vec![header(&file.header), derived(document)]);
    Ok(Found { path: path.to_owned(), name: GGUF, digest, inventory, adapter, files })
}

/// The keys that tell what the adapter is, as a document.
fn document(metadata: &Metadata) -> Vec<u8> {
    let stated = |key: &str| {
        let value = metadata.get(key)?;
        // A number that JSON has not, such as NaN, is refused as what is no number.
        Some((key.to_owned(), facts::json(value).unwrap_or_else(|| text(value).into())))
    };
    let keys: serde_json::Map<String, serde_json::Value> = GGUF_KEYS.iter().filter_map(|key| stated(key)).collect();
    let mut bytes = serde_json::to_vec_pretty(&keys).expect("its keys are texts");
    bytes.push(b'\n');
    bytes
}

fn text(value: Value<'_>) -> String {
    match value {
        Value::F32(number) => number.to_string(),
        Value::F64(number) => number.to_string(),
        _ => "a value of another type".to_owned(),
    }
}

/// The companion file that holds the header.
fn header(header: &Header) -> Companion {
    let bytes: Arc<[u8]> = header.to_bytes_with_end().into();
    let companion = Companion::new(header_name(GGUF), bytes.len() as u64, Arc::new(bytes));
    Companion { kind: CompanionKind::Other, ..companion }
}

/// The companion file that says what the header does of the adapter, for readers that know no GGUF.
fn derived(document: Vec<u8>) -> Companion {
    let name = RelativePath::parse(GGUF_DOCUMENT).expect("two short segments of letters");
    Companion::derived(name, document)
}
