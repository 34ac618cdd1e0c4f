//! mlx-lm's names for the tensors of a model.

use std::sync::LazyLock;

/// The known architectures, parsed from `architectures.txt`, whose head describes the format.
static TABLE: LazyLock<Vec<Architecture>> = LazyLock::new(|| parse(include_str!("architectures.txt")));

/// A model that mlx-lm has a class for, with the rules that name its tensors.
#[derive(Debug)]
pub(super) struct Architecture {
    /// Values of `model_type`. The first is the name of mlx-lm's module.
    types: Vec<&'static str>,
    classes: Vec<&'static str>,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    kind: Kind,
    pattern: String,
    targets: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Linear,
    Raw,
    Conv,
    Rows,
    Halves,
    Stack,
    Head,
    Drop,
}

/// The place of a stored tensor in mlx-lm's class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The weight of a module, which may be quantized.
    Weight {
        /// The module.
        module: String,
    },
    /// A tensor that is not quantized.
    Raw {
        /// Name of the tensor.
        name: String,
    },
    /// The weight of a convolution, whose last two axes are swapped.
    Conv {
        /// Name of the tensor.
        name: String,
    },
    /// Rows that belong to two modules, of a weight or of a bias.
    Split {
        /// The modules.
        modules: [String; 2],
        /// Whether the rows are elements of a bias.
        is_bias: bool,
        /// Whether the rows of the two modules alternate. Otherwise each module has one half.
        take_turns: bool,
    },
    /// The tensor is left out.
    LeftOut,
}

/// The values of `model_type` for which an export for mlx-lm knows the names of tensors.
pub fn mlx_architectures() -> impl Iterator<Item = &'static str> {
    Architecture::known()
}

impl Architecture {
    /// Finds the architecture by its `model_type`.
    pub(super) fn of_type(model_type: &str) -> Option<&'static Self> {
        TABLE.iter().find(|known| known.types.contains(&model_type))
    }

    /// Finds the architecture by a class in `architectures`.
    pub(super) fn of_class(class: &str) -> Option<&'static Self> {
        TABLE.iter().find(|known| known.classes.contains(&class))
    }

    /// All values of `model_type`, of all architectures.
    pub(super) fn known() -> impl Iterator<Item = &'static str> {
        TABLE.iter().flat_map(|known| known.types.iter().copied())
    }

    /// The name of mlx-lm's module.
    pub(super) fn name(&self) -> &'static str {
        self.types[0]
    }

    /// Whether mlx-lm drops the head of a model with tied embeddings.
    pub(super) fn ties_head(&self) -> bool {
        self.rules.iter().any(|rule| rule.kind == Kind::Head)
    }

    /// The place of a tensor in a model with `layers` layers. `None` if mlx-lm's class has no such tensor.
    pub(super) fn place(&self, tensor: &str, layers: Option<u64>, is_tied: bool) -> Option<Place> {
        if beyond(tensor, layers) {
            return Some(Place::LeftOut);
        }
        self.rules.iter().find_map(|rule| rule.place(tensor, is_tied))
    }
}

impl Rule {
    /// The number in the name of a tensor that the pattern matches completely.
    fn whole<'t>(&self, tensor: &'t str) -> Option<(Option<&'t str>, &'t str)> {
        matches(&self.pattern, tensor).filter(|(_, rest)| rest.is_empty())
    }

    fn place(&self, tensor: &str, is_tied: bool) -> Option<Place> {
        let target = |at: usize, layer: Option<&str>| {
            let target = self.targets.get(at).unwrap_or(&self.pattern);
            layer.map_or_else(|| target.clone(), |layer| target.replacen('#', layer, 1))
        };
        // Matches the name of a projection without `.weight`, or that of its bias.
        let bare = || match self.whole(tensor) {
            Some((layer, _)) => Some((layer, false)),
            None => self.whole(tensor.strip_suffix("_bias")?).map(|(layer, _)| (layer, true)),
        };
        match self.kind {
            Kind::Linear | Kind::Head => {
                let (layer, rest) = matches(&self.pattern, tensor)?;
                let module = target(0, layer);
                match rest {
                    ".weight" | ".bias" if self.kind == Kind::Head && is_tied => Some(Place::LeftOut),
                    ".weight" => Some(Place::Weight { module }),
                    ".bias" => Some(Place::Raw { name: format!("{module}.bias") }),
                    _ => None,
                }
            }
            Kind::Raw => self.whole(tensor).map(|(layer, _)| Place::Raw { name: target(0, layer) }),
            Kind::Conv => self.whole(tensor).map(|(layer, _)| Place::Conv { name: target(0, layer) }),
            Kind::Stack => bare().map(|(layer, is_bias)| {
                let module = target(0, layer);
                if is_bias { Place::Raw { name: format!("{module}.bias") } } else { Place::Weight { module } }
            }),
            Kind::Rows | Kind::Halves => bare().map(|(layer, is_bias)| Place::Split {
                modules: [target(0, layer), target(1, layer)],
                is_bias,
                take_turns: self.kind == Kind::Rows,
            }),
            Kind::Drop => matches(&self.pattern, tensor).map(|_| Place::LeftOut),
        }
    }
}

/// Whether a tensor belongs to a layer beyond those that the configuration counts.
fn beyond(tensor: &str, layers: Option<u64>) -> bool {
    let number = || tensor.split_once(".layers.")?.1.split('.').next()?.parse::<u64>().ok();
    layers.is_some_and(|layers| number().is_some_and(|number| number >= layers))
}

/// Matches the beginning of `text` against the pattern. Returns the number in place of `#`, and the rest of the text.
fn matches<'t>(pattern: &str, text: &'t str) -> Option<(Option<&'t str>, &'t str)> {
    let Some((before, after)) = pattern.split_once('#') else {
        return text.strip_prefix(pattern).map(|rest| (None, rest));
    };
    let text = text.strip_prefix(before)?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, text) = text.split_at(digits);
    (digits > 0).then_some((Some(number), text.strip_prefix(after)?))
}

fn parse(table: &'static str) -> Vec<Architecture> {
    let mut all: Vec<Architecture> = Vec::new();
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with("# ") && *line != "#") {
        let mut words = line.split(' ');
        let kind = match words.next() {
            Some("=") => {
                let (types, classes) = line[2..].split_once(" : ").expect("types and classes");
                let words = |text: &'static str| text.split(' ').collect();
                all.push(Architecture { types: words(types), classes: words(classes), rules: Vec::new() });
                continue;
            }
            Some("linear") => Kind::Linear,
            Some("raw" | "norm") => Kind::Raw,
            Some("conv") => Kind::Conv,
            Some("rows") => Kind::Rows,
            Some("halves") => Kind::Halves,
            Some("stack") => Kind::Stack,
            Some("head") => Kind::Head,
            Some("drop") => Kind::Drop,
            other => unreachable!("BUG: the table has the rule {other:?}"),
        };
        let sides: Vec<Vec<String>> = words.filter(|word| *word != "->").map(expand).collect();
        let (patterns, targets) = sides.split_first().expect("every rule has a pattern");
        let rules = &mut all.last_mut().expect("rules follow an architecture").rules;
        for (at, pattern) in patterns.iter().enumerate() {
            let targets = targets.iter().map(|choices| choices[at].clone()).collect();
            rules.push(Rule { kind, pattern: pattern.clone(), targets });
        }
    }
    all
}

/// Expands a pattern into one pattern for each of the words in braces.
fn expand(pattern: &str) -> Vec<String> {
    match pattern.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        Some((before, (words, after))) => words.split(',').map(|word| format!("{before}{word}{after}")).collect(),
        None => vec![pattern.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(model: &str, tensor: &str) -> Option<Place> {
        Architecture::of_type(model).expect("it is known").place(tensor, Some(2), true)
    }

    #[test]
    fn every_rule_has_as_many_targets_as_its_kind_asks_for() {
        for rule in TABLE.iter().flat_map(|known| &known.rules) {
            let expected = match rule.kind {
                Kind::Rows | Kind::Halves => 2..=2,
                Kind::Stack => 1..=1,
                Kind::Linear => 0..=1,
                Kind::Raw | Kind::Conv | Kind::Head | Kind::Drop => 0..=0,
            };
            assert!(expected.contains(&rule.targets.len()), "{rule:?}");
            let numbers = |text: &String| text.matches('#').count();
            assert!(rule.targets.iter().all(|target| numbers(target) == numbers(&rule.pattern)), "{rule:?}");
        }
    }

    #[test]
    fn names_are_whole() {
        let weight = |module: &str| Some(Place::Weight { module: module.into() });
        assert_eq!(place("llama", "model.layers.1.mlp.up_proj.weight"), weight("model.layers.1.mlp.up_proj"));
        assert_eq!(place("mistral", "model.layers.1.mlp.up_proj.weight"), weight("model.layers.1.mlp.up_proj"));
        for unknown in ["model.layers.x.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weights", "model.norm.weight2"]
        {
            assert_eq!(place("llama", unknown), None, "{unknown}");
        }
        assert_eq!(
            place("mixtral", "model.layers.1.block_sparse_moe.experts.w2.weight"),
            weight("model.layers.1.block_sparse_moe.switch_mlp.down_proj")
        );
        assert_eq!(
            place("gpt_oss", "model.layers.0.mlp.experts.down_proj_bias"),
            Some(Place::Raw { name: "model.layers.0.mlp.experts.down_proj.bias".into() })
        );
    }

    #[test]
    fn what_mlx_lm_has_no_place_for_is_left_out() {
        for (model, tensor) in [
            ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq"),
            ("llama", "lm_head.weight"),
            ("deepseek_v3", "model.layers.2.eh_proj.weight"),
            ("nemotron_h", "mtp.layers.0.norm.weight"),
        ] {
            assert_eq!(place(model, tensor), Some(Place::LeftOut), "{tensor}");
        }
        assert_ne!(place("gemma3_text", "lm_head.weight"), Some(Place::LeftOut));
    }
}
