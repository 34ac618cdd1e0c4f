//! The plan of a load: reads and their places, decided before any byte of a weight is read.
//!
//! A [`Selection`] says which tensors, and which parts of them. [`LoadPlan::new`] turns it into views of one piece of memory, the
//! *arena*, and reads that fill it. The arena has the order of the blobs, and of the bytes within each: what lies together in a file
//! lies together in the arena, but for padding, as every view starts at a multiple of [`ALIGNMENT`]. [`LoadPlan::pieces`] cuts the
//! reads to the size of a staging buffer.
//!
//! Nothing here opens a file or knows of a device.

mod error;
mod extent;
mod piece;
mod select;
mod selection;
mod shard;

use std::collections::{HashMap, HashSet};

use longshore_st_format::{Dtype, Shape};

pub use error::LoadPlanError;
pub use extent::Extent;
pub use piece::{Cut, Fetch, Piece, Take};
pub use selection::{Layers, Selection, Shard, ShardAxis};

use crate::{
    Digest,
    document::{Quantization, Role, TensorTable},
};
use select::{Selected, SelectedPart, SelectedTensor, select};

/// Every view starts at a multiple of so many bytes from the start of the arena.
pub const ALIGNMENT: u64 = 256;

/// Options of a [`LoadPlan`].
#[derive(Clone, Copy, Default)]
pub struct LoadPlanOptions<'f> {
    /// The type that plain tensors of F64, F32, F16 and BF16 get: one of the last three. Quantized tensors, their scales, 8-bit
    /// floats and integers stay as they are.
    pub dtype: Option<Dtype>,
    /// Whether these bytes are at hand already, so that they are neither read nor given a place.
    pub held: Option<&'f dyn Fn(&Origin) -> bool>,
}

impl std::fmt::Debug for LoadPlanOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let held = self.held.map(|_| "…");
        f.debug_struct("LoadPlanOptions").field("dtype", &self.dtype).field("held", &held).finish()
    }
}

/// The bytes that an array is made of. Equal origins are equal bytes, in any model: blobs are named by their content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The blob.
    pub digest: Digest,
    /// The bytes of it, in the order of the array.
    pub extents: Box<[Extent]>,
    /// Conversion of the elements on the way.
    pub cast: Option<Cast>,
}

/// A change of the elements' type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cast {
    /// The type in the blob: F64, F32, F16 or BF16.
    pub from: Dtype,
    /// The type in the arena: F32, F16 or BF16.
    pub to: Dtype,
}

/// Where every selected tensor goes and what is read for it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadPlan {
    /// The blobs that are read, in the order of the table.
    pub blobs: Vec<ReadBlob>,
    /// Reads in the order of the arena, which is the order of the blobs and of the bytes within each.
    pub reads: Vec<Read>,
    /// The selected tensors, sorted by name and then by component.
    pub tensors: Vec<View>,
    /// The size of the arena in bytes.
    pub arena_bytes: u64,
}

/// A blob that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadBlob {
    /// The blob.
    pub digest: Digest,
    /// The first tensor that is read from it.
    pub tensor: String,
    /// The end of the last byte that is read, in bytes from the start of the blob.
    pub end: u64,
    /// Whether every tensor of the blob is read, all of it, so that its digest can be checked on the way.
    pub is_whole: bool,
}

/// Bytes of one array of one tensor that go to one place of the arena.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Read {
    /// An index into the plan's blobs.
    pub blob: usize,
    /// The bytes of the blob.
    pub extent: Extent,
    /// Where they go, in bytes from the start of the arena.
    pub arena: u64,
    /// Conversion of the elements on the way.
    pub cast: Option<Cast>,
}

/// One tensor of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct View {
    /// The name, without a component's prefix.
    pub name: String,
    /// The pipeline component that it belongs to.
    pub component: Option<String>,
    /// The type of the values: of a quantized tensor, the float type that it was quantized from.
    pub dtype: Dtype,
    /// The logical shape in elements, of what is selected.
    pub shape: Shape,
    /// The scheme of the values; `None` for a plain tensor.
    pub quantization: Option<Quantization>,
    /// The weight, then the companions.
    pub parts: Vec<PartView>,
}

/// One array of a tensor of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartView {
    /// Role of the array in the tensor.
    pub role: Role,
    /// The type of its elements, after any cast.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Shape,
    /// Its bytes after any cast.
    pub len: u64,
    /// The bytes that the array is made of.
    pub origin: Origin,
    /// Where it starts in the arena; `None` where it is held already.
    pub arena: Option<u64>,
}

impl Cast {
    /// The bytes of an element before and after, each a power of two of at most 8.
    #[must_use]
    pub fn widths(self) -> (u64, u64) {
        (u64::from(self.from.bits()) / 8, u64::from(self.to.bits()) / 8)
    }
}

impl Read {
    /// The bytes that it fills in the arena.
    #[must_use]
    pub fn arena_len(&self) -> u64 {
        let len = self.extent.len();
        match self.cast.map(Cast::widths) {
            None => len,
            Some((from, to)) => len / from * to,
        }
    }
}

impl PartView {
    /// The bytes that it has in the blob, before any cast.
    #[must_use]
    pub fn stored_len(&self) -> u64 {
        self.origin.extents.iter().map(Extent::len).sum()
    }
}

impl LoadPlan {
    /// Plans the loading of what `selection` takes from `table`.
    ///
    /// # Errors
    ///
    /// [`LoadPlanError`]; each names the tensor, the name or the pattern that it is about.
    pub fn new(
        table: &TensorTable,
        selection: &Selection,
        options: &LoadPlanOptions<'_>,
    ) -> Result<Self, LoadPlanError> {
        if let Some(found) = options.dtype
            && !matches!(found, Dtype::F32 | Dtype::F16 | Dtype::BF16)
        {
            return Err(LoadPlanError::Dtype { found });
        }
        let mut plan = Self { blobs: Vec::new(), reads: Vec::new(), tensors: Vec::new(), arena_bytes: 0 };
        // A blob may be listed twice, by two components of a pipeline.
        let mut digests = HashSet::new();
        let may_repeat = !table.blobs.iter().all(|blob| digests.insert(blob.digest));
        let mut placed = may_repeat.then(HashMap::new);
        for Selected { blob, mut tensors } in select(table, selection)? {
            let own = table.blobs[blob].digest;
            let mut order = Vec::new();
            for (at, tensor) in tensors.iter_mut().enumerate() {
                for (part, selected) in tensor.parts.iter_mut().enumerate() {
                    if let Some(to) = options.dtype {
                        selected.cast_to(to, tensor.view.quantization.is_some());
                    }
                    // Parts in blobs of their own come behind those in the tensor's.
                    order.push((selected.digest != own, selected.digest, selected.first(), at, part));
                }
            }
            order.sort_unstable();
            for (.., tensor, part) in order {
                let SelectedTensor { view, parts } = &mut tensors[tensor];
                plan.place(&view.name, &mut parts[part], placed.as_mut(), options)?;
            }
            plan.tensors.extend(tensors.into_iter().map(SelectedTensor::finish));
        }
        plan.find_whole(table);
        plan.tensors.sort_by(|a, b| (&a.name, &a.component).cmp(&(&b.name, &b.component)));
        Ok(plan)
    }

    /// Gives a part of `tensor` its place, behind all others, and says what is read for it.
    fn place(
        &mut self,
        tensor: &str,
        part: &mut SelectedPart,
        placed: Option<&mut HashMap<Origin, Option<u64>>>,
        options: &LoadPlanOptions<'_>,
    ) -> Result<(), LoadPlanError> {
        let too_large = || LoadPlanError::TooLarge { tensor: tensor.to_owned() };
        let start = self.arena_bytes.checked_next_multiple_of(ALIGNMENT).ok_or_else(too_large)?;
        let end = start.checked_add(part.len).ok_or_else(too_large)?;
        if placed.is_some() || options.held.is_some() {
            let origin = part.origin();
            if options.held.is_some_and(|held| held(&origin)) {
                return Ok(());
            }
            if let Some(placed) = placed {
                if let Some(place) = placed.get(&origin) {
                    part.arena = *place;
                    return Ok(());
                }
                placed.insert(origin, Some(start));
            }
        }
        (part.arena, self.arena_bytes) = (Some(start), end);
        if part.len == 0 {
            return Ok(());
        }
        if self.blobs.last().is_none_or(|last| last.digest != part.digest) {
            let tensor = tensor.to_owned();
            self.blobs.push(ReadBlob { digest: part.digest, tensor, end: 0, is_whole: false });
        }
        let blob = self.blobs.len() - 1;
        let mut arena = start;
        for extent in &part.extents {
            let read = Read { blob, extent: *extent, arena, cast: part.cast };
            arena += read.arena_len();
            self.blobs[blob].end = self.blobs[blob].end.max(extent.end());
            self.reads.push(read);
        }
        Ok(())
    }

    /// Finds the blobs of which every part is read, once and in the order of the file.
    fn find_whole(&mut self, table: &TensorTable) {
        let mut lengths = HashMap::<_, u64>::new();
        let mut seen = HashSet::new();
        for blob in table.blobs.iter().filter(|blob| seen.insert(blob.digest)) {
            for part in blob.tensors.iter().flat_map(|tensor| &tensor.parts) {
                let length = lengths.entry(part.blob.unwrap_or(blob.digest)).or_default();
                *length = length.saturating_add(part.length);
            }
        }
        for reads in self.reads.chunk_by(|a, b| a.blob == b.blob) {
            let in_order = reads.windows(2).all(|pair| pair[0].extent.end() <= pair[1].extent.offset);
            let read = reads.iter().map(|read| read.extent.len()).fold(0, u64::saturating_add);
            let blob = &mut self.blobs[reads[0].blob];
            blob.is_whole = in_order && lengths.get(&blob.digest) == Some(&read);
        }
    }

    /// The bytes that are read from blobs for the arena.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.reads.iter().map(|read| read.extent.len()).sum()
    }

    /// The bytes of all selected tensors, after any cast, those that are held included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().flat_map(|tensor| &tensor.parts).map(|part| part.len).sum()
    }

    /// The tensor of which a byte lies at or after `arena`, first of all that do; for messages.
    #[must_use]
    pub fn tensor_at(&self, arena: u64) -> Option<&View> {
        let starts = |part: &PartView| part.arena.filter(|at| at.saturating_add(part.len) > arena);
        let first = |tensor: &View| tensor.parts.iter().filter_map(starts).min();
        self.tensors
            .iter()
            .filter_map(|tensor| Some((first(tensor)?, tensor)))
            .min_by_key(|(at, _)| *at)
            .map(|(_, tensor)| tensor)
    }

    /// Cuts the reads into pieces of the arena, in its order.
    #[must_use]
    pub fn pieces(&self, cut: &Cut) -> Vec<Piece> {
        piece::cut(&self.reads, cut)
    }

    /// The pieces of each blob, none of which holds bytes of two.
    #[must_use]
    pub fn pieces_by_blob(&self, cut: &Cut) -> Vec<Vec<Piece>> {
        self.reads.chunk_by(|a, b| a.blob == b.blob).map(|reads| piece::cut(reads, cut)).collect()
    }
}

impl SelectedPart {
    /// Where its first byte lies in the blob.
    fn first(&self) -> u64 {
        self.extents.first().map_or(0, |extent| extent.offset)
    }
}
