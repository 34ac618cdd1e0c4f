//! An adapter by itself, stored as an attachment of a model.

use std::{path::Path, sync::Arc};

use longshore_manifest::Digest;
use longshore_model::ChatTemplate;
use longshore_st_format::Limits;

use super::{
    adapter::{self, Found},
    checkpoint::Source,
    classify::Kind,
    companions::{self, Companion, CompanionKind},
    error::SourceError,
    links::Links,
    member::{Member, MemberRole},
    walk,
};
use crate::{attachment::header_name, tensor::Shard};

impl Source {
    /// Opens the adapter in `dir`, or a GGUF file of one, as a model of its own, which belongs to the model whose manifest has the
    /// digest `base`. It cannot be quantized, and an export gives its files back to the byte; a GGUF file comes back as
    /// `adapter.gguf`.
    ///
    /// Whether it fits the base is not looked at: [`Self::with_adapter`] and [`Plan::new`](crate::Plan::new) do that.
    ///
    /// # Errors
    ///
    /// As [`Self::with_adapter`].
    pub fn open_attachment(dir: &Path, base: Digest, limits: &Limits) -> Result<Self, SourceError> {
        let mut found = adapter::find(dir, limits)?;
        let mut files = match found.files.take() {
            Some(files) => files,
            None => files(dir, &mut found)?,
        };
        let inventory = found.inventory;
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let member = Member {
            role: MemberRole::Whole,
            root: dir.to_owned(),
            config: None,
            class: None,
            kind: Kind::Float,
            evidence: None,
            tensors: 0..inventory.tensors.len(),
            contents: inventory.contents,
        };
        Ok(Self {
            root: dir.to_owned(),
            tensors: inventory.tensors,
            shards: inventory.shards,
            companions: files,
            members: vec![member],
            config: None,
            metadata: inventory.metadata,
            kind: Kind::Float,
            evidence: None,
            warnings: inventory.warnings,
            template: ChatTemplate::default(),
            adapters: Vec::new(),
            rotation: None,
            base: Some(base),
            digest: None,
            changes: None,
        })
    }
}

/// The companion files of the adapter in a directory: those beside its weights, and the header of these.
fn files(dir: &Path, found: &mut Found) -> Result<Vec<Companion>, SourceError> {
    let Found { path, name, inventory, .. } = found;
    let links = Links::of(dir, false).map_err(|source| SourceError::Io { path: dir.to_owned(), source })?;
    let entries = walk::walk(dir, &links)?;
    let mut files = companions::collect(dir, entries, &[(*name).to_owned()], &mut inventory.warnings)?;
    let header = header(&inventory.shards[0], &inventory.tensors)
        .map_err(|source| SourceError::Io { path: path.clone(), source })?;
    let size = header.len() as u64;
    let header = Companion::new(header_name(name), size, Arc::new(Arc::<[u8]>::from(header)));
    files.push(Companion { kind: CompanionKind::Other, ..header });
    Ok(files)
}

/// The bytes of a weight file before its data.
fn header(shard: &Shard, tensors: &[crate::SourceTensor]) -> std::io::Result<Vec<u8>> {
    let start = tensors.iter().map(|tensor| tensor.range.start).min().unwrap_or_default();
    let mut bytes = vec![0; usize::try_from(start).map_err(std::io::Error::other)?];
    shard.data.open()?.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
