//! Rows of the name map, and families of rows.

use super::form::{Form, Share};

/// A pair of names in one layer, or outside of layers, with the form of the tensor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) gguf: &'static str,
    pub(super) hf: &'static str,
    pub(super) form: Form,
    /// Whether the names are whole. Otherwise they are modules, and a suffix such as `.weight` follows.
    pub(super) is_whole: bool,
}

/// Architectures that have one map.
#[derive(Debug)]
pub(super) struct Family {
    /// Names in `general.architecture`.
    pub(super) architectures: &'static [&'static str],
    /// Prefix of the names of a checkpoint's layers, before the number.
    pub(super) layers: &'static str,
    /// Rows of the tensors outside of layers.
    pub(super) model: &'static [&'static [Row]],
    /// Rows of the tensors of a layer. The first that has a name counts.
    pub(super) layer: &'static [&'static [Row]],
    /// Whether the weights of norms have 1 added in GGUF, but for those of these modules.
    pub(super) norms_plus_one: Option<&'static [&'static str]>,
}

/// A suffix of a module's tensors on both sides.
pub(super) const SUFFIXES: [(&str, &str); 4] =
    [(".weight", ".weight"), (".bias", ".bias"), (".scale", ".weight_scale_2"), (".input_scale", ".input_scale")];

pub(super) const fn module(gguf: &'static str, hf: &'static str) -> Row {
    Row { gguf, hf, form: Form::Same, is_whole: false }
}

pub(super) const fn whole(gguf: &'static str, hf: &'static str) -> Row {
    Row { gguf, hf, form: Form::Same, is_whole: true }
}

impl Row {
    pub(super) const fn as_form(self, form: Form) -> Self {
        Self { form, ..self }
    }

    pub(super) const fn interleaved(self, index: u64, of: u64) -> Self {
        self.as_form(Form::Interleaved(Share { index, of, axis: 1 }))
    }

    pub(super) const fn joined(self, index: u64, of: u64, axis: u8) -> Self {
        self.as_form(Form::Joined(Share { index, of, axis }))
    }

    pub(super) const fn split(self, index: u64, of: u64) -> Self {
        self.as_form(Form::Split(Share { index, of, axis: 1 }))
    }

    /// The name on the other side of a tensor whose name on this side is `name`. `names` gives the names of a row, this
    /// side first.
    pub(super) fn other(
        &self,
        name: &str,
        names: impl Fn(&'static str, &'static str) -> (&'static str, &'static str),
    ) -> Option<String> {
        let (own, other) = names(self.gguf, self.hf);
        let rest = name.strip_prefix(own)?;
        if self.is_whole {
            return rest.is_empty().then(|| other.to_owned());
        }
        let suffixes = SUFFIXES.iter().map(|(gguf, hf)| names(gguf, hf));
        suffixes.filter(|(own, _)| *own == rest).map(|(_, suffix)| format!("{other}{suffix}")).next()
    }
}
