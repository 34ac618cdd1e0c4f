//! Loading: several threads make the windows, and this one makes the tensors of them.

use std::{
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use longshore_manifest::document::Role;
use mlx_rs::Array;

use super::{
    base::{Base, is_taken},
    ffi,
    quantized::{GLOBAL_SCALE, mlx_dtype},
    reader::{self, Failure},
    view::{cast, copied, empty, multiply, view},
};
use crate::{
    LoadError, LoadOptions, LoadOutcome, Memory, MlxError, QuantizedTensor, Tensor,
    plan::{Place, Plan, Window},
    source::{Index, Indexed, IndexedPart},
};

/// More threads than this do not read faster.
const MAX_THREADS: NonZero<usize> = NonZero::new(8).expect("it is not zero");

/// The tensors of `index`, in its order.
pub(crate) fn load(index: &Index, plan: &Plan, options: &LoadOptions) -> Result<(Vec<Tensor>, LoadOutcome), LoadError> {
    let failure = Arc::<Failure>::default();
    let made = vec![[const { None }; 4]; index.tensors.len()];
    let mut arrays = Arrays { index, options, made, failure: Arc::clone(&failure) };
    let mut outcome = LoadOutcome { tensors: index.tensors.len(), mapped_bytes: 0, copied_bytes: 0 };
    for place in &plan.empty {
        arrays.put(*place, empty)?;
    }
    for place in &plan.loose {
        let part = &index.tensors[place.tensor].parts[place.part];
        for piece in &part.pieces {
            let (start, end) = (piece.offset, piece.end());
            let range = usize::try_from(start).ok().zip(usize::try_from(end - start).ok());
            let (start, len) = range.expect("the pieces lie in a file that is mapped");
            index.files[part.file].read_ahead_pages(start, len)?;
        }
        arrays.put(*place, |part| copied(&index.files[part.file], part))?;
        outcome.copied_bytes += index.tensors[place.tensor].parts[place.part].len as u64;
    }
    if is_mapped(options) {
        arrays.map(plan, &mut outcome)?;
    } else {
        arrays.read(plan, &mut outcome)?;
    }
    let fail = |source| LoadError::Mlx { tensor: None, source };
    let tensors = index.tensors.iter().zip(arrays.made).map(|(tensor, parts)| assemble(tensor, parts, options));
    let tensors = tensors.collect::<Result<Vec<_>, _>>().map_err(fail)?;
    ffi::eval(tensors.iter().flat_map(Tensor::arrays)).map_err(fail)?;
    failure.take().map_or(Ok((tensors, outcome)), |error| Err(error.into()))
}

/// Whether MLX is to take the memory of windows as it is.
pub(crate) fn is_mapped(options: &LoadOptions) -> bool {
    match options.memory {
        Memory::Mapped => true,
        Memory::Copied => false,
        Memory::Automatic => is_taken(),
    }
}

/// The arrays that are made, by tensor and part.
struct Arrays<'l> {
    index: &'l Index,
    options: &'l LoadOptions,
    made: Vec<[Option<Array>; 4]>,
    /// Where readers say what went wrong.
    failure: Arc<Failure>,
}

impl Arrays<'_> {
    /// Makes the arrays of windows that MLX reads itself, on its own threads and in the one evaluation at the end. Where some are cast, a
    /// few windows at a time are read before, so that no more is there of what they were than of what they become.
    fn read(&mut self, plan: &Plan, outcome: &mut LoadOutcome) -> Result<(), LoadError> {
        let threads = self.threads();
        let at_a_time = if self.options.dtype.is_some() { threads.get() } else { usize::MAX };
        for windows in plan.windows.chunks(at_a_time.min(plan.windows.len()).max(1)) {
            let mut casts = Vec::new();
            for window in windows {
                let base = reader::array(&self.index.files[window.file], window, threads, &self.failure);
                casts.extend(self.views(&base.map_err(|source| failed(self.index, window, source))?, window)?);
                outcome.copied_bytes += window.len as u64;
            }
            self.eval(&casts).map_err(|source| failed(self.index, &windows[0], source))?;
            if let Some(error) = self.failure.take() {
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Makes the arrays of windows that MLX takes as they are. Several threads read ahead; at any time at most as many windows as there are
    /// threads are made and not yet used, and as many again are being made.
    fn map(&mut self, plan: &Plan, outcome: &mut LoadOutcome) -> Result<(), LoadError> {
        let (index, next) = (self.index, AtomicUsize::new(0));
        let threads = self.threads().get().min(plan.windows.len());
        let (sender, receiver) = mpsc::sync_channel(threads);
        let read = |sender: mpsc::SyncSender<_>| {
            while let Some(window) = plan.windows.get(next.fetch_add(1, Ordering::Relaxed)) {
                let base = make(index, window);
                // Nobody listens any more where another window has failed.
                if sender.send((window, base)).is_err() {
                    break;
                }
            }
        };
        let mut take = |window: &Window, base: Result<Base, LoadError>| {
            let base = base?;
            let bytes = if base.is_copy { &mut outcome.copied_bytes } else { &mut outcome.mapped_bytes };
            *bytes += window.len as u64;
            // What is cast has other memory of its own. Done at once, so that the window's can be freed before the next.
            let casts = self.views(&base.array, window)?;
            self.eval(&casts).map_err(|source| failed(index, window, source))
        };
        thread::scope(|scope| {
            let mut others = 0;
            for _ in 0..threads {
                let sender = sender.clone();
                others += usize::from(thread::Builder::new().spawn_scoped(scope, || read(sender)).is_ok());
            }
            drop(sender);
            if others == 0 {
                return plan.windows.iter().try_for_each(|window| take(window, make(index, window)));
            }
            // Owned by this closure, so that the threads stop where it returns early.
            let receiver = receiver;
            receiver.iter().try_for_each(|(window, base)| take(window, base))
        })
    }

    /// Makes what lies in a window, and says what of it was cast.
    fn views(&mut self, base: &Array, window: &Window) -> Result<Vec<Place>, LoadError> {
        let mut casts = Vec::new();
        for &place in &window.parts {
            if self.put(place, |part| view(base, window, part))? {
                casts.push(place);
            }
        }
        Ok(casts)
    }

    fn eval(&self, places: &[Place]) -> Result<(), MlxError> {
        if places.is_empty() {
            return Ok(());
        }
        ffi::eval(places.iter().filter_map(|place| self.made[place.tensor][place.part].as_ref()))
    }

    fn threads(&self) -> NonZero<usize> {
        let all = || thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN).min(MAX_THREADS);
        self.options.threads.unwrap_or_else(all)
    }

    /// Makes an array, and says whether it was cast.
    fn put(
        &mut self,
        place: Place,
        make: impl FnOnce(&IndexedPart) -> Result<Array, MlxError>,
    ) -> Result<bool, LoadError> {
        let tensor = &self.index.tensors[place.tensor];
        let fail = |source| LoadError::Mlx { tensor: Some(tensor.name.clone()), source };
        let part = &tensor.parts[place.part];
        let mut array = make(part).map_err(fail)?;
        let target = self.options.dtype.map(mlx_dtype).filter(|_| is_cast(tensor, part, self.options.decode));
        let target = target.filter(|target| u32::from(array.dtype()) != *target);
        if let Some(target) = target {
            array = cast(&array, target).map_err(fail)?;
        }
        self.made[place.tensor][place.part] = Some(array);
        Ok(target.is_some())
    }
}

/// The array of a window, whose pages are read ahead.
fn make(index: &Index, window: &Window) -> Result<Base, LoadError> {
    let file = &index.files[window.file];
    file.read_ahead(window.offset, window.len)?;
    Base::new(file, window).map_err(|source| failed(index, window, source))
}

/// An error about a window, by the first tensor that lies in it.
fn failed(index: &Index, window: &Window, source: MlxError) -> LoadError {
    LoadError::Mlx { tensor: Some(index.tensors[window.parts[0].tensor].name.clone()), source }
}

/// Whether a target type replaces that of `part`: it does that of floats, and among those of a quantized tensor that of affine scales and
/// biases, which are floats like any other to MLX, unless they are needed to decode.
fn is_cast(tensor: &Indexed, part: &IndexedPart, decode: bool) -> bool {
    let is_values = tensor.coding.is_none() || matches!(part.role, Role::Scale | Role::Bias) && !decode;
    is_values && part.element.is_float()
}

fn assemble(tensor: &Indexed, parts: [Option<Array>; 4], options: &LoadOptions) -> Result<Tensor, MlxError> {
    let mut by_role = tensor.parts.iter().map(|part| part.role).zip(parts).collect::<Vec<_>>();
    let mut take =
        |wanted: Role| by_role.iter_mut().find(|(role, _)| *role == wanted).and_then(|(_, part)| part.take());
    let weight = take(Role::Weight).expect("every part is in a window, is loose or is empty");
    let Some(coding) = &tensor.coding else { return Ok(Tensor::Plain(weight)) };
    let global_scale = take(Role::GlobalScale).map(|stored| multiply(&stored, &Array::from_f32(GLOBAL_SCALE)));
    let quantized = QuantizedTensor {
        weight,
        scale: take(Role::Scale).expect("a quantized tensor was checked to have a scale"),
        bias: take(Role::Bias),
        global_scale: global_scale.transpose()?,
        scheme: coding.scheme,
    };
    if options.decode {
        let to = options.dtype.or_else(|| tensor.dtype.name().parse().ok());
        return quantized.dequantize(to).map(Tensor::Plain);
    }
    Ok(Tensor::Quantized(quantized))
}
