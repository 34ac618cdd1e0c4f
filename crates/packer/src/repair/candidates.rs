//! Options that a model may have been imported with.

use longshore_manifest::document::Import;
use longshore_quant::{Format, Scheme, policy::Policy};

use super::outcome::RepairOptions;
use crate::plan::options::{PlanOptions, TakeOver};

/// The record of an import with [`TakeOver::Every`].
const MLX: &str = "mlx";

/// The options that agree with a model's record. The record does not have all options; those that it lacks can be told
/// from the table.
pub(super) fn recorded(record: &Import, options: &RepairOptions) -> Vec<PlanOptions> {
    let scheme: Option<Scheme> = record.quantize.as_ref().and_then(|scheme| scheme.parse().ok());
    let take_over = match record.quantize.as_deref() {
        Some(MLX) => TakeOver::Every,
        Some(named) if named.contains("-g") => TakeOver::Scheme,
        _ => TakeOver::Format,
    };
    let is_recorded = |policy: &&Policy| record.policy.as_deref().is_none_or(|name| name == policy.name());
    let given = options.policy.iter().filter(is_recorded).cloned();
    // The record does not name a policy that quantized nothing. Of a user's own policy it has only the name.
    let named = record.policy.as_deref().and_then(|name| Policy::named(name).ok());
    let policies: Vec<_> = given.chain(named.map_or_else(built_in, |policy| vec![policy])).collect();
    let all = policies.iter().flat_map(|policy| variants(scheme, policy));
    all.map(|options| PlanOptions { take_over, ..options }).collect()
}

/// All possible options, the likeliest first.
pub(super) fn all(options: &RepairOptions) -> impl Iterator<Item = PlanOptions> {
    let policies: Vec<_> = options.policy.iter().cloned().chain(built_in()).collect();
    let mlx = PlanOptions { take_over: TakeOver::Every, ..PlanOptions::default() };
    let schemes: Vec<_> = std::iter::once(None).chain(Scheme::all().map(Some)).collect();
    let others = policies.into_iter().flat_map(move |policy| {
        schemes.clone().into_iter().flat_map(move |scheme| variants(scheme, &policy)).collect::<Vec<_>>()
    });
    others.chain([mlx])
}

fn built_in() -> Vec<Policy> {
    Policy::names().iter().filter_map(|name| Policy::named(name).ok()).collect()
}

/// The options with which `scheme` can be requested.
fn variants(scheme: Option<Scheme>, policy: &Policy) -> Vec<PlanOptions> {
    let plain = PlanOptions { scheme, policy: policy.clone(), ..PlanOptions::default() };
    let mut ways = vec![plain.clone()];
    match scheme {
        None => ways.push(PlanOptions { floats: true, ..plain }),
        Some(scheme) if scheme.format() == Format::Nvfp4 => ways.push(PlanOptions { global_scale: true, ..plain }),
        Some(_) => {}
    }
    let again: Vec<_> = ways.iter().map(|way| PlanOptions { requantize: true, ..way.clone() }).collect();
    ways.into_iter().chain(again).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_narrows_the_options() {
        let record = Import { quantize: Some("int4".into()), policy: Some("v0.16".into()), ..Import::default() };
        let found = recorded(&record, &RepairOptions::default());
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|options| options.scheme == Some(Scheme::INT4) && options.policy.name() == "v0.16"));
        // The name of a user's policy says nothing about its rules.
        let record = Import { policy: Some("mine".into()), ..record };
        assert_eq!(recorded(&record, &RepairOptions::default()).len(), 2 * Policy::names().len());
    }
}
