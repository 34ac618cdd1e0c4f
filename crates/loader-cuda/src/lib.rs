//! Stored model weights in CUDA memory, as fast as the link to the device allows.
//!
//! [`CudaWeights::load`] reads what a [`Selection`](longshore_manifest::weights::plan::Selection) takes of a stored model into one piece of device
//! memory, still quantized, and gives its tensors as typed views. Nothing but a driver is needed, and that only when it is called: the crate builds
//! anywhere, without a toolkit, and where there is no driver or no device it says so ([`ProbeError`]).
//!
//! ```no_run
//! use longshore_loader_cuda::{CudaWeights, LoadOptions};
//! use longshore_manifest::{ModelName, Store, weights::plan::Selection};
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
//! - [`Driver`] and [`Device`] are found without a panic. [`Loader`] holds what outlives a load: streams and a ring of pinned buffers.
//! - [`CudaWeights`], [`CudaTensor`] and [`CudaArray`] are the result. [`LoadReport`] says what it cost.
//! - What is loaded is handed on as addresses with a stream and an event, as [`dlpack`] capsules that keep it alive, or as a copy that cudarc
//!   owns ([`CudaArray::to_cuda_slice`]).
//! - [`dequantize`] decodes what lies in device memory quantized; [`CudaTensor::dequantize`] does so with a tensor that was loaded.
//!
//! # How
//!
//! A [load plan](longshore_manifest::weights::plan) lays the tensors out in the order of the files and cuts that layout into pieces of the size of a
//! buffer. Each of a few threads takes the next piece, reads all of it, of however many blobs, right to its places in a pinned buffer of its
//! own, and queues one copy to the device with an event behind it. It fills its second buffer while the first is copied, and waits for a
//! buffer's event before it fills that one again. So there is one allocation for a load, one copy for each 2 MiB, and no call for a
//! tensor. What is in the page cache is read from there; what is not, past it, a read of each thread at a time or many ([`ColdReads`]).
//!
//! Where it fails, every thread waits for its own copies, and then the memory goes. Tensors that another load has on the device already
//! are shared with it.
//!
//! # What is done about the hazards of the bindings
//!
//! The types of the driver's handles are [cudarc]'s, so that they can be used with it; its contexts are the same primary contexts. Of its
//! calls only the copy that it is to own is made by it ([`CudaArray::to_cuda_slice`]), for reasons found in its version 0.19.10:
//!
//! | hazard | what is done here |
//! |---|---|
//! | a missing library or symbol panics | every symbol is resolved once, by the probe, and its absence is a [`ProbeError`] |
//! | a pinned buffer's own event is recorded only under some settings | every buffer has an event of this crate's, always recorded, always waited for; where that fails the stream is waited for |
//! | a copy from registered pages outlives the borrow of them | buffers are owned by a slot that gives its bytes out only when no copy is in flight |
//! | pinned memory is write-combined, slow to read back | it is not |
//! | device memory leaks where making its events fails | memory has an owner from the moment it is allocated, and no events of its own |
//! | an error while freeing comes out of the next call that has nothing to do with it | it is kept, and [`CudaWeights::release`] gives it |
//! | a code that the bindings do not know is undefined behaviour | codes are plain integers |
//! | lengths that do not fit each other panic | no length comes from outside: copies go where the plan says, which was checked |
//! | a toolkit's stub is found before the driver | the versioned name is looked for first, kernels are launched by what was found there, and a stub that is found is an error that says so |
//!
//! Tests put a driver without a device in the place of the real one, which fails any call, runs copies as late as it may, and counts what is
//! left.

mod decoded;
pub mod dequantize;
mod device;
pub mod dlpack;
mod driver;
mod error;
mod interop;
mod load;
mod read;
mod weights;

pub use cudarc;

pub use decoded::{CudaFloat, CudaFloats, DecodeError};
pub use device::Device;
pub use driver::{CallError, Driver, ProbeError};
pub use error::CudaError;
pub use load::{LoadOptions, LoadReport, Loader, LoaderOptions};
pub use read::ColdReads;
pub use weights::{CudaArray, CudaComponent, CudaTensor, CudaWeights};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
