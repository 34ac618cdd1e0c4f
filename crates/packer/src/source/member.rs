//! The models that a source is put together from.

use std::{ops::Range, path::PathBuf};

use longshore_model::ModelConfig;

use super::{
    classify::{Evidence, Kind},
    inventory::{Contents, Stored},
};

/// What stands before a draft model's names: `draft.` for tensors, `draft/` for files.
pub(crate) const DRAFT: &str = "draft";

/// One of the models that a [`Source`](crate::Source) is put together from: the only one of an ordinary checkpoint, a component of a
/// pipeline, or the draft model beside a target.
///
/// Members know nothing of each other: two may have tensors of one name, and each has its own experts and its own way to
/// store weights.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Member {
    /// What it is to the source.
    pub role: MemberRole,
    /// Its directory, or the single `.safetensors` file.
    pub root: PathBuf,
    /// What its own `config.json` says.
    pub config: Option<ModelConfig>,
    /// The class that a pipeline's `model_index.json` names for it.
    pub class: Option<String>,
    /// How its weights are stored.
    pub kind: Kind,
    /// Why it is of this kind. `None` for [`Kind::Float`].
    pub evidence: Option<Evidence>,
    /// Which of [`Source::tensors`](crate::Source::tensors) are its own.
    pub tensors: Range<usize>,
    /// What its kind of source knows of its tensors.
    pub(crate) contents: Contents,
}

/// What a [`Member`] is to its source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemberRole {
    /// The model itself.
    Whole,
    /// The component of a pipeline with this name, such as `text_encoder_2`.
    Component(String),
    /// A small model that guesses what the target will say.
    Draft,
}

impl Member {
    /// The name of the pipeline's component; `None` for any other member.
    #[must_use]
    pub fn component(&self) -> Option<&str> {
        match &self.role {
            MemberRole::Component(name) => Some(name),
            MemberRole::Whole | MemberRole::Draft => None,
        }
    }

    /// What tells it from the source's other members: the component's name, or `draft`.
    pub(crate) fn name(&self) -> Option<&str> {
        if self.is_draft() { Some(DRAFT) } else { self.component() }
    }

    /// Whether it is the draft model.
    #[must_use]
    pub fn is_draft(&self) -> bool {
        self.role == MemberRole::Draft
    }

    /// What it is: as its configuration says, else as the pipeline does.
    #[must_use]
    pub fn architecture(&self) -> Option<&str> {
        let own = self.config.as_ref().and_then(|config| config.architecture.as_deref());
        own.or(self.class.as_deref())
    }

    /// What a policy calls it: `vae` whatever its directory is called, else the component's name.
    pub(crate) fn component_for_policy(&self) -> Option<&str> {
        let listed = self.class.as_deref().map(ModelConfig::component_of_class);
        let by_class = self.config.as_ref().and_then(ModelConfig::component).or(listed);
        match self.component() {
            Some(name) if by_class != Some("vae") => Some(name),
            _ => by_class,
        }
    }

    /// The table of the store that it comes from; `None` for a checkpoint.
    pub(crate) fn stored(&self) -> Option<&Stored> {
        match &self.contents {
            Contents::Stored(stored) => Some(stored),
            Contents::Checkpoint { .. } => None,
        }
    }

    /// The tensor's name in a store, from that in the member's own files.
    pub(crate) fn stored_name(&self, name: String) -> String {
        if self.is_draft() { format!("{DRAFT}.{name}") } else { name }
    }
}
