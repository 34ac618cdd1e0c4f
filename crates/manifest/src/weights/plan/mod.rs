//! Load plans: which bytes are read, from which blob, and to which place. A plan is complete before any byte of a
//! weight is read.
//!
//! A [`Selection`] describes the tensors, and the parts of tensors, to load. [`LoadPlan::new`] turns it into views of
//! one piece of memory, the *arena*, and reads that fill the arena. The arena has the order of the blobs, and of the
//! bytes within each blob. Bytes that are neighbours in a file are neighbours in the arena, except for padding, because
//! every view starts at a multiple of [`ALIGNMENT`]. [`LoadPlan::pieces`] cuts the reads to the size of a staging
//! buffer.
//!
//! This module opens no file and knows no device.

#[cfg(feature = "decode")]
mod cast;
mod error;
mod extent;
mod glob;
mod near;
mod piece;
mod select;
mod selection;
mod shard;

use std::collections::{HashMap, HashSet};

use longshore_st_format::{Dtype, Shape};

pub use error::LoadPlanError;
pub use extent::Extent;
pub use piece::{Cut, Fetch, Piece, Take};
pub use selection::{Layers, Selection, Shard, ShardAxis, TensorParallel};

use crate::{
    Digest,
    document::{GgmlBlocks, Quantization, Role, TensorTable},
};
pub(super) use select::select;
use select::{Selected, SelectedPart, SelectedTensor};

/// Alignment of every view, in bytes from the start of the arena.
pub const ALIGNMENT: u64 = 256;

/// Options of a [`LoadPlan`].
#[derive(Clone, Copy, Default)]
pub struct LoadPlanOptions<'f> {
    /// Type to which plain tensors of F64, F32, F16 and BF16 are cast: F32, F16 or BF16. Quantized tensors, their
    /// scales, integers and booleans keep their types. Other types are an error.
    pub dtype: Option<Dtype>,
    /// Returns whether the caller already has these bytes. Such bytes are not read and get no place in the arena.
    pub held: Option<&'f dyn Fn(&Origin) -> bool>,
    /// Whether only the tensors that are quantized are planned, or only those that are not. `None` plans both.
    pub quantized: Option<bool>,
    /// Whether only tensors of ggml's blocks are planned, or only those that are stored otherwise. `None` plans both.
    pub blocks: Option<bool>,
}

impl std::fmt::Debug for LoadPlanOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let held = self.held.map(|_| "…");
        f.debug_struct("LoadPlanOptions")
            .field("dtype", &self.dtype)
            .field("held", &held)
            .field("quantized", &self.quantized)
            .field("blocks", &self.blocks)
            .finish()
    }
}

/// Source of an array's bytes. Equal origins mean equal bytes, even in different models, because blobs are named by
/// their content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Blob that holds the bytes.
    pub digest: Digest,
    /// Positions of the bytes in the blob, in the order of the array.
    pub extents: Box<[Extent]>,
    /// Cast of the elements during the copy.
    pub cast: Option<Cast>,
}

/// Change of the elements' type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cast {
    /// Type in the blob: F64, F32, F16 or BF16.
    pub from: Dtype,
    /// Type in the arena: F32, F16 or BF16.
    pub to: Dtype,
}

/// Plan of a load: the place of every selected tensor, and the reads that fill the places.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadPlan {
    /// Blobs that are read, in the order of the table.
    pub blobs: Vec<ReadBlob>,
    /// Reads in the order of the arena, which is that of the blobs and of the bytes within each blob.
    pub reads: Vec<Read>,
    /// Selected tensors, sorted by name and then by component.
    pub tensors: Vec<View>,
    /// Size of the arena in bytes.
    pub arena_bytes: u64,
    /// Coding that the model's import was asked for.
    pub requested: Option<Quantization>,
}

/// A blob from which a plan reads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadBlob {
    /// Digest of the blob.
    pub digest: Digest,
    /// Name of the first tensor that is read from the blob.
    pub tensor: String,
    /// End of the last byte that is read, in bytes from the start of the blob.
    pub end: u64,
    /// Whether every tensor of the blob is read as a whole, so that the blob's digest can be checked during the load.
    pub is_whole: bool,
}

/// Bytes of one array of a tensor that go to one place in the arena.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Read {
    /// Index into the plan's blobs.
    pub blob: usize,
    /// Position of the bytes in the blob.
    pub extent: Extent,
    /// Destination in bytes from the start of the arena.
    pub arena: u64,
    /// Cast of the elements during the copy.
    pub cast: Option<Cast>,
}

/// One tensor of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct View {
    /// Name without a component's prefix.
    pub name: String,
    /// Pipeline component of the tensor.
    pub component: Option<String>,
    /// Type of the values. For a quantized tensor, the float type from which it was quantized.
    pub dtype: Dtype,
    /// Logical shape of the selected share, in elements.
    pub shape: Shape,
    /// Coding of the values. `None` for a plain tensor.
    pub quantization: Option<Quantization>,
    /// The stored values are those of the model plus this: see [`Selection::offsets`].
    pub offset: i32,
    /// Arrays of the tensor: the weight, then the companions.
    pub parts: Vec<PartView>,
}

/// One array of a tensor of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartView {
    /// Role of the array in the tensor.
    pub role: Role,
    /// Type of the elements after any cast.
    pub dtype: Dtype,
    /// Shape of the array.
    pub shape: Shape,
    /// Length in bytes after any cast.
    pub len: u64,
    /// Source of the bytes.
    pub origin: Origin,
    /// Start in the arena in bytes. `None` if the caller already has the array.
    pub arena: Option<u64>,
}

/// Refuses types to which nothing is cast.
pub(super) fn check_target(dtype: Option<Dtype>) -> Result<(), LoadPlanError> {
    match dtype {
        Some(found) if !matches!(found, Dtype::F32 | Dtype::F16 | Dtype::BF16) => Err(LoadPlanError::Dtype { found }),
        _ => Ok(()),
    }
}

impl Cast {
    /// Returns the bytes of an element before and after the cast. Each is a power of two of at most 8.
    #[must_use]
    pub fn widths(self) -> (u64, u64) {
        (u64::from(self.from.bits()) / 8, u64::from(self.to.bits()) / 8)
    }
}

impl Read {
    /// Returns the number of bytes that the read fills in the arena.
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
    /// Returns the number of bytes in the blob, before any cast.
    #[must_use]
    pub fn stored_len(&self) -> u64 {
        self.origin.extents.iter().map(Extent::len).sum()
    }
}

impl LoadPlan {
    /// Plans the load of the tensors that `selection` takes from `table`.
    ///
    /// # Errors
    ///
    /// [`LoadPlanError`]. Each variant names the tensor, the name or the pattern at fault.
    pub fn new(
        table: &TensorTable,
        selection: &Selection,
        options: &LoadPlanOptions<'_>,
    ) -> Result<Self, LoadPlanError> {
        check_target(options.dtype)?;
        let requested = table.import.quantize.as_deref().and_then(Quantization::from_request);
        let mut plan = Self { blobs: Vec::new(), reads: Vec::new(), tensors: Vec::new(), arena_bytes: 0, requested };
        // Two components of a pipeline may list the same blob.
        let mut digests = HashSet::new();
        let may_repeat = !table.blobs.iter().all(|blob| digests.insert(blob.digest));
        let mut placed = may_repeat.then(HashMap::new);
        for Selected { blob, mut tensors } in select(table, selection)? {
            let own = table.blobs[blob].digest;
            if let Some(quantized) = options.quantized {
                tensors.retain(|tensor| tensor.view.quantization.is_some() == quantized);
            }
            if let Some(blocks) = options.blocks {
                let coding = |view: &View| GgmlBlocks::of(&view.quantization.as_ref()?.quant_type);
                tensors.retain(|tensor| coding(&tensor.view).is_some() == blocks);
            }
            let mut order = Vec::new();
            for (at, tensor) in tensors.iter_mut().enumerate() {
                for (part, selected) in tensor.parts.iter_mut().enumerate() {
                    if let Some(to) = options.dtype {
                        selected.cast_to(to, &tensor.view)?;
                    }
                    // Parts in separate blobs come after those in the tensor's own blob.
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

    /// Gives a part of `tensor` a place after all others, and adds the reads that fill it.
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

    /// Marks the blobs of which every part is read, once and in the order of the file.
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

    /// Returns the number of bytes that are read from blobs.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.reads.iter().map(|read| read.extent.len()).sum()
    }

    /// Returns the size of all selected tensors in bytes, after any cast. Includes tensors that the caller already has.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().flat_map(|tensor| &tensor.parts).map(|part| part.len).sum()
    }

    /// Returns the tensor whose bytes are the first at or after `arena`, for messages.
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

    /// Cuts the reads into pieces, in the order of the arena.
    #[must_use]
    pub fn pieces(&self, cut: &Cut) -> Vec<Piece> {
        piece::cut(&self.reads, cut)
    }

    /// Cuts the reads of each blob into pieces. No piece holds bytes of two blobs.
    #[must_use]
    pub fn pieces_by_blob(&self, cut: &Cut) -> Vec<Vec<Piece>> {
        self.reads.chunk_by(|a, b| a.blob == b.blob).map(|reads| piece::cut(reads, cut)).collect()
    }
}

impl SelectedPart {
    /// Returns the start of the part's first byte in the blob.
    fn first(&self) -> u64 {
        self.extents.first().map_or(0, |extent| extent.offset)
    }
}
