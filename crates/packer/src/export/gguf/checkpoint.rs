//! The tensors of a GGUF file for a model that came from a checkpoint.

use std::{collections::BTreeMap, sync::Arc};

use longshore_gguf::{Metadata, Value};
use longshore_manifest::document::{Arrangement, Change, Facts, Rope, TensorEntry, TensorTable};
use longshore_model::gguf::{Form, Heads, Mapping, NameMap};
use longshore_quant::ggml::GgmlType;
use longshore_st_format::Shape;
use serde_json::Number;

use super::tensor::{GgufTensor, StoredPart};
use crate::export::error::ExportError;

/// Most tensors that an error names.
const NAMED: usize = 3;

/// A tensor of a file: its name, its shape, and the stored tensors that have its values.
pub(super) type Named<'w> = (String, Shape, Vec<StoredPart<'w>>);

/// A stored tensor with its number among those that make one of the file, and their number.
type Share<'w> = (u64, u64, StoredPart<'w>);

/// The tensors of the file whose pairs are `metadata`: first those of no layer, then layer by layer.
pub(super) fn named<'w>(table: &'w TensorTable, metadata: &Metadata) -> Result<Vec<Named<'w>>, ExportError> {
    let refuse = |problem: String| ExportError::NotFromGguf { problem };
    let architecture = metadata.get("general.architecture").and_then(Value::as_str).unwrap_or_default();
    let map = NameMap::of(architecture)
        .ok_or_else(|| refuse(format!("no names of tensors are known for the architecture {architecture:?}")))?;
    let keys = Keys { metadata, architecture, facts: &table.facts };
    let mut found: BTreeMap<String, (Shape, Vec<Share<'w>>)> = BTreeMap::new();
    let mut unknown = Vec::new();
    for (blob, entry) in table.tensors() {
        let mappings = map.to_gguf(&entry.name);
        if blob.component.is_some() || mappings.is_empty() {
            unknown.push(&*entry.name);
        }
        for (at, mapping) in mappings.iter().enumerate() {
            let fail = || {
                refuse(format!(
                    "tensor {:?} is {}, from which {:?} cannot be made",
                    entry.name, entry.shape, mapping.gguf
                ))
            };
            let Placed { shape, arrangement, change, sources, share: (index, of) } =
                keys.place(entry, mapping).ok_or_else(fail)?;
            let source = if sources > 1 { at } else { 0 };
            let made = StoredPart { blob, entry, arrangement, change, sources, source };
            found.entry(mapping.gguf.clone()).or_insert((shape, Vec::new())).1.push((index, of, made));
        }
    }
    if !unknown.is_empty() {
        let names: Vec<_> = unknown.iter().take(NAMED).map(|name| format!("{name:?}")).collect();
        let more = if unknown.len() > NAMED { ", …" } else { "" };
        return Err(refuse(format!(
            "llama.cpp's {architecture} has no place for {} of its tensors: {}{more}",
            unknown.len(),
            names.join(", ")
        )));
    }
    let mut named = Vec::with_capacity(found.len());
    for (name, (shape, mut parts)) in found {
        parts.sort_by_key(|(index, ..)| *index);
        let is_whole = parts.iter().map(|(index, ..)| *index).eq(0..parts[0].1);
        if !is_whole {
            return Err(refuse(format!(
                "{name:?} is made of {} tensors, and the model has {}",
                parts[0].1,
                parts.len()
            )));
        }
        named.push((name, shape, parts.into_iter().map(|(.., made)| made).collect()));
    }
    named.sort_by_key(|(name, ..)| layer(name));
    Ok(named)
}

/// The tensors that only GGUF has: the factors by which rotations are slower or faster than the base says.
pub(super) fn own<'w>(facts: &Facts, metadata: &Metadata) -> Vec<GgufTensor<'w>> {
    let Some(rope) = &facts.rope else { return Vec::new() };
    let floats = |list: &[Number]| list.iter().filter_map(|number| narrow(number.as_f64()?)).collect::<Vec<f32>>();
    let lists = match rope.kind.as_deref() {
        Some("llama3") => {
            let architecture = metadata.get("general.architecture").and_then(Value::as_str).unwrap_or_default();
            let dims = metadata.get(&format!("{architecture}.rope.dimension_count")).and_then(Value::as_u64);
            vec![("rope_freqs.weight", dims.and_then(|dims| llama3(rope, dims)).unwrap_or_default())]
        }
        Some("longrope" | "su") => vec![
            ("rope_factors_long.weight", floats(&rope.long_factor)),
            ("rope_factors_short.weight", floats(&rope.short_factor)),
        ],
        _ => Vec::new(),
    };
    let tensor = |(name, values): (&str, Vec<f32>)| {
        let bytes: Arc<[u8]> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        GgufTensor::ready(name, GgmlType::F32, Shape::new([values.len() as u64]), bytes)
    };
    lists.into_iter().filter(|(_, values)| !values.is_empty()).map(tensor).collect()
}

/// Divisors of the frequencies of a head with `dims` rotated elements, as Llama 3.1 stretches its context: long waves by the
/// factor, short ones not, and those between by a blend (transformers' `_compute_llama3_parameters`).
fn llama3(rope: &Rope, dims: u64) -> Option<Vec<f32>> {
    let number = |found: &Option<Number>| found.as_ref().and_then(Number::as_f64);
    let (theta, factor) = (number(&rope.theta)?, number(&rope.factor)?);
    let (low, high) = (number(&rope.low_freq_factor)?, number(&rope.high_freq_factor)?);
    let context = f64::from(u32::try_from(rope.original_context?).ok()?);
    let dims = u32::try_from(dims).ok()?;
    let divisor = |pair: u32| {
        let wave = std::f64::consts::TAU * theta.powf(f64::from(2 * pair) / f64::from(dims));
        if wave < context / high {
            1.0
        } else if wave > context / low {
            factor
        } else {
            let blend = (context / wave - low) / (high - low);
            1.0 / ((1.0 - blend) / factor + blend)
        }
    };
    (0..dims / 2).map(|pair| narrow(divisor(pair))).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest F32 is wanted")]
fn narrow(number: f64) -> Option<f32> {
    Some(number as f32).filter(|number| number.is_finite())
}

/// The number of the layer, counted from 1, and the name.
fn layer(name: &str) -> (u64, String) {
    let number = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse::<u64>().ok());
    (number.map_or(0, |number| number.saturating_add(1)), name.to_owned())
}

/// The form of a tensor in the file.
struct Placed {
    shape: Shape,
    arrangement: Arrangement,
    change: Change,
    /// Number of tensors of the file that the stored one is made of.
    sources: usize,
    /// Number of the stored tensor among those that the file joins, and their number.
    share: (u64, u64),
}

/// The facts that forms depend on.
struct Keys<'m> {
    metadata: &'m Metadata,
    architecture: &'m str,
    facts: &'m Facts,
}

impl Keys<'_> {
    fn number(&self, key: &str) -> Option<u64> {
        self.metadata.get(&format!("{}.{key}", self.architecture))?.as_u64()
    }

    /// The form in the file of a stored tensor. `None` if the tensor does not have the shape or the facts that it takes.
    fn place(&self, entry: &TensorEntry, mapping: &Mapping) -> Option<Placed> {
        let dims = entry.shape.dims();
        let same = |arrangement| Placed {
            shape: entry.shape.clone(),
            arrangement,
            change: Change::None,
            sources: 1,
            share: (0, 1),
        };
        let reshaped = |shape: &[u64]| Placed { shape: Shape::from(shape), ..same(Arrangement::Reshape) };
        let rows = |axis: u8, rows: u64| {
            let mut dims = dims.to_vec();
            *dims.get_mut(usize::from(axis))? = rows;
            Some(Shape::from(dims))
        };
        let part = |arrangement, shape, sources: u64| {
            Some(Placed { shape, sources: usize::try_from(sources).ok()?, ..same(arrangement) })
        };
        let extent = |axis: u8| dims.get(usize::from(axis)).copied();
        let whole =
            |axis: u8, of: u64| extent(axis).filter(|rows| of > 0 && rows.is_multiple_of(of)).map(|rows| rows / of);
        match (mapping.form, dims) {
            (Form::Same | Form::Own, _) => Some(same(Arrangement::None)),
            (Form::Flat, &[size]) if mapping.gguf.ends_with("norm.weight") => {
                let groups =
                    self.number("ssm.group_count").filter(|groups| *groups > 0 && size.is_multiple_of(*groups))?;
                Some(reshaped(&[groups, size / groups]))
            }
            (Form::Flat, &[heads]) => Some(reshaped(&[heads, 1])),
            (Form::Convolution, &[channels, 1, width]) => Some(reshaped(&[channels, width])),
            (Form::Rotary(heads), [all, ..]) => {
                let queries = self.number("attention.head_count");
                let found =
                    if heads == Heads::Query { queries } else { self.number("attention.head_count_kv").or(queries) };
                let heads = found.filter(|heads| *heads > 0 && all.is_multiple_of(2 * heads))?;
                Some(same(Arrangement::Halves { heads }))
            }
            (Form::PlusOne, _) => Some(Placed { change: Change::MinusOne, ..same(Arrangement::Reshape) }),
            (Form::NegativeExponential, &[heads]) => {
                Some(Placed { change: Change::LogNegative, ..reshaped(&[heads, 1]) })
            }
            (Form::NegativeExponential, _) => {
                Some(Placed { change: Change::LogNegative, ..same(Arrangement::Reshape) })
            }
            (Form::Interleaved(share), _) => part(
                Arrangement::Interleave { axis: share.axis },
                rows(share.axis, whole(share.axis, share.of)?)?,
                share.of,
            ),
            (Form::Joined(share), _) => part(
                Arrangement::Concatenate { axis: share.axis },
                rows(share.axis, whole(share.axis, share.of)?)?,
                share.of,
            ),
            (Form::Split(share), _) => {
                let mine = extent(share.axis)?;
                let (all, first) = (mine.checked_mul(share.of)?, mine.checked_mul(share.index)?);
                let arrangement = Arrangement::Rows { axis: share.axis, first, of: all };
                let joined = rows(share.axis, all)?;
                Some(Placed { shape: joined, share: (share.index, share.of), ..same(arrangement) })
            }
            // The values of a head are columns of one and rows of the other: codes do not fit both.
            (form @ (Form::LatentKeys | Form::LatentValues), &[all, rank]) if entry.quantization.is_none() => {
                let latent = self.facts.attention.latent.as_ref()?;
                let (heads, keys) = (self.facts.heads.filter(|heads| *heads > 0)?, latent.nope_head_dim?);
                let values = (all.is_multiple_of(heads)).then(|| (all / heads).checked_sub(keys)).flatten()?;
                let shape = match form {
                    Form::LatentKeys => Shape::new([heads, rank, keys]),
                    _ => Shape::new([heads, values, rank]),
                };
                part(Arrangement::LatentHeads { heads, keys }, shape, 2)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_of_llama_3_is_stretched_by_wave() {
        let number = |value: f64| Number::from_f64(value);
        let rope = Rope {
            theta: number(500_000.0),
            factor: number(8.0),
            low_freq_factor: number(1.0),
            high_freq_factor: number(4.0),
            original_context: Some(8192),
            ..Rope::default()
        };
        let found = llama3(&rope, 128).expect("all is stated");
        assert_eq!((found.len(), found[0], found[63]), (64, 1.0, 8.0));
        // Short waves first; the blend rises.
        assert!(found.windows(2).all(|pair| pair[0] <= pair[1]));
        // Pair 32 of the 64: a wave of 2π × sqrt(500,000) = 4,443 elements, blended by (8192 / 4443 - 1) / 3.
        let blend = (8192.0 / (std::f64::consts::TAU * 500_000_f64.sqrt()) - 1.0) / 3.0;
        let expected = 1.0 / ((1.0 - blend) / 8.0 + blend);
        assert!((f64::from(found[32]) - expected).abs() < 1e-6);
    }

    #[test]
    fn layers_are_in_the_order_of_their_numbers() {
        let mut names = ["blk.10.a", "output.weight", "blk.2.b", "blk.2.a", "blk.x.a"];
        names.sort_by_key(|name| layer(name));
        assert_eq!(names, ["blk.x.a", "output.weight", "blk.2.a", "blk.2.b", "blk.10.a"]);
    }
}
