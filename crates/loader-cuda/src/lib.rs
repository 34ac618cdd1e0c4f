//! Stored model weights in CUDA memory, as fast as the link to the device allows.
//!
//! [`CudaWeights::load`] reads a [`Selection`](longshore_manifest::weights::plan::Selection) of a stored model into one
//! allocation of device memory, still quantized, and returns its tensors as typed views. Only a driver is needed, and
//! only at run time: the crate builds anywhere, without a toolkit. Where there is no driver or no device, calls return
//! a [`ProbeError`].
//!
//! ```no_run
//! use longshore_loader_cuda::{
//!     CudaWeights, LoadOptions,
//!     manifest::{ModelName, Store, weights::plan::Selection},
//! };
//!
//! fn load(store: &Store, name: &ModelName) -> Result<CudaWeights, Box<dyn std::error::Error>> {
//!     let model = store.model(name)?;
//!     let weights = CudaWeights::load(store, &model, 0, &Selection::default(), &LoadOptions::default())?;
//!     for tensor in weights.iter() {
//!         let codes = tensor.weight();
//!         assert_eq!(codes.address() % 256, 0);
//!     }
//!     Ok(weights)
//! }
//! ```
//!
//! - [`Driver`] and [`Device`] are opened without a panic. A [`Loader`] holds what outlives a load: streams and a ring
//!   of pinned buffers.
//! - [`CudaWeights`], [`CudaTensor`] and [`CudaArray`] are the result of a load. [`LoadReport`] describes its cost.
//! - Loaded arrays are handed on as addresses with a stream and an event, as [`dlpack`] capsules that keep the memory
//!   alive, or as copies that cudarc owns ([`CudaArray::to_cuda_slice`]).
//! - [`ExpertSlots`] holds experts of a mixture in slots of device memory, for the cache of [`experts`](longshore_experts).
//! - [`dequantize`] decodes quantized tensors in device memory. [`CudaTensor::dequantize`] decodes a loaded tensor.
//!
//! The crates whose types are part of this interface are re-exported as [`cudarc`], [`longshore_experts`], [`manifest`], [`quant`] and [`st_format`], so that a
//! program needs to depend on this crate alone.
//!
//! # Implementation
//!
//! A [load plan](longshore_manifest::weights::plan) lays the tensors out in the order of the files, and cuts this
//! layout into pieces of the size of a buffer. Each of a few threads takes the next piece and reads all of it, from one
//! or more blobs, directly to its place in one of the thread's pinned buffers. The thread then queues one copy to the
//! device, followed by an event. It fills its second buffer while the first is copied, and waits for a buffer's event
//! before it fills that buffer again. A load therefore makes one allocation and one copy per 2 MiB, and no call per
//! tensor. Bytes in the page cache are read from there. Other bytes are read past it, one read or many reads at a time
//! per thread ([`ColdReads`]).
//!
//! If a load fails, every thread waits for its own copies before the memory is freed. Tensors that another load already
//! has on the device are shared with it.
//!
//! # Hazards of the bindings
//!
//! The driver's handles have [cudarc]'s types, so they can be used with cudarc, and the contexts are the same primary
//! contexts. This crate calls cudarc itself only for the copy that cudarc owns ([`CudaArray::to_cuda_slice`]). Its
//! version 0.19.10 has these hazards:
//!
//! | hazard in cudarc | in this crate |
//! |---|---|
//! | a missing library or symbol panics | the probe resolves every symbol once; a missing one is a [`ProbeError`] |
//! | a pinned buffer's own event is recorded only under some settings | every buffer has an event of this crate, always recorded and always waited for; where that fails, the stream is waited for |
//! | a copy from registered pages outlives the borrow of the pages | a slot owns its buffer, and exposes the bytes only when no copy is in flight |
//! | pinned memory is write-combined, which is slow to read back | pinned memory is not write-combined |
//! | device memory leaks where the creation of its events fails | memory has an owner from its allocation on, and no events of its own |
//! | an error from freeing is reported by a later, unrelated call | the error is stored, and [`CudaWeights::release`] returns it |
//! | an error code that the bindings do not know is undefined behaviour | codes are plain integers |
//! | lengths that do not match panic | lengths do not come from callers: copies go to the places of the checked plan |
//! | a toolkit's stub is found before the driver | the versioned name is tried first, the driver found there launches the kernels, and a stub is reported as such |
//!
//! The tests replace the driver by one without a device. It fails any call on request, runs copies as late as possible,
//! and counts leaks.

mod decoded;
pub mod dequantize;
mod device;
pub mod dlpack;
mod driver;
mod error;
mod experts;
mod interop;
mod load;
mod read;
mod weights;

pub use decoded::{CudaFloat, CudaFloats, DecodeError};
pub use device::Device;
pub use driver::{CallError, Driver, ProbeError};
pub use error::CudaError;
pub use experts::{ExpertSlot, ExpertSlots};
pub use load::{LoadOptions, LoadReport, Loader, LoaderOptions};
pub use read::ColdReads;
pub use weights::{CudaArray, CudaComponent, CudaTensor, CudaWeights};

pub use cudarc;
pub use longshore_experts;
pub use longshore_manifest as manifest;
pub use longshore_quant as quant;
pub use longshore_st_format as st_format;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
