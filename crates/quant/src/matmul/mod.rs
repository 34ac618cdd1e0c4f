//! Products with weights as they are stored: y = x Wᵀ, from mapped bytes, without expanding or copying them.
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod error;
mod exact;
mod fast;
mod level;
mod multiplier;
mod scratch;
mod task;
mod weights;

pub use error::MatmulError;
#[doc(hidden)]
pub use level::Level;
pub use multiplier::{ExpertRows, Multiplier, Precision, Product};
pub use weights::Weights;
