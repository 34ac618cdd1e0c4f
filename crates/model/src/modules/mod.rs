//! The modules of a checkpoint that a description of quantized weights names.

mod error;
mod named;
mod path;
mod patterns;
mod present;
#[cfg(feature = "patterns")]
mod regex;
#[cfg(not(feature = "patterns"))]
mod without;

pub use error::ModuleError;
pub use named::{NamedModules, Unmatched};
pub use path::{WRAPPERS, without_wrappers};
