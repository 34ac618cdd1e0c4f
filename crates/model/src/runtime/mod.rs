//! What a runtime has to know of a model.

mod dialect;
pub(crate) mod fields;
pub(crate) mod template;
