//! Tests policy files.

use longshore_quant::{
    Scheme,
    policy::{Policy, Query},
};

/// Tests `data` as the text of a policy.
pub(super) fn policy(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let policy = match Policy::parse(text, "fuzzed") {
        Ok(policy) => policy,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!(policy.source(), text);
    let lines = text.lines().count();
    let shapes: [&[u64]; 5] = [&[], &[7], &[64, 256], &[8, 128, 64], &[u64::MAX, u64::MAX, 32]];
    let names = ["model.layers.3.self_attn.v_proj.weight", "lm_head.weight", "a.bias", "", "*"];
    for (shape, name) in shapes.into_iter().flat_map(|shape| names.map(|name| (shape, name))) {
        let query = Query {
            layers: Some(8),
            experts: Some(4),
            architecture: Some("TestForCausalLM"),
            ..Query::new(name, shape)
        };
        let vae = Query { component: Some("vae"), ..query };
        let variants =
            [Query { stacked: true, ..query }, Query { draft: true, ..query }, Query { tied: true, ..query }];
        for query in [query, vae].into_iter().chain(variants) {
            for scheme in [None, Some(Scheme::INT4), Some(Scheme::NVFP4), Some(Scheme::MXFP8)] {
                let decision = policy.decide(&query, scheme);
                assert_eq!(decision, policy.decide(&query, scheme), "the same query has two decisions");
                assert!(decision.line.is_none_or(|line| line >= 1 && line as usize <= lines));
                if let Some(chosen) = decision.scheme {
                    let last = shape.last().copied().unwrap_or_default();
                    assert!(scheme.is_some() && shape.len() >= 2 && !name.ends_with("bias"));
                    assert!(last.is_multiple_of(u64::from(chosen.group_size())), "{chosen} does not fit {shape:?}");
                }
            }
        }
    }
    // The source text of a policy parses to the same policy.
    let again = Policy::parse(policy.source(), policy.name()).expect("the text was parsed before");
    assert_eq!((again.name(), again.description(), again.fp8()), (policy.name(), policy.description(), policy.fp8()));
}
