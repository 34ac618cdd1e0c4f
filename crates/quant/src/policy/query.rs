//! What a policy is asked.

/// A tensor, as far as a policy looks at it.
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
    /// Its name as the checkpoint has it, prefixes included. For experts that are stacked on import, the name that the
    /// stack will have: `model.layers.0.mlp.experts.down_proj.weight`.
    pub name: &'a str,
    /// Its logical shape, before packing; for a stack `[experts, out, in]`.
    pub shape: &'a [u64],
    /// The component of a pipeline that it belongs to: `vae`, `transformer`, `text_encoder` and so on.
    pub component: Option<&'a str>,
    /// Whether it is a stack of experts, made on import or found in the checkpoint.
    pub stacked: bool,
    /// The model's architecture as its configuration names it: the first of `architectures`, else `model_type`, else
    /// that of the nested language model.
    pub architecture: Option<&'a str>,
    /// How many layers the language model has.
    pub layers: Option<u64>,
    /// How many routed experts a layer has.
    pub experts: Option<u64>,
    /// The layers without routed experts in a model that has them in others, by index. `None` where the configuration
    /// does not say; layer 0 is taken for the only one then.
    pub dense_layers: Option<&'a [u64]>,
    /// Whether the model is the draft of another, which is imported beside it.
    pub draft: bool,
}

impl<'a> Query<'a> {
    /// The question about an ordinary tensor: no stack, of no component, nothing known about the model.
    #[must_use]
    pub const fn new(name: &'a str, shape: &'a [u64]) -> Self {
        Self {
            name,
            shape,
            component: None,
            stacked: false,
            architecture: None,
            layers: None,
            experts: None,
            dense_layers: None,
            draft: false,
        }
    }

    /// The number of elements, or the largest number where it is larger.
    pub(super) fn elements(&self) -> u64 {
        if self.shape.contains(&0) { 0 } else { self.shape.iter().fold(1, |count, &dim| count.saturating_mul(dim)) }
    }
}
