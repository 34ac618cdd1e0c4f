//! Opening an EAGLE-3 head.

use longshore_manifest::document::{DraftHead, Facts, HeadRole};

use super::config::Stated;
use crate::{
    decoder::{Cache, Decoder, Scratch, Segment, StateNorm},
    error::{LoadError, RunError},
    model::Model,
    spec::{self, Spec},
    weights::{Attention, Bound, Dense, Ffn, Finder, Layer, Linear, Norm, Projections},
};

/// The document of a head in a store.
const CONFIG: &str = "draft/config.json";

/// An EAGLE-3 head that is stored with a model, and proposes tokens for it.
///
/// ```no_run
/// # use longshore_run::{Eagle, LoadOptions, Model, generate::*, manifest::{Store, weights::Source}, text::Tokenizer};
/// let store = Store::open("models")?;
/// let source = Source::of_model(&store, &store.model(&"llama:eagle".parse()?)?)?;
/// let model = Model::open(source, LoadOptions::default())?;
/// let (head, tokenizer) = (Eagle::open(&model)?, Tokenizer::open(model.source())?);
/// let prompt = tokenizer.encode_prompt("One, two, three,")?;
/// let options = GenerateOptions::default();
/// let answer = generate_drafted(model.session(), &head, &tokenizer, &prompt, &options, |text| print!("{text}"))?;
/// println!("\n{} of {} proposed tokens were right", answer.accepted, answer.proposed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Eagle<'m> {
    model: &'m Model,
    spec: Spec,
    bound: Bound<'m>,
    /// Projection of three states to one.
    fusion: Linear<'m>,
    state_norm: Norm<'m>,
    stated: Stated,
    /// The target's token of each of the head's.
    targets: Vec<u32>,
}

impl<'m> Eagle<'m> {
    /// Opens the head that is stored with `model`. Its weights are mapped with those of the model.
    ///
    /// # Errors
    ///
    /// [`LoadError::Head`] for a model without such a head, and [`LoadError`] for a tensor or a fact that is missing or does not fit.
    pub fn open(model: &'m Model) -> Result<Self, LoadError> {
        let prefix = &find(model)?.prefix;
        let source = model.source();
        let document = source.companion(CONFIG)?.ok_or(LoadError::Fact { fact: CONFIG })?;
        let target = model.spec();
        let stated = Stated::read(&document, target.layers.len())?;
        let tensors = model.tensors();
        let head = Names { model, prefix };
        let [lm_head, fusion, last] = ["lm_head", "fc", "norm"].map(|name| head.outside(name));
        let rows =
            |name: &str| tensors.shape(&format!("{prefix}{name}.weight")).and_then(|shape| shape.first().copied());
        let tokens = rows(&lm_head).unwrap_or_default();
        let spec = spec(&stated.facts, tokens)?;
        let hidden = spec.hidden;

        let find = Finder::new(tensors, prefix.clone());
        let layer = head.layer();
        let of_layer = Finder::new(tensors, format!("{prefix}{layer}"));
        let linear = |name: &str, shape| of_layer.linear(&[name], shape);
        let (q_rows, kv_rows) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let attention = Attention {
            projections: Projections::Plain {
                q: linear("self_attn.q_proj", [q_rows, 2 * hidden])?,
                k: linear("self_attn.k_proj", [kv_rows, 2 * hidden])?,
                v: linear("self_attn.v_proj", [kv_rows, 2 * hidden])?,
                q_norm: None,
                k_norm: None,
            },
            output: linear("self_attn.o_proj", [hidden, q_rows])?,
            sinks: None,
        };
        let ffn = Dense {
            gate: Some(linear("mlp.gate_proj", [spec.intermediate, hidden])?),
            up: linear("mlp.up_proj", [spec.intermediate, hidden])?,
            down: linear("mlp.down_proj", [hidden, spec.intermediate])?,
        };
        let layer = Layer {
            attention_in: Some(of_layer.norm("input_layernorm", hidden)?),
            attention,
            attention_out: None,
            ffn_in: Some(of_layer.norm("post_attention_layernorm", hidden)?),
            ffn: Ffn::Dense(Box::new(ffn)),
            ffn_out: None,
        };
        let embedding = head.outside("embed_tokens");
        let embedding = if rows(&embedding).is_some() {
            find.linear(&[&embedding], [target.vocabulary, hidden])?
        } else if hidden == target.hidden {
            model.bind().embedding
        } else {
            return Err(LoadError::MissingTensor { names: vec![format!("{prefix}{embedding}.weight")] });
        };
        let bound = Bound {
            embedding,
            positions: None,
            layers: vec![layer],
            norm: find.norm(&last, hidden)?,
            head: find.linear(&[&lm_head], [tokens, hidden])?,
        };
        let made = Self {
            model,
            bound,
            fusion: find.linear(&[&fusion], [hidden, 3 * target.hidden])?,
            state_norm: of_layer.norm("hidden_norm", hidden)?,
            targets: targets(head, tokens, target.vocabulary)?,
            spec,
            stated,
        };
        let maps = ["d2t", "t2d"].map(|name| format!("{prefix}{}", head.outside(name)));
        let is_known = |name: &&str| maps.iter().any(|map| map == name);
        match tensors.unused_of(prefix).into_iter().find(|name| !is_known(name)) {
            Some(name) => Err(LoadError::Unsupported { what: format!("a draft head with {name:?}") }),
            None => Ok(made),
        }
    }

    /// The model that the head belongs to.
    #[must_use]
    pub fn model(&self) -> &'m Model {
        self.model
    }

    /// Number of tokens that the head can propose.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.targets.len()
    }

    /// The logits of the head, a row for each pair of neighbouring tokens, over the tokens that [`Self::token`] tells: what it thinks of
    /// the token after each pair.
    ///
    /// # Errors
    ///
    /// Those of [`Session::extend`](crate::Session::extend).
    pub fn logits(&self, tokens: &[u32]) -> Result<Vec<f32>, RunError> {
        let mut session = self.model.session();
        let (mut all, mut features) = (Vec::new(), Vec::new());
        session.extend_tapped(tokens, self.taps(), true, &mut all, &mut features)?;
        let mut states = self.fuse(&features);
        let pairs = tokens.len() - 1;
        states.truncate(pairs * self.spec.hidden);
        let (mut cache, mut scratch) = (self.cache(), Scratch::default());
        if pairs > 0 {
            self.run(&tokens[1..], &mut states, &mut cache, &mut scratch)?;
        }
        Ok(states.chunks_exact(self.spec.hidden).flat_map(|state| self.of_state(state)).collect())
    }

    /// The target's token that a token of the head stands for.
    #[must_use]
    pub fn token(&self, of_head: usize) -> Option<u32> {
        self.targets.get(of_head).copied()
    }

    pub(super) fn taps(&self) -> [usize; 3] {
        self.stated.taps
    }

    pub(super) fn hidden(&self) -> usize {
        self.spec.hidden
    }

    pub(super) fn cache(&self) -> Cache {
        Cache::new(&self.spec, self.model.options().kv)
    }

    /// Projects three states of each token to one.
    pub(super) fn fuse(&self, features: &[f32]) -> Vec<f32> {
        let rows = features.len() / (3 * self.model.spec().hidden);
        let mut fused = vec![0.0; rows * self.spec.hidden];
        self.model.install(|| self.fusion.apply(self.model.multiplier(), rows, features, &mut fused));
        fused
    }

    /// Runs tokens, each with the state of the one before it, which the layer's takes the place of.
    pub(super) fn run(
        &self,
        tokens: &[u32],
        states: &mut Vec<f32>,
        cache: &mut Cache,
        scratch: &mut Scratch,
    ) -> Result<(), RunError> {
        let norm = StateNorm { norm: self.state_norm, is_residual: self.stated.is_residual };
        self.model.install(|| self.decoder().draft(norm, Segment { tokens, cache }, states, scratch))
    }

    /// Logits of a state.
    pub(super) fn of_state(&self, state: &[f32]) -> Vec<f32> {
        self.model.install(|| self.decoder().draft_logits(state))
    }

    fn decoder(&self) -> Decoder<'_, 'm> {
        Decoder { spec: &self.spec, ..self.model.decoder(&self.bound) }
    }
}

/// The head of a model that can be run.
fn find(model: &Model) -> Result<&DraftHead, LoadError> {
    let heads = &model.source().table().heads;
    heads.iter().find(|head| head.role == HeadRole::Eagle3).ok_or_else(|| LoadError::Head {
        name: model.name().to_owned(),
        found: heads.first().map(|head| head.role.to_string()),
    })
}

/// The shape of the one layer.
fn spec(stated: &Facts, tokens: usize) -> Result<Spec, LoadError> {
    let facts = Facts {
        layers: Some(1),
        vocabulary: Some(tokens as u64),
        layer_types: Vec::new(),
        experts: None,
        ..stated.clone()
    };
    let family = spec::find("llama").expect("it is in the table");
    spec::decoder(&facts, family, spec::Stated::default(), None, None)
}

/// Names of a head's tensors.
#[derive(Clone, Copy)]
struct Names<'h> {
    model: &'h Model,
    prefix: &'h str,
}

impl Names<'_> {
    fn has(&self, name: &str) -> bool {
        let whole = format!("{}{name}", self.prefix);
        self.model.tensors().contains(&whole) || self.model.tensors().contains(&format!("{whole}.weight"))
    }

    /// The name of a module or a map that some writers put under `model.`.
    fn outside(&self, name: &str) -> String {
        let inner = format!("model.{name}");
        if self.has(&inner) { inner } else { name.to_owned() }
    }

    /// The prefix of the layer.
    fn layer(&self) -> &'static str {
        const LAYERS: [&str; 4] = ["midlayer.", "model.midlayer.", "layers.0.", "model.layers.0."];
        LAYERS.into_iter().find(|layer| self.has(&format!("{layer}hidden_norm"))).unwrap_or(LAYERS[0])
    }
}

/// The target's token of each of the head's, by the map of offsets. Without a map they are the same.
fn targets(head: Names<'_>, tokens: usize, vocabulary: usize) -> Result<Vec<u32>, LoadError> {
    let name = format!("{}{}", head.prefix, head.outside("d2t"));
    let wrong = |problem: String| LoadError::Unsupported { what: format!("a draft head whose map {name:?} {problem}") };
    let Some(offsets) = head.model.tensors().integers(&name) else {
        if tokens == vocabulary {
            return Ok((0..tokens as u32).collect());
        }
        return Err(LoadError::MissingTensor { names: vec![name] });
    };
    if offsets.len() != tokens {
        return Err(wrong(format!("has {} numbers for {tokens} tokens", offsets.len())));
    }
    let target = |(token, offset): (usize, &i64)| {
        let target = i64::try_from(token).ok()?.checked_add(*offset)?;
        u32::try_from(target).ok().filter(|target| (*target as usize) < vocabulary)
    };
    let targets: Option<Vec<u32>> = offsets.iter().enumerate().map(target).collect();
    targets.ok_or_else(|| wrong(format!("leads out of the {vocabulary} tokens of the model")))
}
