//! Changes of a model's values that are made once, before they are stored: arithmetic on slices.
//!
//! - [`adapter`] reads what adapters say of themselves, fits them to a base, and tells for every weight which product of
//!   two factors is added to it.
//! - [`channels`] chooses factors of columns by the inputs that these are multiplied with.
//! - [`product`] computes such products: the same bits in blocks of any size, on any number of threads, on every machine.
//! - [`gptq`] chooses affine codes for the errors of those before them, by the factor of a Hessian: [`cholesky`].
//! - [`low_rank`] tells what is lost where matrices are replaced by products of two thin ones.
//! - [`rotation`] spreads outliers by Hadamard matrices, which [`hadamard`] computes.
//! - [`float`] reads and rounds the float types of checkpoints, and [`rounded`] chooses the codes of affine groups anew for
//!   scales that were rounded.
//!
//! Nothing here opens a file. A caller reads headers and documents, and passes ranges of tensors as slices.

mod eigen;
mod level;
mod share;

pub mod adapter;
pub mod channels;
pub mod cholesky;
pub mod codes;
pub mod float;
pub mod gptq;
pub mod hadamard;
pub mod low_rank;
pub mod product;
pub mod rotation;
pub mod rounded;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
