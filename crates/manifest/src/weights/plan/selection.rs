//! Selection of tensors, and of parts of tensors, to load.

use std::ops::Range;

use longshore_model::experts::{ExpertName, ExpertNaming};

/// Selection of tensors, and of parts of tensors, to load. The default selects everything. A tensor is selected if it
/// meets all fields. Bytes that are not selected are not read.
///
/// ```
/// use longshore_manifest::weights::plan::{Layers, Selection, Shard};
///
/// // The second half of a pipeline of two, without the embeddings and the output head, for the first of four
/// // tensor-parallel devices.
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
    /// Pipeline component whose tensors are selected, such as `text_encoder`. Tensor names never carry the component as
    /// a prefix.
    pub component: Option<String>,
    /// Names of selected tensors, in addition to those that match a glob. Each must exist.
    pub names: Vec<String>,
    /// Globs of selected tensors, in addition to those in `names`. If both lists are empty, all tensors are selected.
    /// Without the feature `glob`, one that is given here or in `shards` is an error.
    pub globs: Vec<String>,
    /// Layers whose tensors are selected.
    pub layers: Option<Layers>,
    /// Experts that are selected, in this order. A stack `[experts, …]` is cut to these entries. Tensors that belong to
    /// a single expert are selected if the expert is. Other tensors are not affected.
    pub experts: Option<Vec<u64>>,
    /// Shares of tensors whose names match a glob. The first matching glob counts. Tensors that match no glob are
    /// selected as `tensor_parallel` says.
    pub shards: Vec<(String, Shard)>,
    /// Share of one of several tensor-parallel devices. Tensors that it does not divide are selected whole.
    pub tensor_parallel: Option<TensorParallel>,
    /// Whether tensors are selected whose stored values have an [offset](crate::document::TensorEntry::offset) from the
    /// model's. The caller then has to subtract it. Otherwise such a tensor is an error.
    pub offsets: bool,
}

/// Share of a transformer for one of several devices that compute each layer together.
///
/// Queries, keys, values, gate and up projections, the embedding and the head are divided by rows; the projections of the
/// attention's output and down by columns, their biases not at all. Experts are divided likewise, each by itself. All else is
/// whole: norms, routers, and projections that are fused into one tensor. A tensor is recognised by the end of its name, such
/// as `q_proj.weight`. A model without such a tensor is an error where there are two or more shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TensorParallel {
    /// Number of the share, counted from 0.
    pub rank: u64,
    /// Number of shares.
    pub of: u64,
}

/// Modules whose outputs are divided: rows of the weight, elements of the bias.
const BY_ROWS: &[&str] = &[
    "q_proj",
    "k_proj",
    "v_proj",
    "wq",
    "wk",
    "wv",
    "gate_proj",
    "up_proj",
    "w1",
    "w3",
    "embed_tokens",
    "tok_embeddings",
    "wte",
    "word_embeddings",
    "lm_head",
];
/// Modules whose inputs are divided.
const BY_COLUMNS: &[&str] = &["o_proj", "wo", "down_proj", "w2"];

impl TensorParallel {
    /// Returns the share of the tensor called `name`, or `None` for a tensor that is selected whole.
    #[must_use]
    pub fn shard_of(&self, name: &str) -> Option<Shard> {
        let (path, what) = name.rsplit_once('.')?;
        let module = path.rsplit('.').next()?;
        match what {
            "weight" | "bias" if BY_ROWS.contains(&module) => Some(Shard::rows(self.rank, self.of)),
            "weight" if BY_COLUMNS.contains(&module) => Some(Shard::columns(self.rank, self.of)),
            _ => None,
        }
    }
}

/// Selection of layers. The layer of a tensor is the first dot-separated part of its name that is a number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layers {
    /// Numbers of the selected layers.
    pub range: Range<u64>,
    /// Whether tensors of no layer, such as embeddings, are selected too.
    pub others: bool,
}

/// One of several equal shares of a tensor, for tensor parallelism.
///
/// A share consists of whole rows, or of whole columns in whole quantization groups and whole 32-bit words of codes. A
/// tensor without equal shares is an error; nothing is padded. Each expert of a stack is divided by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard {
    /// Axis along which the tensor is divided.
    pub axis: ShardAxis,
    /// Number of the share, counted from 0.
    pub rank: u64,
    /// Number of shares.
    pub of: u64,
}

/// Axis along which a tensor is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShardAxis {
    /// The first axis of a tensor, or of each expert of a stack: the outputs of a `[out, in]` matrix. A share is one
    /// range of the file, or one range for each expert.
    Rows,
    /// The last of two or more axes: the inputs of a `[out, in]` matrix. A share is a piece of every row. If the gaps
    /// between the pieces are small, whole rows are read and the pieces are picked out in memory.
    Columns,
}

impl Shard {
    /// Selects share `rank` of `of` of the rows.
    #[must_use]
    pub fn rows(rank: u64, of: u64) -> Self {
        Self { axis: ShardAxis::Rows, rank, of }
    }

    /// Selects share `rank` of `of` of the columns.
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

/// Returns the layer of a tensor by its name.
fn layer(name: &str) -> Option<u64> {
    name.split('.').find_map(number)
}

/// Returns the range of the layers of these tensors, or `None` if no name has a layer.
pub(super) fn layers_of<'n>(names: impl Iterator<Item = &'n str>) -> Option<Range<u64>> {
    names.filter_map(layer).fold(None, |found: Option<Range<u64>>, layer| {
        let found = found.unwrap_or(layer..layer);
        Some(found.start.min(layer)..found.end.max(layer.saturating_add(1)))
    })
}

/// Returns the expert to which a tensor belongs by its name.
pub(super) fn expert(naming: ExpertNaming, name: &str) -> Option<u64> {
    if let ExpertName::Single { index, .. } = naming(name) { number(index) } else { None }
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
        assert_eq!(expert(|name| ExpertName::parse(name), "model.layers.12.mlp.experts.5.up_proj.weight"), Some(5));
        assert_eq!(expert(|name| ExpertName::parse(name), "model.layers.12.mlp.experts.up_proj.weight"), None);
        assert_eq!(expert(|name| ExpertName::parse(name), "model.layers.12.mlp.shared_experts.0.weight"), None);
        let names = ["model.layers.3.a", "model.norm", "model.layers.1.b"];
        assert_eq!(layers_of(names.into_iter()), Some(1..4));
        assert_eq!(layers_of(["model.norm"].into_iter()), None);
    }

    #[test]
    fn a_tensor_parallel_share_divides_by_the_end_of_the_name() {
        let share = TensorParallel { rank: 1, of: 4 };
        for name in
            ["model.layers.0.self_attn.q_proj.weight", "a.k_proj.bias", "a.experts.up_proj.weight", "lm_head.weight"]
        {
            assert_eq!(share.shard_of(name), Some(Shard::rows(1, 4)), "{name}");
        }
        for name in ["a.self_attn.o_proj.weight", "a.mlp.experts.3.down_proj.weight"] {
            assert_eq!(share.shard_of(name), Some(Shard::columns(1, 4)), "{name}");
        }
        for name in ["a.o_proj.bias", "a.input_layernorm.weight", "a.mlp.gate.weight", "a.qkv_proj.weight", "weight"] {
            assert_eq!(share.shard_of(name), None, "{name}");
        }
    }
}
