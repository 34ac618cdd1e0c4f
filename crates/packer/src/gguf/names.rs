//! The form in which each tensor of GGUF files is stored: its name and shape, and the way from the file's values to the
//! model's.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use longshore_gguf::{Metadata, Value};
use longshore_manifest::document::{Arrangement, Change};
use longshore_model::gguf::{Form, Heads, Mapping, NameMap, Share};
use longshore_st_format::{Dtype, Shape};

use super::types::GgufTensor;
use crate::tensor::SourceTensor;

/// Most tensors that a message names.
const NAMED: usize = 3;

/// The form in which one or several tensors of GGUF files are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Canonical {
    /// Name of the stored tensor.
    pub name: String,
    /// Logical shape.
    pub shape: Shape,
    /// The arrangement of the values on the way from the file to the store.
    pub arrangement: Arrangement,
    /// The change of the values on that way.
    pub change: Change,
    /// Corrections of the values that undoing the change gives: see [`TensorEntry::ulps`](longshore_manifest::document::TensorEntry::ulps).
    pub ulps: Vec<i8>,
    /// The stored values are the model's plus this.
    pub offset: i32,
    /// Indices of the tensors in the files.
    pub sources: Vec<usize>,
}

/// The stored tensors of GGUF files.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// In byte order of their names.
    pub tensors: Vec<Canonical>,
    /// Says which tensors keep the names of their files, and why.
    pub notes: Vec<String>,
}

/// A tensor of a file.
#[derive(Clone, Copy)]
struct Found<'t> {
    at: usize,
    name: &'t str,
    dtype: Dtype,
    gguf: &'t GgufTensor,
}

/// Finds the stored tensors of files. `corrections` finds what has to be known to undo a change of the tensor of this
/// index to the bit; `None` if it cannot be undone.
pub(crate) fn canonical<E>(
    metadata: &Metadata,
    tensors: &[(SourceTensor, GgufTensor)],
    corrections: &mut dyn FnMut(usize, Change) -> Result<Option<Vec<i8>>, E>,
) -> Result<Names, E> {
    let tensors = tensors.iter().enumerate();
    let found = tensors.map(|(at, (file, gguf))| Found { at, name: &file.name, dtype: file.dtype, gguf });
    let found: Vec<Found<'_>> = found.collect();
    let architecture = metadata.get("general.architecture").and_then(Value::as_str).unwrap_or_default();
    let Some(map) = NameMap::of(architecture) else {
        let mut tensors: Vec<Canonical> = found.iter().map(Found::kept).collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let notes =
            vec![format!("no map of names is known for the architecture {architecture:?}: tensors keep ggml's names")];
        return Ok(Names { tensors, notes });
    };
    let mut namer = Namer { metadata, architecture, corrections, kept: BTreeMap::new(), stored: Vec::new() };
    let mut parts: BTreeMap<String, Vec<(Found<'_>, Form)>> = BTreeMap::new();
    for tensor in found.iter().copied() {
        match &*map.from_gguf(tensor.name) {
            [] => namer.keep(tensor, "the map does not have the names"),
            [only] if only.form == Form::Own => namer.stored.push(tensor.kept()),
            [only] if only.form.is_part() => parts.entry(only.name.clone()).or_default().push((tensor, only.form)),
            [only] => namer.single(tensor, only)?,
            several => namer.split(tensor, several),
        }
    }
    for (name, parts) in parts {
        namer.join(&name, parts);
    }
    Ok(namer.finish(&found))
}

impl Found<'_> {
    /// The tensor as the file has it.
    fn kept(&self) -> Canonical {
        self.stored(self.name.to_owned())
    }

    fn stored(&self, name: String) -> Canonical {
        Canonical {
            name,
            shape: self.gguf.shape.clone(),
            arrangement: Arrangement::None,
            change: Change::None,
            ulps: Vec::new(),
            offset: 0,
            sources: vec![self.at],
        }
    }

    fn dims(&self) -> &[u64] {
        self.gguf.shape.dims()
    }

    fn is_plain(&self) -> bool {
        self.gguf.blocks.is_none()
    }

    /// Whether rows along `axis` are whole: blocks fill the last axis.
    fn has_rows(&self, axis: usize) -> bool {
        let rank = self.dims().len();
        axis + 1 < rank || axis + 1 == rank && self.is_plain() && self.dtype.bits().is_multiple_of(8)
    }

    fn is_like(&self, other: &Self) -> bool {
        (self.dtype, &self.gguf.shape, self.gguf.blocks) == (other.dtype, &other.gguf.shape, other.gguf.blocks)
    }
}

struct Namer<'m, E> {
    metadata: &'m Metadata,
    architecture: &'m str,
    corrections: &'m mut dyn FnMut(usize, Change) -> Result<Option<Vec<i8>>, E>,
    /// Names of tensors that keep them, by the reason.
    kept: BTreeMap<&'static str, Vec<String>>,
    stored: Vec<Canonical>,
}

impl<E> Namer<'_, E> {
    fn keep(&mut self, tensor: Found<'_>, why: &'static str) {
        self.kept.entry(why).or_default().push(tensor.name.to_owned());
        self.stored.push(tensor.kept());
    }

    fn single(&mut self, tensor: Found<'_>, mapping: &Mapping) -> Result<(), E> {
        let mut stored = tensor.stored(mapping.name.clone());
        match (mapping.form, tensor.dims()) {
            (Form::Flat, [_, _, ..]) if tensor.is_plain() => flatten(&mut stored),
            (Form::Convolution, &[channels, width]) if tensor.is_plain() => {
                stored.arrangement = Arrangement::Reshape;
                stored.shape = Shape::new([channels, 1, width]);
            }
            (Form::Flat | Form::Convolution, [_, _]) => {
                self.keep(tensor, "blocks cannot have the shape of a checkpoint");
                return Ok(());
            }
            (Form::Rotary(heads), dims) => {
                let key = if heads == Heads::Query { "head_count" } else { "head_count_kv" };
                let heads = self.heads(key, tensor.name).or_else(|| self.heads("head_count", tensor.name));
                let rows = dims.first().copied().unwrap_or_default();
                let fits =
                    |heads: &u64| *heads > 0 && heads.checked_mul(2).is_some_and(|pairs| rows.is_multiple_of(pairs));
                let Some(heads) = heads.filter(fits).filter(|_| tensor.has_rows(0)) else {
                    self.keep(tensor, "rows are not those of the heads that the metadata states");
                    return Ok(());
                };
                stored.arrangement = Arrangement::Halves { heads };
            }
            (Form::PlusOne, _) => match self.change(tensor, Change::MinusOne)? {
                Some(_) => stored.change = Change::MinusOne,
                None => stored.offset = 1,
            },
            (Form::NegativeExponential, dims) => {
                let Some(ulps) = self.change(tensor, Change::LogNegative)? else {
                    self.keep(tensor, "no logarithm gives the values back");
                    return Ok(());
                };
                (stored.change, stored.ulps) = (Change::LogNegative, ulps);
                if matches!(dims, [_, 1]) {
                    flatten(&mut stored);
                }
            }
            _ => {}
        }
        if stored.arrangement == Arrangement::None && (stored.offset != 0 || !stored.change.is_none()) {
            // Readers that do not know of changed values refuse the table for this.
            stored.arrangement = Arrangement::Reshape;
        }
        self.stored.push(stored);
        Ok(())
    }

    fn change(&mut self, tensor: Found<'_>, change: Change) -> Result<Option<Vec<i8>>, E> {
        if tensor.dtype == Dtype::F32 && tensor.is_plain() { (self.corrections)(tensor.at, change) } else { Ok(None) }
    }

    /// Stores each share of the rows of a tensor as a tensor of its own.
    fn split(&mut self, tensor: Found<'_>, mappings: &[Mapping]) {
        let shares = mappings.iter().map(|mapping| {
            let Form::Split(Share { index, of, axis }) = mapping.form else { return None };
            let at = usize::from(axis);
            let rows = *tensor.dims().get(at)?;
            let (true, true) = (tensor.has_rows(at), rows.is_multiple_of(of)) else { return None };
            let mut stored = tensor.stored(mapping.name.clone());
            stored.arrangement = Arrangement::Rows { axis, first: index * (rows / of), of: rows };
            stored.shape = with(tensor.dims(), at, rows / of);
            Some(stored)
        });
        match shares.collect::<Option<Vec<_>>>() {
            Some(shares) => self.stored.extend(shares),
            None => self.keep(tensor, "rows cannot be shared evenly"),
        }
    }

    /// Stores several tensors as one.
    fn join(&mut self, name: &str, mut parts: Vec<(Found<'_>, Form)>) {
        parts.sort_by_key(|(_, form)| match form {
            Form::Interleaved(share) | Form::Joined(share) => share.index,
            form => u64::from(*form == Form::LatentValues),
        });
        let made = match &*parts {
            [(keys, Form::LatentKeys), (values, Form::LatentValues)] => latent(keys, values),
            [(first, Form::Interleaved(share)), rest @ ..] => {
                let arrangement = Arrangement::Interleave { axis: share.axis };
                shape_of_all(first, rest, share).map(|shape| (arrangement, shape))
            }
            [(first, Form::Joined(share)), rest @ ..] => {
                let arrangement = Arrangement::Concatenate { axis: share.axis };
                shape_of_all(first, rest, share).map(|shape| (arrangement, shape))
            }
            _ => None,
        };
        match (made, &*parts) {
            (Some((arrangement, shape)), [(first, _), ..]) => {
                let sources = parts.iter().map(|(part, _)| part.at).collect();
                let stored = first.stored(name.to_owned());
                self.stored.push(Canonical { shape, arrangement, sources, ..stored });
            }
            _ => {
                for (part, _) in parts {
                    self.keep(part, "parts cannot be joined to a tensor of a checkpoint");
                }
            }
        }
    }

    /// The number of heads of the layer that a tensor is in.
    fn heads(&self, key: &str, tensor: &str) -> Option<u64> {
        let value = self.metadata.get(&format!("{}.attention.{key}", self.architecture))?;
        let Some(layers) = value.as_array() else { return value.as_u64() };
        let layer = tensor.strip_prefix("blk.")?.split('.').next()?.parse().ok()?;
        layers.iter().nth(layer)?.as_u64()
    }

    /// Gives tensors their own names again whose stored names are not theirs alone.
    fn finish(mut self, found: &[Found<'_>]) -> Names {
        let own: BTreeMap<&str, usize> = found.iter().map(|tensor| (tensor.name, tensor.at)).collect();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for stored in &self.stored {
            *counts.entry(&stored.name).or_default() += 1;
        }
        let clashes = |stored: &Canonical| {
            let of_another = own.get(stored.name.as_str()).is_some_and(|at| *stored.sources != [*at]);
            counts[stored.name.as_str()] > 1 || of_another
        };
        let clashing = self.stored.iter().filter(|stored| clashes(stored));
        let back: BTreeSet<usize> = clashing.flat_map(|stored| stored.sources.iter().copied()).collect();
        // All that is made of a tensor goes back with it.
        self.stored.retain(|stored| !stored.sources.iter().any(|at| back.contains(at)));
        let mut has: BTreeSet<usize> = self.stored.iter().flat_map(|stored| stored.sources.iter().copied()).collect();
        for tensor in found {
            if has.insert(tensor.at) {
                self.keep(*tensor, "another tensor has the name of a checkpoint");
            }
        }
        self.stored.sort_by(|a, b| a.name.cmp(&b.name));
        let note = |(why, names): (&'static str, Vec<String>)| {
            let first = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = if names.len() > NAMED { ", …" } else { "" };
            let keep = if names.len() == 1 { "tensor keeps its name" } else { "tensors keep their names" };
            format!("{} {keep} of ggml, since {why}: {first}{more}", names.len())
        };
        Names { tensors: self.stored, notes: self.kept.into_iter().map(note).collect() }
    }
}

fn flatten(stored: &mut Canonical) {
    stored.arrangement = Arrangement::Reshape;
    stored.shape = Shape::new([stored.shape.elements().unwrap_or_default()]);
}

/// The extents with another one at `axis`.
fn with(dims: &[u64], axis: usize, extent: u64) -> Shape {
    let mut dims = dims.to_vec();
    dims[axis] = extent;
    Shape::from(dims)
}

/// The shape of all shares together, if they are all there and alike.
fn shape_of_all(first: &Found<'_>, rest: &[(Found<'_>, Form)], share: &Share) -> Option<Shape> {
    let axis = usize::from(share.axis);
    let is_whole = rest.len() as u64 + 1 == share.of && rest.iter().all(|(other, _)| other.is_like(first));
    let rows = first.dims().get(axis)?.checked_mul(share.of)?;
    let all = with(first.dims(), axis, rows);
    (is_whole && first.has_rows(axis) && all.elements().is_some()).then_some(all)
}

/// The arrangement and the shape of the two up-projections of latent attention.
fn latent(keys: &Found<'_>, values: &Found<'_>) -> Option<(Arrangement, Shape)> {
    let (&[heads, rank, of_keys], &[of_heads, of_values, of_rank]) = (keys.dims(), values.dims()) else { return None };
    let is_plain = keys.is_plain() && values.is_plain() && keys.dtype == values.dtype;
    let fits = is_plain && keys.dtype.bits().is_multiple_of(8) && heads > 0 && (heads, rank) == (of_heads, of_rank);
    let shape = Shape::new([of_keys.checked_add(of_values)?.checked_mul(heads)?, rank]);
    (fits && shape.elements().is_some()).then_some((Arrangement::LatentHeads { heads, keys: of_keys }, shape))
}
