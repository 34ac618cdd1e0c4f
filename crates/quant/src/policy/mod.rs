//! Chooses a scheme for each tensor of a checkpoint.
//!
//! A [`Policy`] is an ordered list of rules about names, shapes and the model's architecture. The first rule that
//! matches a tensor decides whether the tensor is kept, encoded as requested, or encoded as another scheme. Where the
//! group of the chosen scheme does not divide the last dimension, the rule's fallback decides; without a fallback the
//! tensor is kept. Policies are written in TOML. Four are [built in](Policy::names), and [`Policy::parse`] reads
//! others. `docs/policy.md` explains the format.
//!
//! Two guards come before all rules: a tensor of rank below 2, and a tensor whose name ends in `bias`, is never
//! quantized.
//!
//! ```
//! use longshore_quant::{Scheme, policy::{Policy, Query}};
//!
//! let policy = Policy::named("default")?;
//! let decide = |name, shape| policy.decide(&Query::new(name, shape), Some(Scheme::INT4));
//!
//! assert_eq!(decide("model.layers.0.mlp.gate_proj.weight", &[12288, 4096]).scheme, Some(Scheme::INT4));
//! assert_eq!(decide("model.layers.0.mlp.down_proj.weight", &[4096, 12288]).scheme, Some(Scheme::INT8));
//!
//! let norm = decide("model.norm.weight", &[4096]);
//! assert_eq!((norm.scheme, norm.rule.as_ref()), (None, "rank below 2: kept"));
//! # Ok::<(), longshore_quant::policy::UnknownPolicy>(())
//! ```

mod builtin;
mod cadence;
mod error;
pub mod fit;
mod glob;
mod query;
mod read;
mod rule;

use std::{borrow::Cow, sync::Arc};

pub use error::{PolicyError, PolicyProblem, UnknownPolicy};
pub use query::Query;
use rule::{Rule, Rules};

use crate::Scheme;

/// The decision of a policy about a tensor, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// The scheme to encode it in; `None` keeps it as it is.
    pub scheme: Option<Scheme>,
    /// The reason, in a few words: "down projection: 8-bit".
    pub rule: Cow<'static, str>,
    /// Line of [`Policy::source`] on which the deciding rule begins, counted from 1. `None` where no rule was needed.
    pub line: Option<u32>,
}

impl Decision {
    fn kept(rule: impl Into<Cow<'static, str>>, line: Option<u32>) -> Self {
        Self { scheme: None, rule: rule.into(), line }
    }
}

/// An ordered list of rules. The first rule that matches a tensor decides. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Policy(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    description: String,
    source: String,
    rules: Rules,
}

impl Default for Policy {
    /// The built-in policy `default`.
    fn default() -> Self {
        Self::named("default").expect("the built-in policies have this one")
    }
}

impl Policy {
    /// Largest text that [`parse`](Self::parse) reads, in bytes.
    pub const MAX_BYTES: usize = 256 << 10;
    /// Largest number of rules in a policy.
    pub const MAX_RULES: usize = 1000;

    /// Names of the built-in policies, the default one first.
    #[must_use]
    pub const fn names() -> &'static [&'static str] {
        builtin::NAMES
    }

    /// Returns the built-in policy called `name`.
    ///
    /// # Errors
    ///
    /// [`UnknownPolicy`] where no built-in policy has that name.
    pub fn named(name: &str) -> Result<Self, UnknownPolicy> {
        builtin::find(name).cloned().ok_or_else(|| UnknownPolicy { found: name.into() })
    }

    /// Parses a policy from TOML. The policy is called `name` unless the text gives it another name.
    ///
    /// ```
    /// use longshore_quant::{Scheme, policy::{Policy, Query}};
    ///
    /// let text = r#"
    /// [[rule]]
    /// name = "*.down_proj.weight"
    /// action = "int8"
    /// reason = "down projections are sensitive"
    ///
    /// [[rule]]
    /// name = "*.weight"
    /// action = "request"
    /// reason = "as requested"
    /// "#;
    /// let policy = Policy::parse(text, "mine")?;
    /// let query = Query::new("model.layers.0.mlp.down_proj.weight", &[4096, 12288]);
    /// let decision = policy.decide(&query, Some(Scheme::INT4));
    /// assert_eq!((decision.scheme, decision.line), (Some(Scheme::INT8), Some(2)));
    /// # Ok::<(), longshore_quant::policy::PolicyError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PolicyError`] gives the fault and its position in the text. A policy with the name of a built-in one is
    /// refused unless its text is the same to the byte.
    pub fn parse(text: &str, name: &str) -> Result<Self, PolicyError> {
        let policy = read::policy(text, name)?;
        match builtin::find(policy.name()) {
            Some(builtin) if builtin.source() != text => Err(read::reserved(text, policy.name())),
            _ => Ok(policy),
        }
    }

    /// The policy's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Description of the policy in one line; empty where the text has none.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.0.description
    }

    /// The TOML text that the policy was parsed from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// The scheme that [`decide_fp8`](Self::decide_fp8) chooses, where its group fits, for a source with 8-bit floats
    /// that no scheme holds exactly.
    #[must_use]
    pub fn fp8(&self) -> Scheme {
        self.0.rules.fp8
    }

    /// Decides about a tensor of `shape` whose source has 8-bit floats that no scheme holds exactly, where no scheme is
    /// requested. No rule is consulted, because a result of 8 bits needs no protection. The scheme is
    /// [`fp8`](Self::fp8), or mxfp8 where the group of `fp8` does not divide the last dimension.
    ///
    /// A decision without a scheme means that the tensor is decoded to floats: it has fewer than 1,024 elements,
    /// whatever `min_elements` says, or neither group fits.
    #[must_use]
    pub fn decide_fp8(&self, shape: &[u64]) -> Decision {
        /// Tensors with fewer elements are decoded, because keeping them quantized would not pay.
        const SMALL: u64 = 1024;
        if Query::new("", shape).elements() < SMALL {
            return Decision::kept(format!("FP8, and fewer than {SMALL} elements: decoded"), None);
        }
        let last = shape.last().copied().unwrap_or_default();
        let fits = |scheme: &Scheme| last.is_multiple_of(u64::from(scheme.group_size()));
        match [self.fp8(), Scheme::MXFP8].into_iter().find(fits) {
            Some(scheme) => {
                let rule = format!("FP8 that no type holds exactly: {scheme}").into();
                Decision { scheme: Some(scheme), rule, line: None }
            }
            None => Decision::kept(format!("FP8, and no group divides the last dimension {last}: decoded"), None),
        }
    }

    /// Decides about a tensor where `requested` is the scheme that the user asked for. Without a request every tensor
    /// is kept.
    #[must_use]
    pub fn decide(&self, query: &Query<'_>, requested: Option<Scheme>) -> Decision {
        let Some(requested) = requested else { return Decision::kept("no quantization requested: kept", None) };
        let rules = &self.0.rules;
        if query.shape.len() < 2 {
            return Decision::kept("rank below 2: kept", None);
        }
        if query.name.ends_with("bias") {
            return Decision::kept("bias: kept", None);
        }
        if query.elements() < rules.min_elements {
            return Decision::kept(format!("fewer than {} elements: kept", thousands(rules.min_elements)), None);
        }
        match rules.find(query, requested) {
            Some(rule) => apply(rule, query, requested),
            None => Decision::kept("no rule matches: kept", None),
        }
    }
}

/// Applies a rule that matches the tensor.
fn apply(rule: &Rule, query: &Query<'_>, requested: Scheme) -> Decision {
    let line = Some(rule.line);
    let Some(first) = rule.then.scheme(requested) else { return Decision::kept(rule.reason.clone(), line) };
    let last = query.shape.last().copied().unwrap_or_default();
    let misfit = || format!("last dimension {last} is not a multiple of {}", first.group_size());
    let fits = |scheme: &Scheme| last.is_multiple_of(u64::from(scheme.group_size()));
    if fits(&first) {
        return Decision { scheme: Some(first), rule: rule.reason.clone().into(), line };
    }
    // A fallback of "keep" ends the search, as the end of the list does.
    let fallback = rule.fallback.iter().map_while(|action| action.scheme(requested)).find(fits);
    match fallback {
        Some(scheme) => {
            let rule = format!("{} ({}: {scheme})", rule.reason, misfit()).into();
            Decision { scheme: Some(scheme), rule, line }
        }
        None => Decision::kept(format!("{}: kept", misfit()), line),
    }
}

/// Formats a number with thousands separators: `1,024`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let lead = digits.len() % 3;
    let (lead, rest) = digits.split_at(lead);
    let groups = rest.as_bytes().chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    let parts: Vec<String> = (!lead.is_empty()).then(|| lead.to_owned()).into_iter().chain(groups).collect();
    parts.join(",")
}
