//! The record of what was done to a model's values, which stands in its config document.

use std::collections::BTreeMap;

use longshore_manifest::{Config, Digest, ModelName, Store, store::Model};
use serde::{Deserialize, Serialize};

use crate::{io::small, plan::planned::Plan};

/// What was done to a model's values before they were stored. The config document of a model has it under `changes`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Changes {
    /// The adapters that were merged, in the order in which they were given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adapters: Vec<MergedAdapter>,
}

/// An adapter that was merged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MergedAdapter {
    /// The SHA-256 of the adapter's weights.
    pub digest: Digest,
    /// The factor that was given with the adapter.
    pub weight: f64,
    /// The factor of the products that were added to each tensor, `weight` included. An adapter that adds several to one
    /// tensor gives each the same, or the tensor's first.
    pub scales: BTreeMap<String, f32>,
    /// The tensors that the adapter replaced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<String>,
}

/// A config document with the record after its other members.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    config: &'a Config,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<Base>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Changes>,
}

/// The part of a config document that holds the record.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Found {
    base: Option<Base>,
    changes: Option<Changes>,
}

/// The model that an attachment belongs to. The config document of an attachment has it under `base`. It keeps nothing alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Base {
    /// The digest of the model's manifest.
    pub digest: Digest,
    /// What the attachment is to the model: `adapter`.
    pub role: String,
}

impl Base {
    /// Reads the base out of the bytes of a config document. `None` if the model is no attachment.
    #[must_use]
    pub fn of_document(config: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Found>(config).ok()?.base
    }

    /// The base of a stored model. `None` if the model is no attachment, or its config document cannot be read.
    #[must_use]
    pub fn of_model(store: &Store, model: &Model) -> Option<Self> {
        let config = &model.manifest.config;
        Self::of_document(&small::read(&store.blob_path(&config.digest), config.size).ok()?)
    }

    /// The names of the models in `store` that are attachments of the model whose manifest has this digest, in order. Models that cannot
    /// be read are passed over.
    #[must_use]
    pub fn attachments(store: &Store, digest: &Digest) -> Vec<ModelName> {
        let names = store.names().unwrap_or_default().into_iter();
        let is_of = |name: &ModelName| {
            let base = store.model(name).ok().and_then(|model| Self::of_model(store, &model));
            base.is_some_and(|base| base.digest == *digest)
        };
        names.filter(is_of).collect()
    }
}

impl Changes {
    /// Reads the record out of the bytes of a config document. `None` if nothing was changed.
    #[must_use]
    pub fn of_document(config: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Found>(config).ok()?.changes
    }

    /// What importing `plan` does to values. `None` if it does nothing.
    pub(super) fn of_plan(plan: &Plan) -> Option<Self> {
        let source = plan.source();
        if source.adapters.is_empty() {
            return None;
        }
        let tensors = || plan.blobs.iter().flat_map(|blob| &blob.tensors);
        let merged = source.adapters.iter().enumerate().map(|(number, adapter)| {
            let mut scales = BTreeMap::new();
            for (tensor, merge) in tensors().flat_map(|tensor| tensor.merges.iter().map(move |merge| (tensor, merge))) {
                if merge.adapter == number {
                    scales.entry(tensor.name.clone()).or_insert(merge.scale);
                }
            }
            let is_own = |at: usize| source.tensors[at].shard == source.tensors[adapter.first].shard;
            let replaced = tensors().filter(|tensor| {
                tensor.replaced.is_some() && tensor.units.first().is_some_and(|unit| is_own(unit.parts.weight))
            });
            let replaced = replaced.map(|tensor| tensor.name.clone()).collect();
            MergedAdapter { digest: adapter.digest, weight: adapter.weight, scales, replaced }
        });
        Some(Self { adapters: merged.collect() })
    }

    /// The bytes of the config document of `plan`, with what it records beside `config`.
    pub(super) fn document(config: &Config, plan: &Plan) -> Vec<u8> {
        let changes = Self::of_plan(plan);
        let base = plan.source().base.map(|digest| Base { digest, role: "adapter".into() });
        if changes.is_none() && base.is_none() {
            return config.to_bytes();
        }
        let document = Document { config, base, changes };
        let mut bytes = serde_json::to_vec(&document).expect("BUG: documents have no keys but text");
        bytes.push(b'\n');
        bytes
    }
}
