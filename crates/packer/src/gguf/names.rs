//! The names that tensors of GGUF files are stored under.

use longshore_manifest::document::Arrangement;

/// The form in which a tensor of a GGUF file is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Canonical {
    /// Name of the stored tensor.
    pub name: String,
    /// The arrangement of the values on the way from the file to the store.
    pub arrangement: Arrangement,
}

/// The form in which the tensor `name` of a file of this architecture is stored. No architecture is mapped: every tensor
/// keeps its name, and its values the order that they have in the file.
pub(crate) fn canonical(_architecture: Option<&str>, name: &str) -> Canonical {
    Canonical::kept(name)
}

impl Canonical {
    /// The form of a tensor that is stored under its name.
    pub(crate) fn kept(name: &str) -> Self {
        Self { name: name.to_owned(), arrangement: Arrangement::None }
    }
}
