//! The tensors of GGUF files, and the companions that hold their headers.

use std::{collections::BTreeMap, sync::Arc};

use longshore_gguf::{Member, SplitSet};

use crate::{
    gguf::{headers, types::Array},
    source::{
        companions::{Companion, MAX_COMPANION_BYTES},
        error::SourceError,
        inventory::{Contents, GgufTensor, Inventory},
    },
    tensor::{Shard, SourceTensor},
};

/// The tensors of a set in byte order of their names. `shards` are the files of the set.
pub(super) fn inventory(set: &SplitSet, shards: Vec<Shard>) -> Result<Inventory, SourceError> {
    let mut found = Vec::with_capacity(set.len());
    for (shard, member) in set.members().iter().enumerate() {
        for info in member.header.iter() {
            let Array { dtype, extents, shape, blocks } = Array::of(info).ok_or_else(|| SourceError::GgmlType {
                path: member.path.clone(),
                tensor: info.name().to_owned(),
                found: info.ggml_type().name(),
            })?;
            let tensor =
                SourceTensor { name: info.name().to_owned(), dtype, shape: extents, shard, range: info.file_range() };
            found.push((tensor, GgufTensor { blocks, shape }));
        }
    }
    found.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    let (tensors, contents): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    Ok(Inventory {
        shards,
        tensors,
        metadata: BTreeMap::new(),
        index: None,
        warnings: Vec::new(),
        contents: Contents::Gguf(contents.into()),
    })
}

/// The companions that hold the headers of a set, in its order.
pub(super) fn headers(set: &SplitSet) -> Result<Vec<Companion>, SourceError> {
    let count = u16::try_from(set.members().len()).expect("a set has as many members as its keys can say");
    (0..count).zip(set.members()).map(|(no, member)| header(no, count, member)).collect()
}

fn header(no: u16, count: u16, member: &Member) -> Result<Companion, SourceError> {
    // The bytes are those that were parsed, whatever becomes of the file.
    let bytes: Arc<[u8]> = member.header.to_bytes_with_end().into();
    let size = bytes.len() as u64;
    if size > MAX_COMPANION_BYTES {
        return Err(SourceError::TooLarge { path: member.path.clone(), found: size, limit: MAX_COMPANION_BYTES });
    }
    Ok(Companion::new(headers::name(no, count), size, Arc::new(bytes)))
}
