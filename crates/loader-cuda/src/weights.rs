//! Tensors in device memory.

use std::{fmt, sync::Arc};

use cudarc::driver::sys;
use longshore_manifest::{
    Model, Store,
    document::{Quantization, Role},
    weights::plan::{PartView, Selection, View},
};
use longshore_st_format::{Dtype, Shape};

use crate::{CallError, CudaError, Device, LoadOptions, LoadReport, Loader, driver::Event, load::Arena};

/// The tensors of a model, or of a selection of it, in the memory of one device.
///
/// Their memory is freed when the weights are dropped and nobody else has a tensor in it: weights that were loaded later and share it, or a
/// `DLPack` capsule.
pub struct CudaWeights {
    loader: Loader,
    arenas: Vec<Arc<Arena>>,
    /// Sorted by name and then by component, with the place of its first part.
    tensors: Vec<(View, usize)>,
    places: Vec<Place>,
    ready: Event,
    report: LoadReport,
}

/// Where an array lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// An index into the arenas.
    pub(crate) arena: usize,
    /// In bytes from the arena's start.
    pub(crate) at: usize,
}

/// One tensor in device memory: its weight and, where it is quantized, its companions.
#[derive(Debug, Clone, Copy)]
pub struct CudaTensor<'w> {
    weights: &'w CudaWeights,
    view: &'w View,
    first: usize,
}

/// One array in device memory.
#[derive(Clone, Copy)]
pub struct CudaArray<'w> {
    /// The type of the elements.
    pub dtype: Dtype,
    /// The shape.
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
    /// Of an array without bytes, where nothing was allocated.
    pub(crate) const NOWHERE: Self = Self { arena: usize::MAX, at: 0 };
}

impl CudaWeights {
    /// Loads what `selection` takes of `model`, with the process's loader for device `ordinal`, counted from 0.
    ///
    /// # Errors
    ///
    /// As [`Loader::shared`] and [`Loader::load`].
    pub fn load(
        store: &Store,
        model: &Model,
        ordinal: u32,
        selection: &Selection,
        options: &LoadOptions<'_>,
    ) -> Result<Self, CudaError> {
        Loader::shared(ordinal)?.load(store, model, selection, options)
    }

    /// `places` are those of all parts of the tensors, in their order.
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
        Self { loader, arenas, tensors, places: places.to_vec(), ready, report }
    }

    /// The number of tensors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is no tensor.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The size of all tensors in bytes, companions included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.report.bytes
    }

    /// What the load did.
    #[must_use]
    pub fn report(&self) -> &LoadReport {
        &self.report
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Device {
        self.loader.device()
    }

    /// The names, sorted.
    #[must_use]
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.iter().map(|(view, _)| view.name.as_str())
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The tensor of this name; where several components have one, that of the first component in byte order.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<CudaTensor<'_>> {
        let at = self.tensors.partition_point(|(view, _)| view.name.as_str() < name);
        self.tensors.get(at).filter(|(view, _)| view.name == name).map(|entry| self.tensor(entry))
    }

    /// The tensors, sorted by name and then by component.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = CudaTensor<'_>> {
        self.tensors.iter().map(|entry| self.tensor(entry))
    }

    /// The tensors of one component of a pipeline, such as `text_encoder`; `None` where it has none here.
    #[must_use]
    pub fn component<'w>(&'w self, name: &'w str) -> Option<CudaComponent<'w>> {
        let component = CudaComponent { weights: self, name };
        component.iter().next().is_some().then_some(component)
    }

    /// How the quantized tensors are coded, if all are coded alike; `None` if there are none or they differ.
    #[must_use]
    pub fn quantization(&self) -> Option<&Quantization> {
        let mut all = self.tensors.iter().filter_map(|(view, _)| view.quantization.as_ref());
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    }

    /// The number of elements that share a scale, if that is the same for all quantized tensors.
    #[must_use]
    pub fn group_size(&self) -> Option<u32> {
        let mut all =
            self.tensors.iter().filter_map(|(view, _)| view.quantization.as_ref().map(|found| found.group_size));
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    }

    /// A stream of the loader's, in the device's primary context, as the driver names it. It lives as long as the loader does.
    #[must_use]
    pub fn stream(&self) -> sys::CUstream {
        self.loader.stream().handle()
    }

    /// An event on [`Self::stream`] behind all copies, for a library that wants one to wait for. The copies are done when a load returns, so
    /// that nothing has to wait. It lives as long as the weights do.
    #[must_use]
    pub fn event(&self) -> sys::CUevent {
        self.ready.handle()
    }

    /// Frees the memory, as dropping does, and tells of an error. What others still use is freed when they let it go.
    ///
    /// # Errors
    ///
    /// The first error of a call that freed something on this device since it was last asked for; what could be freed is freed.
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
    /// The component's name.
    #[must_use]
    pub fn name(&self) -> &'w str {
        self.name
    }

    /// The tensor of this name in the component.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<CudaTensor<'w>> {
        let tensors = &self.weights.tensors;
        let key = (name, Some(self.name));
        let at = tensors.partition_point(|(view, _)| (view.name.as_str(), view.component.as_deref()) < key);
        let found = tensors.get(at).filter(|(view, _)| (view.name.as_str(), view.component.as_deref()) == key);
        found.map(|entry| self.weights.tensor(entry))
    }

    /// The component's tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = CudaTensor<'w>> + use<'w> {
        let (weights, name) = (self.weights, self.name);
        weights.tensors.iter().map(|entry| weights.tensor(entry)).filter(move |tensor| tensor.component() == Some(name))
    }
}

impl<'w> CudaTensor<'w> {
    /// The name, without a component's prefix.
    #[must_use]
    pub fn name(&self) -> &'w str {
        &self.view.name
    }

    /// The pipeline component that it belongs to; `None` in a model of one part.
    #[must_use]
    pub fn component(&self) -> Option<&'w str> {
        self.view.component.as_deref()
    }

    /// The type of the values: of a quantized tensor, the float type that it was quantized from.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.view.dtype
    }

    /// The logical shape in elements, of what was selected.
    #[must_use]
    pub fn shape(&self) -> &'w Shape {
        &self.view.shape
    }

    /// How the values are coded; `None` for a plain tensor.
    #[must_use]
    pub fn quantization(&self) -> Option<&'w Quantization> {
        self.view.quantization.as_ref()
    }

    /// The values, or the packed codes.
    #[must_use]
    pub fn weight(&self) -> CudaArray<'w> {
        self.part(Role::Weight).expect("every table was checked to have a weight for each tensor")
    }

    /// A companion of a quantized tensor: its scales, biases or global scale.
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
    /// The address of the first byte in the device's memory, a multiple of 256; 0 where there is no byte. Valid as long as the
    /// weights, or a capsule of this array, live.
    #[must_use]
    pub fn address(&self) -> u64 {
        let arena = self.arena().filter(|_| !self.is_empty());
        arena.map_or(0, |arena| arena.memory.address() + self.place.at as u64)
    }

    /// The number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes, copied to the host.
    ///
    /// # Errors
    ///
    /// What the driver answered.
    pub fn to_host(&self) -> Result<Vec<u8>, CallError> {
        let mut out = vec![0; self.len];
        if let Some(arena) = self.arena() {
            arena.memory.read(self.place.at, &mut out, self.weights.loader().stream())?;
        }
        Ok(out)
    }

    /// The number of the device, counted from 0.
    #[must_use]
    pub fn ordinal(&self) -> u32 {
        self.weights.device().ordinal()
    }

    /// What keeps the bytes where they are.
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
