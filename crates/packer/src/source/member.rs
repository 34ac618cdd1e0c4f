//! The members of a source: the models that it consists of.

use std::{ops::Range, path::PathBuf};

use longshore_model::ModelConfig;

use super::{
    classify::{Evidence, Kind},
    inventory::{Contents, Stored},
};

/// Prefix of a draft model's names: `draft.` for tensors, `draft/` for files.
pub(crate) const DRAFT: &str = "draft";

/// One of the models that a [`Source`](crate::Source) consists of: the only one of an ordinary checkpoint, a component
/// of a pipeline, or the draft model beside a target.
///
/// Members are independent of each other: two members may have tensors of the same name, and each member has its own
/// experts and its own way to store weights.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Member {
    /// The role of the member in the source.
    pub role: MemberRole,
    /// Directory of the member, or the single `.safetensors` or `.gguf` file.
    pub root: PathBuf,
    /// Configuration from the member's own `config.json`.
    pub config: Option<ModelConfig>,
    /// The class that a pipeline's `model_index.json` names for the member.
    pub class: Option<String>,
    /// The form in which the weights of the member are stored.
    pub kind: Kind,
    /// The tensor or document that `kind` was recognised by. `None` for [`Kind::Float`] and [`Kind::Gguf`].
    pub evidence: Option<Evidence>,
    /// Indices of the member's tensors in [`Source::tensors`](crate::Source::tensors).
    pub tensors: Range<usize>,
    /// Knowledge of the kind of source about the tensors of the member.
    pub(crate) contents: Contents,
}

/// The role of a [`Member`] in its source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemberRole {
    /// The model itself.
    Whole,
    /// The component of a pipeline with the given name, such as `text_encoder_2`.
    Component(String),
    /// A small model that predicts the tokens of the target.
    Draft,
}

impl Member {
    /// The name of the pipeline's component; `None` for other members.
    #[must_use]
    pub fn component(&self) -> Option<&str> {
        match &self.role {
            MemberRole::Component(name) => Some(name),
            MemberRole::Whole | MemberRole::Draft => None,
        }
    }

    /// The name that tells the member from others of the source: that of the component, or `draft`.
    pub(crate) fn name(&self) -> Option<&str> {
        if self.is_draft() { Some(DRAFT) } else { self.component() }
    }

    /// Whether the member is the draft model.
    #[must_use]
    pub fn is_draft(&self) -> bool {
        self.role == MemberRole::Draft
    }

    /// The architecture of the member, from its configuration if that has one, else from the pipeline.
    #[must_use]
    pub fn architecture(&self) -> Option<&str> {
        let own = self.config.as_ref().and_then(|config| config.architecture.as_deref());
        own.or(self.class.as_deref())
    }

    /// The name of the component in a policy: `vae` whatever its directory is called, else the component's name.
    pub(crate) fn component_for_policy(&self) -> Option<&str> {
        let listed = self.class.as_deref().map(ModelConfig::component_of_class);
        let by_class = self.config.as_ref().and_then(ModelConfig::component).or(listed);
        match self.component() {
            Some(name) if by_class != Some("vae") => Some(name),
            _ => by_class,
        }
    }

    /// The table of the stored model that the member comes from; `None` for a checkpoint.
    pub(crate) fn stored(&self) -> Option<&Stored> {
        match &self.contents {
            Contents::Stored(stored) => Some(stored),
            Contents::Checkpoint { .. } | Contents::Gguf(_) => None,
        }
    }

    /// The name that a tensor gets in a store, from its name in the member's own files.
    pub(crate) fn stored_name(&self, name: String) -> String {
        if self.is_draft() { format!("{DRAFT}.{name}") } else { name }
    }
}
