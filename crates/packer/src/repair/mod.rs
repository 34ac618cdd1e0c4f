//! Building damaged blobs again, from the checkpoint that their models were imported from.

mod candidates;
mod described;
mod model;
pub(crate) mod outcome;
pub(crate) mod run;
