//! The facts about a model, in words.

use std::fmt::Display;

use longshore_manifest::document::{
    Attention, Audio, Facts, LatentAttention, LinearAttention, Norm, PerLayer, Rope, Router, StateSpace, Vision,
};

use crate::format::plural;

/// The facts beside architecture and parameters, as far as they are known.
pub(super) fn what_it_is(facts: &Facts) -> Vec<(&'static str, String)> {
    let mut lines: Vec<_> =
        facts.components.iter().map(|(name, class)| ("component", format!("{name}: {class}"))).collect();
    let with = |first: Option<u64>, others: &[(Option<u64>, &str)]| {
        let others = others.iter().filter_map(|(number, what)| Some(format!(", {} {what}", (*number)?)));
        first.map(|number| number.to_string() + &others.collect::<String>())
    };
    let Facts { layers, decoder_layers, draft_layers, heads, kv_heads, head_dim, experts, .. } = facts;
    let draft_layers = draft_layers.filter(|layers| *layers > 0);
    let known = [
        ("layers", with(*layers, &[(*decoder_layers, "in the decoder"), (draft_layers, "to predict further tokens")])),
        ("layer kinds", Some(kinds(facts))),
        ("hidden size", with(facts.hidden_size, &[(facts.intermediate_size, "within a feed-forward block")])),
        (
            "activation",
            facts
                .activation
                .as_ref()
                .map(|name| joined([Some(name.clone()), noted("limit", facts.activation_limit.as_ref())])),
        ),
        ("feed-forward", said(facts.mlp_bias, "with biases")),
        ("heads", with(*heads, &[(*kv_heads, "for keys and values"), (*head_dim, "elements each")])),
        ("per layer", Some(per_layer(&facts.per_layer))),
        ("attention", Some(attention(&facts.attention))),
        ("linear attention", facts.linear_attention.as_ref().map(linear_attention)),
        ("state space", facts.state_space.as_ref().map(state_space)),
        (
            "experts",
            with(
                *experts,
                &[
                    (facts.experts_per_token, "for each token"),
                    (facts.shared_experts, "shared"),
                    (facts.expert_intermediate_size, "within one"),
                ],
            ),
        ),
        ("dense layers", facts.dense_layers.as_deref().map(numbers)),
        ("router", facts.router.as_ref().map(router)),
        ("context", facts.context_length.map(|tokens| format!("{tokens} tokens"))),
        ("rope", facts.rope.as_ref().map(rope)),
        ("norm", Some(norm(&facts.norm))),
        ("multipliers", Some(multipliers(facts))),
        ("vocabulary", facts.vocabulary.map(|tokens| format!("{tokens} tokens"))),
        ("tokens", Some(tokens(facts))),
        (
            "embedding",
            Some(joined([
                said(facts.tied_embeddings, "tied to the head"),
                said(facts.scales_embeddings, "times the root of the hidden size"),
            ])),
        ),
        ("template", facts.chat_template.as_ref().map(|text| plural(text.chars().count(), "character"))),
        ("vision", facts.vision.as_ref().map(vision)),
        ("audio", facts.audio.as_ref().map(audio)),
    ];
    lines.extend(known.into_iter().filter_map(|(key, value)| Some((key, value.filter(|value| !value.is_empty())?))));
    lines
}

/// Number of layers of each kind, in the order of the first of each.
fn kinds(facts: &Facts) -> String {
    let mut found: Vec<(&str, usize)> = Vec::new();
    for kind in &facts.layer_types {
        match found.iter_mut().find(|(name, _)| name == kind) {
            Some((_, count)) => *count += 1,
            None => found.push((kind, 1)),
        }
    }
    joined(found.into_iter().map(|(kind, count)| Some(format!("{count} {kind}"))))
}

fn per_layer(sizes: &PerLayer) -> String {
    let PerLayer { heads, kv_heads, head_dim, intermediate_size } = sizes;
    joined([
        ranged("heads", heads),
        ranged("heads for keys and values", kv_heads),
        ranged("elements of a head", head_dim),
        ranged("elements within a feed-forward block", intermediate_size),
    ])
}

/// The smallest and the largest of the sizes of all layers.
fn ranged(what: &str, sizes: &[u64]) -> Option<String> {
    let (least, most) = (sizes.iter().min()?, sizes.iter().max()?);
    Some(if least == most { format!("{least} {what}") } else { format!("{least} to {most} {what}") })
}

fn attention(attention: &Attention) -> String {
    let biases = match (attention.bias, attention.output_bias) {
        (Some(true), Some(false)) => Some("with biases but for the output's"),
        (Some(true), _) => Some("with biases"),
        _ => None,
    };
    joined([
        attention.latent.as_ref().map(latent),
        biases.map(str::to_owned),
        said(attention.qk_norm, "normalised queries and keys"),
        said(attention.output_gate, "gated"),
        said(attention.sinks, "sinks"),
        noted("window", attention.window),
        noted("chunk", attention.chunk),
        noted("soft cap", attention.soft_cap.as_ref()),
        noted("query scale", attention.query_scale.as_ref()),
        Some(attention.layers_without_rope.len())
            .filter(|count| *count > 0)
            .map(|count| plural(count, "layer") + " without rope"),
    ])
}

fn latent(latent: &LatentAttention) -> String {
    joined([
        latent.kv_rank.map(|rank| format!("latent of rank {rank}")),
        latent.q_rank.map(|rank| format!("queries of rank {rank}")),
        latent.nope_head_dim.zip(latent.rope_head_dim).map(|(nope, rope)| format!("heads of {nope} + {rope} elements")),
        latent.value_head_dim.map(|dim| format!("values of {dim}")),
    ])
}

fn linear_attention(linear: &LinearAttention) -> String {
    joined([
        linear.key_heads.map(|heads| format!("{heads} key heads")),
        linear.value_heads.map(|heads| format!("{heads} value heads")),
        linear.key_head_dim.map(|dim| format!("{dim} elements of a key")),
        linear.value_head_dim.map(|dim| format!("{dim} of a value")),
        noted("convolution of", linear.conv_width),
    ])
}

fn router(router: &Router) -> String {
    joined([
        router.scoring.clone(),
        router.method.clone(),
        said(router.normalises, "normalised"),
        router
            .groups_per_token
            .zip(router.groups)
            .filter(|(_, groups)| *groups > 1)
            .map(|(used, groups)| format!("{used} of {groups} groups")),
        noted("times", router.scaling.as_ref()),
        noted("shared size", router.shared_intermediate_size),
        router.every.filter(|every| *every > 1).map(|every| format!("in one of {every} layers")),
        noted("latent size", router.latent_size),
    ])
}

fn state_space(space: &StateSpace) -> String {
    joined([
        noted("state", space.state_size),
        space.heads.map(|heads| format!("{heads} heads")),
        space.head_dim.map(|dim| format!("{dim} elements each")),
        noted("groups", space.groups),
        noted("inner size", space.inner_size),
        noted("times", space.expand.as_ref()),
        noted("convolution of", space.conv_width),
        noted("chunk", space.chunk),
    ])
}

fn rope(rope: &Rope) -> String {
    joined([
        noted("theta", rope.theta.as_ref()),
        rope.local_theta.as_ref().map(|theta| format!("theta {theta} in local attention")),
        rope.kind.clone(),
        noted("factor", rope.factor.as_ref()),
        rope.original_context.map(|tokens| format!("from {tokens} tokens")),
        noted("part", rope.partial.as_ref()),
        rope.dims.map(|dims| format!("{dims} elements")),
        said(rope.interleaved, "interleaved"),
    ])
}

fn norm(norm: &Norm) -> String {
    joined([norm.kind.clone(), noted("eps", norm.eps.as_ref()), said(norm.adds_one, "weight plus one")])
}

fn multipliers(facts: &Facts) -> String {
    let multipliers = &facts.multipliers;
    joined([
        noted("embedding", multipliers.embedding.as_ref()),
        noted("residual", multipliers.residual.as_ref()),
        noted("attention", multipliers.attention.as_ref()),
        noted("logits", multipliers.logits.as_ref()),
        noted("logits divided by", multipliers.logits_divisor.as_ref()),
        noted("logits capped at", facts.logit_soft_cap.as_ref()),
    ])
}

fn tokens(facts: &Facts) -> String {
    let tokens = &facts.tokens;
    let begin = noted("begin", tokens.bos);
    let ends = tokens.eos.iter().map(|token| noted("end", Some(token)));
    joined([begin].into_iter().chain(ends).chain([noted("padding", tokens.pad)]))
}

fn vision(vision: &Vision) -> String {
    joined([
        vision.model_type.clone(),
        vision.layers.map(|layers| format!("{layers} layers")),
        noted("hidden size", vision.hidden_size),
        noted("patch", vision.patch_size),
    ])
}

fn audio(audio: &Audio) -> String {
    joined([
        audio.model_type.clone(),
        audio.layers.map(|layers| format!("{layers} layers")),
        noted("hidden size", audio.hidden_size),
        audio.mel_bins.map(|bins| format!("{bins} bands")),
    ])
}

/// Layers as their numbers.
fn numbers(layers: &[u64]) -> String {
    match layers {
        [first, .., last] if last.checked_sub(*first) == Some(layers.len() as u64 - 1) => format!("{first} to {last}"),
        _ => joined(layers.iter().map(|layer| Some(layer.to_string()))),
    }
}

fn said(flag: Option<bool>, what: &str) -> Option<String> {
    (flag == Some(true)).then(|| what.to_owned())
}

fn noted(what: &str, value: Option<impl Display>) -> Option<String> {
    value.map(|value| format!("{what} {value}"))
}

fn joined(parts: impl IntoIterator<Item = Option<String>>) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_layers_and_of_heads_are_shown() {
        let facts = Facts {
            per_layer: PerLayer { heads: vec![8, 4], kv_heads: vec![2, 2], ..PerLayer::default() },
            attention: Attention {
                bias: Some(true),
                output_bias: Some(false),
                latent: Some(LatentAttention {
                    kv_rank: Some(64),
                    nope_head_dim: Some(32),
                    rope_head_dim: Some(16),
                    ..LatentAttention::default()
                }),
                ..Attention::default()
            },
            mlp_bias: Some(true),
            dense_layers: Some(vec![0, 1, 2]),
            ..Facts::default()
        };
        let expected = [
            ("feed-forward", "with biases"),
            ("per layer", "4 to 8 heads, 2 heads for keys and values"),
            ("attention", "latent of rank 64, heads of 32 + 16 elements, with biases but for the output's"),
            ("dense layers", "0 to 2"),
        ];
        assert_eq!(what_it_is(&facts), expected.map(|(key, value)| (key, value.to_owned())));
        assert_eq!([numbers(&[]), numbers(&[3]), numbers(&[5, 0]), numbers(&[0, 7])], ["", "3", "5, 0", "0, 7"]);
    }
}
