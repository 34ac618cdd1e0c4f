//! The tensors of GGUF files, and the companions that hold their headers.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use longshore_gguf::{Member, SplitSet};
use longshore_manifest::document::Change;

use crate::{
    gguf::types::GgufTensor,
    gguf::{change, headers, names, types::Array},
    io::{data::OpenData, memory},
    source::{
        companions::{Companion, MAX_COMPANION_BYTES},
        error::SourceError,
        inventory::{Contents, Gguf, Inventory},
    },
    tensor::{Shard, SourceTensor},
};

/// The tensors of a set in byte order of their names, with the number of their file as their shard.
pub(super) fn tensors(set: &SplitSet) -> Result<Vec<(SourceTensor, GgufTensor)>, SourceError> {
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
    Ok(found)
}

/// The bytes of GGUF files that [`Source::open`](crate::Source::open) reads beside their headers: values of small tensors, by which it is
/// decided how others are stored. Each is the number of a file of the set, and a range of that file. With these and the headers, an import can
/// be planned before the files are there.
///
/// # Errors
///
/// [`SourceError::GgmlType`] for a tensor of a type that is not stored.
pub fn gguf_values(set: &SplitSet) -> Result<Vec<(usize, Range<u64>)>, SourceError> {
    let found = tensors(set)?;
    let mut ranges = Vec::new();
    names::canonical(set.metadata(), &found, &mut |at, _| {
        let SourceTensor { shard, range, .. } = &found[at].0;
        if range.end - range.start <= MOST_BYTES {
            ranges.push((*shard, range.clone()));
        }
        Ok::<_, SourceError>(None)
    })?;
    Ok(ranges)
}

/// The tensors of a set in byte order of their names. `shards` are the files of the set.
pub(super) fn inventory(set: &SplitSet, shards: Vec<Shard>) -> Result<Inventory, SourceError> {
    let found = tensors(set)?;
    let mut values = Values { shards: &shards, tensors: &found, file: None, buffer: Vec::new() };
    let names = names::canonical(set.metadata(), &found, &mut |at, change| values.corrections(at, change))?;
    let (tensors, contents): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    Ok(Inventory {
        shards,
        tensors,
        metadata: BTreeMap::new(),
        index: None,
        warnings: Vec::new(),
        contents: Contents::Gguf(Arc::new(Gguf { tensors: contents, names })),
    })
}

/// Number of bytes of values that are read at a time.
const CHUNK: usize = 256 << 10;
/// Most bytes of a tensor that are read to see whether its values can be changed: norms and the like have far fewer.
const MOST_BYTES: u64 = 4 << 24;

/// Most values of a tensor that are corrected: one for each head of a state space. The table holds them.
const MOST_CORRECTED: usize = 4096;

/// Values of small tensors, which are read before an import is planned.
struct Values<'s> {
    shards: &'s [Shard],
    tensors: &'s [(SourceTensor, GgufTensor)],
    /// The file that was read last, and its shard.
    file: Option<(usize, Box<dyn OpenData>)>,
    buffer: Vec<u8>,
}

impl Values<'_> {
    /// What has to be known to undo a change of a tensor of F32: nothing, or corrections of a few values. `None` if it cannot be
    /// undone.
    fn corrections(&mut self, at: usize, change: Change) -> Result<Option<Vec<i8>>, SourceError> {
        let SourceTensor { shard, range, .. } = &self.tensors[at].0;
        if range.end - range.start > MOST_BYTES {
            return Ok(None);
        }
        let mut ulps = Vec::new();
        let fail = |source| SourceError::Io { path: self.shards[*shard].path.clone(), source };
        if self.file.as_ref().is_none_or(|(open, _)| open != shard) {
            self.file = Some((*shard, self.shards[*shard].data.open().map_err(fail)?));
        }
        let (_, file) = self.file.as_ref().expect("it was just opened");
        let mut from = range.start;
        while from < range.end {
            let len = usize::try_from(range.end - from).unwrap_or(usize::MAX).min(CHUNK);
            memory::resize(&mut self.buffer, len).map_err(|error| fail(error.into()))?;
            file.read_exact_at(&mut self.buffer, from).map_err(fail)?;
            if !change::find(change, &mut self.buffer, &mut ulps) {
                return Ok(None);
            }
            from += len as u64;
        }
        if ulps.iter().all(|steps| *steps == 0) {
            ulps.clear();
        }
        Ok(Some(ulps).filter(|ulps| ulps.len() <= MOST_CORRECTED))
    }
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
