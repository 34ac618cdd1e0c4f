//! The length of a weight's rows, by other evidence than its own codes and scales.
//!
//! The words and scales of a row give only the product of bits and group size. The tensors beside a weight and the sizes
//! in the configuration tell which of the factors is right.

use longshore_model::modules::without_wrappers;
use longshore_quant::Scheme;

use super::files::Files;

/// Bits and group sizes of affine schemes.
const BITS: [u8; 6] = [2, 3, 4, 5, 6, 8];
const GROUPS: [u32; 3] = [32, 64, 128];

const INTO_FEED_FORWARD: [&str; 6] = ["gate_proj", "up_proj", "gate_up_proj", "w1", "w3", "fc1"];
const OUT_OF_FEED_FORWARD: [&str; 3] = ["down_proj", "w2", "fc2"];
/// Architectures whose attention reads more than the residual stream.
const WIDE_ATTENTION: [&str; 2] = ["eagle", "zamba"];

/// A length that rows may have.
pub(super) struct Known {
    pub(super) columns: u64,
    /// Why, such as `hidden_size is 128`.
    pub(super) reason: String,
}

/// Returns the lengths that the rows of the weight of `module` may have. Empty if nothing tells.
pub(super) fn columns(files: &Files<'_>, module: &str) -> Vec<Known> {
    let (parent, name) = module.rsplit_once('.').unwrap_or(("", module));
    let rows = |names: &[&str]| -> Vec<Known> {
        let found = names.iter().filter_map(|name| {
            let module = if parent.is_empty() { (*name).to_owned() } else { format!("{parent}.{name}") };
            // Of a joint matrix, each of the two has half the rows.
            let share = if *name == "gate_up_proj" { 2 } else { 1 };
            let rows = rows(files, &module)?;
            Some(Known { columns: rows / share, reason: format!("{module:?} has {rows} rows") })
        });
        found.collect()
    };
    let bare = without_wrappers(module);
    let is_language = ["layers.", "backbone.", "lm_head", "embed_tokens"].iter().any(|start| bare.starts_with(start));
    let config = files.config.filter(|_| is_language);
    let size =
        |what: &str, size: Option<u64>| size.map(|columns| Known { columns, reason: format!("{what} is {columns}") });
    let hidden = || size("hidden_size", config.and_then(|config| config.hidden_size));
    let or = |found: Vec<Known>, others: Vec<Known>| if found.is_empty() { others } else { found };
    match name {
        _ if INTO_FEED_FORWARD.contains(&name) => or(rows(&OUT_OF_FEED_FORWARD), hidden().into_iter().collect()),
        _ if OUT_OF_FEED_FORWARD.contains(&name) => {
            let sizes = [
                size("intermediate_size", config.and_then(|config| config.intermediate_size)),
                size("moe_intermediate_size", config.and_then(|config| config.expert_intermediate_size)),
            ];
            or(rows(&INTO_FEED_FORWARD), sizes.into_iter().flatten().collect())
        }
        "q_proj" | "k_proj" | "v_proj" if !has_wide_attention(files) => {
            hidden().into_iter().flat_map(|hidden| rows(&["o_proj"]).into_iter().chain([hidden])).collect()
        }
        "lm_head" | "embed_tokens" => hidden().into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Returns the affine schemes whose groups take `bits` bits.
pub(super) fn affine(bits: u64) -> impl Iterator<Item = Scheme> {
    let all = BITS.into_iter().flat_map(|bits| GROUPS.into_iter().map(move |group| (bits, group)));
    all.filter(move |(each, group)| u64::from(*each) * u64::from(*group) == bits)
        .filter_map(|(bits, group)| Scheme::affine(bits, group).ok())
}

/// Returns the rows of a module's weight, which no packing along the columns changes.
fn rows(files: &Files<'_>, module: &str) -> Option<u64> {
    let weight =
        files.named(&format!("{module}.weight")).or_else(|| files.named(&format!("{module}.weight_packed")))?;
    match weight.shape.dims() {
        [.., rows, _] => Some(*rows),
        _ => None,
    }
}

fn has_wide_attention(files: &Files<'_>) -> bool {
    let names = files.config.into_iter().flat_map(|config| config.architecture.iter().chain(&config.model_type));
    names.map(|name| name.to_lowercase()).any(|name| WIDE_ATTENTION.iter().any(|wide| name.contains(wide)))
}
