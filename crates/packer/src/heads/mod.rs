//! Draft heads: an EAGLE-3 head beside its target, and MTP layers inside a checkpoint.
//!
//! A head is known by its whole set of tensors. A part of EAGLE-3's set is an error that names what is missing, since a runtime would
//! find out later. Nothing runs MTP layers, which are a part of a checkpoint: where they are not as expected, a warning says so, and
//! they are stored without a role.
//!
//! | kind | its own tensors | beside them |
//! |---|---|---|
//! | EAGLE-3 | `fc`, `midlayer.hidden_norm`, `norm`, `lm_head`, `d2t` | one decoder layer, `midlayer.*` or `layers.0.*` |
//! | MTP, DeepSeek's and GLM's | `layers.N.enorm`, `.hnorm`, `.eh_proj`, `.shared_head.norm` | a decoder layer, N from the number of layers on |
//! | MTP, `MiMo`'s | `mtp_layers.J.token_layernorm`, `.hidden_layernorm`, `.input_proj`, `.final_layernorm` | a decoder layer |
//! | MTP, Qwen's | `mtp.pre_fc_norm_embedding`, `.pre_fc_norm_hidden`, `.fc`, `.norm` | decoder layers, `mtp.layers.J.*` |

mod eagle3;
mod error;
mod layer;
pub(crate) mod maps;
mod mtp;
mod shapes;

pub use error::HeadError;

use longshore_manifest::document::{DraftHead, Facts, HeadRole};
use longshore_model::ModelConfig;

use self::shapes::{Shapes, Target};

/// The tensors of a draft beside a target, by their names in its own files.
pub(crate) struct DraftTensors<'t> {
    /// Names with logical shapes.
    pub(crate) tensors: Vec<(&'t str, &'t [u64])>,
    /// The hidden size that the draft's configuration states.
    pub(crate) hidden: Option<u64>,
    /// The prefix that the names get in a store.
    pub(crate) prefix: String,
}

/// The draft heads of a model, which are whole and fit it, and what was found instead of some, as warnings.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) heads: Vec<DraftHead>,
    pub(crate) warnings: Vec<String>,
}

/// Finds the draft heads of a model whose configuration states `facts` and that has tensors of these names and logical shapes, and of
/// the draft beside it.
pub(crate) fn find<'t>(
    facts: &Facts,
    own: impl Iterator<Item = (&'t str, &'t [u64])>,
    draft: Option<DraftTensors<'t>>,
) -> Result<Found, HeadError> {
    let own = Shapes::new(own);
    let target = Target::of(facts, &own);
    let mut found = Found::default();
    for (prefix, checked) in mtp::find(&own, target) {
        match checked {
            Ok(()) => found.heads.push(DraftHead::new(HeadRole::Mtp, prefix)),
            Err(problem) => found.warnings.push(format!("{problem}: it is stored without its role")),
        }
    }
    if let Some(DraftTensors { tensors, hidden, prefix }) = draft
        && eagle3::is_one(&Shapes::new(tensors), target, hidden)?
    {
        found.heads.push(DraftHead::new(HeadRole::Eagle3, prefix));
    }
    Ok(found)
}

/// Whether a draft is a set of Medusa heads, by what it calls itself or its tensors.
pub(crate) fn is_medusa<'t>(config: Option<&ModelConfig>, mut names: impl Iterator<Item = &'t str>) -> bool {
    let calls_itself = |config: &ModelConfig| config.identifiers.iter().any(|name| name.contains("medusa"));
    config.is_some_and(calls_itself) || names.any(|name| name.split('.').any(|part| part == "medusa_head"))
}

/// Remarks for the user about the heads of a model.
pub(crate) fn notes(heads: &[DraftHead]) -> Vec<String> {
    let count = |role| heads.iter().filter(|head| head.role == role).count();
    let mtp = match count(HeadRole::Mtp) {
        0 => None,
        1 => Some("one layer predicts a further token (MTP): it is stored with its role".to_owned()),
        many => Some(format!("{many} parts predict further tokens (MTP): they are stored with their role")),
    };
    let eagle =
        (count(HeadRole::Eagle3) > 0).then(|| "the draft is an EAGLE-3 head: run --draft self uses it".to_owned());
    mtp.into_iter().chain(eagle).collect()
}
