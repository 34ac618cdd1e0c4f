//! The terms that policies are written in.

use std::cell::Cell;

use super::{
    Query,
    cadence::{self, Cadence},
    glob::{Glob, Name},
};
use crate::Scheme;

/// How many roles, and how many models, a policy may name: as many as a word has bits.
pub(super) const MAX_SETS: usize = 64;

/// A policy, checked: every index in its rules is one of its lists.
#[derive(Debug)]
pub(super) struct Rules {
    /// Tensors with fewer elements are kept.
    pub(super) min_elements: u64,
    /// What is asked for where the source has 8-bit floats and nothing is.
    pub(super) fp8: Scheme,
    pub(super) roles: Vec<Role>,
    /// Architectures that rules name together.
    pub(super) models: Vec<Vec<Glob>>,
    pub(super) cadences: Vec<Cadence>,
    /// In the order in which they are tried.
    pub(super) list: Vec<Rule>,
}

/// Tensors that have one purpose, under whatever names.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) name: Vec<Glob>,
    pub(super) not_name: Vec<Glob>,
    /// Whether every stack of experts has it, too.
    pub(super) or_stacked: bool,
}

/// One rule of a policy.
#[derive(Debug)]
pub(super) struct Rule {
    /// The line that it begins on, counted from 1.
    pub(super) line: u32,
    /// Matches where every test holds.
    pub(super) when: Vec<Test>,
    pub(super) then: Action,
    /// What to do where the group of `then` does not divide the last dimension, in this order.
    pub(super) fallback: Vec<Action>,
    /// For plans and reports.
    pub(super) reason: String,
}

/// What becomes of a tensor, if the group of the scheme divides its last dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It stays as it is.
    Keep,
    /// The requested scheme.
    Request,
    /// The 8-bit scheme of the request's family.
    EightBit,
    /// This one, whatever is requested.
    Scheme(Scheme),
    /// Affine with so many bits, in the group of an affine request, else in groups of 64.
    Affine(u8),
}

impl Action {
    /// The scheme that it stands for; `None` keeps the tensor.
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

/// A condition on a tensor or on the request. Lists hold where one of their entries does.
#[derive(Debug)]
pub(super) enum Test {
    /// The request is of this family.
    Family(Family),
    /// The request is one of these, whatever its group.
    Request(Vec<Scheme>),
    /// Fewer bits per code are requested.
    BitsBelow(u64),
    /// It belongs, or does not, to a draft model.
    Draft(bool),
    /// It is, or is not, a stack of experts.
    Stacked(bool),
    /// It has so many dimensions.
    Rank(Vec<u64>),
    /// It has fewer dimensions.
    RankBelow(u64),
    /// It has more dimensions.
    RankAbove(u64),
    /// It has fewer elements.
    ElementsBelow(u64),
    /// The model has so many routed experts.
    Experts(Vec<u64>),
    /// How many layers the model has is known, or not.
    LayersKnown(bool),
    /// It belongs to a component of a pipeline with such a name.
    Component(Vec<Glob>),
    /// The model is one of these: indices into [`Rules::models`].
    Model(Vec<usize>),
    /// The architecture is called so.
    Architecture(Vec<Glob>),
    /// Its name has a layer's number, or has none.
    InLayer(bool),
    /// It belongs to one of these layers.
    Layer(Vec<u64>),
    /// Its layer has, or has not, no routed experts.
    Dense(bool),
    /// Its layer is sensitive by its position: an index into [`Rules::cadences`].
    Cadence(usize),
    /// It has one of these roles: indices into [`Rules::roles`].
    Role(Vec<usize>),
    /// It has none of these roles.
    NotRole(Vec<usize>),
    /// Its name matches one of these.
    Name(Vec<Glob>),
    /// Its name matches none of these.
    NotName(Vec<Glob>),
}

impl Rules {
    /// The first rule that matches.
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
    /// How long it takes to decide, on a scale of its own: rules ask the quick questions first.
    pub(super) fn cost(&self) -> u8 {
        match self {
            Self::Component(_) | Self::Model(_) | Self::Architecture(_) => 1,
            Self::Role(_) | Self::NotRole(_) => 2,
            Self::Name(_) | Self::NotName(_) => 3,
            _ => 0,
        }
    }
}

/// A question while it is being answered.
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
        let Query { name: _, shape, component, stacked, architecture, layers, experts, dense_layers, draft } =
            *self.query;
        let requested = self.requested;
        match test {
            Test::Family(family) => requested.is_affine() == (*family == Family::Integer),
            Test::Request(schemes) => schemes.iter().any(|scheme| scheme.format() == requested.format()),
            Test::BitsBelow(bits) => u64::from(requested.bits()) < *bits,
            Test::Draft(wanted) => draft == *wanted,
            Test::Stacked(wanted) => stacked == *wanted,
            Test::Rank(ranks) => ranks.contains(&(shape.len() as u64)),
            Test::RankBelow(rank) => (shape.len() as u64) < *rank,
            Test::RankAbove(rank) => shape.len() as u64 > *rank,
            Test::ElementsBelow(count) => self.query.elements() < *count,
            Test::Experts(counts) => experts.is_some_and(|experts| counts.contains(&experts)),
            Test::LayersKnown(wanted) => layers.is_some_and(|layers| layers > 0) == *wanted,
            Test::Component(globs) => component.is_some_and(|component| any(globs, Name::new(component))),
            Test::Model(models) => models.iter().any(|&model| self.is_model(model)),
            Test::Architecture(globs) => architecture.is_some_and(|architecture| any(globs, Name::new(architecture))),
            Test::InLayer(wanted) => self.layer.is_some() == *wanted,
            Test::Layer(wanted) => self.layer.is_some_and(|layer| wanted.contains(&layer)),
            Test::Dense(wanted) => {
                self.layer.is_some_and(|layer| dense_layers.unwrap_or(&[0]).contains(&layer)) == *wanted
            }
            Test::Cadence(cadence) => self.rules.cadences[*cadence].holds(self.layer, layers),
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

/// Answers to up to [`MAX_SETS`] questions of yes or no: rules ask for the same roles again and again.
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
