//! Restoring the bytes of a tensor of a GGUF file from the stored tensors that were made of it.

use std::collections::HashMap;

use longshore_gguf::TensorInfo;
use longshore_manifest::document::{Arrangement, BlobEntry, Change, GgmlBlocks, TensorEntry, TensorTable};

use crate::{
    export::{
        error::ExportError,
        stored::{Reader, Stored},
    },
    gguf::{change, places::Places, types::Array},
    io::memory,
};

/// A tensor of a file, in the stored tensors that have its values: one, or several that share its rows.
pub(super) struct Restored<'w> {
    name: &'w str,
    parts: Vec<Part<'w>>,
}

struct Part<'w> {
    stored: Stored<'w>,
    places: Places,
    /// Number of the tensor among those that the stored one was made of.
    source: usize,
    change: Change,
    ulps: &'w [i8],
}

/// A stored tensor, and the number that a tensor of a file has among its sources.
pub(super) type Made<'w> = (&'w BlobEntry, &'w TensorEntry, usize);

/// The stored tensors that were made of each tensor of the files, by its name.
pub(super) fn by_source(table: &TensorTable) -> HashMap<&str, Vec<Made<'_>>> {
    let mut found: HashMap<&str, Vec<Made<'_>>> = HashMap::new();
    for (blob, entry) in table.tensors() {
        for (at, name) in entry.source_names().enumerate() {
            found.entry(name).or_default().push((blob, entry, at));
        }
    }
    found
}

impl<'w> Restored<'w> {
    /// `None` if what is stored cannot be what `info` describes.
    pub(super) fn new(info: &TensorInfo, made: &[Made<'w>]) -> Option<Self> {
        let Array { dtype, shape, blocks, .. } = Array::of(info)?;
        let mut parts = Vec::with_capacity(made.len());
        let mut name = "";
        for (blob, entry, source) in made {
            let weight = entry.weight();
            let places = Places::of(entry.arrangement, entry.source_names().count(), &entry.shape, weight.length)?;
            let fits = (weight.dtype, &entry.quantization) == (dtype, &blocks.map(GgmlBlocks::quantization))
                && places.source_bytes(*source) == info.byte_len()
                && (entry.arrangement != Arrangement::None || entry.shape == shape);
            if !fits {
                return None;
            }
            name = entry.source_names().nth(*source)?;
            parts.push(Part {
                stored: Stored::new(blob, entry, weight),
                places,
                source: *source,
                change: entry.change,
                ulps: &entry.ulps,
            });
        }
        let is_shared = |entry: &TensorEntry| matches!(entry.arrangement, Arrangement::Rows { .. });
        let all = made.iter().map(|(_, entry, _)| entry.weight().length).fold(0, u64::saturating_add);
        let is_whole = match made {
            [(_, only, _)] => !is_shared(only) || all == info.byte_len(),
            several => several.iter().all(|(_, entry, _)| is_shared(entry)) && all == info.byte_len(),
        };
        is_whole.then_some(Self { name, parts })
    }

    /// Gives `to` the length `len` and fills it with the bytes of the tensor from byte `at`.
    pub(super) fn read_to(
        &self,
        at: u64,
        len: u64,
        reader: &mut Reader<'_>,
        to: &mut Vec<u8>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), ExportError> {
        let fail = |problem: String| ExportError::Restore { tensor: self.name.to_owned(), problem };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        memory::resize(to, len).map_err(|error| fail(error.to_string()))?;
        let mut filled = 0;
        while filled < len {
            let before = filled;
            for part in &self.parts {
                let out = &mut to[filled..];
                let mut read = |at: u64, out: &mut [u8]| reader.read(&part.stored, at, out);
                let count = part.places.source(part.source, at + filled as u64, out, scratch, &mut read)?;
                let ulps = change::part(part.ulps, at + filled as u64, count);
                change::undo(part.change, ulps, &mut out[..count]);
                filled += count;
                if filled == len {
                    return Ok(());
                }
            }
            if filled == before {
                return Err(fail("no stored tensor has some of its rows".to_owned()));
            }
        }
        Ok(())
    }
}
