//! MTP: layers after the decoder's, each of which predicts one token more.

use std::collections::BTreeMap;

use super::{
    error::HeadError,
    layer,
    shapes::{Shapes, Target},
};

const KIND: &str = "MTP";

/// The modules that a head has beside its decoder layer.
struct Form {
    /// Norms of the embedding, of the hidden state, and of what the layer gives.
    norms: [&'static str; 3],
    /// The projection of embedding and hidden state to one.
    projection: &'static str,
}

const DEEPSEEK: Form = Form { norms: ["enorm", "hnorm", "shared_head.norm"], projection: "eh_proj" };
const MIMO: Form = Form { norms: ["token_layernorm", "hidden_layernorm", "final_layernorm"], projection: "input_proj" };
const QWEN: Form = Form { norms: ["pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm"], projection: "fc" };

/// Modules that a head may share with its target: it leaves them out then, or repeats them.
const SHARED: [&str; 3] = ["shared_head.head", "embed_tokens", "lm_head"];

impl Form {
    /// Whether a module of this name shows that a head is meant. A `norm` alone shows nothing.
    fn shows(&self, module: &str) -> bool {
        module == self.projection || self.norms.contains(&module) && module != "norm"
    }
}

/// Finds the heads, and returns the prefix of each, with what keeps it from being whole and from fitting the target.
pub(super) fn find(tensors: &Shapes<'_>, target: Target) -> Vec<(String, Result<(), HeadError>)> {
    let mut found = BTreeMap::new();
    for name in tensors.names() {
        let module = name.strip_suffix(".weight").unwrap_or(name);
        if let Some((prefix, form)) = place(module, target) {
            found.insert(prefix, form);
        }
    }
    let checked = found.into_iter().map(|(prefix, form)| {
        let checked = check(tensors, target, &prefix, form);
        (prefix, checked)
    });
    checked.collect()
}

/// The head that a module shows: the prefix of its names, and its form.
fn place(module: &str, target: Target) -> Option<(String, &'static Form)> {
    for (list, forms) in [("mtp_layers.", &[&DEEPSEEK, &MIMO][..]), ("layers.", &[&DEEPSEEK][..])] {
        let Some(start) = module.find(list).filter(|start| *start == 0 || module[..*start].ends_with('.')) else {
            continue;
        };
        let rest = &module[start + list.len()..];
        let Some((number, rest)) = rest.split_once('.') else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        let is_behind = list != "layers." || target.layers.is_none_or(|layers| number >= layers);
        if let Some(form) = forms.iter().copied().find(|form| is_behind && form.shows(rest)) {
            return Some((module[..module.len() - rest.len()].to_owned(), form));
        }
    }
    let (before, rest) =
        module.split_at(module.find("mtp.").filter(|at| *at == 0 || module[..*at].ends_with('.'))? + 4);
    QWEN.shows(rest).then(|| (before.to_owned(), &QWEN))
}

fn check(tensors: &Shapes<'_>, target: Target, prefix: &str, form: &Form) -> Result<(), HeadError> {
    let named = |name: &str| format!("{prefix}{name}");
    let own = form.norms.iter().chain([&form.projection]).map(|name| named(name));
    let mut missing = tensors.missing(own);
    let layers = layers(tensors, prefix);
    for layer in &layers {
        missing.extend(layer::missing(tensors, layer));
    }
    if !missing.is_empty() {
        return Err(HeadError::Missing { kind: KIND, names: missing });
    }
    let hidden = target.hidden;
    let of_target = "the target's hidden size";
    for norm in form.norms {
        tensors.check(KIND, &named(norm), &[hidden], of_target)?;
    }
    let double = hidden.map(|hidden| hidden.saturating_mul(2));
    tensors.check(KIND, &named(form.projection), &[hidden, double], "an embedding beside a hidden state")?;
    for shared in SHARED {
        tensors.check(KIND, &named(shared), &[target.vocabulary, hidden], "the target's vocabulary and hidden size")?;
    }
    for layer in &layers {
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            tensors.check(KIND, &format!("{layer}{norm}"), &[hidden], of_target)?;
        }
        tensors.check(KIND, &format!("{layer}self_attn.o_proj"), &[hidden, None], of_target)?;
    }
    Ok(())
}

/// Prefixes of the decoder layers of a head: its own, or those of a list.
fn layers(tensors: &Shapes<'_>, prefix: &str) -> Vec<String> {
    let list = format!("{prefix}layers.");
    let numbers = tensors.names().filter_map(|name| name.strip_prefix(&list)?.split_once('.')?.0.parse::<u64>().ok());
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    if prefix.ends_with("mtp.") {
        // Without a list, the first layer is what is missing.
        let numbers = if numbers.is_empty() { vec![0] } else { numbers };
        return numbers.into_iter().map(|number| format!("{list}{number}.")).collect();
    }
    vec![prefix.to_owned()]
}
