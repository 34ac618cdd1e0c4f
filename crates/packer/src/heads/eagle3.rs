//! EAGLE-3: one decoder layer over hidden states of three layers of the target.

use super::{
    error::HeadError,
    shapes::{Shapes, Target},
};

const KIND: &str = "EAGLE-3";
/// Modules of the decoder layer.
const LAYER: [&str; 10] = [
    "hidden_norm",
    "input_layernorm",
    "post_attention_layernorm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];
const OUTSIDE: [&str; 3] = ["fc", "norm", "lm_head"];

/// Whether a draft is an EAGLE-3 head. Its shapes fit the target then.
pub(super) fn is_one(draft: &Shapes<'_>, target: Target, hidden: Option<u64>) -> Result<bool, HeadError> {
    let base = if draft.names().any(|name| name.starts_with("model.midlayer.") || name.starts_with("model.layers.0.")) {
        "model."
    } else {
        ""
    };
    let has_midlayer = draft.names().any(|name| name.starts_with(&format!("{base}midlayer.")));
    let layer = format!("{base}{}.", if has_midlayer { "midlayer" } else { "layers.0" });
    // Some writers put `model.` before some of the modules.
    let outside =
        |name: &str| if draft.has(&format!("model.{name}")) { format!("model.{name}") } else { name.to_owned() };
    let (first, second) = (outside("d2t"), outside("t2d"));
    let own = [first.clone(), second.clone(), format!("{layer}hidden_norm")];
    if !own.iter().any(|name| draft.has(name)) {
        // The projection alone tells by its inputs: three hidden states, or a hidden state and an embedding in the versions before.
        let columns = draft.get(&outside("fc")).and_then(|shape| shape.last().copied());
        let states = columns.zip(target.hidden.or(hidden)).map(|(columns, size)| (columns, columns.checked_div(size)));
        match states {
            Some((_, Some(3))) => {}
            Some((columns, Some(2))) => {
                let reason = format!("fc has {columns} inputs, an embedding and one hidden state");
                return Err(HeadError::Kind { kind: "EAGLE-1 or EAGLE-2", reason });
            }
            _ => return Ok(false),
        }
    }
    let wanted = OUTSIDE.iter().map(|name| outside(name)).chain(LAYER.iter().map(|name| format!("{layer}{name}")));
    let mut missing = draft.missing(wanted);
    let rows = draft.get(&outside("lm_head")).and_then(|shape| shape.first().copied());
    if rows.is_some() && rows != target.vocabulary && !draft.has(&first) {
        missing.push(first.clone());
    }
    if !missing.is_empty() {
        return Err(HeadError::Missing { kind: KIND, names: missing });
    }

    let check = |name: &str, expected: &[Option<u64>], why: &str| draft.check(KIND, name, expected, why);
    let size = draft.get(&outside("norm")).and_then(|shape| shape.first().copied());
    check(&outside("norm"), &[hidden.or(size)], "the head's hidden size")?;
    let inputs = target.hidden.map(|hidden| hidden.saturating_mul(3));
    check(&outside("fc"), &[size, inputs], "three hidden states of the target")?;
    check(&outside("lm_head"), &[rows, size], "the head's hidden size")?;
    let embedding = outside("embed_tokens");
    check(&embedding, &[target.vocabulary, size], "the target's vocabulary and the head's hidden size")?;
    if !draft.has(&embedding) && target.hidden.is_some() && target.hidden != size {
        return Err(HeadError::Missing { kind: KIND, names: vec![format!("{embedding}.weight")] });
    }
    for norm in ["hidden_norm", "input_layernorm", "post_attention_layernorm"] {
        check(&format!("{layer}{norm}"), &[size], "the head's hidden size")?;
    }
    let double = size.map(|size| size.saturating_mul(2));
    let of_layer = |name: &str| format!("{layer}{name}");
    let rows_of = |name: &str| draft.get(&of_layer(name)).and_then(|shape| shape.first().copied());
    for projection in ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"] {
        check(&of_layer(projection), &[None, double], "an embedding beside a hidden state")?;
    }
    check(&of_layer("self_attn.v_proj"), &[rows_of("self_attn.k_proj"), double], "as many as of k_proj")?;
    check(&of_layer("self_attn.o_proj"), &[size, rows_of("self_attn.q_proj")], "the outputs of q_proj")?;
    let inner = rows_of("mlp.gate_proj");
    check(&of_layer("mlp.gate_proj"), &[inner, size], "the head's hidden size")?;
    check(&of_layer("mlp.up_proj"), &[inner, size], "that of gate_proj")?;
    check(&of_layer("mlp.down_proj"), &[size, inner], "that of gate_proj, turned")?;
    check(&first, &[rows], "a number for each token of the head")?;
    check(&second, &[target.vocabulary], "a number for each token of the target")?;
    Ok(true)
}
