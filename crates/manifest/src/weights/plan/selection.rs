//! Selection of tensors and of parts of tensors.

use std::ops::Range;

/// Selection of tensors and of parts of tensors. The default takes everything. A tensor has to meet every field; what is left out
/// costs no reading.
///
/// ```
/// use longshore_manifest::weights::plan::{Layers, Selection, Shard};
///
/// // The second half of a pipeline of two, without the embeddings and the output head, for the first of four tensor-parallel devices.
/// let selection = Selection {
///     layers: Some(Layers { range: 16..32, others: false }),
///     shards: vec![
///         ("*.o_proj.*".into(), Shard::columns(0, 4)),
///         ("*.down_proj.*".into(), Shard::columns(0, 4)),
///         ("*_proj.*".into(), Shard::rows(0, 4)),
///     ],
///     ..Selection::default()
/// };
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only this component's tensors, such as `text_encoder`; their names never carry the component as a prefix.
    pub component: Option<String>,
    /// These tensors, and those that match a glob. Each name has to be there.
    pub names: Vec<String>,
    /// Tensors whose names match one of these, and those that are named. Both lists empty are all tensors.
    pub globs: Vec<String>,
    /// Only tensors of some layers.
    pub layers: Option<Layers>,
    /// Only these experts, in this order: their entries of a stack `[experts, …]`, and of tensors that belong to one expert
    /// those of these.
    pub experts: Option<Vec<u64>>,
    /// A share of each tensor whose name matches the glob. The first that matches counts; tensors that none matches are whole.
    pub shards: Vec<(String, Shard)>,
}

/// Some layers. A tensor's layer is the first part of its name, between dots, that is a number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layers {
    /// The numbers of the layers.
    pub range: Range<u64>,
    /// Whether tensors of no layer, such as embeddings, are taken too.
    pub others: bool,
}

/// One of several equal shares of a tensor, for tensor parallelism.
///
/// A share is whole rows, or whole columns in whole quantization groups and whole 32-bit words of codes; a tensor that has no such
/// shares is an error, and nothing is padded. A stack of experts is shared out expert by expert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard {
    /// The axis that is divided.
    pub axis: ShardAxis,
    /// Number of the share, counted from 0.
    pub rank: u64,
    /// Number of shares.
    pub of: u64,
}

/// An axis that is shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShardAxis {
    /// The first axis of a tensor, or of each expert of a stack: the outputs of a `[out, in]` matrix. A share is one range of the
    /// file, or one for each expert.
    Rows,
    /// The last of two axes or more: the inputs of a `[out, in]` matrix. A share is a piece of every row; rows are read whole and
    /// the pieces picked out in memory where what lies between them is small.
    Columns,
}

impl Shard {
    /// Share `rank` of `of` of the rows.
    #[must_use]
    pub fn rows(rank: u64, of: u64) -> Self {
        Self { axis: ShardAxis::Rows, rank, of }
    }

    /// Share `rank` of `of` of the columns.
    #[must_use]
    pub fn columns(rank: u64, of: u64) -> Self {
        Self { axis: ShardAxis::Columns, rank, of }
    }
}

impl Layers {
    pub(super) fn contains(&self, name: &str) -> bool {
        match layer(name) {
            Some(layer) => self.range.contains(&layer),
            None => self.others,
        }
    }
}

/// The layer that a tensor of this name belongs to.
fn layer(name: &str) -> Option<u64> {
    name.split('.').find_map(number)
}

/// The expert that a tensor of this name belongs to: the number after `experts`.
pub(super) fn expert(name: &str) -> Option<u64> {
    let mut parts = name.split('.').skip_while(|part| *part != "experts").skip(1);
    parts.next().and_then(number)
}

fn number(part: &str) -> Option<u64> {
    if part.bytes().all(|byte| byte.is_ascii_digit()) { part.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_layers_and_experts() {
        assert_eq!(layer("model.layers.12.mlp.experts.5.up_proj.weight"), Some(12));
        assert_eq!(layer("transformer_blocks.3.attn.to_out.0.weight"), Some(3));
        assert_eq!(layer("model.embed_tokens.weight"), None);
        assert_eq!(layer("layers..weight"), None);
        assert_eq!(expert("model.layers.12.mlp.experts.5.up_proj.weight"), Some(5));
        assert_eq!(expert("model.layers.12.mlp.experts.up_proj.weight"), None);
        assert_eq!(expert("model.layers.12.mlp.shared_experts.0.weight"), None);
    }
}
