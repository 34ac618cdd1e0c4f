//! Comparison of the values that tensors stand for.

use std::{collections::HashMap, fmt};

use longshore_manifest::{
    Model, Store,
    weights::{self, OpenOptions, Tensor, Weights, WeightsError, plan::Selection},
};
use serde::Serialize;

/// The difference of two tensors of one name.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Difference {
    /// In their values. No difference where only one of two values is a number, or infinite.
    Values { largest_difference: Option<f32>, max_a: f32 },
    /// In their shapes, outermost extent first.
    Shapes { shape_a: Vec<u64>, shape_b: Vec<u64> },
    /// The values of one of them cannot be decoded.
    Unknown { problem: String },
}

/// The tensors of an opened model, by name, after `<component>/` in a pipeline.
pub(super) struct ByName<'w>(HashMap<String, Tensor<'w>>);

/// Opens all tensors of a model as they are stored.
pub(super) fn open(store: &Store, model: &Model) -> Result<Weights, WeightsError> {
    let selection = Selection { offsets: true, ..Selection::default() };
    Weights::open(store, model, &OpenOptions { selection, ..OpenOptions::default() })
}

impl<'w> ByName<'w> {
    pub(super) fn of(weights: &'w Weights) -> Self {
        let name = |tensor: &Tensor<'w>| match tensor.component() {
            Some(component) => format!("{component}/{}", tensor.name()),
            None => tensor.name().to_owned(),
        };
        Self(weights.iter().map(|tensor| (name(&tensor), tensor)).collect())
    }

    /// Returns the difference of the tensors called `name` of two models. `None` if their values are equal.
    pub(super) fn difference(&self, other: &Self, name: &str) -> Option<Difference> {
        let (a, b) = (self.0.get(name)?, other.0.get(name)?);
        Some(match weights::difference(a, b) {
            Ok(None) => return None,
            Ok(Some(weights::Difference::Shapes { a, b })) => {
                Difference::Shapes { shape_a: a.dims().to_vec(), shape_b: b.dims().to_vec() }
            }
            Ok(Some(weights::Difference::Values { largest, max_a })) => {
                Difference::Values { largest_difference: Some(largest).filter(|found| found.is_finite()), max_a }
            }
            Ok(Some(_)) => Difference::Unknown { problem: "they differ".to_owned() },
            Err(error) => Difference::Unknown { problem: error.to_string() },
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Values { largest_difference: Some(largest), max_a } => {
                write!(f, "by up to {largest:e}, max |a| is {max_a:e}")
            }
            Self::Values { largest_difference: None, max_a } => {
                write!(f, "one has values that are not finite where the other has others, max |a| is {max_a:e}")
            }
            Self::Shapes { shape_a, shape_b } => write!(f, "{shape_a:?} and {shape_b:?}"),
            Self::Unknown { problem } => f.write_str(problem),
        }
    }
}
