//! Memory for what is no range of a file: cut out of a tensor in several pieces, converted, or decoded.

#[cfg(feature = "decode")]
mod blocks;
#[cfg(feature = "decode")]
mod decode;
mod fill;

#[cfg(feature = "decode")]
use std::collections::BTreeMap;
use std::{collections::HashMap, io};

use longshore_st_format::Dtype;
use memmap2::MmapMut;

use super::{
    BlobBytes, BlockForm, OpenOptions, Place, Source, WeightsError,
    plan::{LoadPlanError, PartView, View, check_target, select},
};
use crate::{
    Digest,
    document::{GgmlBlocks, Quantization, Role},
};
use fill::Job;
pub(super) use fill::populate;
#[cfg(feature = "decode")]
use longshore_quant::ggml::Mapping;

/// Alignment of every array in the memory, in bytes.
const ALIGNMENT: u64 = 64;

/// The tensors to open, before any file is.
pub(super) struct Planned {
    /// Sorted by name, then by component.
    pub(super) tensors: Vec<PlannedTensor>,
    /// Size of all tensors in bytes, companions included, as they will be.
    pub(super) bytes: u64,
    /// Bytes of memory for what is no range of a file.
    pub(super) made_bytes: u64,
    /// The same for codes that are cut in several pieces before they are decoded. This memory is freed before opening returns.
    scratch_bytes: u64,
}

/// One tensor to open.
pub(super) struct PlannedTensor {
    /// The tensor as it will be. The `arena` of a part is its place in the memory that is made, or `None` if it is a range of a
    /// file.
    pub(super) view: View,
    /// Parts to decode. Their `arena` is their place in the scratch memory, or `None`.
    codes: Option<Codes>,
}

/// Codes of a tensor that is decoded.
#[cfg_attr(not(feature = "decode"), expect(dead_code, reason = "only decoding reads how they are coded"))]
struct Codes {
    quantization: Quantization,
    /// Float type from which the codes were made.
    stored: Dtype,
    parts: Vec<PartView>,
    /// The scheme that ggml's blocks are mapped into. `None` if values are decoded.
    #[cfg(feature = "decode")]
    mapping: Option<Mapping>,
}

impl Planned {
    /// Plans the opening, and decides everything that can fail without a file.
    pub(super) fn new(source: &Source, options: &OpenOptions<'_>) -> Result<Self, WeightsError> {
        let refuse = |error| match error {
            LoadPlanError::Component { component, found } => {
                WeightsError::Component { name: source.name().to_owned(), component, found }
            }
            error => WeightsError::Plan(error),
        };
        check_target(options.dtype).map_err(refuse)?;
        let selected = select(source.table(), &options.selection).map_err(refuse)?;
        let mut tensors = Vec::new();
        for mut tensor in selected.into_iter().flat_map(|blob| blob.tensors) {
            if let Some(to) = options.dtype {
                for part in &mut tensor.parts {
                    part.cast_to(to, &tensor.view).map_err(refuse)?;
                }
            }
            let tensor = PlannedTensor { view: tensor.finish(), codes: None };
            if options.blocks != BlockForm::MlxAlone || tensor.has_blocks() {
                tensors.push(tensor);
            }
        }
        tensors.sort_by(|a, b| (&a.view.name, &a.view.component).cmp(&(&b.view.name, &b.view.component)));
        let mut planned = Self { tensors, bytes: 0, made_bytes: 0, scratch_bytes: 0 };
        for tensor in &mut planned.tensors {
            if options.decode {
                tensor.decode(options.dtype)?;
            } else if options.blocks != BlockForm::Kept && tensor.has_blocks() {
                tensor.map_blocks(options.dtype)?;
            }
            let too_large = || WeightsError::Plan(LoadPlanError::TooLarge { tensor: tensor.view.name.clone() });
            let give = |part: &mut PartView, end: &mut u64| {
                let at = end.checked_next_multiple_of(ALIGNMENT).ok_or_else(too_large)?;
                *end = at.checked_add(part.len).ok_or_else(too_large)?;
                part.arena = Some(at);
                Ok::<_, WeightsError>(())
            };
            for part in tensor.codes.iter_mut().flat_map(|codes| &mut codes.parts).filter(|part| !is_range(part)) {
                give(part, &mut planned.scratch_bytes)?;
            }
            for part in &mut tensor.view.parts {
                if tensor.codes.is_some() || !is_range(part) {
                    if cfg!(not(feature = "decode")) && part.origin.cast.is_some() {
                        return Err(WeightsError::NotBuilt { tensor: tensor.view.name.clone() });
                    }
                    give(part, &mut planned.made_bytes)?;
                }
                planned.bytes = planned.bytes.saturating_add(part.len);
            }
        }
        Ok(planned)
    }
}

/// Whether a part is a range of a file, unchanged.
fn is_range(part: &PartView) -> bool {
    let extents = &part.origin.extents;
    part.origin.cast.is_none() && (extents.is_empty() || extents.len() == 1 && extents[0].is_range())
}

impl PlannedTensor {
    /// Parts as they lie in files.
    pub(super) fn stored(&self) -> &[PartView] {
        self.codes.as_ref().map_or(&self.view.parts, |codes| &codes.parts)
    }

    /// Whether the tensor is stored as ggml's blocks.
    fn has_blocks(&self) -> bool {
        self.view.quantization.as_ref().is_some_and(|coding| GgmlBlocks::of(&coding.quant_type).is_some())
    }

    /// Makes a tensor of a scheme's codes of one of ggml's blocks. A tensor that no scheme holds is decoded.
    fn map_blocks(&mut self, dtype: Option<Dtype>) -> Result<(), WeightsError> {
        #[cfg(feature = "decode")]
        if blocks::map(self) {
            return Ok(());
        }
        self.decode(Some(dtype.unwrap_or(Dtype::BF16)))
    }

    /// Makes a plain tensor of a quantized one, to be decoded.
    fn decode(&mut self, dtype: Option<Dtype>) -> Result<(), WeightsError> {
        let Some(quantization) = self.view.quantization.take() else { return Ok(()) };
        let (stored, to) = (self.view.dtype, dtype.unwrap_or(self.view.dtype));
        let name = || self.view.name.clone();
        if cfg!(not(feature = "decode")) {
            return Err(WeightsError::NotBuilt { tensor: name() });
        }
        #[cfg(feature = "decode")]
        if !decode::is_possible(&quantization, stored, to) {
            return Err(WeightsError::Decode { tensor: name(), found: quantization.to_string(), to });
        }
        let len = self.view.shape.byte_len(to);
        let len = len.map_err(|_| WeightsError::Plan(LoadPlanError::TooLarge { tensor: name() }))?;
        let parts = std::mem::take(&mut self.view.parts);
        let weight = parts.iter().find(|part| part.role == Role::Weight);
        let origin = weight.expect("every table was checked to have a weight for each tensor").origin.clone();
        let shape = self.view.shape.clone();
        self.view.parts = vec![PartView { role: Role::Weight, dtype: to, shape, len, origin, arena: None }];
        self.view.dtype = to;
        self.codes = Some(Codes {
            quantization,
            stored,
            parts,
            #[cfg(feature = "decode")]
            mapping: None,
        });
        Ok(())
    }

    /// Adds the places of the parts.
    pub(super) fn places(&self, by_digest: &HashMap<Digest, usize>, places: &mut Vec<Place>) {
        for part in &self.view.parts {
            places.push(match (part.arena, part.origin.extents.first()) {
                (Some(at), _) => Place::Made(index(at)),
                (None, Some(extent)) => {
                    Place::File { blob: by_digest[&part.origin.digest], start: index(extent.offset) }
                }
                (None, None) => Place::File { blob: by_digest[&part.origin.digest], start: 0 },
            });
        }
    }
}

/// Converts a place to an index. Files are as long as the plan requires and memory has been given, so it fits.
fn index(at: u64) -> usize {
    usize::try_from(at).expect("it lies in memory")
}

/// Memory of arrays that are no ranges of files.
#[derive(Debug)]
pub(super) struct Made {
    memory: Option<MmapMut>,
}

impl Made {
    /// Fills the memory, on all threads of the rayon pool.
    pub(super) fn new(
        source: &Source,
        planned: &Planned,
        blobs: &[(Digest, BlobBytes)],
        by_digest: &HashMap<Digest, usize>,
        options: &OpenOptions<'_>,
    ) -> Result<Self, WeightsError> {
        if planned.made_bytes == 0 {
            return Ok(Self { memory: None });
        }
        options.progress.begin("converting", planned.scratch_bytes + planned.made_bytes);
        let mut scratch = take(planned.scratch_bytes)?;
        let mut memory = take(planned.made_bytes)?;
        let bytes = |digest: &Digest| &blobs[by_digest[digest]].1;

        let (mut jobs, mut left) = (Vec::new(), Rest::of(scratch.as_deref_mut()));
        for tensor in &planned.tensors {
            for part in tensor.codes.iter().flat_map(|codes| &codes.parts) {
                if let Some(at) = part.arena {
                    fill::copies(&tensor.view, part, bytes(&part.origin.digest), left.take(at, part.len), &mut jobs);
                }
            }
        }
        fill::run(source, jobs, options.progress)?;

        let scratch: &[u8] = scratch.as_deref().unwrap_or_default();
        let (mut jobs, mut left): (Vec<Job<'_>>, _) = (Vec::new(), Rest::of(memory.as_deref_mut()));
        for tensor in &planned.tensors {
            #[cfg(feature = "decode")]
            if let Some(codes) = tensor.codes.as_ref().filter(|codes| codes.mapping.is_some()) {
                let mut out = |part: &PartView| Some(left.take(part.arena?, part.len));
                let outs = tensor.view.parts.iter().filter_map(&mut out).collect();
                let weight = &codes.parts[0];
                let stored = decode::Bytes::of(weight, bytes(&weight.origin.digest), scratch);
                blocks::jobs(tensor, codes, stored, outs, &mut jobs)?;
                continue;
            }
            for part in &tensor.view.parts {
                let Some(at) = part.arena else { continue };
                let out = left.take(at, part.len);
                match &tensor.codes {
                    None => fill::copies(&tensor.view, part, bytes(&part.origin.digest), out, &mut jobs),
                    #[cfg(feature = "decode")]
                    Some(codes) => {
                        let of_role: BTreeMap<Role, decode::Bytes<'_>> = codes
                            .parts
                            .iter()
                            .map(|part| (part.role, decode::Bytes::of(part, bytes(&part.origin.digest), scratch)))
                            .collect();
                        decode::jobs(tensor, codes, &of_role, out, &mut jobs)?;
                    }
                    #[cfg(not(feature = "decode"))]
                    Some(_) => unreachable!("BUG: a build that decodes nothing has planned to decode"),
                }
            }
        }
        let _ = scratch;
        fill::run(source, jobs, options.progress)?;
        Ok(Self { memory })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.memory.as_deref().unwrap_or_default()
    }

    pub(super) fn into_memory(self) -> Option<MmapMut> {
        self.memory
    }

    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }
}

/// Takes memory of zeros, whose pages are there once they are written.
fn take(bytes: u64) -> Result<Option<MmapMut>, WeightsError> {
    if bytes == 0 {
        return Ok(None);
    }
    let fail = |source| WeightsError::Memory { bytes, source };
    let len = usize::try_from(bytes).map_err(|_| fail(io::ErrorKind::OutOfMemory.into()))?;
    let memory = MmapMut::map_anon(len).map_err(fail)?;
    // Large pages are made with fewer faults. A hint.
    #[cfg(target_os = "linux")]
    let _ = memory.advise(memmap2::Advice::HugePage);
    Ok(Some(memory))
}

/// The memory after what was taken, which is taken in order.
struct Rest<'m> {
    memory: &'m mut [u8],
    start: u64,
}

impl<'m> Rest<'m> {
    fn of(memory: Option<&'m mut [u8]>) -> Self {
        Self { memory: memory.unwrap_or_default(), start: 0 }
    }

    fn take(&mut self, at: u64, len: u64) -> &'m mut [u8] {
        let (_, rest) = std::mem::take(&mut self.memory).split_at_mut(index(at - self.start));
        let (taken, rest) = rest.split_at_mut(index(len));
        (self.memory, self.start) = (rest, at + len);
        taken
    }
}
