//! The decoder: one forward pass for all families, by the switches of a [`Spec`](crate::spec::Spec).

mod attention;
mod cache;
mod ffn;
mod forward;
pub(crate) mod math;
mod mix;
mod rotate;
mod route;
mod state;

pub(crate) use attention::attend;
pub(crate) use cache::Cache;
pub(crate) use state::{Decoder, Hooks, Scratch, Segment, Wanted};
