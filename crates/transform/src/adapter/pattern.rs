//! Ranks and alphas by the names of modules.

use std::fmt;

use regex_automata::{
    Anchored, Input,
    meta::{Config, Regex},
    nfa::thompson::WhichCaptures,
    util::syntax,
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use super::error::AdapterError;

/// The most patterns that are read.
const MAX_PATTERNS: usize = 4096;
/// The most memory that a compiled pattern may take, in bytes, and that all of a document may.
const MAX_COMPILED: usize = 256 << 10;
const MAX_TOGETHER: usize = 64 << 20;

/// Patterns with their numbers, in the order of the document: the first that matches counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Listing(Vec<(String, f64)>);

impl<'de> Deserialize<'de> for Listing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Listing;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of patterns and numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Listing, A::Error> {
                let mut found = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    found.push(entry);
                    if found.len() > MAX_PATTERNS {
                        return Err(serde::de::Error::custom(format!("more than {MAX_PATTERNS} patterns")));
                    }
                }
                Ok(Listing(found))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// Compiled patterns. A pattern has to match a whole dotted suffix of a module's path.
#[derive(Debug, Default)]
pub(super) struct Patterns(Vec<(Regex, f64)>);

impl Patterns {
    /// Compiles the patterns of a document.
    pub(super) fn new(listing: &Listing) -> Result<Self, AdapterError> {
        // Names are short and few: the simplest engine, which has no tables of its own to fill, is fast enough.
        let config = Config::new()
            .nfa_size_limit(Some(MAX_COMPILED))
            .utf8_empty(false)
            .auto_prefilter(false)
            .which_captures(WhichCaptures::Implicit)
            .hybrid(false)
            .dfa(false)
            .onepass(false)
            .backtrack(false);
        let syntax = syntax::Config::new().unicode(false).utf8(false).nest_limit(64);
        let compile = |(pattern, number): &(String, f64)| {
            let mut builder = Regex::builder();
            match builder.configure(config.clone()).syntax(syntax).build(&format!(r"(?:.*\.)?(?:{pattern})$")) {
                Ok(regex) => Ok((regex, *number)),
                Err(error) => {
                    let is_syntax = error.syntax_error().is_some();
                    let none = "it is no regular expression, or looks around";
                    let problem = if is_syntax { none.to_owned() } else { error.to_string() };
                    Err(AdapterError::Pattern { pattern: pattern.clone(), problem })
                }
            }
        };
        let (mut compiled, mut taken) = (Vec::new(), 0);
        for entry in &listing.0 {
            let (regex, number) = compile(entry)?;
            taken += regex.memory_usage();
            if taken > MAX_TOGETHER {
                let problem = format!("with those before it, it takes more than {MAX_TOGETHER} bytes once compiled");
                return Err(AdapterError::Pattern { pattern: entry.0.clone(), problem });
            }
            compiled.push((regex, number));
        }
        Ok(Self(compiled))
    }

    /// The number of the first pattern that matches `module`.
    pub(super) fn of(&self, module: &str) -> Option<f64> {
        let input = Input::new(module).anchored(Anchored::Yes);
        self.0.iter().find(|(regex, _)| regex.is_match(input.clone())).map(|(_, number)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(json: &str) -> Result<Patterns, AdapterError> {
        Patterns::new(&serde_json::from_str(json).expect("it is an object"))
    }

    #[test]
    fn a_pattern_matches_a_dotted_suffix() {
        let found =
            patterns(r#"{"q_proj": 8, "layers\\.1\\.self_attn\\.k_proj": 2, ".*proj": 3}"#).expect("they are patterns");
        assert_eq!(found.of("model.layers.0.self_attn.q_proj"), Some(8.0));
        assert_eq!(found.of("model.layers.1.self_attn.k_proj"), Some(2.0));
        assert_eq!(found.of("model.layers.11.self_attn.k_proj"), Some(3.0));
        assert_eq!(patterns(r#"{"proj": 8}"#).expect("it is one").of("model.q_proj"), None);
        assert_eq!(found.of("q_proj"), Some(8.0));
    }

    #[test]
    fn the_first_pattern_counts() {
        let found = patterns(r#"{"z.*": 1, "a|zz": 2}"#).expect("they are patterns");
        assert_eq!((found.of("m.zz"), found.of("a"), found.of("ma")), (Some(1.0), Some(2.0), None));
    }

    #[test]
    fn many_patterns_take_little_memory() {
        let listing = |pattern: &dyn Fn(usize) -> String| {
            let patterns = (0..MAX_PATTERNS).map(|at| (pattern(at), 1.0)).collect();
            Patterns::new(&Listing(patterns))
        };
        let usual = listing(&|at| format!(r"model\.layers\.{at}\.self_attn\.(q|k)_proj")).expect("they are small");
        assert_eq!(usual.of("model.layers.4095.self_attn.k_proj"), Some(1.0));
        let taken: usize = usual.0.iter().map(|(regex, _)| regex.memory_usage()).sum();
        assert!(taken <= MAX_TOGETHER, "{taken}");
        let error = listing(&|at| format!("[a-z{at}]{{1500}}")).expect_err("they are large together");
        assert!(error.to_string().contains("with those before it"), "{error}");
    }

    #[test]
    fn patterns_that_are_none() {
        for bad in [r#"{"(": 1}"#, r#"{"(?=x)": 1}"#, r#"{"a{1000}{1000}": 1}"#] {
            assert!(matches!(patterns(bad), Err(AdapterError::Pattern { .. })), "{bad}");
        }
    }
}
