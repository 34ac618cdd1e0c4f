//! The terms that policies are written in.

use super::Query;
use crate::Scheme;

/// One line of a policy.
#[derive(Debug)]
pub(super) struct Rule {
    /// Matches where every test holds.
    pub(super) when: &'static [Test],
    pub(super) then: Action,
    /// The reason, for plans and reports.
    pub(super) because: &'static str,
}

/// What becomes of a tensor, if the group of the scheme divides its last dimension.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    /// It stays as it is.
    Keep,
    /// The requested scheme.
    Request,
    /// Affine with 8 bits: see [`int8_for`].
    Int8,
}

/// A condition on a tensor or on the request. Lists hold where one of their entries does.
#[derive(Debug)]
pub(super) enum Test {
    /// Its name ends so.
    Ends(&'static [&'static str]),
    /// Its name does not end so.
    EndsNot(&'static [&'static str]),
    /// Its name has this somewhere.
    Contains(&'static [&'static str]),
    /// Between its dots, its name has exactly this somewhere.
    Segment(&'static [&'static str]),
    /// It belongs to this component of a pipeline.
    Component(&'static str),
    /// It has fewer dimensions.
    RankBelow(usize),
    /// It has more dimensions.
    RankAbove(usize),
    /// It has fewer elements.
    ElementsBelow(u64),
    /// It is, or is not, a stack of routed experts or one of them.
    Expert(bool),
    /// It is a stack of experts.
    Stacked,
    /// Fewer bits per code are requested.
    RequestBelow(u8),
    /// The request is affine, or is not.
    RequestAffine(bool),
}

impl Rule {
    pub(super) fn matches(&self, query: &Query<'_>, requested: Scheme) -> bool {
        self.when.iter().all(|test| test.holds(query, requested))
    }
}

impl Test {
    fn holds(&self, query: &Query<'_>, requested: Scheme) -> bool {
        let name = query.name;
        match *self {
            Self::Ends(list) => list.iter().any(|end| name.ends_with(end)),
            Self::EndsNot(list) => !list.iter().any(|end| name.ends_with(end)),
            Self::Contains(list) => list.iter().any(|part| name.contains(part)),
            Self::Segment(list) => name.split('.').any(|segment| list.contains(&segment)),
            Self::Component(component) => query.component == Some(component),
            Self::RankBelow(rank) => query.shape.len() < rank,
            Self::RankAbove(rank) => query.shape.len() > rank,
            Self::ElementsBelow(count) => elements(query.shape) < count,
            Self::Expert(wanted) => is_expert(query) == wanted,
            Self::Stacked => query.stacked,
            Self::RequestBelow(bits) => requested.bits() < bits,
            Self::RequestAffine(wanted) => requested.is_affine() == wanted,
        }
    }
}

/// A shape's number of elements, or the largest number where it is larger.
fn elements(shape: &[u64]) -> u64 {
    if shape.contains(&0) { 0 } else { shape.iter().fold(1, |count, &dim| count.saturating_mul(dim)) }
}

/// A routed expert is one whether it is stacked or, in a checkpoint whose groups nothing recognises, still alone.
fn is_expert(query: &Query<'_>) -> bool {
    query.stacked || [".experts.", ".switch_mlp."].iter().any(|part| query.name.contains(part))
}

/// Affine with 8 bits: in the group of an affine request, else in groups of 64.
pub(super) fn int8_for(requested: Scheme) -> Scheme {
    if requested.is_affine() { requested.eight_bit() } else { Scheme::INT8 }
}
