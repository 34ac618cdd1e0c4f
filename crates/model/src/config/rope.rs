//! Rotary position embedding: how positions become rotations.

use serde_json::{Map, Number, Value};

use super::document::text;
use crate::facts::Rope;

const THETA: &[&str] = &["rope_theta", "rotary_emb_base", "rope_base"];
/// Kinds of layer whose parameters stand for the whole model, where each kind has its own.
const GLOBAL: &[&str] = &["full_attention", "global_attention", "default"];
const LOCAL: &[&str] = &["sliding_attention", "local_attention"];

/// Reads both forms: `rope_parameters`, for the whole model or for each kind of layer, and the older `rope_theta` with
/// `rope_scaling`. Returns `None` if no level has either form.
pub(super) fn read(levels: &[&Map<String, Value>]) -> Option<Rope> {
    let member = |key: &str| levels.iter().find_map(|level| level.get(key)?.as_object());
    let parameters = member("rope_parameters");
    let of = |kinds: &[&str]| kinds.iter().find_map(|kind| parameters?.get(*kind)?.as_object());
    let scaling = member("rope_scaling");
    let places: Vec<_> = of(GLOBAL).into_iter().chain(parameters).chain(scaling).collect();
    let number = |keys: &[&str]| places.iter().find_map(|place| number(place, keys));
    let top = |keys: &[&str]| levels.iter().find_map(|level| self::number(level, keys));
    let kind = places.iter().find_map(|place| ["rope_type", "type"].iter().find_map(|key| text(place.get(*key)?)));
    let rope = Rope {
        theta: number(THETA).or_else(|| top(THETA)),
        local_theta: of(LOCAL)
            .and_then(|place| self::number(place, THETA))
            .or_else(|| top(&["rope_local_base_freq", "swa_rope_theta"])),
        kind: kind.filter(|kind| kind != "default"),
        factor: number(&["factor"]),
        original_context: places
            .iter()
            .find_map(|place| place.get("original_max_position_embeddings")?.as_u64())
            .or_else(|| levels.iter().find_map(|level| level.get("original_max_position_embeddings")?.as_u64())),
    };
    (rope != Rope::default()).then_some(rope)
}

fn number(object: &Map<String, Value>, keys: &[&str]) -> Option<Number> {
    keys.iter().find_map(|key| object.get(*key)?.as_number().cloned())
}
