//! Experts, and how a token finds them.

use crate::{
    config::{keys, reader::ConfigReader},
    facts::{Facts, Router},
};

pub(super) fn read(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    facts.experts = reader.number("experts", keys::EXPERTS);
    facts.experts_per_token = reader.number("experts_per_token", keys::EXPERTS_PER_TOKEN);
    facts.shared_experts = reader.number("shared_experts", keys::SHARED_EXPERTS);
    facts.expert_intermediate_size = reader.number("expert_intermediate_size", keys::EXPERT_INTERMEDIATE);
    if facts.experts.is_none_or(|experts| experts == 0) {
        return;
    }
    let scoring = &["scoring_func", "score_function", "score_func", "moe_router_activation_func"];
    let shared = &["shared_expert_intermediate_size", "moe_shared_expert_intermediate_size"];
    let router = Router {
        scoring: reader.text("router.scoring", scoring),
        normalises: reader.flag("router.normalises", &["norm_topk_prob", "moe_renormalize", "route_norm"]),
        groups: reader.number("router.groups", &["n_group", "num_expert_group"]),
        groups_per_token: reader.number("router.groups_per_token", &["topk_group"]),
        method: reader.text("router.method", &["topk_method"]),
        scaling: reader.exact("router.scaling", &["routed_scaling_factor", "route_scale", "moe_router_scaling_factor"]),
        shared_intermediate_size: reader.number("router.shared_intermediate_size", shared),
        every: reader.number("router.every", &["decoder_sparse_step", "moe_layer_freq", "interleave_moe_layer_step"]),
        latent_size: reader.number("router.latent_size", &["moe_latent_size"]),
    };
    facts.router = (router != Router::default()).then_some(router);
}
