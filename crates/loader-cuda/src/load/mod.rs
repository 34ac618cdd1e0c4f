//! Loads a selection of a model.

mod arena;
mod blocks;
mod link;
mod options;
mod report;
mod transfer;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use longshore_manifest::{
    Model, Store,
    weights::{
        Source,
        plan::{LoadPlan, LoadPlanOptions, Selection},
    },
};

use arena::Arenas;
pub(crate) use arena::{Arena, index};
pub use options::{LoadOptions, LoaderOptions};
pub use report::LoadReport;
use transfer::Transfer;

pub(crate) use longshore_manifest::weights::plan::ALIGNMENT;

use crate::{
    CudaError, CudaWeights, Device,
    dequantize::Dequantizer,
    driver::{DeviceMemory, Event, Slot, Stream},
    read::Blobs,
    weights::Place,
};

/// The resources of loads besides the tensors' memory: streams and a ring of pinned staging buffers. Create a loader
/// once and use it for many loads, because pinning can cost more than a load. Cheap to clone.
///
/// Loads with the same loader wait for each other, since they share the link to the device.
#[derive(Debug, Clone)]
pub struct Loader {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    device: Device,
    dequantizer: Dequantizer,
    options: LoaderOptions,
    streams: Vec<Arc<Stream>>,
    /// Ring of slots. Each thread of a load owns a run of them.
    slots: Mutex<Vec<Slot>>,
    arenas: Arenas,
}

/// Loaders that [`Loader::shared`] has created, one per device.
static SHARED: Mutex<Vec<Loader>> = Mutex::new(Vec::new());

impl Loader {
    /// Creates a loader for `device`, and pins its ring.
    ///
    /// # Errors
    ///
    /// [`CudaError::Setup`] where a stream, an event or the pinned memory cannot be created.
    pub fn new(device: &Device, options: &LoaderOptions) -> Result<Self, CudaError> {
        let options = options.sensible();
        let context = device.context();
        let stream = |_| Stream::new(context).map(Arc::new);
        let streams = (0..options.streams).map(stream).collect::<Result<_, _>>();
        let streams = streams.map_err(CudaError::setup("make a stream"))?;
        let count = options.threads.saturating_mul(options.slots_per_thread);
        let slots = Slot::ring(context, count, options.slot_bytes).map_err(CudaError::setup("pin the ring"))?;
        let (device, slots) = (device.clone(), Mutex::new(slots));
        Ok(Self {
            inner: Arc::new(Inner {
                dequantizer: Dequantizer::new(&device),
                device,
                options,
                streams,
                slots,
                arenas: Arenas::default(),
            }),
        })
    }

    /// Returns the process's loader for device `ordinal`, counted from 0, with the system's driver and
    /// [`LoaderOptions::default`]. The first call creates the loader. It stays until [`Self::release_shared`].
    ///
    /// # Errors
    ///
    /// The errors of [`Device::open`] and [`Self::new`].
    pub fn shared(ordinal: u32) -> Result<Self, CudaError> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = shared.iter().find(|loader| loader.device().ordinal() == ordinal) {
            return Ok(found.clone());
        }
        let loader = Self::new(&Device::open(ordinal)?, &LoaderOptions::default())?;
        shared.push(loader.clone());
        Ok(loader)
    }

    /// Drops the process's loaders. Their pinned memory is freed once nobody else holds them.
    pub fn release_shared() {
        let released = std::mem::take(&mut *SHARED.lock().unwrap_or_else(PoisonError::into_inner));
        drop(released);
    }

    /// Device that the loader loads to.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    /// Sizes and counts of the loader's resources.
    #[must_use]
    pub fn options(&self) -> &LoaderOptions {
        &self.inner.options
    }

    /// Loads a `selection` of `model`. On return all of it is in device memory, and any stream may use it.
    ///
    /// # Errors
    ///
    /// Every [`CudaError`] except [`CudaError::Probe`]. Nothing stays allocated then, and no copy is in flight.
    pub fn load(
        &self,
        store: &Store,
        model: &Model,
        selection: &Selection,
        options: &LoadOptions<'_>,
    ) -> Result<CudaWeights, CudaError> {
        self.load_source(&Source::of_model(store, model)?, selection, options)
    }

    /// Loads like [`Self::load`] from any source: a stored model, a directory, or files.
    ///
    /// The host makes of ggml's blocks the codes, scales and biases of the scheme of MLX that holds their values. Types that no
    /// scheme holds, and all with [`LoadOptions::decode`], are decoded to [`LoadOptions::dtype`], or to BF16.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::load`] except [`CudaError::Table`], and [`CudaError::NotStored`] for files without a digest that are
    /// to be verified.
    pub fn load_source(
        &self,
        source: &Source,
        selection: &Selection,
        options: &LoadOptions<'_>,
    ) -> Result<CudaWeights, CudaError> {
        if options.verify && !source.is_stored() {
            return Err(CudaError::NotStored { name: source.name().to_owned() });
        }
        if blocks::has_blocks(source) {
            return self.load_with_blocks(source, selection, options);
        }
        self.load_others(source, selection, options, None)
    }

    /// Loads the selected tensors, or only those that are stored as ggml's blocks or otherwise.
    fn load_others(
        &self,
        source: &Source,
        selection: &Selection,
        options: &LoadOptions<'_>,
        blocks: Option<bool>,
    ) -> Result<CudaWeights, CudaError> {
        if options.decode {
            self.load_decoded(source, selection, options, blocks)
        } else {
            self.load_part(source, selection, options, (None, blocks))
        }
    }

    /// Loads plain tensors as they are, and decodes the others on the device. The codes are on the device no longer than that
    /// takes.
    fn load_decoded(
        &self,
        source: &Source,
        selection: &Selection,
        options: &LoadOptions<'_>,
        blocks: Option<bool>,
    ) -> Result<CudaWeights, CudaError> {
        let started = Instant::now();
        let plain = self.load_part(source, selection, options, (Some(false), blocks))?;
        let unmeasured = LoadOptions { measure_link: false, ..*options };
        let codes = self.load_part(source, selection, &unmeasured, (Some(true), blocks))?;
        let mut weights = plain.with_decoded(&codes, options.dtype)?;
        weights.report_mut().time = started.elapsed();
        Ok(weights)
    }

    /// Loads the selected tensors, or only those that are quantized or not, and stored as ggml's blocks or not.
    fn load_part(
        &self,
        source: &Source,
        selection: &Selection,
        options: &LoadOptions<'_>,
        (quantized, blocks): (Option<bool>, Option<bool>),
    ) -> Result<CudaWeights, CudaError> {
        // The lock is taken before anything is planned or allocated, so that tensors of the load before this one are
        // shared, and not loaded again.
        let mut slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let started = Instant::now();
        let held = if options.reuse { self.inner.arenas.alive() } else { Vec::new() };
        let is_held = |origin: &_| held.iter().any(|arena| arena.find(origin).is_some());
        let is_held: Option<&dyn Fn(&_) -> bool> = if held.is_empty() { None } else { Some(&is_held) };
        let plan_options = LoadPlanOptions { dtype: options.dtype, held: is_held, quantized, blocks };
        let plan = LoadPlan::new(source.table(), selection, &plan_options)?;
        let mut report = LoadReport::of(&plan, options.verify);
        let (arena, ready) = self.fill(source, &plan, options, &mut slots, &mut report)?;

        let mut arenas = Vec::new();
        let mut of = |arena: &Arc<Arena>| {
            arenas.iter().position(|other| Arc::ptr_eq(other, arena)).unwrap_or_else(|| {
                arenas.push(Arc::clone(arena));
                arenas.len() - 1
            })
        };
        let mut places = Vec::with_capacity(plan.tensors.len());
        for part in plan.tensors.iter().flat_map(|tensor| &tensor.parts) {
            places.push(match (part.arena, &arena) {
                (Some(at), Some(arena)) => Place { arena: of(arena), at: index(at) },
                // Nothing was allocated, because every part is empty.
                (Some(_), None) => Place::NOWHERE,
                (None, _) => {
                    let found = held.iter().find_map(|arena| Some((arena, arena.find(&part.origin)?)));
                    let (arena, at) = found.expect("the plan leaves out only what is held");
                    Place { arena: of(arena), at }
                }
            });
        }
        if let Some(arena) = &arena {
            self.inner.arenas.add(arena);
        }
        report.time = started.elapsed();
        report.link = options.measure_link.then(|| self.inner.link(&mut slots, report.bytes));
        Ok(CudaWeights::new(self.clone(), arenas, plan.tensors, &places, ready, report).with_requested(plan.requested))
    }

    /// Reads the plan's bytes into a new arena, unless there are none, and records an event after all copies.
    fn fill(
        &self,
        source: &Source,
        plan: &LoadPlan,
        options: &LoadOptions<'_>,
        slots: &mut [Slot],
        report: &mut LoadReport,
    ) -> Result<(Option<Arc<Arena>>, Event), CudaError> {
        let Inner { device, options: made, streams, .. } = &*self.inner;
        let context = device.context();
        let mark = |error| CudaError::setup("mark the end of the load")(error);
        let ready = Event::new(context).map_err(mark)?;
        let mut arena = None;
        if plan.arena_bytes > 0 {
            let memory = self.allocate(plan)?;
            let blobs = Blobs::new(source, plan, options.cold);
            options.progress.begin("load", plan.arena_bytes);
            let chunks = if options.verify { blobs.chunks() } else { Vec::new() };
            report.verified_by_chunks = chunks.iter().flatten().count();
            let transfer = Transfer::new(&blobs, &memory, options, made.slot_bytes as u64, &chunks);
            transfer.run(slots, made.slots_per_thread, streams);
            transfer.finish(report)?;
            arena = Some(Arc::new(Arena::new(memory, plan)));
        }
        // Nothing is in flight here, because all slots are settled.
        ready.record(&streams[0]).map_err(mark)?;
        Ok((arena, ready))
    }

    fn allocate(&self, plan: &LoadPlan) -> Result<DeviceMemory, CudaError> {
        let context = self.inner.device.context();
        let len = usize::try_from(plan.arena_bytes).unwrap_or(usize::MAX);
        DeviceMemory::new(context, len).map_err(|source| CudaError::Allocate {
            ordinal: context.ordinal(),
            bytes: plan.arena_bytes,
            free: context.memory().map_or(0, |(free, _)| free),
            tensor: plan.tensor_at(0).map_or_else(String::new, |tensor| tensor.name.clone()),
            source,
        })
    }

    /// Dequantizer for the loader's device.
    pub(crate) fn dequantizer(&self) -> &Dequantizer {
        &self.inner.dequantizer
    }

    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.inner.streams[0]
    }
}
