//! A plan as a document for scripts.

use std::collections::BTreeMap;

use longshore_st_format::{Dtype, Shape};
use serde::Serialize;

use super::planned::{Plan, PlannedBlob, PlannedTensor};
use crate::source::{checkpoint::Source, classify::Kind};

/// A [`Plan`] as the JSON document that a dry run prints. The document can be serialized but not read back.
///
/// Names of members, and what they mean, do not change while `version` is 1.
#[derive(Debug, Serialize)]
pub struct PlanReport<'a> {
    version: u32,
    kind: Kind,
    architecture: Option<&'a str>,
    quantize: Option<String>,
    policy: &'a str,
    blobs: Vec<BlobReport<'a>>,
    files: Vec<FileReport<'a>>,
    source_bytes: u64,
    stored_bytes: u64,
}

#[derive(Debug, Serialize)]
struct BlobReport<'a> {
    name: &'a str,
    /// The component of a pipeline. Names of tensors do not include it.
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<&'a str>,
    metadata: Option<&'a BTreeMap<String, String>>,
    tensors: Vec<TensorReport<'a>>,
}

#[derive(Debug, Serialize)]
struct TensorReport<'a> {
    name: &'a str,
    dtype: Dtype,
    shape: &'a Shape,
    scheme: Option<String>,
    transform: &'static str,
    sources: Vec<&'a str>,
    reason: &'a str,
}

#[derive(Debug, Serialize)]
struct FileReport<'a> {
    name: &'a str,
    size: u64,
}

impl<'a> PlanReport<'a> {
    /// Reports `plan`.
    #[must_use]
    pub fn new(plan: &'a Plan) -> Self {
        let source = plan.source();
        Self {
            version: 1,
            kind: source.kind,
            architecture: source.architecture(),
            quantize: plan.request(),
            policy: &plan.policy,
            blobs: plan.blobs.iter().map(|blob| BlobReport::new(blob, source)).collect(),
            files: plan.files.iter().map(|file| FileReport { name: file.name.as_str(), size: file.size }).collect(),
            source_bytes: plan.source_bytes(),
            stored_bytes: plan.stored_bytes(),
        }
    }
}

impl<'a> BlobReport<'a> {
    fn new(blob: &'a PlannedBlob, source: &'a Source) -> Self {
        let metadata = blob.layout.parsed().metadata();
        Self {
            name: &blob.name,
            component: blob.component.as_deref(),
            metadata: (!metadata.is_empty()).then_some(metadata),
            tensors: blob.tensors.iter().map(|tensor| TensorReport::new(tensor, source)).collect(),
        }
    }
}

impl<'a> TensorReport<'a> {
    fn new(tensor: &'a PlannedTensor, source: &'a Source) -> Self {
        let name_of = |at: usize| source.tensors[at].name.as_str();
        Self {
            name: &tensor.name,
            dtype: tensor.dtype,
            shape: &tensor.shape,
            scheme: tensor.coding_name(),
            transform: tensor.operation(),
            sources: tensor.sources().map(name_of).collect(),
            reason: &tensor.rule,
        }
    }
}
