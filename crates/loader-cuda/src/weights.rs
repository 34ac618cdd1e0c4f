//! Tensors in device memory.

use std::{fmt, sync::Arc};

use cudarc::driver::sys;
use longshore_manifest::{
    Model, Store,
    document::{Quantization, Role},
    weights::{
        ModelQuantization, Source, Weights,
        plan::{PartView, Selection, View},
    },
};
use longshore_quant::FloatType;
use longshore_st_format::{Dtype, Shape};

use crate::{
    CallError, CudaError, DecodeError, Device, LoadOptions, LoadReport, Loader,
    decoded::decoded_places,
    driver::{DeviceMemory, Event},
    load::Arena,
};

/// The tensors of a model, or of a selection of it, in the memory of one device.
///
/// The memory is freed when the weights are dropped and nothing else uses a tensor in it: neither weights that were
/// loaded later and share it, nor a `DLPack` capsule.
pub struct CudaWeights {
    loader: Loader,
    arenas: Vec<Arc<Arena>>,
    /// Tensors sorted by name and then by component, each with the index of its first part in `places`.
    tensors: Vec<(View, usize)>,
    places: Vec<Place>,
    ready: Event,
    report: LoadReport,
    /// Encoding that the model's import was asked for.
    requested: Option<Quantization>,
}

/// Place of an array.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Index into the arenas.
    pub(crate) arena: usize,
    /// Offset in bytes from the arena's start.
    pub(crate) at: usize,
}

/// One tensor in device memory: its weight, and its companions where it is quantized.
#[derive(Debug, Clone, Copy)]
pub struct CudaTensor<'w> {
    weights: &'w CudaWeights,
    view: &'w View,
    first: usize,
}

/// One array in device memory.
#[derive(Clone, Copy)]
pub struct CudaArray<'w> {
    /// Type of the elements.
    pub dtype: Dtype,
    /// Shape of the array.
    pub shape: &'w Shape,
    weights: &'w CudaWeights,
    place: Place,
    len: usize,
}

/// The tensors of one component of a pipeline.
#[derive(Debug, Clone, Copy)]
pub struct CudaComponent<'w> {
    weights: &'w CudaWeights,
    name: &'w str,
}

impl Place {
    /// Place of an array without bytes, where nothing was allocated.
    pub(crate) const NOWHERE: Self = Self { arena: usize::MAX, at: 0 };
}

impl CudaWeights {
    /// Loads a `selection` of `model` with the process's loader for device `ordinal`, counted from 0.
    ///
    /// # Errors
    ///
    /// The errors of [`Loader::shared`] and [`Loader::load`].
    pub fn load(
        store: &Store,
        model: &Model,
        ordinal: u32,
        selection: &Selection,
        options: &LoadOptions<'_>,
    ) -> Result<Self, CudaError> {
        Loader::shared(ordinal)?.load(store, model, selection, options)
    }

    /// Loads a `selection` of a source: a stored model, a directory, or files, like [`Self::load`].
    ///
    /// # Errors
    ///
    /// The errors of [`Loader::shared`] and [`Loader::load_source`].
    pub fn load_source(
        source: &Source,
        ordinal: u32,
        selection: &Selection,
        options: &LoadOptions<'_>,
    ) -> Result<Self, CudaError> {
        Loader::shared(ordinal)?.load_source(source, selection, options)
    }

    /// Creates weights from the loaded arenas. `places` are the places of all parts of the tensors, in order.
    pub(crate) fn new(
        loader: Loader,
        arenas: Vec<Arc<Arena>>,
        views: Vec<View>,
        places: &[Place],
        ready: Event,
        report: LoadReport,
    ) -> Self {
        let mut first = 0;
        let mut number = |view: View| {
            let mine = first;
            first += view.parts.len();
            (view, mine)
        };
        let tensors = views.into_iter().map(&mut number).collect();
        Self { loader, arenas, tensors, places: places.to_vec(), ready, report, requested: None }
    }

    pub(crate) fn with_requested(self, requested: Option<Quantization>) -> Self {
        Self { requested, ..self }
    }

    pub(crate) fn report_mut(&mut self) -> &mut LoadReport {
        &mut self.report
    }

    /// Adds tensors that were copied from host memory. `places` are the places of all of their parts, in order.
    pub(crate) fn with_uploaded(mut self, host: &Weights, memory: Option<DeviceMemory>, places: &[usize]) -> Self {
        let arena = self.arenas.len();
        if let Some(memory) = memory {
            self.report.arena_bytes += memory.len() as u64;
            self.arenas.push(Arc::new(Arena::made(memory)));
        }
        let mut places = places.iter();
        for tensor in host.iter() {
            let mut view = tensor.view().clone();
            // The order in which they were copied.
            view.parts.sort_by_key(|part| part.role);
            self.tensors.push((view, self.places.len()));
            for part in &tensor.view().parts {
                let at = places.next().copied().unwrap_or_default();
                let is_nowhere = self.arenas.len() == arena;
                self.places.push(if is_nowhere { Place::NOWHERE } else { Place { arena, at } });
                self.report.bytes += part.len;
            }
        }
        self.tensors.sort_by(|(a, _), (b, _)| (&a.name, &a.component).cmp(&(&b.name, &b.component)));
        self.report.tensors = self.tensors.len();
        self
    }

    /// Adds the values that the tensors of `codes` stand for, in `dtype` or in the float type from which each was quantized.
    pub(crate) fn with_decoded(mut self, codes: &Self, dtype: Option<Dtype>) -> Result<Self, DecodeError> {
        for target in FloatType::ALL {
            let is_of = |tensor: &CudaTensor<'_>| dtype.unwrap_or(tensor.dtype()).name() == target.name();
            let tensors: Vec<_> = codes.iter().filter(is_of).collect();
            let (memory, places) = decoded_places(&codes.loader, &tensors, target)?;
            let Some(memory) = memory else { continue };
            self.report.arena_bytes += memory.len() as u64;
            self.arenas.push(Arc::new(Arena::made(memory)));
            let arena = self.arenas.len() - 1;
            for (tensor, (at, len)) in tensors.iter().zip(places) {
                let mut view = tensor.view.clone();
                let dtype = dtype.unwrap_or(view.dtype);
                (view.dtype, view.quantization) = (dtype, None);
                view.parts.retain(|part| part.role == Role::Weight);
                for part in &mut view.parts {
                    (part.dtype, part.shape, part.len) = (dtype, view.shape.clone(), len as u64);
                }
                self.tensors.push((view, self.places.len()));
                self.places.push(Place { arena, at });
                self.report.bytes += len as u64;
            }
        }
        self.tensors.sort_by(|(a, _), (b, _)| (&a.name, &a.component).cmp(&(&b.name, &b.component)));
        let (report, of_codes) = (&mut self.report, &codes.report);
        report.tensors = self.tensors.len();
        report.read_bytes += of_codes.read_bytes;
        report.direct_bytes += of_codes.direct_bytes;
        report.ring_bytes += of_codes.ring_bytes;
        report.blobs += of_codes.blobs;
        report.verified_blobs += of_codes.verified_blobs;
        report.verified_by_chunks += of_codes.verified_by_chunks;
        report.partly_read_blobs += of_codes.partly_read_blobs;
        Ok(self)
    }

    /// Number of tensors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Returns true where there is no tensor.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Total size of all tensors in bytes, companions included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.report.bytes
    }

    /// Report of the load.
    #[must_use]
    pub fn report(&self) -> &LoadReport {
        &self.report
    }

    /// Device that holds the tensors.
    #[must_use]
    pub fn device(&self) -> &Device {
        self.loader.device()
    }

    /// Iterates over the names of the tensors, sorted.
    #[must_use]
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.iter().map(|(view, _)| view.name.as_str())
    }

    /// Returns true where there is a tensor of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Looks a tensor up by name. Where several components have it, returns that of the first component in byte order.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<CudaTensor<'_>> {
        let at = self.tensors.partition_point(|(view, _)| view.name.as_str() < name);
        self.tensors.get(at).filter(|(view, _)| view.name == name).map(|entry| self.tensor(entry))
    }

    /// Iterates over the tensors, sorted by name and then by component.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = CudaTensor<'_>> {
        self.tensors.iter().map(|entry| self.tensor(entry))
    }

    /// Returns the tensors of one component of a pipeline, such as `text_encoder`, or `None` where no loaded tensor
    /// belongs to it.
    #[must_use]
    pub fn component<'w>(&'w self, name: &'w str) -> Option<CudaComponent<'w>> {
        let component = CudaComponent { weights: self, name };
        component.iter().next().is_some().then_some(component)
    }

    /// Encoding of the quantized tensors, and whether some have another; `None` if there are none.
    #[must_use]
    pub fn quantization(&self) -> Option<ModelQuantization> {
        let encodings = self.tensors.iter().filter_map(|(view, _)| view.quantization.as_ref());
        ModelQuantization::of(self.requested.as_ref(), encodings)
    }

    /// Number of elements that share a scale, if it is the same for all quantized tensors.
    #[must_use]
    pub fn group_size(&self) -> Option<u32> {
        let mut all =
            self.tensors.iter().filter_map(|(view, _)| view.quantization.as_ref().map(|found| found.group_size));
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    }

    /// A stream of the loader, in the device's primary context, as a handle of the driver. It lives as long as the
    /// loader.
    #[must_use]
    pub fn stream(&self) -> sys::CUstream {
        self.loader.stream().handle()
    }

    /// An event on [`Self::stream`] after all copies, for libraries that need an event to wait for. The copies are done
    /// when a load returns, so no wait is necessary. The event lives as long as the weights.
    #[must_use]
    pub fn event(&self) -> sys::CUevent {
        self.ready.handle()
    }

    /// Frees the memory as dropping the weights does, and reports an error. Memory that others still use is freed when
    /// they release it.
    ///
    /// # Errors
    ///
    /// The first error of a call that freed something on this device since errors were last asked for. Everything that
    /// could be freed is freed.
    pub fn release(self) -> Result<(), CallError> {
        let context = Arc::clone(self.loader.device().context());
        drop(self);
        context.take_release_error().map_or(Ok(()), Err)
    }

    pub(crate) fn loader(&self) -> &Loader {
        &self.loader
    }

    fn tensor<'w>(&'w self, (view, first): &'w (View, usize)) -> CudaTensor<'w> {
        CudaTensor { weights: self, view, first: *first }
    }
}

impl fmt::Debug for CudaWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaWeights")
            .field("loader", &self.loader)
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

impl<'w> CudaComponent<'w> {
    /// Name of the component.
    #[must_use]
    pub fn name(&self) -> &'w str {
        self.name
    }

    /// Looks a tensor of the component up by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<CudaTensor<'w>> {
        let tensors = &self.weights.tensors;
        let key = (name, Some(self.name));
        let at = tensors.partition_point(|(view, _)| (view.name.as_str(), view.component.as_deref()) < key);
        let found = tensors.get(at).filter(|(view, _)| (view.name.as_str(), view.component.as_deref()) == key);
        found.map(|entry| self.weights.tensor(entry))
    }

    /// Iterates over the component's tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = CudaTensor<'w>> + use<'w> {
        let (weights, name) = (self.weights, self.name);
        weights.tensors.iter().map(|entry| weights.tensor(entry)).filter(move |tensor| tensor.component() == Some(name))
    }
}

impl<'w> CudaTensor<'w> {
    /// Name of the tensor, without a component's prefix.
    #[must_use]
    pub fn name(&self) -> &'w str {
        &self.view.name
    }

    /// Pipeline component that the tensor belongs to; `None` in a model of one part.
    #[must_use]
    pub fn component(&self) -> Option<&'w str> {
        self.view.component.as_deref()
    }

    /// Type of the values. For a quantized tensor, the float type that it was quantized from.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.view.dtype
    }

    /// Logical shape in elements of the selected part of the tensor.
    #[must_use]
    pub fn shape(&self) -> &'w Shape {
        &self.view.shape
    }

    /// Encoding of the values; `None` for a plain tensor.
    #[must_use]
    pub fn quantization(&self) -> Option<&'w Quantization> {
        self.view.quantization.as_ref()
    }

    /// The values, or the packed codes of a quantized tensor.
    #[must_use]
    pub fn weight(&self) -> CudaArray<'w> {
        self.part(Role::Weight).expect("every table was checked to have a weight for each tensor")
    }

    /// A companion of a quantized tensor: its scales, its biases or its global scale.
    #[must_use]
    pub fn companion(&self, role: Role) -> Option<CudaArray<'w>> {
        self.part(role)
    }

    pub(crate) fn loader(&self) -> &'w Loader {
        &self.weights.loader
    }

    fn part(&self, role: Role) -> Option<CudaArray<'w>> {
        let at = self.view.parts.iter().position(|part| part.role == role)?;
        let PartView { dtype, shape, len, .. } = &self.view.parts[at];
        let len = usize::try_from(*len).expect("it is in memory");
        Some(CudaArray {
            dtype: *dtype,
            shape,
            weights: self.weights,
            place: self.weights.places[self.first + at],
            len,
        })
    }
}

impl<'w> CudaArray<'w> {
    /// Device address of the first byte, a multiple of 256; 0 where the array has no bytes. Valid as long as the
    /// weights, or a capsule of this array, live.
    #[must_use]
    pub fn address(&self) -> u64 {
        let arena = self.arena().filter(|_| !self.is_empty());
        arena.map_or(0, |arena| arena.memory.address() + self.place.at as u64)
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns true where the array has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies the bytes to the host.
    ///
    /// # Errors
    ///
    /// The driver's error.
    pub fn to_host(&self) -> Result<Vec<u8>, CallError> {
        let mut out = vec![0; self.len];
        if let Some(arena) = self.arena() {
            arena.memory.read(self.place.at, &mut out, self.weights.loader().stream())?;
        }
        Ok(out)
    }

    /// Number of the device, counted from 0.
    #[must_use]
    pub fn ordinal(&self) -> u32 {
        self.weights.device().ordinal()
    }

    /// Arena that keeps the bytes in place.
    pub(crate) fn arena(&self) -> Option<&'w Arc<Arena>> {
        self.weights.arenas.get(self.place.arena)
    }
}

impl fmt::Debug for CudaArray<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaArray")
            .field("dtype", &self.dtype)
            .field("shape", &self.shape)
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}
