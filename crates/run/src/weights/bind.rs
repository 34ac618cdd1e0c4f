//! Binding: which tensor is which part of a layer.

use super::{
    linear::{Experts, Linear},
    tensors::Tensors,
};
use crate::{
    error::LoadError,
    spec::{Latent, MoeSpec, QkNorm, Spec},
};

/// Weights of a decoder, borrowed from the opened tensors.
#[derive(Debug)]
pub(crate) struct Bound<'w> {
    pub(crate) embedding: Linear<'w>,
    /// Learned positions, which are added to the embeddings.
    pub(crate) positions: Option<Linear<'w>>,
    pub(crate) layers: Vec<Layer<'w>>,
    pub(crate) norm: Norm<'w>,
    pub(crate) head: Linear<'w>,
}

/// Weight and bias of a norm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Norm<'w> {
    pub(crate) weight: &'w [f32],
    pub(crate) bias: Option<&'w [f32]>,
}

/// Weights of one layer.
#[derive(Debug)]
pub(crate) struct Layer<'w> {
    pub(crate) attention_in: Option<Norm<'w>>,
    pub(crate) attention: Attention<'w>,
    pub(crate) attention_out: Option<Norm<'w>>,
    pub(crate) ffn_in: Option<Norm<'w>>,
    pub(crate) ffn: Ffn<'w>,
    pub(crate) ffn_out: Option<Norm<'w>>,
}

/// Weights of attention.
#[derive(Debug)]
pub(crate) struct Attention<'w> {
    pub(crate) projections: Projections<'w>,
    pub(crate) output: Linear<'w>,
    pub(crate) sinks: Option<&'w [f32]>,
}

/// Projections to queries, keys and values.
#[derive(Debug)]
pub(crate) enum Projections<'w> {
    Plain {
        q: Linear<'w>,
        k: Linear<'w>,
        v: Linear<'w>,
        q_norm: Option<Norm<'w>>,
        k_norm: Option<Norm<'w>>,
    },
    /// All in one: for each key, the queries that look at it, the key and the value.
    Grouped {
        qkv: Linear<'w>,
    },
    Latent {
        /// Compression of queries, and its norm.
        q_down: Option<(Linear<'w>, Norm<'w>)>,
        q: Linear<'w>,
        /// Compression of keys and values, with the rotated part of the key behind.
        kv_down: Linear<'w>,
        kv_norm: Norm<'w>,
        kv: Linear<'w>,
    },
}

/// Feed-forward block.
#[derive(Debug)]
pub(crate) enum Ffn<'w> {
    Dense(Box<Dense<'w>>),
    Experts(Box<ExpertLayer<'w>>),
}

/// One feed-forward block.
#[derive(Debug)]
pub(crate) struct Dense<'w> {
    /// Projection whose activation gates the other.
    pub(crate) gate: Option<Linear<'w>>,
    pub(crate) up: Linear<'w>,
    pub(crate) down: Linear<'w>,
}

/// Experts with their router.
#[derive(Debug)]
pub(crate) struct ExpertLayer<'w> {
    pub(crate) router: Linear<'w>,
    /// Addition to the scores by which experts are chosen.
    pub(crate) correction: Option<&'w [f32]>,
    pub(crate) gate: Option<Experts<'w>>,
    /// Projection that is gated; without `gate`, both in one.
    pub(crate) up: Experts<'w>,
    pub(crate) down: Experts<'w>,
    pub(crate) shared: Option<Dense<'w>>,
}

const EMBEDDING: [&str; 4] = ["embed_tokens", "wte", "word_embeddings", "tok_embeddings"];
const LAYERS: [&str; 2] = ["layers", "h"];
const LAST_NORM: [&str; 2] = ["norm", "ln_f"];
const GROUPED: [&str; 2] = ["self_attention.query_key_value", "attention.wqkv"];
const OUTPUT: [&str; 4] = ["self_attn.o_proj", "attn.c_proj", "self_attention.dense", "attention.wo"];
const DENSE: [&str; 2] = ["mlp.", "feed_forward."];
const EXPERTS: [&str; 5] =
    ["mlp.experts", "block_sparse_moe.experts", "mlp.switch_mlp", "block_sparse_moe.switch_mlp", "block_sparse_moe"];
const DENSE_UP: [&str; 5] = ["up_proj", "fc1", "c_fc", "dense_h_to_4h", "w3"];
const DENSE_DOWN: [&str; 5] = ["down_proj", "fc2", "c_proj", "dense_4h_to_h", "w2"];
const GATE: [&str; 2] = ["gate_proj", "w1"];
const UP: [&str; 2] = ["up_proj", "w3"];
const DOWN: [&str; 3] = ["down_proj", "w2", "output_linear"];
const ROUTER: [&str; 4] = ["mlp.gate", "block_sparse_moe.gate", "mlp.router", "block_sparse_moe.router.layer"];

impl<'w> Bound<'w> {
    /// Finds the tensors of a decoder of the given shape.
    pub(crate) fn new(spec: &Spec, tensors: &'w Tensors) -> Result<Self, LoadError> {
        let prefix_of = |name: &'w str| {
            let name = name.strip_suffix(".weight")?;
            EMBEDDING.iter().find_map(|end| name.strip_suffix(end))
        };
        let prefix = tensors.names().filter_map(prefix_of).min_by_key(|prefix| prefix.len());
        let prefix = prefix.ok_or_else(|| missing(&["model.embed_tokens.weight".to_owned()]))?;
        let find = Finder { tensors, prefix: prefix.to_owned() };
        let embedding = find.linear(&EMBEDDING, [spec.vocabulary, spec.hidden])?;
        let positions = spec.positions.map(|count| find.linear(&["wpe"], [count, spec.hidden])).transpose()?;
        let head = ["lm_head", "output"].into_iter().find(|name| tensors.contains(&format!("{name}.weight")));
        let head = match head {
            Some(name) => {
                let find = Finder { tensors, prefix: String::new() };
                find.linear(&[name], [spec.vocabulary, spec.hidden])?
            }
            None if spec.tied => embedding.clone(),
            None => return Err(missing(&["lm_head.weight".to_owned()])),
        };
        let is_of_layers = |name: &str, layers: &str| {
            name.strip_prefix(prefix)
                .and_then(|rest| rest.strip_prefix(layers))
                .is_some_and(|rest| rest.starts_with(".0."))
        };
        let list = LAYERS.into_iter().find(|layers| tensors.names().any(|name| is_of_layers(name, layers)));
        let list = list.unwrap_or(LAYERS[0]);
        let layers = (0..spec.layers.len()).map(|at| {
            let find = Finder { tensors, prefix: format!("{prefix}{list}.{at}.") };
            Layer::new(spec, at, &find)
        });
        let layers = layers.collect::<Result<_, _>>()?;
        let norm = LAST_NORM.into_iter().find(|name| tensors.contains(&find.name(&format!("{name}.weight"))));
        let norm = find.norm(norm.unwrap_or(LAST_NORM[0]), spec.hidden)?;
        Ok(Self { embedding, positions, layers, norm, head })
    }
}

impl<'w> Layer<'w> {
    fn new(spec: &Spec, at: usize, find: &Finder<'w>) -> Result<Self, LoadError> {
        let norm = |name: Option<&'static str>| name.map(|name| find.norm(name, spec.hidden)).transpose();
        Ok(Self {
            attention_in: norm(spec.norms.attention_in)?,
            attention: Attention::new(spec, find)?,
            attention_out: norm(spec.norms.attention_out)?,
            ffn_in: norm(spec.norms.ffn_in)?,
            ffn: match &spec.moe {
                Some(moe) if spec.layers[at].has_experts => Ffn::Experts(Box::new(ExpertLayer::new(spec, moe, find)?)),
                _ => {
                    let base = DENSE.into_iter().find(|base| find.has(base, &DENSE_DOWN)).unwrap_or(DENSE[0]);
                    Ffn::Dense(Box::new(Dense::new(base, spec.hidden, spec.intermediate, spec.gated, find)?))
                }
            },
            ffn_out: norm(spec.norms.ffn_out)?,
        })
    }
}

impl<'w> Attention<'w> {
    fn new(spec: &Spec, find: &Finder<'w>) -> Result<Self, LoadError> {
        let projections = match &spec.latent {
            Some(latent) => latent_projections(spec, latent, find)?,
            None => plain_projections(spec, find)?,
        };
        let output = find.linear(&OUTPUT, [spec.hidden, spec.heads * spec.value_dim])?;
        let sinks = spec.sinks.then(|| find.small("self_attn.sinks", spec.heads)).transpose()?;
        Ok(Self { projections, output, sinks })
    }
}

fn plain_projections<'w>(spec: &Spec, find: &Finder<'w>) -> Result<Projections<'w>, LoadError> {
    let (q_rows, kv_rows) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
    let widths = [q_rows, kv_rows, spec.kv_heads * spec.value_dim];
    if find.has("", &GROUPED) {
        return Ok(Projections::Grouped { qkv: find.linear(&GROUPED, [widths.iter().sum(), spec.hidden])? });
    }
    let [q, k, v] = match find.fused(&["self_attn.qkv_proj", "attn.c_attn"], widths, spec.hidden)? {
        Some(parts) => parts,
        None => [
            find.linear(&["self_attn.q_proj"], [widths[0], spec.hidden])?,
            find.linear(&["self_attn.k_proj"], [widths[1], spec.hidden])?,
            find.linear(&["self_attn.v_proj"], [widths[2], spec.hidden])?,
        ],
    };
    let sizes = match spec.qk_norm {
        QkNorm::None => None,
        QkNorm::Head => Some([spec.head_dim, spec.head_dim]),
        QkNorm::Row => Some([q_rows, kv_rows]),
    };
    let norm = |name, at: usize| sizes.map(|sizes| find.scale(name, sizes[at])).transpose();
    Ok(Projections::Plain { q, k, v, q_norm: norm("self_attn.q_norm", 0)?, k_norm: norm("self_attn.k_norm", 1)? })
}

fn latent_projections<'w>(spec: &Spec, latent: &Latent, find: &Finder<'w>) -> Result<Projections<'w>, LoadError> {
    let q_rows = spec.heads * spec.head_dim;
    let q_down = latent.q_rank.map(|rank| {
        let down = find.linear(&["self_attn.q_a_proj"], [rank, spec.hidden])?;
        Ok::<_, LoadError>((down, find.scale("self_attn.q_a_layernorm", rank)?))
    });
    let q_down = q_down.transpose()?;
    let q = match latent.q_rank {
        Some(rank) => find.linear(&["self_attn.q_b_proj"], [q_rows, rank])?,
        None => find.linear(&["self_attn.q_proj"], [q_rows, spec.hidden])?,
    };
    Ok(Projections::Latent {
        q_down,
        q,
        kv_down: find.linear(&["self_attn.kv_a_proj_with_mqa"], [latent.kv_rank + latent.rope, spec.hidden])?,
        kv_norm: find.norm("self_attn.kv_a_layernorm", latent.kv_rank)?,
        kv: find.linear(&["self_attn.kv_b_proj"], [spec.heads * (latent.nope + spec.value_dim), latent.kv_rank])?,
    })
}

impl<'w> Dense<'w> {
    fn new(base: &str, hidden: usize, inner: usize, gated: bool, find: &Finder<'w>) -> Result<Self, LoadError> {
        let linear = |names: &[&str], shape| {
            let names: Vec<String> = names.iter().map(|name| format!("{base}{name}")).collect();
            find.linear(&names.iter().map(String::as_str).collect::<Vec<_>>(), shape)
        };
        let down = linear(&DENSE_DOWN, [hidden, inner])?;
        if !gated {
            return Ok(Self { gate: None, up: linear(&DENSE_UP, [inner, hidden])?, down });
        }
        let [gate, up] = match find.fused(&[&format!("{base}gate_up_proj")], [inner, inner], hidden)? {
            Some(parts) => parts,
            None => [linear(&GATE, [inner, hidden])?, linear(&DENSE_UP, [inner, hidden])?],
        };
        Ok(Self { gate: Some(gate), up, down })
    }
}

impl<'w> ExpertLayer<'w> {
    /// The projections: gate, up and down.
    pub(crate) fn projections(&self) -> [Option<&Experts<'w>>; 3] {
        [self.gate.as_ref(), Some(&self.up), Some(&self.down)]
    }

    fn new(spec: &Spec, moe: &MoeSpec, find: &Finder<'w>) -> Result<Self, LoadError> {
        let (hidden, inner) = (spec.hidden, moe.intermediate);
        let fused = find.experts(&["gate_up_proj", "input_linear"], moe.experts, [2 * inner, hidden])?;
        let (gate, up) = match fused {
            Some(both) => (None, both),
            None => (
                Some(find.needed_experts(&GATE, moe.experts, [inner, hidden])?),
                find.needed_experts(&UP, moe.experts, [inner, hidden])?,
            ),
        };
        let correction = ["mlp.gate.e_score_correction_bias", "mlp.gate.bias_correction", "mlp.expert_bias"];
        let correction = correction.iter().find(|name| find.tensors.contains(&find.name(name)));
        let shared = ["mlp.shared_experts.", "mlp.shared_expert.", "mlp.shared_mlp."]
            .into_iter()
            .find(|base| find.tensors.contains(&find.name(&format!("{base}down_proj.weight"))))
            .or((moe.shared > 0).then_some("mlp.shared_experts."));
        Ok(Self {
            router: find.linear(&ROUTER, [moe.experts, hidden])?,
            correction: correction.map(|name| find.small(name, moe.experts)).transpose()?,
            gate,
            up,
            down: find.needed_experts(&DOWN, moe.experts, [hidden, inner])?,
            shared: match shared {
                Some(base) => Some(Dense::new(base, hidden, moe.shared, true, find)?),
                None => None,
            },
        })
    }
}

/// Look-up of tensors under a prefix.
#[derive(Debug)]
pub(crate) struct Finder<'w> {
    tensors: &'w Tensors,
    prefix: String,
}

impl<'w> Finder<'w> {
    /// Looks for tensors whose names begin with `prefix`.
    pub(crate) fn new(tensors: &'w Tensors, prefix: String) -> Self {
        Self { tensors, prefix }
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Whether there is a weight of any of these names behind `base`.
    fn has(&self, base: &str, names: &[&str]) -> bool {
        names.iter().any(|name| self.tensors.contains(&self.name(&format!("{base}{name}.weight"))))
    }

    /// Finds the linear layer with the first of these names, `[out, in]`.
    pub(crate) fn linear(&self, names: &[&str], shape: [usize; 2]) -> Result<Linear<'w>, LoadError> {
        let found = names.iter().find(|name| self.tensors.contains(&self.name(&format!("{name}.weight"))));
        let Some(found) = found else {
            return Err(missing(&names.iter().map(|name| self.name(&format!("{name}.weight"))).collect::<Vec<_>>()));
        };
        let name = self.name(&format!("{found}.weight"));
        let weights = self.tensors.matrix(&name)?.expect("the tensor is there");
        self.check(&name, &shape)?;
        let weights = match self.tensors.global_scales(&name)[..] {
            [] => weights,
            [scale] => weights.with_global_scale(scale),
            _ => {
                return Err(LoadError::Coding {
                    tensor: name,
                    found: "a matrix with several global scales".to_owned(),
                });
            }
        };
        let bias = self.bias(&self.name(&format!("{found}.bias")), shape[0])?;
        let updates = self.tensors.updates(&name);
        Ok(Linear { name, weights, bias, updates })
    }

    /// Finds linear layers that are stored as one, one below the other.
    fn fused<const N: usize>(
        &self,
        names: &[&str],
        rows: [usize; N],
        columns: usize,
    ) -> Result<Option<[Linear<'w>; N]>, LoadError> {
        let found = names.iter().find(|name| self.tensors.contains(&self.name(&format!("{name}.weight"))));
        let Some(found) = found else { return Ok(None) };
        let whole = self.linear(&[found], [rows.iter().sum(), columns])?;
        let mut start = 0;
        Ok(Some(rows.map(|rows| {
            let range = start..start + rows;
            start += rows;
            Linear {
                name: whole.name.clone(),
                weights: whole.weights.range(range.clone()).expect("the rows were added up"),
                updates: whole.updates.iter().filter_map(|update| update.range(&range)).collect(),
                bias: whole.bias.map(|bias| &bias[range]),
            }
        })))
    }

    /// Finds a layer of all experts, as a stack or one by one.
    fn experts(
        &self,
        names: &[&str],
        experts: usize,
        [out, columns]: [usize; 2],
    ) -> Result<Option<Experts<'w>>, LoadError> {
        for base in EXPERTS {
            for name in names {
                let stem = self.name(&format!("{base}.{name}"));
                for stack in [format!("{stem}.weight"), stem.clone()] {
                    let Some(weights) = self.tensors.matrix(&stack)? else { continue };
                    self.check(&stack, &[experts, out, columns])?;
                    let bias = [format!("{stem}.bias"), format!("{stem}_bias")];
                    let bias = bias.iter().find(|name| self.tensors.contains(name));
                    let bias = bias.map(|name| self.bias(name, experts * out)).transpose()?.flatten();
                    let scales = self.tensors.global_scales(&stack);
                    if scales.len() > 1 && scales.len() != experts {
                        let found = format!("a stack of {experts} experts with {} global scales", scales.len());
                        return Err(LoadError::Coding { tensor: stack, found });
                    }
                    return Ok(Some(Experts::stacked(stack, weights, experts, &scales, bias)));
                }
                if self.tensors.contains(&self.name(&format!("{base}.0.{name}.weight"))) {
                    let each = |at| self.linear(&[&format!("{base}.{at}.{name}")], [out, columns]);
                    let listed = (0..experts).map(each).collect::<Result<Vec<_>, _>>()?;
                    if let Some(changed) = listed.iter().find(|layer| !layer.updates.is_empty()) {
                        return Err(self.tensors.refuse_update(&changed.name));
                    }
                    return Ok(Some(Experts::listed(listed)));
                }
            }
        }
        Ok(None)
    }

    fn needed_experts(&self, names: &[&str], experts: usize, shape: [usize; 2]) -> Result<Experts<'w>, LoadError> {
        let found = self.experts(names, experts, shape)?;
        found.ok_or_else(|| {
            let of = |base: &str| self.name(&format!("{base}.{}.weight", names[0]));
            missing(&EXPERTS[..2].iter().map(|base| of(base)).collect::<Vec<_>>())
        })
    }

    /// Finds a norm of this many elements.
    pub(crate) fn norm(&self, name: &str, size: usize) -> Result<Norm<'w>, LoadError> {
        let weight = self.small(&format!("{name}.weight"), size)?;
        Ok(Norm { weight, bias: self.bias(&self.name(&format!("{name}.bias")), size)? })
    }

    /// Finds a norm of this many elements that neither subtracts a mean nor adds a bias.
    fn scale(&self, name: &str, size: usize) -> Result<Norm<'w>, LoadError> {
        let norm = self.norm(name, size)?;
        match norm.bias {
            Some(_) => Err(LoadError::Unsupported { what: format!("a bias {:?}", self.name(&format!("{name}.bias"))) }),
            None => Ok(norm),
        }
    }

    /// Finds a vector of this length.
    fn small(&self, name: &str, size: usize) -> Result<&'w [f32], LoadError> {
        let name = self.name(name);
        self.bias(&name, size)?.ok_or_else(|| missing(std::slice::from_ref(&name)))
    }

    /// Finds a vector of this length that may be missing.
    fn bias(&self, name: &str, size: usize) -> Result<Option<&'w [f32]>, LoadError> {
        match (self.tensors.small(name), self.tensors.coding(name)) {
            (Some(found), _) if found.len() == size => Ok(Some(found)),
            (None, None) => Ok(None),
            (None, Some(found)) if self.tensors.shape(name).as_deref() == Some(&[size][..]) => {
                Err(LoadError::Coding { tensor: name.to_owned(), found })
            }
            _ => Err(self.wrong(name, &[size])),
        }
    }

    fn check(&self, name: &str, expected: &[usize]) -> Result<(), LoadError> {
        if self.tensors.shape(name).as_deref() == Some(expected) { Ok(()) } else { Err(self.wrong(name, expected)) }
    }

    fn wrong(&self, name: &str, expected: &[usize]) -> LoadError {
        let found = self.tensors.shape(name).unwrap_or_default();
        LoadError::Shape { tensor: name.to_owned(), expected: expected.to_vec(), found }
    }
}

fn missing(names: &[String]) -> LoadError {
    LoadError::MissingTensor { names: names.to_vec() }
}
