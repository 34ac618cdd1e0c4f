//! Hints for wrong arguments.

use clap::error::{ContextKind, ContextValue};
use longshore_manifest::ModelName;
use longshore_quant::policy::Policy;

use super::nearest::nearest;
use crate::candidates;

/// The hints of a usage error; the verb is what the help is about.
pub(crate) fn of(error: &clap::Error, verb: Option<&str>) -> Vec<String> {
    let mut hints = Vec::new();
    for kind in [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue] {
        match error.get(kind) {
            Some(ContextValue::String(value)) => hints.push(did_you_mean(value)),
            Some(ContextValue::Strings(values)) if !values.is_empty() => hints.push(did_you_mean(&values.join(" or "))),
            _ => {}
        }
    }
    if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) {
        // The intended word is better than a word of similar spelling.
        if let Some(hint) = of_verb(word) {
            hints = vec![hint.into()];
        }
    }
    match (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue)) {
        (Some(ContextValue::String(argument)), Some(ContextValue::String(value))) => {
            hints.extend(of_value(argument, value));
        }
        (Some(ContextValue::Strings(missing)), None) if verb == Some("import") && missing == &["<NAME>"] => {
            hints.push("the name is yours to choose: longshore import SOURCE qwen3:int4, for example".into());
        }
        _ => {}
    }
    hints.push(match verb {
        Some(verb) => format!("longshore {verb} --help"),
        None => "longshore --help".into(),
    });
    hints
}

/// Our command for a word of another program.
fn of_verb(word: &str) -> Option<&'static str> {
    let hint = match word {
        "pull" | "push" | "download" | "upload" => {
            "Longshore has no network: hf download fetches a checkpoint, and longshore import DIR NAME stores it"
        }
        "run" | "chat" | "embed" | "perplexity" | "calibrate" if cfg!(not(feature = "run")) => {
            "this build runs no models: the feature `run` does"
        }
        "generate" | "complete" | "ask" => "longshore run NAME PROMPT does that",
        "embeddings" => "longshore embed NAME TEXT does that",
        "ppl" | "eval" | "evaluate" => "longshore perplexity NAME --text FILE does that",
        "imatrix" => "longshore calibrate NAME --text FILE OUT does that",
        "serve" => "Longshore serves no models: longshore export NAME DIR writes one for what does",
        "add" | "create" | "convert" | "quantize" | "pack" => "longshore import SOURCE NAME --quantize TYPE does that",
        "delete" | "remove" | "del" => "longshore rm NAME does that",
        "cp" | "tag" | "mv" | "rename" => {
            "longshore copy A B gives a model a second name, and longshore rm A takes the first"
        }
        "info" | "describe" | "view" => "longshore show NAME does that",
        "check" | "fsck" | "repair" => "longshore verify does that, with --repair SOURCE",
        "prune" | "clean" => "longshore gc does that",
        "version" => "longshore --version",
        _ => return None,
    };
    Some(hint)
}

fn did_you_mean(what: &str) -> String {
    format!("did you mean {what}?")
}

/// The hint about a value that an argument does not take.
fn of_value(argument: &str, value: &str) -> Option<String> {
    match argument.split_whitespace().next().unwrap_or_default() {
        "--quantize" => Some(of_type(value)),
        "--policy" | "<P>" => nearest(value, Policy::names().iter().copied()).map(did_you_mean),
        "--profile" => nearest(value, candidates::PROFILES.iter().copied()).map(did_you_mean),
        "--device" => nearest(value, ["host", "mlx", "cuda"]).map(did_you_mean),
        "<NAME>" | "<NAMES>..." | "<FROM>" | "<TO>" | "<A>" | "<B>" => of_name(value),
        _ => None,
    }
}

/// A type is told by its bits: `q4_k_m` of another program is `int4` here, or what comes nearest to it.
fn of_type(value: &str) -> String {
    let floats = ["bf16", "fp16", "f16", "fp32", "f32", "float16", "bfloat16", "float32"];
    if floats.contains(&value.to_ascii_lowercase().as_str()) {
        return "none keeps floats as they are, and so does leaving out --quantize".into();
    }
    let bits = value.chars().find_map(|letter| letter.to_digit(10));
    match bits {
        Some(bits @ (2 | 3 | 4 | 5 | 6 | 8)) => did_you_mean(&format!("int{bits}")),
        Some(7) => did_you_mean("int8"),
        _ => "int4 is the usual choice; int8 loses hardly anything".into(),
    }
}

/// The name with everything replaced that a name cannot have.
fn of_name(value: &str) -> Option<String> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.' | ':' | '/');
    let replaced: String = value.chars().map(|letter| if allowed(letter) { letter } else { '-' }).collect();
    let parts = replaced.split('/').map(|part| part.trim_matches(['-', '.'])).filter(|part| !part.is_empty());
    let name = parts.collect::<Vec<_>>().join("/");
    name.parse::<ModelName>().is_ok().then(|| did_you_mean(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_programs_lead_to_ours() {
        for (word, verb) in [("pull", "import"), ("delete", "rm"), ("create", "import"), ("version", "--version")] {
            assert!(of_verb(word).is_some_and(|hint| hint.contains(verb)), "{word}");
        }
        assert_eq!(of_verb("inport"), None);
    }

    #[test]
    fn a_type_of_another_program_is_told_by_its_bits() {
        for (value, meant) in
            [("q4_k_m", "int4"), ("Q8_0", "int8"), ("int7", "int8"), ("iq2_xs", "int2"), ("6bit", "int6")]
        {
            assert_eq!(of_type(value), did_you_mean(meant), "{value}");
        }
        assert!(of_type("fast").starts_with("int4 "));
        assert!(of_type("BF16").starts_with("none "));
    }

    #[test]
    fn a_name_is_mended_where_it_can_be() {
        assert_eq!(of_name("my model!"), Some(did_you_mean("my-model")));
        assert_eq!(of_name("../m"), Some(did_you_mean("m")));
        assert_eq!(of_name("Qwen/Qwen3 4B:int4"), Some(did_you_mean("Qwen/Qwen3-4B:int4")));
        assert_eq!(of_name("!!!"), None);
        assert_eq!(of_name("a:b:c:d"), None);
    }
}
