//! Loads what is selected of a stored model.

mod arena;
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
    document::TensorTable,
    weights::plan::{LoadPlan, PlanOptions, Selection},
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

/// What loading needs besides memory for the tensors: streams and a ring of pinned staging buffers. Made once and used for many
/// loads, as pinning costs more than many a load. Cheap to clone.
///
/// Loads with one loader wait for each other: the link to the device is one.
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
    /// Each thread of a load has so many in a row as its own.
    slots: Mutex<Vec<Slot>>,
    arenas: Arenas,
}

/// The loaders that [`Loader::shared`] has made, by device.
static SHARED: Mutex<Vec<Loader>> = Mutex::new(Vec::new());

impl Loader {
    /// A loader for `device`, with its ring pinned.
    ///
    /// # Errors
    ///
    /// [`CudaError::Setup`] where a stream, an event or the pinned memory cannot be had.
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

    /// The process's loader for device `ordinal`, counted from 0, of the system's driver, with [`LoaderOptions::default`]. It is made when
    /// it is first asked for, and stays until [`Self::release_shared`].
    ///
    /// # Errors
    ///
    /// As [`Device::open`] and [`Self::new`].
    pub fn shared(ordinal: u32) -> Result<Self, CudaError> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = shared.iter().find(|loader| loader.device().ordinal() == ordinal) {
            return Ok(found.clone());
        }
        let loader = Self::new(&Device::open(ordinal)?, &LoaderOptions::default())?;
        shared.push(loader.clone());
        Ok(loader)
    }

    /// Lets the process's loaders go. Pinned memory is freed once nobody else has them.
    pub fn release_shared() {
        let released = std::mem::take(&mut *SHARED.lock().unwrap_or_else(PoisonError::into_inner));
        drop(released);
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    /// What the loader is made of.
    #[must_use]
    pub fn options(&self) -> &LoaderOptions {
        &self.inner.options
    }

    /// Loads what `selection` takes of `model`. When this returns, all of it is in the device's memory, and any stream may use it.
    ///
    /// # Errors
    ///
    /// Every [`CudaError`] but [`CudaError::Probe`]. Nothing stays allocated then, and no copy is in flight.
    pub fn load(
        &self,
        store: &Store,
        model: &Model,
        selection: &Selection,
        options: &LoadOptions<'_>,
    ) -> Result<CudaWeights, CudaError> {
        self.load_table(store, &*store.table(model)?, selection, options)
    }

    /// As [`Self::load`], for a model whose table is at hand.
    ///
    /// # Errors
    ///
    /// As [`Self::load`], but for [`CudaError::Table`].
    pub fn load_table(
        &self,
        store: &Store,
        table: &TensorTable,
        selection: &Selection,
        options: &LoadOptions<'_>,
    ) -> Result<CudaWeights, CudaError> {
        // Before anything is planned or allocated: what the load before this one brings is shared, not loaded beside it.
        let mut slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let started = Instant::now();
        let held = if options.reuse { self.inner.arenas.alive() } else { Vec::new() };
        let is_held = |source: &_| held.iter().any(|arena| arena.find(source).is_some());
        let mut plan_options = PlanOptions::default();
        plan_options.dtype = options.dtype;
        if !held.is_empty() {
            plan_options.held = Some(&is_held);
        }
        let plan = LoadPlan::new(table, selection, &plan_options)?;
        let mut report = LoadReport::of(&plan, options.verify);
        let (arena, ready) = self.fill(store, &plan, options, &mut slots, &mut report)?;

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
                // Every part is empty, so that nothing was allocated.
                (Some(_), None) => Place::NOWHERE,
                (None, _) => {
                    let found = held.iter().find_map(|arena| Some((arena, arena.find(&part.source)?)));
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
        Ok(CudaWeights::new(self.clone(), arenas, plan.tensors, &places, ready, report))
    }

    /// Reads what the plan wants into an arena of its own, if it wants anything; and a mark behind all copies.
    fn fill(
        &self,
        store: &Store,
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
            let blobs = Blobs::new(store, plan, options.cold);
            options.progress.begin("load", plan.arena_bytes);
            let transfer = Transfer::new(&blobs, &memory, options, made.slot_bytes as u64);
            transfer.run(slots, made.slots_per_thread, streams);
            transfer.finish(report)?;
            arena = Some(Arc::new(Arena::new(memory, plan)));
        }
        // Nothing is in flight: all slots are settled.
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

    /// What decodes on the device.
    pub(crate) fn dequantizer(&self) -> &Dequantizer {
        &self.inner.dequantizer
    }

    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.inner.streams[0]
    }
}
