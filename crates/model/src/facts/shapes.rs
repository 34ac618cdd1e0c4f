//! Contradictions between facts and the shapes of tensors.

use longshore_st_format::Shape;

use super::{Contradiction, Facts, Statement};
use crate::architecture;

/// Modules that only hold the language model.
const WRAPPERS: [&str; 6] = ["model", "language_model", "text_model", "backbone", "transformer", "thinker"];

/// Names of routers in a layer.
const ROUTERS: [&str; 3] = ["mlp.gate.weight", "mlp.router.weight", "block_sparse_moe.gate.weight"];

impl Facts {
    /// Checks the facts against tensors by their names and shapes: embedding and head; projections to queries, keys and
    /// values and from the output; dense feed-forward blocks; router; norms. The shapes are those of the values, not of
    /// packed codes. Tensors under other names are not checked, nor are those of encoders and of layers that predict
    /// further tokens. Within layers, only families are checked whose layers are known to be alike.
    ///
    /// ```
    /// use longshore_model::{Facts, st_format::Shape};
    ///
    /// let facts = Facts { hidden_size: Some(64), ..Facts::default() };
    /// let error = facts.check_shapes([("model.norm.weight", &Shape::new([96]))]).expect_err("96 is not 64");
    /// assert!(error.to_string().starts_with("hidden_size = 64 contradicts model.norm.weight = [96]"));
    /// ```
    ///
    /// # Errors
    ///
    /// [`Contradiction`] for the first tensor whose shape contradicts a fact, with both.
    pub fn check_shapes<'a>(
        &self,
        tensors: impl IntoIterator<Item = (&'a str, &'a Shape)>,
    ) -> Result<(), Contradiction> {
        let place = |fact: &str| Some(fact.to_owned());
        tensors.into_iter().try_for_each(|(name, shape)| check(self, &place, name, shape))
    }
}

/// Extent of a tensor that a fact gives.
struct Expected {
    /// Name of the fact, and the value that stands in the message.
    fact: &'static str,
    stated: u64,
    /// Axis, and the extents that it may have.
    axis: usize,
    extents: [u64; 2],
    rule: &'static str,
}

/// Checks one tensor. `place` gives the source of a fact, or `None` for a fact that is not to be checked.
pub(crate) fn check(
    facts: &Facts,
    place: &dyn Fn(&str) -> Option<String>,
    name: &str,
    shape: &Shape,
) -> Result<(), Contradiction> {
    for expected in expected(facts, name, shape.dims()).into_iter().flatten() {
        let found = shape.dims()[expected.axis];
        if expected.extents.contains(&found) {
            continue;
        }
        if let Some(source) = place(expected.fact) {
            return Err(Contradiction {
                first: Statement::new(source, expected.stated),
                second: Statement::new(name, shape),
                rule: expected.rule,
            });
        }
    }
    Ok(())
}

/// Returns what the facts say of a tensor's extents.
fn expected(facts: &Facts, name: &str, dims: &[u64]) -> [Option<Expected>; 2] {
    let Some((layer, rest)) = split(name) else { return [None, None] };
    if layer.is_some_and(|layer| facts.layers.is_none_or(|layers| layer >= layers)) {
        return [None, None];
    }
    let hidden = |axis, rule| one("hidden_size", facts.hidden_size, axis, rule);
    match (layer, rest, dims) {
        (None, "embed_tokens.weight" | "wte.weight" | "lm_head.weight", [rows, _]) => [
            hidden(1, "a column of an embedding or a head is an element of the residual stream"),
            // Rows beyond the vocabulary only fill the matrix up.
            // A draft model may have a head for fewer tokens.
            one(
                "vocabulary",
                facts.vocabulary.filter(|tokens| rows < tokens && rest != "lm_head.weight"),
                0,
                "each token has a row",
            ),
        ],
        (None, "norm.weight", [_]) | (Some(_), "input_layernorm.weight" | "post_attention_layernorm.weight", [_]) => {
            [hidden(0, "a norm has a weight for each element of the residual stream"), None]
        }
        (Some(layer), _, [_, _]) if is_uniform(facts) => match rest.split_once('.') {
            Some(("self_attn", rest)) if facts.attention.latent.is_none() => attention(facts, layer, rest),
            _ if ROUTERS.contains(&rest) => [
                one("experts", facts.experts.filter(|experts| *experts > 0), 0, "a row of a router is an expert"),
                hidden(1, "a column of a router is an element of the residual stream"),
            ],
            Some(("mlp", rest)) if facts.experts.is_none_or(|experts| experts == 0) => feed_forward(facts, layer, rest),
            _ => [None, None],
        },
        _ => [None, None],
    }
}

fn attention(facts: &Facts, layer: u64, rest: &str) -> [Option<Expected>; 2] {
    let own = &facts.per_layer;
    let heads = of_layer(&own.heads, layer).or(facts.heads);
    let kv_heads = of_layer(&own.kv_heads, layer).or(facts.kv_heads).or(heads);
    let head_dim = of_layer(&own.head_dim, layer).or(facts.head_dim);
    let columns =
        one("hidden_size", facts.hidden_size, 1, "a column of a projection is an element of the residual stream");
    let size = |heads: Option<u64>| heads?.checked_mul(head_dim?);
    let of = |fact, stated: Option<u64>, size: Option<u64>, axis, most: u64| {
        let (stated, size) = (stated?, size?);
        let rule = "a projection has the head size times the number of heads";
        Some(Expected { fact, stated, axis, extents: [size, size.saturating_mul(most)], rule })
    };
    match rest {
        // A gate for each element may follow the queries.
        "q_proj.weight" => [of("heads", heads, size(heads), 0, 2), columns],
        "k_proj.weight" | "v_proj.weight" => [of("kv_heads", kv_heads, size(kv_heads), 0, 1), columns],
        "o_proj.weight" => [of("heads", heads, size(heads), 1, 1), one_row(facts)],
        _ => [None, None],
    }
}

fn one_row(facts: &Facts) -> Option<Expected> {
    one("hidden_size", facts.hidden_size, 0, "a row of the output's projection is an element of the residual stream")
}

fn feed_forward(facts: &Facts, layer: u64, rest: &str) -> [Option<Expected>; 2] {
    let inner = of_layer(&facts.per_layer.intermediate_size, layer).or(facts.intermediate_size);
    let (inner_axis, outer_axis) = match rest {
        "gate_proj.weight" | "up_proj.weight" => (0, 1),
        "down_proj.weight" => (1, 0),
        _ => return [None, None],
    };
    [
        one("intermediate_size", inner, inner_axis, "a feed-forward block has its inner size between its projections"),
        one("hidden_size", facts.hidden_size, outer_axis, "a feed-forward block leads from and to the residual stream"),
    ]
}

/// Whether the tensors within layers have the sizes that the common members state.
fn is_uniform(facts: &Facts) -> bool {
    facts.architecture.as_ref().or(facts.model_type.as_ref()).is_some_and(|name| architecture::is_uniform(name))
}

fn one(fact: &'static str, stated: Option<u64>, axis: usize, rule: &'static str) -> Option<Expected> {
    let stated = stated?;
    Some(Expected { fact, stated, axis, extents: [stated, stated], rule })
}

fn of_layer(list: &[u64], layer: u64) -> Option<u64> {
    list.get(usize::try_from(layer).ok()?).copied()
}

/// Splits the name of a tensor of a language model into its layer and the rest.
fn split(name: &str) -> Option<(Option<u64>, &str)> {
    let mut rest = name;
    while let Some((wrapper, inner)) = rest.split_once('.')
        && WRAPPERS.contains(&wrapper)
    {
        rest = inner;
    }
    let Some(of_layer) = rest.strip_prefix("layers.") else { return Some((None, rest)) };
    let (number, rest) = of_layer.split_once('.')?;
    Some((Some(number.parse().ok()?), rest))
}
