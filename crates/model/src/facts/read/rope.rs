//! Rotary position embedding: how positions become rotations.

use serde_json::{Number, Value};

use crate::{config::reader::ConfigReader, facts::Rope};

const THETA: &[&str] = &["rope_theta", "rotary_emb_base", "rope_base"];
const LOCAL_THETA: &[&str] = &["rope_local_base_freq", "swa_rope_theta", "local_rope_theta"];
const PARTIAL: &[&str] = &["partial_rotary_factor", "rotary_pct", "rope_pct"];
const ORIGINAL: &[&str] = &["original_max_position_embeddings"];
const INTERLEAVED: &[&str] = &["rope_interleave", "rope_interleaved"];
/// Kinds of layer whose parameters stand for the whole model, where each kind has its own.
const GLOBAL: &[&str] = &["full_attention", "global_attention", "default"];
const LOCAL: &[&str] = &["sliding_attention", "local_attention"];

/// Reads both forms: `rope_parameters`, for the whole model or for each kind of layer, and the older `rope_theta` with
/// `rope_scaling`. Returns `None` if no level has either form.
pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<Rope> {
    let parameters = reader.object(&["rope_parameters"]);
    let of = |kinds: &[&str]| kinds.iter().find_map(|kind| parameters.as_ref()?.inner(kind));
    let (global, local, scaling) = (of(GLOBAL), of(LOCAL), reader.object(&["rope_scaling"]));
    let mut rope = Rope::default();
    for place in [global, parameters, scaling].into_iter().flatten() {
        reader.within(place, |place| fill(place, &mut rope));
    }
    if let Some(local) = local {
        reader.within(local, |place| rope.local_theta = place.exact("rope.local_theta", THETA));
    }
    for (slot, fact, members) in [
        (&mut rope.theta, "rope.theta", THETA),
        (&mut rope.local_theta, "rope.local_theta", LOCAL_THETA),
        (&mut rope.partial, "rope.partial", PARTIAL),
    ] {
        if slot.is_none() {
            *slot = reader.exact(fact, members);
        }
    }
    rope.original_context = rope.original_context.or_else(|| reader.number("rope.original_context", ORIGINAL));
    rope.dims = reader.number("rope.dims", &["rotary_dim", "rotary_ndims"]);
    rope.interleaved = rope.interleaved.or_else(|| reader.flag("rope.interleaved", INTERLEAVED));
    (rope != Rope::default()).then_some(rope)
}

/// Fills what is still unknown from one object.
fn fill(place: &mut ConfigReader<'_>, rope: &mut Rope) {
    for (slot, fact, members) in [
        (&mut rope.theta, "rope.theta", THETA),
        (&mut rope.factor, "rope.factor", &["factor"][..]),
        (&mut rope.partial, "rope.partial", PARTIAL),
        (&mut rope.low_freq_factor, "rope.low_freq_factor", &["low_freq_factor"]),
        (&mut rope.high_freq_factor, "rope.high_freq_factor", &["high_freq_factor"]),
        (&mut rope.beta_fast, "rope.beta_fast", &["beta_fast"]),
        (&mut rope.beta_slow, "rope.beta_slow", &["beta_slow"]),
        (&mut rope.attention_factor, "rope.attention_factor", &["attention_factor"]),
        (&mut rope.mscale, "rope.mscale", &["mscale"]),
        (&mut rope.mscale_all_dim, "rope.mscale_all_dim", &["mscale_all_dim"]),
    ] {
        if slot.is_none() {
            *slot = place.exact(fact, members);
        }
    }
    for (slot, fact, member) in [
        (&mut rope.short_factor, "rope.short_factor", "short_factor"),
        (&mut rope.long_factor, "rope.long_factor", "long_factor"),
    ] {
        if slot.is_empty() {
            *slot = place.find(fact, &[member], list).unwrap_or_default();
        }
    }
    if rope.sections.is_empty() {
        rope.sections = place.numbers("rope.sections", &["mrope_section"]).unwrap_or_default();
    }
    rope.truncate = rope.truncate.or_else(|| place.flag("rope.truncate", &["truncate"]));
    rope.original_context = rope.original_context.or_else(|| place.number("rope.original_context", ORIGINAL));
    rope.interleaved = rope.interleaved.or_else(|| place.flag("rope.interleaved", INTERLEAVED));
    if rope.kind.is_none() {
        let kind = place.text("rope.kind", &["rope_type", "type"]);
        rope.kind = kind.filter(|kind| kind != "default");
    }
}

fn list(value: &Value) -> Option<Vec<Number>> {
    value.as_array()?.iter().map(|number| number.as_number().cloned()).collect()
}
