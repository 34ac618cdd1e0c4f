//! Tests of policies: decisions of the built-in ones, the format, and properties.

mod acceptance;
mod appendix;
mod architectures;
mod builtin_default;
mod families;
mod format;
mod properties;

use longshore_quant::policy::{Policy, Query};

/// The requested schemes, in the order of the tables' columns.
const REQUESTS: [&str; 5] = ["int4", "int8", "nvfp4", "mxfp4", "mxfp8"];

fn named(name: &str) -> Policy {
    Policy::named(name).expect("it is built in")
}

/// Returns the scheme for each of [`REQUESTS`], with `-` where the tensor is kept.
fn decisions(policy: &Policy, query: &Query<'_>) -> String {
    REQUESTS.map(|request| decision(policy, query, request)).join(" ")
}

/// Returns the scheme for one request, or `-` where the tensor is kept.
fn decision(policy: &Policy, query: &Query<'_>, request: &str) -> String {
    let requested = request.parse().expect("the request is valid");
    policy.decide(query, Some(requested)).scheme.map_or_else(|| "-".to_owned(), |scheme| scheme.to_string())
}

/// Builds a query as the packer does: a tensor of rank 3 is a stack where its name says experts.
fn query<'a>(name: &'a str, shape: &'a [u64]) -> Query<'a> {
    let is_stack = shape.len() == 3 && [".experts.", ".switch_mlp."].iter().any(|part| name.contains(part));
    Query { stacked: is_stack, ..Query::new(name, shape) }
}
