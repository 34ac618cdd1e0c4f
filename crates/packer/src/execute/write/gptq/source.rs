//! What codes are chosen by.

use longshore_quant::Scheme;

use crate::{
    execute::hessians::{HessianFile, TensorHessians},
    statistics::importance::TensorImportance,
};

/// What the codes of one tensor are chosen by.
#[derive(Clone, Copy)]
pub(in crate::execute::write) struct ByHessians<'a> {
    pub(in crate::execute::write) scheme: Scheme,
    pub(in crate::execute::write) file: &'a HessianFile,
    pub(in crate::execute::write) hessians: TensorHessians<'a>,
    /// The Hessians of another text.
    pub(in crate::execute::write) held: Option<TensorHessians<'a>>,
    /// The importance of the search that these codes have to be better than.
    pub(in crate::execute::write) importance: Option<&'a TensorImportance>,
}
