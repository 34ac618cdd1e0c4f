//! Blobs before layout.

use longshore_quant::Scheme;

use super::planned::PlannedTensor;
use crate::source::member::Member;

/// A blob before layout. All quantized tensors in the blob have the same scheme.
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) component: Option<String>,
    pub(super) tensors: Vec<PlannedTensor>,
}

impl Draft {
    pub(super) fn new(name: String, tensors: Vec<PlannedTensor>) -> Self {
        Self { name, component: None, tensors }
    }

    /// Moves the draft from a member into the source, where `first` tensors precede those of the member.
    pub(super) fn of(mut self, member: &Member, first: usize) -> Self {
        self.name = member.stored_name(self.name);
        self.component = member.component().map(str::to_owned);
        for tensor in &mut self.tensors {
            tensor.name = member.stored_name(std::mem::take(&mut tensor.name));
            tensor.units.iter_mut().for_each(|unit| unit.parts = unit.parts.after(first));
        }
        self
    }

    /// The name of the layer that the blob becomes.
    pub(super) fn layer(&self) -> String {
        match &self.component {
            Some(component) => format!("{component}/{}", self.name),
            None => self.name.clone(),
        }
    }

    pub(super) fn scheme(&self) -> Option<Scheme> {
        self.tensors.iter().find_map(|tensor| tensor.scheme)
    }
}
