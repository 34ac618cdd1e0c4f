//! Which scheme suits which tensor.
//!
//! A [`Policy`] is an ordered list of rules about names and shapes. The first rule that matches a tensor decides
//! whether it is kept, encoded as requested, or promoted to 8 bits; a last dimension that the chosen scheme's group
//! does not divide keeps the tensor in any case.
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
mod rule;

use std::borrow::Cow;

use rule::{Action, Rule};

use crate::Scheme;

/// A tensor, as far as a policy looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Query<'a> {
    /// Its name as the checkpoint has it, prefixes included. For experts that are stacked on import, the name that the
    /// stack will have: `model.layers.0.mlp.experts.down_proj.weight`.
    pub name: &'a str,
    /// Its logical shape, before packing; for a stack `[experts, out, in]`.
    pub shape: &'a [u64],
    /// The component of a pipeline that it belongs to: `vae`, `transformer`, `text_encoder` and so on.
    pub component: Option<&'a str>,
    /// Whether it is a stack of experts, made on import or found in the checkpoint.
    pub stacked: bool,
    /// The model's architecture as its configuration names it.
    pub architecture: Option<&'a str>,
}

impl<'a> Query<'a> {
    /// The question about an ordinary tensor: no stack, of no component, architecture unknown.
    #[must_use]
    pub const fn new(name: &'a str, shape: &'a [u64]) -> Self {
        Self { name, shape, component: None, stacked: false, architecture: None }
    }

    /// The same question with the pipeline's component named.
    #[must_use]
    pub const fn component(mut self, component: Option<&'a str>) -> Self {
        self.component = component;
        self
    }

    /// The same question about a stack of experts.
    #[must_use]
    pub const fn stacked(mut self, stacked: bool) -> Self {
        self.stacked = stacked;
        self
    }

    /// The same question with the architecture named.
    #[must_use]
    pub const fn architecture(mut self, architecture: Option<&'a str>) -> Self {
        self.architecture = architecture;
        self
    }
}

/// What becomes of a tensor, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// The scheme to encode it in; `None` keeps it as it is.
    pub scheme: Option<Scheme>,
    /// Which rule decided, in a few words: "down projection: 8-bit".
    pub rule: Cow<'static, str>,
}

/// An ordered list of rules, the first match deciding.
#[derive(Clone, Debug)]
pub struct Policy {
    name: &'static str,
    rules: &'static [Rule],
}

/// A policy name that is not built in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a policy ({}), found {found:?}", Policy::names().join(", "))]
#[non_exhaustive]
pub struct UnknownPolicy {
    /// What stood there instead.
    pub found: String,
}

impl Policy {
    /// The names of the built-in policies, the default one first.
    #[must_use]
    pub const fn names() -> &'static [&'static str] {
        &["default", "uniform"]
    }

    /// The built-in policy of that name.
    ///
    /// # Errors
    ///
    /// [`UnknownPolicy`] where none is so called.
    pub fn named(name: &str) -> Result<Self, UnknownPolicy> {
        match name {
            "default" => Ok(Self { name: "default", rules: builtin::DEFAULT }),
            "uniform" => Ok(Self { name: "uniform", rules: builtin::UNIFORM }),
            _ => Err(UnknownPolicy { found: name.into() }),
        }
    }

    /// The policy's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name
    }

    /// The scheme for 8-bit floats of a source that no scheme holds exactly, if none is requested.
    #[must_use]
    pub fn fp8(&self) -> Scheme {
        Scheme::INT8
    }

    /// What becomes of the tensor when `requested` is asked for. Without a request every tensor is kept.
    #[must_use]
    pub fn decide(&self, query: &Query<'_>, requested: Option<Scheme>) -> Decision {
        let Some(requested) = requested else {
            return Decision { scheme: None, rule: "no quantization requested: kept".into() };
        };
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(query, requested)) else {
            return Decision { scheme: None, rule: "no rule matches: kept".into() };
        };
        let scheme = match rule.then {
            Action::Keep => None,
            Action::Request => Some(requested),
            Action::Int8 => Some(rule::int8_for(requested)),
        };
        let Some(scheme) = scheme else {
            return Decision { scheme: None, rule: rule.because.into() };
        };
        match query.shape.last() {
            Some(last) if last.is_multiple_of(u64::from(scheme.group_size())) => {
                Decision { scheme: Some(scheme), rule: rule.because.into() }
            }
            last => Decision {
                scheme: None,
                rule: format!(
                    "last dimension {} is not a multiple of {}: kept",
                    last.copied().unwrap_or_default(),
                    scheme.group_size()
                )
                .into(),
            },
        }
    }
}
