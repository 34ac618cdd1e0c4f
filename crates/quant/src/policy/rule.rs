//! The parsed form of a policy: rules, tests and actions.

use std::cell::Cell;

use super::{
    Query,
    cadence::{self, Cadence},
    glob::{Glob, Name},
};
use crate::Scheme;

/// Largest number of roles, and of models, in a policy: the bits of a `u64`, which [`Memo`] uses as a set.
pub(super) const MAX_SETS: usize = 64;

/// A checked policy: every index in its rules is valid.
#[derive(Debug)]
pub(super) struct Rules {
    /// Tensors with fewer elements are kept.
    pub(super) min_elements: u64,
    /// Scheme for a source with 8-bit floats where no scheme is requested.
    pub(super) fp8: Scheme,
    pub(super) roles: Vec<Role>,
    /// Lists of architectures that rules refer to by name.
    pub(super) models: Vec<Vec<Glob>>,
    pub(super) cadences: Vec<Cadence>,
    /// Rules in the order in which they are tried.
    pub(super) list: Vec<Rule>,
}

/// Tensors of one purpose, under all their names.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) name: Vec<Glob>,
    pub(super) not_name: Vec<Glob>,
    /// True where every stack of experts has this role as well.
    pub(super) or_stacked: bool,
}

/// One rule of a policy.
#[derive(Debug)]
pub(super) struct Rule {
    /// Line on which the rule begins, counted from 1.
    pub(super) line: u32,
    /// The rule matches where every test holds.
    pub(super) when: Vec<Test>,
    pub(super) then: Action,
    /// Actions to try, in order, where the group of `then` does not divide the last dimension.
    pub(super) fallback: Vec<Action>,
    /// Reason that plans and reports show.
    pub(super) reason: String,
}

/// Effect of a rule on a tensor, provided that the group of the scheme divides the last dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Keep the tensor as it is.
    Keep,
    /// Encode as the requested scheme.
    Request,
    /// Encode as the 8-bit scheme of the request's family.
    EightBit,
    /// Encode as this scheme, whatever is requested.
    Scheme(Scheme),
    /// Encode as affine with this many bits, in the group of an affine request, else in groups of 64.
    Affine(u8),
}

impl Action {
    /// The scheme to encode in; `None` keeps the tensor.
    pub(super) fn scheme(self, requested: Scheme) -> Option<Scheme> {
        match self {
            Self::Keep => None,
            Self::Request => Some(requested),
            Self::EightBit => Some(requested.eight_bit()),
            Self::Scheme(scheme) => Some(scheme),
            Self::Affine(bits) => {
                let group = if requested.is_affine() { requested.group_size() } else { Scheme::INT8.group_size() };
                Scheme::affine(bits, group).ok()
            }
        }
    }
}

/// A family of schemes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// `int2` … `int8`.
    Integer,
    /// `nvfp4`, `mxfp4` and `mxfp8`.
    Float,
}

/// A condition on a tensor, its model or the request. A list holds where one of its entries does.
#[derive(Debug)]
pub(super) enum Test {
    /// The requested scheme is of this family.
    Family(Family),
    /// The requested scheme is one of these, in any group.
    Request(Vec<Scheme>),
    /// The requested scheme has fewer bits per code than this.
    BitsBelow(u64),
    /// The tensor belongs, or does not belong, to a draft model.
    Draft(bool),
    /// The model's embedding is, or is not, its output head too.
    Tied(bool),
    /// The tensor is, or is not, a stack of experts.
    Stacked(bool),
    /// The tensor has one of these numbers of dimensions.
    Rank(Vec<u64>),
    /// The tensor has fewer dimensions than this.
    RankBelow(u64),
    /// The tensor has more dimensions than this.
    RankAbove(u64),
    /// The tensor has fewer elements than this.
    ElementsBelow(u64),
    /// The model has one of these numbers of routed experts.
    Experts(Vec<u64>),
    /// The model's number of layers is, or is not, known.
    LayersKnown(bool),
    /// The configuration states, or does not state, the number of layers in `num_hidden_layers`.
    LayersStated(bool),
    /// The tensor belongs to a component of a pipeline whose name matches one of these.
    Component(Vec<Glob>),
    /// The model's architecture is in one of these lists: indices into [`Rules::models`].
    Model(Vec<usize>),
    /// The model's architecture matches one of these.
    Architecture(Vec<Glob>),
    /// The tensor's name has, or does not have, a layer number.
    InLayer(bool),
    /// The tensor belongs to one of these layers.
    Layer(Vec<u64>),
    /// The tensor's layer has no routed experts, or has some.
    Dense(bool),
    /// The tensor's layer is sensitive by its position: an index into [`Rules::cadences`].
    Cadence(usize),
    /// The tensor has one of these roles: indices into [`Rules::roles`].
    Role(Vec<usize>),
    /// The tensor has none of these roles: indices into [`Rules::roles`].
    NotRole(Vec<usize>),
    /// The tensor's name matches one of these.
    Name(Vec<Glob>),
    /// The tensor's name matches none of these.
    NotName(Vec<Glob>),
}

impl Rules {
    /// Returns the first rule that matches.
    pub(super) fn find(&self, query: &Query<'_>, requested: Scheme) -> Option<&Rule> {
        let case = Case {
            rules: self,
            query,
            requested,
            name: Name::new(query.name),
            layer: cadence::layer(query.name),
            roles: Memo::default(),
            models: Memo::default(),
        };
        self.list.iter().find(|rule| rule.when.iter().all(|test| case.holds(test)))
    }
}

impl Test {
    /// Cost of the test on an arbitrary scale. A rule tries its cheap tests first.
    pub(super) fn cost(&self) -> u8 {
        match self {
            Self::Component(_) | Self::Model(_) | Self::Architecture(_) => 1,
            Self::Role(_) | Self::NotRole(_) => 2,
            Self::Name(_) | Self::NotName(_) => 3,
            _ => 0,
        }
    }
}

/// One query while its rules are tried, with the answers found so far.
struct Case<'a> {
    rules: &'a Rules,
    query: &'a Query<'a>,
    requested: Scheme,
    name: Name<'a>,
    layer: Option<u64>,
    roles: Memo,
    models: Memo,
}

impl Case<'_> {
    fn holds(&self, test: &Test) -> bool {
        let Query { shape, component, stacked, architecture, experts, dense_layers, draft, tied, .. } = *self.query;
        let (stated, known) = (self.query.layers, self.query.layers.or(self.query.counted_layers));
        let requested = self.requested;
        match test {
            Test::Family(family) => requested.is_affine() == (*family == Family::Integer),
            Test::Request(schemes) => schemes.iter().any(|scheme| scheme.format() == requested.format()),
            Test::BitsBelow(bits) => u64::from(requested.bits()) < *bits,
            Test::Draft(wanted) => draft == *wanted,
            Test::Tied(wanted) => tied == *wanted,
            Test::Stacked(wanted) => stacked == *wanted,
            Test::Rank(ranks) => ranks.contains(&(shape.len() as u64)),
            Test::RankBelow(rank) => (shape.len() as u64) < *rank,
            Test::RankAbove(rank) => shape.len() as u64 > *rank,
            Test::ElementsBelow(count) => self.query.elements() < *count,
            Test::Experts(counts) => experts.is_some_and(|experts| counts.contains(&experts)),
            Test::LayersKnown(wanted) => known.is_some_and(|layers| layers > 0) == *wanted,
            Test::LayersStated(wanted) => stated.is_some_and(|layers| layers > 0) == *wanted,
            Test::Component(globs) => component.is_some_and(|component| any(globs, Name::new(component))),
            Test::Model(models) => models.iter().any(|&model| self.is_model(model)),
            Test::Architecture(globs) => architecture.is_some_and(|architecture| any(globs, Name::new(architecture))),
            Test::InLayer(wanted) => self.layer.is_some() == *wanted,
            Test::Layer(wanted) => self.layer.is_some_and(|layer| wanted.contains(&layer)),
            Test::Dense(wanted) => {
                self.layer.is_some_and(|layer| dense_layers.unwrap_or(&[0]).contains(&layer)) == *wanted
            }
            Test::Cadence(cadence) => {
                let cadence = &self.rules.cadences[*cadence];
                cadence.holds(self.layer, if cadence.needs_stated { stated } else { known })
            }
            Test::Role(roles) => roles.iter().any(|&role| self.has_role(role)),
            Test::NotRole(roles) => !roles.iter().any(|&role| self.has_role(role)),
            Test::Name(globs) => any(globs, self.name),
            Test::NotName(globs) => !any(globs, self.name),
        }
    }

    fn has_role(&self, role: usize) -> bool {
        self.roles.get(role, || {
            let Role { name, not_name, or_stacked } = &self.rules.roles[role];
            (*or_stacked && self.query.stacked) || (any(name, self.name) && !any(not_name, self.name))
        })
    }

    fn is_model(&self, model: usize) -> bool {
        self.models.get(model, || {
            let globs = &self.rules.models[model];
            self.query.architecture.is_some_and(|architecture| any(globs, Name::new(architecture)))
        })
    }
}

fn any(globs: &[Glob], name: Name<'_>) -> bool {
    globs.iter().any(|glob| glob.matches(name))
}

/// Remembered answers to up to [`MAX_SETS`] yes-or-no questions. Many rules ask about the same roles.
#[derive(Default)]
struct Memo {
    known: Cell<u64>,
    yes: Cell<u64>,
}

impl Memo {
    fn get(&self, at: usize, answer: impl FnOnce() -> bool) -> bool {
        let bit = 1 << (at % MAX_SETS);
        if self.known.get() & bit == 0 {
            self.known.set(self.known.get() | bit);
            if answer() {
                self.yes.set(self.yes.get() | bit);
            }
        }
        self.yes.get() & bit != 0
    }
}
