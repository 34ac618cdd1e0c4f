//! The properties of a tensor and its model that a policy looks at.

/// A tensor as a policy sees it. [`Policy::decide`](super::Policy::decide) takes a query.
///
/// ```
/// use longshore_quant::policy::Query;
///
/// let name = "model.layers.0.mlp.experts.down_proj.weight";
/// let query = Query { stacked: true, experts: Some(8), ..Query::new(name, &[8, 64, 128]) };
/// // Another tensor of the same model.
/// let norm = Query { name: "model.norm.weight", shape: &[64], stacked: false, ..query };
/// # assert_eq!(norm.experts, Some(8));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Query<'a> {
    /// Name of the tensor in the checkpoint, prefixes included. For experts that are stacked on import, the name of the
    /// stack: `model.layers.0.mlp.experts.down_proj.weight`.
    pub name: &'a str,
    /// Logical shape of the tensor, before packing; for a stack `[experts, out, in]`.
    pub shape: &'a [u64],
    /// Component of a pipeline that the tensor belongs to: `vae`, `transformer`, `text_encoder` and so on.
    pub component: Option<&'a str>,
    /// True for a stack of experts, made on import or found in the checkpoint.
    pub stacked: bool,
    /// The model's architecture as its configuration names it: the first of `architectures`, else `model_type`, else
    /// that of the nested language model.
    pub architecture: Option<&'a str>,
    /// Number of layers of the language model, as `num_hidden_layers` of the configuration states it.
    pub layers: Option<u64>,
    /// The same, where the configuration tells it in any way: in a member of another name, or by the length of a list.
    /// A policy uses it where `layers` is not known, unless it asks for a stated number.
    pub counted_layers: Option<u64>,
    /// Number of routed experts per layer.
    pub experts: Option<u64>,
    /// Indices of the layers without routed experts, in a model whose other layers have them. `None` where the
    /// configuration does not list them; only layer 0 counts as such then.
    pub dense_layers: Option<&'a [u64]>,
    /// True for a draft model that is imported beside its target.
    pub draft: bool,
    /// True for a model whose output head shares the weights of the token embedding.
    pub tied: bool,
}

impl<'a> Query<'a> {
    /// Creates a query for an ordinary tensor: not stacked, in no component, of an unknown model.
    #[must_use]
    pub const fn new(name: &'a str, shape: &'a [u64]) -> Self {
        Self {
            name,
            shape,
            component: None,
            stacked: false,
            architecture: None,
            layers: None,
            counted_layers: None,
            experts: None,
            dense_layers: None,
            draft: false,
            tied: false,
        }
    }

    /// Number of elements, saturating at [`u64::MAX`].
    pub(super) fn elements(&self) -> u64 {
        if self.shape.contains(&0) { 0 } else { self.shape.iter().fold(1, |count, &dim| count.saturating_mul(dim)) }
    }
}
