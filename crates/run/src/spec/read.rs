//! Shape of a decoder from the facts of a model.

use longshore_model::{Facts, Rope};
use serde_json::Number;

use super::{
    family::Family,
    rope::{RopeSpec, magnitude},
    shape::{Activation, Latent, LayerSpec, MoeSpec, NormSpec, QkNorm, Spec},
};
use crate::error::LoadError;

/// Most layers of a model, and most elements of a head: what is made for each is made before a tensor is looked for.
const MAX_LAYERS: u64 = 4096;
const MAX_HEAD: u64 = 1 << 16;

/// Largest size of anything else.
const MAX_SIZE: u64 = 1 << 31;

/// Resolves the switches of a decoder of the given family. `factors` are divisors of the rotation's frequencies, where the
/// model has them as a tensor. `longest` is the longest sequence, if it was asked for.
pub(crate) fn decoder(
    facts: &Facts,
    family: &Family,
    factors: Option<&[f32]>,
    longest: Option<usize>,
) -> Result<Spec, LoadError> {
    refuse(facts)?;
    let hidden = size(facts.hidden_size, "the hidden size")?;
    let heads = size(facts.heads, "the number of heads")?;
    let kv_heads = facts.kv_heads.map_or(Ok(heads), |heads| size(Some(heads), "the number of key and value heads"))?;
    let layers = bounded(facts.layers, MAX_LAYERS, "the number of layers")?;
    let vocabulary = size(facts.vocabulary, "the size of the vocabulary")?;
    let context = facts.context_length.map_or(Ok(2048), |length| size(Some(length), "the context length"))?;
    if kv_heads > heads || !heads.is_multiple_of(kv_heads) {
        return Err(LoadError::Unsupported { what: format!("{heads} heads over {kv_heads} heads of keys and values") });
    }
    let latent = latent(facts)?;
    let (head_dim, value_dim, rotated) = if let (Some(latent), Some(stated)) = (&latent, &facts.attention.latent) {
        let value_dim = bounded(stated.value_head_dim, MAX_HEAD, "the size of a value head")?;
        (latent.nope + latent.rope, value_dim, latent.rope)
    } else {
        let dim = facts.head_dim.or(Some((hidden / heads) as u64));
        let dim = bounded(dim, MAX_HEAD, "the size of a head")?;
        (dim, dim, dim)
    };
    let limit = short_context(facts).filter(|limit| longest.is_none_or(|longest| longest <= *limit));
    let (ropes, global, local) = ropes(facts, family, (rotated, context, limit.is_none()), factors)?;
    let layer = |at: usize| layer(facts, family, at, global, local);
    let layers: Vec<LayerSpec> = (0..layers).map(layer).collect::<Result<_, _>>()?;
    // Models of experts alone may state none.
    let intermediate = match facts.intermediate_size.filter(|size| *size > 0) {
        None if layers.iter().all(|layer| layer.has_experts) => 0,
        stated => size(stated, "the intermediate size")?,
    };
    let spec = Spec {
        hidden,
        vocabulary,
        context: limit.map_or(context, |limit| limit.min(context)),
        heads,
        kv_heads: if latent.is_some() { heads } else { kv_heads },
        head_dim,
        value_dim,
        attention_scale: attention_scale(facts, head_dim),
        latent,
        norm: NormSpec {
            centres: facts.norm.kind.as_deref().map_or(family.centres, |kind| kind == "layer"),
            eps: number(facts.norm.eps.as_ref()).unwrap_or(1e-6) as f32,
            adds_one: facts.norm.adds_one.unwrap_or(false),
        },
        norms: family.norms,
        qk_norm: match family.qk_norm {
            QkNorm::None if facts.attention.qk_norm == Some(true) => QkNorm::Head,
            other => other,
        },
        attention_cap: number(facts.attention.soft_cap.as_ref()).map(|cap| cap as f32),
        sinks: facts.attention.sinks.unwrap_or(false),
        layers,
        ropes,
        activation: activation(facts)?,
        gated: family.gated,
        intermediate,
        moe: experts(facts, family)?,
        parallel: family.parallel,
        embedding_scale: embedding_scale(facts, hidden),
        residual_scale: number(facts.multipliers.residual.as_ref()).unwrap_or(1.0) as f32,
        logit_scale: logit_scale(facts),
        logit_cap: number(facts.logit_soft_cap.as_ref()).map(|cap| cap as f32),
        tied: facts.tied_embeddings.unwrap_or(true),
    };
    if spec.norm.centres && (spec.qk_norm != QkNorm::None || spec.latent.is_some()) {
        return Err(LoadError::Unsupported { what: "norms of queries and keys that subtract the mean".to_owned() });
    }
    Ok(spec)
}

/// Refuses what no switch stands for.
fn refuse(facts: &Facts) -> Result<(), LoadError> {
    let what = match facts {
        Facts { state_space: Some(_), .. } => "layers of a state space",
        Facts { linear_attention: Some(_), .. } => "layers of linear attention",
        Facts { vision: Some(_), .. } => "an encoder of pictures",
        Facts { audio: Some(_), .. } => "an encoder of sound",
        Facts { decoder_layers: Some(_), .. } => "an encoder and a decoder",
        _ if facts.attention.output_gate == Some(true) => "a gate of the attention's output",
        _ if facts.attention.chunk.is_some() => "attention within chunks",
        _ if !facts.per_layer.heads.is_empty() || !facts.per_layer.kv_heads.is_empty() => "layers of different heads",
        _ => return Ok(()),
    };
    Err(LoadError::Unsupported { what: what.to_owned() })
}

fn latent(facts: &Facts) -> Result<Option<Latent>, LoadError> {
    let Some(stated) = &facts.attention.latent else { return Ok(None) };
    Ok(Some(Latent {
        q_rank: stated.q_rank.map(|rank| size(Some(rank), "the rank of queries")).transpose()?,
        kv_rank: size(stated.kv_rank, "the rank of keys and values")?,
        nope: bounded(stated.nope_head_dim, MAX_HEAD, "the elements of a head that are not rotated")?,
        rope: bounded(stated.rope_head_dim, MAX_HEAD, "the elements of a head that are rotated")?,
    }))
}

/// Longest sequence for which a model with two sets of frequencies uses those of short contexts.
fn short_context(facts: &Facts) -> Option<usize> {
    let rope = facts.rope.as_ref().filter(|rope| matches!(rope.kind.as_deref(), Some("longrope" | "su")))?;
    rope.original_context.and_then(|length| usize::try_from(length).ok())
}

/// Rotations, with the index of the one of global attention and of the one of local attention.
type Ropes = (Vec<RopeSpec>, Option<usize>, Option<usize>);

fn ropes(
    facts: &Facts,
    family: &Family,
    (dims, context, is_long): (usize, usize, bool),
    factors: Option<&[f32]>,
) -> Result<Ropes, LoadError> {
    if !family.rotates {
        return Ok((Vec::new(), None, None));
    }
    let rope = facts.rope.clone().unwrap_or_default();
    if rope.theta.is_none() && !family.has_usual_base {
        return Err(LoadError::Fact { fact: "the base of the rotation" });
    }
    let interleaved = rope.interleaved.unwrap_or(family.interleaved);
    let truncate = rope.truncate.or(Some(family.truncates));
    let rope = Rope { interleaved: Some(interleaved), truncate, ..rope };
    let mut ropes = vec![RopeSpec::new(&rope, dims, (context, is_long), factors)?];
    let local = number(rope.local_theta.as_ref()).map(|theta| {
        ropes.push(RopeSpec::plain(theta, dims, interleaved));
        1
    });
    Ok((ropes, Some(0).filter(|_| !family.rotates_local), local.or(Some(0))))
}

fn layer(
    facts: &Facts,
    family: &Family,
    at: usize,
    global: Option<usize>,
    local: Option<usize>,
) -> Result<LayerSpec, LoadError> {
    let slides = match facts.layer_types.get(at).map(String::as_str) {
        None => family.slides,
        Some("full_attention" | "attention" | "global_attention") => false,
        Some("sliding_attention" | "local_attention") => true,
        Some(other) => return Err(LoadError::Unsupported { what: format!("layers of {other:?}") }),
    };
    let window = facts.attention.window.filter(|_| slides);
    let is_rotated = !facts.attention.layers_without_rope.contains(&(at as u64));
    let dense = facts.dense_layers.as_ref().is_some_and(|dense| dense.contains(&(at as u64)));
    let every = facts.router.as_ref().and_then(|router| router.every).unwrap_or(1).max(1);
    Ok(LayerSpec {
        window: window.map(|window| size(Some(window), "the window of local attention")).transpose()?,
        rope: if slides { local } else { global }.filter(|_| is_rotated),
        has_experts: facts.experts.is_some_and(|experts| experts > 0)
            && !dense
            && (at as u64 + 1).is_multiple_of(every),
    })
}

fn attention_scale(facts: &Facts, head_dim: usize) -> f32 {
    let scale = match (number(facts.multipliers.attention.as_ref()), number(facts.attention.query_scale.as_ref())) {
        (Some(scale), _) => scale,
        (None, Some(dim)) => dim.powf(-0.5),
        (None, None) => (head_dim as f64).powf(-0.5),
    };
    // DeepSeek's magnitude of stretched contexts counts twice, for queries and for keys.
    let stretch = facts.attention.latent.as_ref().and(facts.rope.as_ref()).map_or(1.0, |rope| {
        let weight = number(rope.mscale_all_dim.as_ref()).filter(|_| rope.kind.as_deref() == Some("yarn"));
        weight.map_or(1.0, |weight| magnitude(number(rope.factor.as_ref()).unwrap_or(1.0), weight))
    });
    (scale * stretch * stretch) as f32
}

fn activation(facts: &Facts) -> Result<Activation, LoadError> {
    if let Some(limit) = number(facts.activation_limit.as_ref()) {
        return Ok(Activation::Clamped { limit: limit as f32 });
    }
    match facts.activation.as_deref() {
        None | Some("silu" | "swish" | "swiglu") => Ok(Activation::Silu),
        Some("gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" | "gelu_pytorch") => Ok(Activation::GeluTanh),
        Some("gelu") => Ok(Activation::Gelu),
        Some("relu") => Ok(Activation::Relu),
        Some(other) => Err(LoadError::Unsupported { what: format!("the activation {other:?}") }),
    }
}

fn experts(facts: &Facts, family: &Family) -> Result<Option<MoeSpec>, LoadError> {
    let Some(experts) = facts.experts.filter(|experts| *experts > 0) else { return Ok(None) };
    let router = facts.router.clone().unwrap_or_default();
    let sigmoid = match router.scoring.as_deref() {
        None | Some("softmax") => false,
        Some("sigmoid") => true,
        Some(other) => return Err(LoadError::Unsupported { what: format!("a router that scores by {other:?}") }),
    };
    let inner = facts.expert_intermediate_size.or(facts.intermediate_size);
    let intermediate = size(inner, "the intermediate size of an expert")?;
    let shared = facts.shared_experts.unwrap_or(0).saturating_mul(intermediate as u64);
    let shared = match router.shared_intermediate_size.or(Some(shared).filter(|shared| *shared > 0)) {
        Some(shared) => size(Some(shared), "the intermediate size of the shared experts")?,
        None => 0,
    };
    let top_k = size(facts.experts_per_token, "the number of experts of a token")?;
    let experts = size(Some(experts), "the number of experts")?;
    let groups = size(router.groups.or(Some(1)), "the number of groups of experts")?;
    let groups_per_token = size(router.groups_per_token.or(Some(1)), "the number of groups of a token")?.min(groups);
    if top_k > experts || !experts.is_multiple_of(groups) || groups_per_token * (experts / groups) < top_k {
        let what = format!("{top_k} of {experts} experts for each token, from {groups_per_token} of {groups} groups");
        return Err(LoadError::Unsupported { what });
    }
    Ok(Some(MoeSpec {
        experts,
        top_k,
        intermediate,
        sigmoid,
        normalises: router.normalises.unwrap_or(family.normalises),
        scaling: number(router.scaling.as_ref()).unwrap_or(1.0) as f32,
        groups: (groups, groups_per_token),
        shared,
    }))
}

fn embedding_scale(facts: &Facts, hidden: usize) -> f32 {
    let root = if facts.scales_embeddings == Some(true) { (hidden as f64).sqrt() } else { 1.0 };
    (root * number(facts.multipliers.embedding.as_ref()).unwrap_or(1.0)) as f32
}

fn logit_scale(facts: &Facts) -> f32 {
    let factor = number(facts.multipliers.logits.as_ref()).unwrap_or(1.0);
    (factor / number(facts.multipliers.logits_divisor.as_ref()).unwrap_or(1.0)) as f32
}

fn number(number: Option<&Number>) -> Option<f64> {
    number.and_then(Number::as_f64)
}

fn size(size: Option<u64>, fact: &'static str) -> Result<usize, LoadError> {
    bounded(size, MAX_SIZE, fact)
}

/// A size from 1 to `most`.
fn bounded(size: Option<u64>, most: u64, fact: &'static str) -> Result<usize, LoadError> {
    let size = size.ok_or(LoadError::Fact { fact })?;
    let found = usize::try_from(size).ok().filter(|_| size > 0 && size <= most);
    found.ok_or_else(|| LoadError::Unsupported { what: format!("{size} as {fact} (expected 1 to {most})") })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::spec::find;

    fn read(changes: &Value) -> Result<Spec, LoadError> {
        let mut facts = json!({
            "hidden_size": 384, "heads": 12, "layers": 2, "vocabulary": 8, "intermediate_size": 8, "experts_per_token": 1,
        });
        for (member, value) in changes.as_object().expect("it is an object") {
            facts[member] = value.clone();
        }
        let facts = serde_json::from_value(facts).expect("they are facts");
        decoder(&facts, find("llama").expect("it is in the table"), None, None)
    }

    #[test]
    fn sizes_without_measure_are_refused_before_anything_is_made() {
        assert!(read(&json!({})).is_ok());
        let huge = 1_u64 << 31;
        let latent = |nope: u64, rope: u64, value: u64| {
            let sizes = json!({"kv_rank": 8, "nope_head_dim": nope, "rope_head_dim": rope, "value_head_dim": value});
            json!({"attention": {"latent": sizes}})
        };
        assert!(read(&latent(8, 8, 8)).is_ok());
        for (changes, words) in [
            (json!({"layers": huge}), "the number of layers"),
            (json!({"head_dim": huge}), "the size of a head"),
            (json!({"heads": 512}), "0 as the size of a head"),
            (latent(huge, 8, 8), "not rotated"),
            (latent(8, huge, 8), "are rotated"),
            (latent(8, 8, huge), "the size of a value head"),
            (json!({"intermediate_size": u64::MAX}), "the intermediate size"),
            (json!({"intermediate_size": null}), "does not state the intermediate size"),
            (json!({"experts": 4, "shared_experts": u64::MAX}), "the shared experts"),
            (json!({"attention": {"qk_norm": true}, "norm": {"kind": "layer"}}), "subtract the mean"),
        ] {
            let found = read(&changes).expect_err("it is refused").to_string();
            assert!(found.contains(words), "{changes}: {found}");
        }
        // Heads of latent attention have sizes of their own.
        let mut many = latent(8, 8, 8);
        many["heads"] = 512.into();
        assert!(read(&many).is_ok());
    }
}
