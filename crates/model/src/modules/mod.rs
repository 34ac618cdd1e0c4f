//! The modules of a checkpoint that a description of quantized weights names.

#[cfg(feature = "patterns")]
mod error;
#[cfg(feature = "patterns")]
mod named;
mod path;
#[cfg(feature = "patterns")]
mod patterns;
#[cfg(feature = "patterns")]
mod present;

#[cfg(feature = "patterns")]
pub use error::ModuleError;
#[cfg(feature = "patterns")]
pub use named::{NamedModules, Unmatched};
pub use path::{WRAPPERS, without_wrappers};
