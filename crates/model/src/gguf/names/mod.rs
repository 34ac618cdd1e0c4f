//! Names of tensors in GGUF files and in checkpoints, by architecture.

mod families;
mod form;
mod row;

use families::FAMILIES;
pub use form::{Form, Heads, Share};
use row::{Family, Row};

/// Prefix of the names of a layer's tensors in GGUF.
const BLOCK: &str = "blk.";
/// Suffix of the names of norms, after the module.
const WEIGHT: &str = ".weight";

/// The names of an architecture's tensors: translated both ways, each with the [`Form`] that the file has the tensor in.
///
/// ```
/// use longshore_model::gguf::{Form, Heads, NameMap};
///
/// let map = NameMap::of("llama").expect("it has a map");
/// let [query] = &map.from_gguf("blk.3.attn_q.weight")[..] else { panic!("it is one tensor") };
/// assert_eq!(query.name, "model.layers.3.self_attn.q_proj.weight");
/// assert_eq!(query.form, Form::Rotary(Heads::Query));
/// assert_eq!(map.to_gguf(&query.name)[0], *query);
/// assert!(NameMap::of("unheard-of").is_none());
/// ```
#[derive(Debug, Clone, Copy)]
pub struct NameMap {
    family: &'static Family,
}

/// A tensor of a GGUF file, and the tensor of a checkpoint that it is made from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Mapping {
    /// Name in the file.
    pub gguf: String,
    /// Name in a checkpoint. A stack of experts has the name of an expert without its number.
    pub name: String,
    /// Form in the file.
    pub form: Form,
}

impl NameMap {
    /// Returns the map of an architecture, by its name in `general.architecture`. `None` if it has no map.
    #[must_use]
    pub fn of(architecture: &str) -> Option<Self> {
        let family = FAMILIES.iter().find(|family| family.architectures.contains(&architecture))?;
        Some(Self { family })
    }

    /// Iterates over the names of all architectures that have a map.
    pub fn architectures() -> impl Iterator<Item = &'static str> {
        FAMILIES.iter().flat_map(|family| family.architectures).copied()
    }

    /// Returns the tensors of a checkpoint that the tensor `name` of a file is made from: more than one if the file joins
    /// them, and none if the map does not have the name.
    #[must_use]
    pub fn from_gguf(&self, name: &str) -> Vec<Mapping> {
        let (rows, rest, other) = match layer(name, BLOCK) {
            Some((number, rest)) => (self.family.layer, rest, Some((self.family.layers, number))),
            None => (self.family.model, name, None),
        };
        self.find(rows, rest, |gguf, hf| (gguf, hf), |found| join(other, found), name, true)
    }

    /// Returns the tensors of a file that are made from the tensor `name` of a checkpoint: more than one if the file has
    /// it in parts, and none if the map does not have the name.
    #[must_use]
    pub fn to_gguf(&self, name: &str) -> Vec<Mapping> {
        let (rows, rest, other) = match layer(name, self.family.layers) {
            Some((number, rest)) => (self.family.layer, rest, Some((BLOCK, number))),
            None => (self.family.model, name, None),
        };
        self.find(rows, rest, |gguf, hf| (hf, gguf), |found| join(other, found), name, false)
    }

    fn find(
        self,
        tables: &[&[Row]],
        rest: &str,
        names: impl Fn(&'static str, &'static str) -> (&'static str, &'static str) + Copy,
        whole: impl Fn(&str) -> String,
        name: &str,
        is_gguf: bool,
    ) -> Vec<Mapping> {
        for (at, rows) in tables.iter().enumerate() {
            // A name of a checkpoint that an earlier table has is another tensor's.
            let is_taken =
                |row: &Row| tables[..at].iter().any(|earlier| earlier.iter().any(|other| other.hf == row.hf));
            let rows = rows.iter().filter(|row| !is_taken(row));
            let found = rows.filter_map(|row| Some((row, row.other(rest, names)?)));
            let found = found.filter(|(row, found)| is_gguf || !is_shadowed(tables, row, found));
            let found = found.map(|(row, found)| {
                let (gguf, name) =
                    if is_gguf { (name.to_owned(), whole(&found)) } else { (whole(&found), name.to_owned()) };
                let form = self.form(row, if is_gguf { rest } else { &found });
                Mapping { gguf, name, form }
            });
            // One row, or several that have the parts of one tensor.
            let mut found: Vec<Mapping> = found.collect();
            let is_split = |mapping: &Mapping| matches!(mapping.form, Form::Split(_));
            if !is_gguf && found.iter().any(|mapping| !is_split(mapping)) {
                found.retain(|mapping| !is_split(mapping));
            }
            if found.iter().any(|mapping| mapping.form.is_part()) {
                found.retain(|mapping| mapping.form.is_part());
            } else {
                found.truncate(1);
            }
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    /// The form of a row's tensor whose GGUF name in its layer is `name`.
    fn form(self, row: &Row, name: &str) -> Form {
        let module = name.strip_suffix(WEIGHT).filter(|module| module.ends_with("norm"));
        match (self.family.norms_plus_one, module) {
            (Some(others), Some(module)) if row.form == Form::Same && !others.contains(&module) => Form::PlusOne,
            _ => row.form,
        }
    }
}

impl Form {
    /// Whether the tensor of the file is a part of the checkpoint's tensor, or the other way round.
    #[must_use]
    pub fn is_part(self) -> bool {
        matches!(self, Self::Interleaved(_) | Self::Joined(_) | Self::Split(_) | Self::LatentKeys | Self::LatentValues)
    }
}

/// Whether an earlier row has the GGUF name `name` that `row` would give.
fn is_shadowed(tables: &[&[Row]], row: &Row, name: &str) -> bool {
    let all = tables.iter().flat_map(|rows| rows.iter());
    let mut before = all.take_while(|other| !std::ptr::eq(*other, row));
    before.any(|other| !other.form.is_part() && other.other(name, |gguf, hf| (gguf, hf)).is_some())
}

/// The number of a layer, and the rest of the name, of a tensor in a layer.
fn layer<'n>(name: &'n str, prefix: &str) -> Option<(&'n str, &'n str)> {
    let (number, rest) = name.strip_prefix(prefix)?.split_once('.')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some((number, rest))
}

fn join(layer: Option<(&str, &str)>, name: &str) -> String {
    layer.map_or_else(|| name.to_owned(), |(prefix, number)| format!("{prefix}{number}.{name}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn to(architecture: &str, name: &str) -> Vec<(String, Form)> {
        let map = NameMap::of(architecture).expect("it has a map");
        map.from_gguf(name).into_iter().map(|mapping| (mapping.name, mapping.form)).collect()
    }

    fn one(architecture: &str, name: &str) -> (String, Form) {
        let [found] = <[_; 1]>::try_from(to(architecture, name)).expect("it is one");
        found
    }

    #[test]
    fn an_architecture_has_one_map() {
        let mut names = HashSet::new();
        assert!(NameMap::architectures().all(|name| names.insert(name)));
        assert!(names.len() > 20);
    }

    #[test]
    fn families_differ() {
        for (architecture, gguf, name, form) in [
            ("llama", "token_embd.weight", "model.embed_tokens.weight", Form::Same),
            ("llama", "output.weight", "lm_head.weight", Form::Same),
            ("llama", "blk.0.attn_k.bias", "model.layers.0.self_attn.k_proj.bias", Form::Rotary(Heads::Key)),
            ("llama", "blk.12.ffn_up_exps.weight", "model.layers.12.block_sparse_moe.experts.w3.weight", Form::Same),
            ("llama", "blk.0.attn_v.scale", "model.layers.0.self_attn.v_proj.weight_scale_2", Form::Same),
            ("llama", "rope_freqs.weight", "rope_freqs.weight", Form::Own),
            ("qwen3", "blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight", Form::Same),
            ("qwen3moe", "blk.0.ffn_up_exps.weight", "model.layers.0.mlp.experts.up_proj.weight", Form::Same),
            ("qwen2moe", "blk.0.ffn_up_shexp.weight", "model.layers.0.mlp.shared_expert.up_proj.weight", Form::Same),
            ("gemma", "blk.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight", Form::PlusOne),
            ("gemma3", "blk.0.ffn_norm.weight", "model.layers.0.pre_feedforward_layernorm.weight", Form::PlusOne),
            ("gemma3", "output_norm.weight", "model.norm.weight", Form::PlusOne),
            ("gemma3", "token_embd.weight", "model.embed_tokens.weight", Form::Same),
            ("phi3", "blk.0.ffn_up.weight", "model.layers.0.mlp.gate_up_proj.weight", Form::Same),
            ("phi3", "rope_factors_long.weight", "rope_factors_long.weight", Form::Own),
            ("gpt-oss", "blk.0.attn_sinks.weight", "model.layers.0.self_attn.sinks", Form::Same),
            ("gpt-oss", "blk.0.ffn_down_exps.bias", "model.layers.0.mlp.experts.down_proj_bias", Form::Same),
            ("deepseek2", "blk.1.exp_probs_b.bias", "model.layers.1.mlp.gate.e_score_correction_bias", Form::Same),
            ("nemotron_h", "blk.0.ssm_a", "backbone.layers.0.mixer.A_log", Form::NegativeExponential),
            ("nemotron_h", "blk.0.ssm_norm.weight", "backbone.layers.0.mixer.norm.weight", Form::Flat),
            ("mamba2", "blk.0.ssm_conv1d.bias", "backbone.layers.0.mixer.conv1d.bias", Form::Same),
            ("lfm2", "blk.0.shortconv.conv.weight", "model.layers.0.conv.conv.weight", Form::Convolution),
            ("qwen3next", "blk.0.ssm_norm.weight", "model.layers.0.linear_attn.norm.weight", Form::Same),
            ("qwen3next", "blk.0.attn_q_norm.weight", "model.layers.0.self_attn.q_norm.weight", Form::PlusOne),
        ] {
            assert_eq!(one(architecture, gguf), (name.to_owned(), form), "{architecture}: {gguf}");
        }
    }

    #[test]
    fn other_names_have_no_mapping() {
        for name in
            ["blk.x.attn_q.weight", "blk.0.attn_q", "blk.0.attn_q.weights", "attn_q.weight", "blk.0.what.weight", ""]
        {
            assert_eq!(to("llama", name), [], "{name}");
        }
    }

    #[test]
    fn parts_are_found_from_both_sides() {
        let map = NameMap::of("gpt-oss").expect("it has a map");
        let parts = map.to_gguf("model.layers.3.mlp.experts.gate_up_proj");
        let names: Vec<_> = parts.iter().map(|part| part.gguf.as_str()).collect();
        assert_eq!(names, ["blk.3.ffn_gate_exps.weight", "blk.3.ffn_up_exps.weight"]);
        let share = |index| Form::Interleaved(Share { index, of: 2, axis: 1 });
        assert_eq!(parts.iter().map(|part| part.form).collect::<Vec<_>>(), [share(0), share(1)]);
        assert_eq!(map.from_gguf("blk.3.ffn_up_exps.weight"), parts[1..]);

        let map = NameMap::of("deepseek2").expect("it has a map");
        let parts = map.to_gguf("model.layers.0.self_attn.kv_b_proj.weight");
        let found: Vec<_> = parts.iter().map(|part| (part.gguf.as_str(), part.form)).collect();
        let expected = [("blk.0.attn_k_b.weight", Form::LatentKeys), ("blk.0.attn_v_b.weight", Form::LatentValues)];
        assert_eq!(found, expected);
        assert_eq!(one("deepseek2", "blk.0.attn_kv_b.weight").1, Form::Same);

        let halves = to("qwen3moe", "blk.0.ffn_gate_up_exps.weight");
        let split = |index| Form::Split(Share { index, of: 2, axis: 1 });
        assert_eq!(
            halves,
            [
                ("model.layers.0.mlp.experts.gate_proj.weight".to_owned(), split(0)),
                ("model.layers.0.mlp.experts.up_proj.weight".to_owned(), split(1)),
            ]
        );
    }

    #[test]
    fn every_name_comes_back() {
        for architecture in NameMap::architectures() {
            let map = NameMap::of(architecture).expect("it was listed");
            let layers = map.family.layer.iter().map(|rows| (BLOCK.to_owned() + "7.", rows));
            for (prefix, rows) in layers.chain(map.family.model.iter().map(|rows| (String::new(), rows))) {
                for row in *rows {
                    let name = format!("{prefix}{}{}", row.gguf, if row.is_whole { "" } else { ".weight" });
                    // None where an earlier row has the tensor.
                    for mapping in map.from_gguf(&name) {
                        let back = map.to_gguf(&mapping.name);
                        let is_there = back.contains(&mapping) || matches!(mapping.form, Form::Split(_));
                        // Older files have the matrix whole.
                        let is_there = is_there || mapping.gguf.ends_with("attn_kv_b.weight");
                        assert!(is_there, "{architecture}: {mapping:?} comes back as {back:?}");
                    }
                }
            }
        }
    }
}
