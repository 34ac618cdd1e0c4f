//! One architecture of the table.

use crate::{
    config::reader::ConfigReader,
    experts::{ExpertName, ExpertNaming},
    facts::{Facts, read},
};

/// Function that reads facts from a configuration. It finds in the facts what general names of members gave, and adds to
/// it or replaces it.
pub type FactsReader = fn(&mut ConfigReader<'_>, &mut Facts);

/// A model architecture: its names, and how its configuration and its tensors are read.
#[derive(Debug, Clone)]
pub struct Architecture {
    pub(super) names: Vec<String>,
    pub(super) runtimes: Vec<String>,
    pub(super) facts: Option<FactsReader>,
    pub(super) experts: Option<ExpertNaming>,
    pub(super) is_transposed: bool,
}

impl Architecture {
    /// Makes an architecture with the names of its classes or the values of its `model_type`. Names are compared without
    /// case, punctuation and endings such as `ForCausalLM`.
    #[must_use]
    pub fn new<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self {
            names: names.into_iter().map(Into::into).collect(),
            runtimes: Vec::new(),
            facts: None,
            experts: None,
            is_transposed: false,
        }
    }

    /// Reads what the general names of members do not give with `reader`.
    #[must_use]
    pub fn with_facts(mut self, reader: FactsReader) -> Self {
        self.facts = Some(reader);
        self
    }

    /// Names experts as `naming` parses them, in place of [`ExpertName::parse`](crate::experts::ExpertName::parse).
    #[must_use]
    pub fn with_experts(mut self, naming: ExpertNaming) -> Self {
        self.experts = Some(naming);
        self
    }

    /// Stores fused expert weights as `[experts, in, out]`.
    #[must_use]
    pub fn with_transposed_experts(mut self) -> Self {
        self.is_transposed = true;
        self
    }

    /// Records that a runtime, such as `mlx-lm`, runs the architecture.
    #[must_use]
    pub fn with_runtime(mut self, runtime: impl Into<String>) -> Self {
        self.runtimes.push(runtime.into());
        self
    }

    /// Returns the names, the one to show first.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the runtimes that run the architecture.
    #[must_use]
    pub fn runtimes(&self) -> &[String] {
        &self.runtimes
    }

    /// Whether the architecture has facts that no member of its configuration states, and a reader that knows them.
    #[must_use]
    pub fn has_own_facts(&self) -> bool {
        self.facts.is_some()
    }

    /// Whether fused expert weights are stored as `[experts, in, out]`.
    #[must_use]
    pub fn has_transposed_experts(&self) -> bool {
        self.is_transposed
    }

    /// Returns how names of tensors are parsed for experts.
    #[must_use]
    pub fn experts(&self) -> ExpertNaming {
        self.experts.unwrap_or(|name| ExpertName::parse(name))
    }
}

/// Reads the facts of a model of this architecture, or of an unknown one.
pub(crate) fn read_facts(architecture: Option<&Architecture>, reader: &mut ConfigReader<'_>) -> Facts {
    let mut facts = Facts::default();
    read::read(reader, &mut facts);
    if let Some(own) = architecture.and_then(|architecture| architecture.facts) {
        own(reader, &mut facts);
    }
    facts
}
