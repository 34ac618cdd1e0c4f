//! Restoring the tensors that a stored model was made from, and the places of their values.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use longshore_manifest::{
    Store,
    document::{Arrangement, BlobEntry, Quantization, Role, TensorEntry, TensorTable},
    store::Model,
};
use longshore_quant::{Decoder, EncodedLen, FloatType, Scheme};
use longshore_st_format::{Dtype, Shape};

use super::{
    error::ExportError,
    stored::{Reader, Stored},
};

/// A tensor of the export, with the part of a stored tensor that holds its values.
pub(super) struct Output<'w> {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Shape,
    pub(super) elements: u64,
    pub(super) bytes: u64,
    pub(super) values: Values<'w>,
    /// Index of the tensor's first element in the stored tensor.
    pub(super) start: u64,
    /// Whether the last two axes have to be swapped back.
    pub(super) is_transposed: bool,
    /// The elements of the plain values that belong to the tensor; all of them if `None`.
    pub(super) pick: Option<Pick>,
}

impl Output<'_> {
    /// Whether the values are decoded while they are written.
    pub(super) fn is_decoded(&self) -> bool {
        matches!(self.values, Values::Coded(_))
    }
}

/// A selection of a tensor's elements: the first `run` of every `period` elements, counted from the element `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) run: u64,
    pub(super) period: u64,
    pub(super) first: u64,
}

/// The values of a stored tensor.
#[derive(Clone)]
pub(super) enum Values<'w> {
    /// Plain values.
    Plain(Stored<'w>),
    /// F64 values that are written as F32.
    Doubles(Stored<'w>),
    /// Codes of whole groups.
    Coded(Box<Coded<'w>>),
}

/// The parts of a quantized tensor. Their lengths have been checked to be those that `decoder` expects.
#[derive(Clone)]
pub(super) struct Coded<'w> {
    pub(super) decoder: Decoder,
    /// Global scales as F32, one for each matrix of a stack. Empty if there is at most one for the whole tensor.
    global_scales: Arc<[u8]>,
    /// Number of elements that share one global scale.
    pub(super) matrix: u64,
    /// Weight, scale and bias, as far as the scheme has them.
    parts: [Option<Stored<'w>>; 3],
    /// Length of one group in bytes, for each part.
    group: [usize; 3],
}

impl Coded<'_> {
    /// Decodes the elements `from..to` of one matrix, which must be whole groups. Their codes are read into `codes`.
    pub(super) fn decode(
        &self,
        (from, to): (u64, u64),
        reader: &mut Reader<'_>,
        codes: &mut [Vec<u8>; 3],
        out: &mut [u8],
    ) -> Result<(), ExportError> {
        let index = |count: u64| usize::try_from(count).expect("codes of a chunk fit in memory");
        let mut decoder = self.decoder;
        if let Some(bytes) = self.global_scales.chunks_exact(4).nth(index(from / self.matrix)) {
            decoder = decoder.with_global_scale(f32::from_le_bytes(bytes.try_into().expect("chunks of four bytes")));
        }
        for (part, codes) in codes.iter_mut().enumerate() {
            self.read_part(part, (from, to), reader, codes)?;
        }
        let [weight, scale, bias] = codes;
        decoder.decode(weight, scale, bias, out).expect("BUG: parts of another length than restoring checked");
        Ok(())
    }

    /// Reads a part of the elements `from..to`, which must be whole groups: weight, scale or bias. A part that the scheme
    /// does not have is empty.
    pub(super) fn read_part(
        &self,
        part: usize,
        (from, to): (u64, u64),
        reader: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ExportError> {
        let (group, len) = (u64::from(self.decoder.scheme().group_size()), self.group[part] as u64);
        out.clear();
        let Some(part) = &self.parts[part] else { return Ok(()) };
        reader.read_to(part, from / group * len, (to - from) / group * len, out)
    }
}

/// The tensors of the export in the order of the table, by the directory that they belong in: the empty string, or one
/// path segment and a slash. Names are unique within a directory.
pub(super) fn outputs<'w>(
    store: &Store,
    table: &'w TensorTable,
    model: &Model,
    dequantize: Option<FloatType>,
) -> Result<BTreeMap<String, Vec<Output<'w>>>, ExportError> {
    if dequantize.is_none() {
        let mut quantized = table.tensors().filter(|(_, tensor)| tensor.quantization.is_some());
        if let Some((_, first)) = quantized.next() {
            return Err(ExportError::Quantized { count: 1 + quantized.count(), first: first.name.clone() });
        }
    }
    let mut reader = Reader::new(store);
    let mut outputs: BTreeMap<String, Vec<Output<'w>>> = BTreeMap::new();
    for (blob, entry) in table.tensors() {
        let directory = outputs.entry(directory(model, blob, entry)).or_default();
        let fail = |problem| ExportError::Restore { tensor: entry.name.clone(), problem };
        let global_scales =
            if dequantize.is_some() { global_scales(blob, entry, &mut reader)? } else { Arc::default() };
        restore(blob, entry, global_scales, dequantize, directory).map_err(fail)?;
    }
    outputs.values().try_for_each(|outputs| check_names(outputs))?;
    Ok(outputs)
}

/// Checks that no two tensors of a directory have the same name.
pub(super) fn check_names(outputs: &[Output<'_>]) -> Result<(), ExportError> {
    let mut names = HashSet::with_capacity(outputs.len());
    match outputs.iter().find(|output| !names.insert(output.name.as_str())) {
        None => Ok(()),
        Some(twice) => Err(ExportError::Restore {
            tensor: twice.name.clone(),
            problem: "two stored tensors would come back under this name".to_owned(),
        }),
    }
}

/// The directory of a tensor's file below the export's directory.
fn directory(model: &Model, blob: &BlobEntry, entry: &TensorEntry) -> String {
    match (&blob.component, &model.config.draft) {
        (Some(component), _) => format!("{component}/"),
        (None, Some(draft)) if draft.has(&entry.name) => "draft/".to_owned(),
        (None, _) => String::new(),
    }
}

/// The bytes of a tensor's global scales. Empty if it has none.
pub(super) fn global_scales(
    blob: &BlobEntry,
    entry: &TensorEntry,
    reader: &mut Reader<'_>,
) -> Result<Arc<[u8]>, ExportError> {
    let Some(part) = entry.part(Role::GlobalScale) else { return Ok(Arc::default()) };
    let limit = entry.shape.dims().first().copied().unwrap_or(0).max(1).saturating_mul(4);
    if part.length > limit {
        let problem = format!("its global scales have {} bytes, expected at most {limit}", part.length);
        return Err(ExportError::Restore { tensor: entry.name.clone(), problem });
    }
    let mut bytes = Vec::new();
    reader.read_to(&Stored::new(blob, entry, part), 0, part.length, &mut bytes)?;
    Ok(bytes.into())
}

fn restore<'w>(
    blob: &BlobEntry,
    entry: &'w TensorEntry,
    global_scales: Arc<[u8]>,
    dequantize: Option<FloatType>,
    outputs: &mut Vec<Output<'w>>,
) -> Result<(), String> {
    let (dtype, values) = match (&entry.quantization, dequantize) {
        (Some(quantization), Some(output)) => {
            let dtype = output.name().parse().expect("the three float types are safetensors types");
            (dtype, Values::Coded(Box::new(coded(blob, entry, quantization, global_scales, output)?)))
        }
        _ => (entry.dtype, Values::Plain(Stored::new(blob, entry, entry.weight()))),
    };
    let mut output = |name: &str, dims: &[u64], start: u64, is_transposed: bool| {
        let shape = Shape::from(dims);
        let bytes = shape.byte_len(dtype).map_err(|error| format!("{name:?}: {error}"))?;
        let elements = shape.elements().expect("a shape with a length in bytes has elements");
        let (name, values) = (name.to_owned(), values.clone());
        outputs.push(Output { name, dtype, shape, elements, bytes, values, start, is_transposed, pick: None });
        Ok::<(), String>(())
    };
    let names: Vec<&str> = entry.source_names().collect();
    match (entry.arrangement, entry.shape.dims(), &names[..]) {
        (Arrangement::None, dims, [name]) => output(name, dims, 0, false),
        (Arrangement::Stack, [count, rest @ ..], names) if *count == names.len() as u64 => {
            let each = entry.elements() / *count;
            (0..).zip(names).try_for_each(|(at, name)| output(name, rest, at * each, false))
        }
        (Arrangement::Transpose, [outer @ .., rows, columns], [name]) if dtype.bits().is_multiple_of(8) => {
            let dims: Vec<u64> = outer.iter().copied().chain([*columns, *rows]).collect();
            output(name, &dims, 0, true)
        }
        (arrangement, _, names) => Err(format!(
            "{arrangement:?} of {} source tensors does not make {} {}",
            names.len(),
            entry.dtype,
            entry.shape
        )),
    }
}

/// The parts of a quantized tensor, after checking their lengths, and the decoder for them.
pub(super) fn coded<'w>(
    blob: &BlobEntry,
    entry: &'w TensorEntry,
    quantization: &Quantization,
    mut global_scales: Arc<[u8]>,
    output: FloatType,
) -> Result<Coded<'w>, String> {
    let scheme =
        Scheme::from_metadata(&quantization.quant_type, quantization.group_size).map_err(|error| error.to_string())?;
    // Scales of affine schemes have the float type of the source. Other schemes ignore that type.
    let stored: FloatType =
        entry.dtype.name().parse().map_err(|error: longshore_quant::UnknownFloatType| error.to_string())?;
    let parts = scheme.parts(stored, entry.shape.dims()).map_err(|error| error.to_string())?;
    let expected = [(Role::Weight, Some(parts.weight)), (Role::Scale, Some(parts.scale)), (Role::Bias, parts.bias)];
    for (role, part) in expected {
        let expected = part.and_then(|part| part.byte_len()).unwrap_or(0);
        let found = entry.part(role).map_or(0, |part| part.length);
        if found != expected {
            let what = format!("{scheme} of {} {}", entry.dtype, entry.shape);
            return Err(format!("its {} has {found} bytes, expected {expected} for {what}", part_name(role)));
        }
    }
    let mut decoder = Decoder::new(scheme, stored, output);
    if let Some(global) = entry.part(Role::GlobalScale) {
        if global.dtype != Dtype::F32 || scheme != Scheme::NVFP4 {
            return Err(format!("its global scale is {} {}, expected F32 of nvfp4", global.dtype, global.shape));
        }
        if let Ok(bytes) = <[u8; 4]>::try_from(&*global_scales) {
            decoder = decoder.with_global_scale(f32::from_le_bytes(bytes));
            global_scales = Arc::default();
        }
    }
    let matrix = match entry.shape.dims() {
        [experts, ..] if !global_scales.is_empty() => entry.elements() / (*experts).max(1),
        _ => u64::MAX,
    };
    let EncodedLen { weight, scale, bias, .. } = scheme.encoded_len(1, stored).expect("a group is small");
    let parts = [Role::Weight, Role::Scale, Role::Bias];
    let parts = parts.map(|role| entry.part(role).map(|part| Stored::new(blob, entry, part)));
    Ok(Coded { decoder, global_scales, matrix, parts, group: [weight, scale, bias] })
}

/// The name of a tensor's part in messages.
fn part_name(role: Role) -> &'static str {
    match role {
        Role::Weight => "weight",
        Role::Scale => "scale",
        Role::Bias => "bias",
        _ => "companion",
    }
}
