//! The way in which experts come into memory, and the parts of a batch that are computed together.

use std::ops::Range;

use longshore_experts::{CacheStats, ExpertKey, ExpertMap, ReadAhead};
use longshore_manifest::weights::Source;

use super::slots::{Held, Slots, layers};
use crate::{
    error::{LoadError, RunError},
    expert_memory::ExpertMemory,
    memory,
    options::LoadOptions,
    spec::Spec,
    weights::{Bound, Tensors},
};

/// Bytes of experts that are asked for together, and computed together. As many again are asked for ahead of them, so that a prompt that
/// uses all experts of a layer asks for no more than memory can hold.
const TOGETHER: u64 = 64 << 20;

/// The way in which experts come into memory.
#[derive(Debug)]
pub(crate) enum Reach {
    Mapped,
    Ahead(ReadAhead),
    Slots(Box<Slots>),
}

impl Reach {
    /// Opens the way that the options ask for.
    pub(crate) fn open(
        source: &Source,
        (spec, bound): (&Spec, &Bound<'_>),
        tensors: &Tensors,
        options: &LoadOptions,
        notes: &mut Vec<String>,
    ) -> Result<Self, LoadError> {
        let asked = match options.experts {
            ExpertMemory::Mapped => return Ok(Self::Mapped),
            ExpertMemory::Auto => {
                let (weights, free) = (tensors.bytes(), memory::available());
                let Some(free) = free.filter(|free| weights > *free && spec.moe.is_some()) else {
                    return Ok(Self::Mapped);
                };
                // A model that runs without is not refused.
                let opened = ahead(source, (spec, bound), tensors, options);
                let found = format!("weights of {} MB, and {} MB of memory", weights / 1_000_000, free / 1_000_000);
                notes.push(match &opened {
                    Ok(_) => format!("{found}: whole experts are asked for before they are computed"),
                    Err(error) => format!("{found}: experts are read as they are touched, since {error}"),
                });
                return Ok(opened.unwrap_or(Self::Mapped));
            }
            asked => asked,
        };
        match asked {
            ExpertMemory::Slots { bytes } => {
                let map = map(source, (spec, bound), tensors, options)?;
                Ok(Self::Slots(Box::new(Slots::open(source, map, (spec, bound), bytes)?)))
            }
            _ => ahead(source, (spec, bound), tensors, options),
        }
    }

    pub(crate) fn kind(&self) -> ExpertMemory {
        match self {
            Self::Mapped => ExpertMemory::Mapped,
            Self::Ahead(_) => ExpertMemory::Ahead,
            Self::Slots(slots) => ExpertMemory::Slots { bytes: slots.bytes() },
        }
    }

    pub(crate) fn stats(&self) -> Option<CacheStats> {
        match self {
            Self::Slots(slots) => Some(slots.stats()),
            Self::Mapped | Self::Ahead(_) => None,
        }
    }

    /// Asks for the first of the experts that a layer will compute, in ascending order, and does not wait.
    pub(crate) fn ask(&self, layer: u32, experts: &[u32]) {
        if let Self::Ahead(ahead) = self {
            let first = together(ahead, layer, experts);
            ahead.ask(layer, &experts[..first]);
        }
    }

    /// Calls `work` with the experts of a layer that are computed together, in order: as many as slots hold, or those that were asked for.
    pub(crate) fn each(
        &self,
        layer: u32,
        experts: &[u32],
        mut work: impl FnMut(Range<usize>, Option<&Held<'_>>),
    ) -> Result<(), RunError> {
        match self {
            Self::Mapped => work(0..experts.len(), None),
            Self::Ahead(ahead) => {
                let mut start = 0;
                let mut end = together(ahead, layer, experts);
                while start < end {
                    let next = end + together(ahead, layer, &experts[end..]);
                    ahead.ask(layer, &experts[end..next]);
                    work(start..end, None);
                    (start, end) = (end, next);
                }
            }
            Self::Slots(slots) => slots.each(layer, experts, |range, held| work(range, Some(held)))?,
        }
        Ok(())
    }
}

/// Number of the first experts that are asked for together: all whose bytes fit, and one at least.
fn together(ahead: &ReadAhead, layer: u32, experts: &[u32]) -> usize {
    let mut left = TOGETHER;
    let fits = experts.iter().take_while(|expert| {
        let bytes = ahead.map().bytes(ExpertKey::new(layer, **expert)).unwrap_or(0);
        let fits = bytes <= left;
        left = left.saturating_sub(bytes);
        fits
    });
    fits.count().max(1).min(experts.len())
}

fn ahead(
    source: &Source,
    model: (&Spec, &Bound<'_>),
    tensors: &Tensors,
    options: &LoadOptions,
) -> Result<Reach, LoadError> {
    map(source, model, tensors, options)?;
    Ok(Reach::Ahead(ReadAhead::open(source)?))
}

/// Maps the experts, if they are used as they lie in their files.
fn map(
    source: &Source,
    (spec, bound): (&Spec, &Bound<'_>),
    tensors: &Tensors,
    options: &LoadOptions,
) -> Result<ExpertMap, LoadError> {
    let refuse = |reason: &str| LoadError::ExpertMemory { name: source.name().to_owned(), reason: reason.to_owned() };
    let Some(moe) = &spec.moe else { return Err(refuse("it has none")) };
    let map = ExpertMap::new(source).map_err(longshore_experts::ReadAheadError::from)?;
    for (number, layer) in layers(bound) {
        let found = map.layer(number).map_or(0, |layer| layer.experts().len());
        if found != moe.experts {
            return Err(refuse(&format!("layer {number} has {found}, expected {}", moe.experts)));
        }
        let names = layer.projections().into_iter().flatten().flat_map(|experts| &experts.names);
        let is_plain = |name: &str| tensors.quantization(name).is_none();
        for name in names {
            if tensors.is_owned(name) || (options.dtype.is_some() && is_plain(name)) {
                return Err(refuse(
                    "they are converted or copied when the model is opened: import it first, or leave the type and the map as they are",
                ));
            }
        }
    }
    Ok(map)
}
