//! One tensor of a GGUF file, made of a stored tensor.

use std::sync::Arc;

use longshore_manifest::document::{Arrangement, BlobEntry, Change, GgmlBlocks, Role, TensorEntry};
use longshore_quant::{
    FloatType,
    ggml::{self, GgmlType},
    layout::LayoutError,
};
use longshore_st_format::Shape;

use super::types::{for_rows, is_always_f32, is_float, of_dtype};
use crate::{
    export::{
        error::ExportError,
        restore::{Coded, coded, global_scales},
        stored::{Reader, Stored},
    },
    gguf::{change, places::Places},
    io::memory,
    plan::blocks::type_of,
};

/// Problem of a tensor whose stored parts are not those of its file.
const DIFFERS: &str = "it is stored with another type or shape than the header of its file says";

/// Number of elements that are made at a time: whole blocks of every type, and whole groups of every scheme.
pub(super) const CHUNK: u64 = 128 << 10;

/// A tensor to be written.
pub(in crate::export) struct GgufTensor<'w> {
    pub(in crate::export) name: String,
    pub(in crate::export) ggml_type: GgmlType,
    pub(in crate::export) shape: Shape,
    /// Whether values are decoded to F32 and encoded. Else the stored bytes are those of the file, or codes become blocks.
    is_encoded: bool,
    /// The stored tensors that have its values: one, or several that share its rows.
    parts: Vec<Part<'w>>,
}

/// A stored tensor that a tensor of a file is made of.
pub(in crate::export) struct StoredPart<'w> {
    pub(in crate::export) blob: &'w BlobEntry,
    pub(in crate::export) entry: &'w TensorEntry,
    /// The arrangement and the change on the way from the file to the store.
    pub(in crate::export) arrangement: Arrangement,
    pub(in crate::export) change: Change,
    /// Number of tensors of the file that the stored one is made of.
    pub(in crate::export) sources: usize,
    /// The number of this one among them.
    pub(in crate::export) source: usize,
}

impl<'w> StoredPart<'w> {
    /// The way that an import from GGUF has recorded. `source` is the number of the tensor among the entry's sources.
    pub(in crate::export) fn recorded(blob: &'w BlobEntry, entry: &'w TensorEntry, source: usize) -> Self {
        let TensorEntry { arrangement, change, .. } = *entry;
        Self { blob, entry, arrangement, change, sources: entry.source_names().count(), source }
    }

    fn is_shared(&self) -> bool {
        matches!(self.arrangement, Arrangement::Rows { .. })
    }
}

struct Part<'w> {
    values: Values<'w>,
    places: Places,
    source: usize,
    change: Change,
    ulps: &'w [i8],
}

/// Values of a stored tensor.
enum Values<'w> {
    /// Blocks, or single numbers.
    Ggml(GgmlType, Stored<'w>),
    /// Codes of a scheme.
    Coded(Box<Coded<'w>>),
    /// The bytes of the file.
    Ready(Arc<[u8]>),
}

/// The choice of types for the tensors of a file.
#[derive(Debug, Clone, Copy)]
pub(in crate::export) struct Types {
    /// The type that is asked for. With `None`, nothing is encoded.
    pub(in crate::export) asked: Option<GgmlType>,
    /// Whether the model came from GGUF files. All of its matrices are encoded on request, those of another model only
    /// where they do not fit a type without loss.
    pub(in crate::export) is_from_gguf: bool,
}

/// The outcome of choosing a type: the tensor, or the reason why it has none.
pub(in crate::export) type Chosen<'w> = Result<GgufTensor<'w>, String>;

/// The type of one stored tensor in the file, whether its values are encoded, and the values.
type Typed<'w> = (GgmlType, bool, Values<'w>);

impl Types {
    /// Chooses how a tensor of this name and shape is written. `own` is its type in the file that the model came from.
    pub(in crate::export) fn choose<'w>(
        self,
        reader: &mut Reader<'_>,
        name: &str,
        shape: Shape,
        made: &[StoredPart<'w>],
        own: Option<GgmlType>,
    ) -> Result<Chosen<'w>, ExportError> {
        let mut typed: Vec<Typed<'w>> = Vec::with_capacity(made.len());
        for part in made {
            match self.of_one(reader, name, &shape, (part.blob, part.entry), own)? {
                Ok(found) => typed.push(found),
                Err(problem) => return Ok(Err(problem)),
            }
        }
        let [(ggml_type, ..), ..] = &*typed else { return Ok(Err("the model does not have it".to_owned())) };
        let ggml_type = *ggml_type;
        if let Some((other, ..)) = typed.iter().find(|(other, ..)| *other != ggml_type) {
            return Ok(Err(format!("the model has it in several tensors, as {ggml_type} and as {other}")));
        }
        let is_encoded = typed.iter().any(|(_, is_encoded, _)| *is_encoded);
        let mut tensor = GgufTensor { name: name.to_owned(), ggml_type, shape, is_encoded, parts: Vec::new() };
        let expected = tensor.staged_bytes(tensor.elements());
        let mut all = 0_u64;
        for (made, (_, _, values)) in made.iter().zip(typed) {
            let bytes = tensor.staged_bytes(made.entry.elements());
            all = all.saturating_add(bytes);
            let places = Places::of(made.arrangement, made.sources, &made.entry.shape, bytes);
            let fits = |places: &Places| {
                places.source_bytes(made.source) == expected
                    && (made.arrangement != Arrangement::None || made.entry.shape == tensor.shape)
            };
            let Some(places) = places.filter(fits) else { return Err(tensor.differs()) };
            let (source, change, ulps) = (made.source, made.change, &*made.entry.ulps);
            tensor.parts.push(Part { values, places, source, change, ulps });
        }
        let is_whole = match made {
            [only] => !only.is_shared() || all == expected,
            several => several.iter().all(StoredPart::is_shared) && all == expected,
        };
        if is_whole { Ok(Ok(tensor)) } else { Err(tensor.differs()) }
    }

    /// Chooses how a stored tensor is written as the tensor `name` of this shape, or as a part of it.
    fn of_one<'w>(
        self,
        reader: &mut Reader<'_>,
        name: &str,
        shape: &Shape,
        (blob, entry): (&BlobEntry, &'w TensorEntry),
        own: Option<GgmlType>,
    ) -> Result<Result<Typed<'w>, String>, ExportError> {
        let columns = shape.dims().last().copied().unwrap_or(1);
        let is_always_f32 = is_always_f32(name, shape.rank());
        let wanted = self.asked.map(|asked| if is_always_f32 { GgmlType::F32 } else { for_rows(asked, columns) });
        let weight = Stored::new(blob, entry, entry.weight());
        let found = match &entry.quantization {
            None => match of_dtype(entry.dtype) {
                Some(found) => found,
                None => return Ok(Err(format!("GGUF has no type for {}", entry.dtype))),
            },
            Some(coding) => match GgmlBlocks::of(&coding.quant_type) {
                Some(blocks) => type_of(blocks),
                None => return self.of_codes(reader, columns, (blob, entry), own, wanted),
            },
        };
        let typed = |ggml_type, is_encoded| Ok(Ok((ggml_type, is_encoded, Values::Ggml(found, weight))));
        match wanted {
            Some(wanted) if wanted != found && (found.block_size() > 1 || is_float(found)) => typed(wanted, true),
            None if own.is_some_and(|own| own != found) => Ok(Err(DIFFERS.to_owned())),
            // Exact, and what llama.cpp reads.
            None if own.is_none() && is_always_f32 && matches!(found, GgmlType::F16 | GgmlType::BF16) => {
                typed(GgmlType::F32, true)
            }
            _ => typed(found, false),
        }
    }

    /// Chooses how the codes of a scheme are written.
    fn of_codes<'w>(
        self,
        reader: &mut Reader<'_>,
        columns: u64,
        (blob, entry): (&BlobEntry, &'w TensorEntry),
        own: Option<GgmlType>,
        wanted: Option<GgmlType>,
    ) -> Result<Result<Typed<'w>, String>, ExportError> {
        let quantization = entry.quantization.as_ref().expect("the caller has found codes");
        let scales = global_scales(blob, entry, reader)?;
        let coded = match coded(blob, entry, quantization, scales, FloatType::F32) {
            Ok(coded) => Box::new(coded),
            Err(problem) => return Ok(Err(problem)),
        };
        let scheme = coded.decoder.scheme();
        let mut problem = match own {
            Some(own) => format!("no way leads from its {scheme} back to {own}"),
            None => format!("no type of ggml has the codes of {scheme}"),
        };
        // Where a type is asked for, the codes of a GGUF file stay only if they are of that type.
        let is_wanted = |known: &GgmlType| match (wanted, own) {
            (Some(wanted), _) if self.is_from_gguf => *known == wanted,
            (None, Some(own)) => *known == own,
            _ => true,
        };
        let fitting = ggml::types_of(scheme).iter().filter(|known| is_wanted(known));
        for &ggml_type in fitting {
            if !columns.is_multiple_of(ggml_type.block_size() as u64) {
                problem = format!("its rows of {columns} are no whole blocks of {ggml_type}");
                continue;
            }
            match fits(&coded, ggml_type, entry, reader)? {
                Ok(()) => return Ok(Ok((ggml_type, false, Values::Coded(coded)))),
                Err(error) => problem = format!("{ggml_type} does not hold its {scheme}: {error}"),
            }
        }
        Ok(match wanted {
            Some(ggml_type) => Ok((ggml_type, true, Values::Coded(coded))),
            None => Err(problem),
        })
    }
}

/// Whether blocks of a type hold all scales and biases of a tensor.
fn fits(
    coded: &Coded<'_>,
    ggml_type: GgmlType,
    entry: &TensorEntry,
    reader: &mut Reader<'_>,
) -> Result<Result<(), LayoutError>, ExportError> {
    let [mut scale, mut bias] = [Vec::new(), Vec::new()];
    let (scheme, stored) = (coded.decoder.scheme(), coded.decoder.stored());
    let elements = entry.elements();
    let mut from = 0;
    while from < elements {
        let to = elements.min(from + 16 * CHUNK);
        coded.read_part(1, (from, to), reader, &mut scale)?;
        coded.read_part(2, (from, to), reader, &mut bias)?;
        if let Err(error) = ggml::fits(ggml_type, scheme, stored, &scale, &bias) {
            return Ok(Err(error));
        }
        from = to;
    }
    Ok(Ok(()))
}

/// The tensor that holds the scales of whole NVFP4 tensors in a GGUF file. `None` if `entry` has none, or is not written as
/// `tensor` in NVFP4.
pub(in crate::export) fn scale_of<'w>(
    tensor: &GgufTensor<'_>,
    blob: &BlobEntry,
    entry: &'w TensorEntry,
) -> Option<GgufTensor<'w>> {
    let is_mapped = !tensor.is_encoded && matches!(&*tensor.parts, [Part { values: Values::Coded(_), .. }]);
    let part = entry.part(Role::GlobalScale).filter(|_| is_mapped)?;
    let name = scale_name(&tensor.name)?;
    let shape = Shape::new([part.length / 4]);
    let values = Values::Ggml(GgmlType::F32, Stored::new(blob, entry, part));
    let places = Places::of(Arrangement::None, 1, &shape, part.length)?;
    let part = Part { values, places, source: 0, change: Change::None, ulps: &[] };
    Some(GgufTensor { name, ggml_type: GgmlType::F32, shape, is_encoded: false, parts: vec![part] })
}

/// The name of the tensor with the scale of the tensor `name`.
pub(in crate::export) fn scale_name(name: &str) -> Option<String> {
    Some(format!("{}.scale", name.strip_suffix(".weight")?))
}

/// Buffers for one thread, reused for every chunk.
#[derive(Default)]
pub(super) struct Buffers {
    /// Values as F32, or the bytes of the file.
    staged: Vec<u8>,
    /// Rows that are put in order.
    scratch: Vec<u8>,
    of_part: PartBuffers,
    values: Vec<f32>,
}

#[derive(Default)]
struct PartBuffers {
    codes: [Vec<u8>; 3],
    blocks: Vec<u8>,
    values: Vec<f32>,
}

impl GgufTensor<'_> {
    /// A tensor whose bytes in the file are at hand.
    pub(super) fn ready(name: &str, ggml_type: GgmlType, shape: Shape, bytes: Arc<[u8]>) -> Self {
        let places =
            Places::of(Arrangement::None, 1, &shape, bytes.len() as u64).expect("one source has its own place");
        let values = Values::Ready(bytes);
        let part = Part { values, places, source: 0, change: Change::None, ulps: &[] };
        Self { name: name.to_owned(), ggml_type, shape, is_encoded: false, parts: vec![part] }
    }

    /// The number of elements.
    pub(super) fn elements(&self) -> u64 {
        self.shape.elements().unwrap_or_default()
    }

    /// The length in bytes of elements that are whole blocks.
    pub(super) fn bytes_of(&self, elements: u64) -> u64 {
        elements / self.ggml_type.block_size() as u64 * self.ggml_type.block_bytes() as u64
    }

    /// The length in bytes of elements before they are encoded.
    fn staged_bytes(&self, elements: u64) -> u64 {
        if self.is_encoded { elements.saturating_mul(4) } else { self.bytes_of(elements) }
    }

    /// The elements in as many bytes before they are encoded.
    fn staged_elements(&self, bytes: u64) -> u64 {
        if self.is_encoded {
            bytes / 4
        } else {
            bytes / self.ggml_type.block_bytes() as u64 * self.ggml_type.block_size() as u64
        }
    }

    /// Makes the elements `from..to`, which are whole blocks and groups.
    pub(super) fn make(
        &self,
        (from, to): (u64, u64),
        reader: &mut Reader<'_>,
        buffers: &mut Buffers,
        out: &mut Vec<u8>,
    ) -> Result<(), ExportError> {
        let Buffers { staged, scratch, of_part, values } = buffers;
        if !self.is_encoded {
            self.resize(out, self.bytes_of(to - from))?;
            return self.stage(self.bytes_of(from), reader, scratch, of_part, out);
        }
        self.resize(staged, 4 * (to - from))?;
        self.stage(4 * from, reader, scratch, of_part, staged)?;
        values.clear();
        values.extend(staged.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)));
        self.resize(out, self.bytes_of(to - from))?;
        let stats = ggml::encode(self.ggml_type, values, out).map_err(|error| self.fail(error.to_string()))?;
        if self.ggml_type.block_size() > 1 && stats.non_finite > 0 {
            return Err(self.fail(format!("it holds infinities or NaNs, which {} has no codes for", self.ggml_type)));
        }
        if stats.overflowed_groups > 0 {
            return Err(self.fail(format!("its values lie beyond the range of {}", self.ggml_type)));
        }
        Ok(())
    }

    /// Fills `out` with the bytes of the tensor before encoding, from byte `at`: its rows out of the stored tensors.
    fn stage(
        &self,
        at: u64,
        reader: &mut Reader<'_>,
        scratch: &mut Vec<u8>,
        buffers: &mut PartBuffers,
        out: &mut [u8],
    ) -> Result<(), ExportError> {
        let mut filled = 0;
        while filled < out.len() {
            let before = filled;
            for part in &self.parts {
                let here = at + filled as u64;
                let mut read = |at: u64, out: &mut [u8]| self.read(&part.values, at, reader, buffers, out);
                let left = &mut out[filled..];
                let count = part.places.source(part.source, here, left, scratch, &mut read)?;
                let ulps = change::part(part.ulps, here, count);
                change::undo(part.change, ulps, &mut left[..count]);
                filled += count;
                if filled == out.len() {
                    return Ok(());
                }
            }
            if filled == before {
                return Err(self.fail("no stored tensor has some of its rows".to_owned()));
            }
        }
        Ok(())
    }

    /// Fills `out` with the bytes of a stored tensor before encoding, from byte `at`: whole blocks and groups.
    fn read(
        &self,
        values: &Values<'_>,
        at: u64,
        reader: &mut Reader<'_>,
        buffers: &mut PartBuffers,
        out: &mut [u8],
    ) -> Result<(), ExportError> {
        let (from, to) = (self.staged_elements(at), self.staged_elements(at + out.len() as u64));
        let PartBuffers { codes, blocks, values: decoded } = buffers;
        match values {
            Values::Ready(bytes) => {
                let start = usize::try_from(at).expect("it lies in memory");
                out.copy_from_slice(&bytes[start..start + out.len()]);
                Ok(())
            }
            Values::Ggml(_, stored) if !self.is_encoded => reader.read(stored, at, out),
            Values::Coded(coded) if !self.is_encoded => {
                for (part, codes) in codes.iter_mut().enumerate() {
                    coded.read_part(part, (from, to), reader, codes)?;
                }
                let [weight, scale, bias] = codes;
                let (scheme, float) = (coded.decoder.scheme(), coded.decoder.stored());
                let mapped = ggml::from_mlx(self.ggml_type, scheme, float, [weight, scale, bias], out);
                mapped.map_err(|error| self.fail(error.to_string()))
            }
            Values::Ggml(known, stored) => {
                let (size, bytes) = (known.block_size() as u64, known.block_bytes() as u64);
                reader.read_to(stored, from / size * bytes, (to - from) / size * bytes, blocks)?;
                decoded.clear();
                decoded.resize(usize::try_from(to - from).expect("a chunk is small"), 0.0);
                ggml::decode(*known, blocks, decoded).map_err(|error| self.fail(error.to_string()))?;
                for (out, value) in out.as_chunks_mut().0.iter_mut().zip(decoded) {
                    *out = value.to_le_bytes();
                }
                Ok(())
            }
            Values::Coded(coded) => {
                let (mut at, mut rest) = (from, out);
                while at < to {
                    // Matrices with their own global scales are decoded one by one.
                    let end = to.min((at / coded.matrix).saturating_add(1).saturating_mul(coded.matrix));
                    let len = usize::try_from(4 * (end - at)).expect("a chunk is small");
                    let (here, after) = rest.split_at_mut(len);
                    coded.decode((at, end), reader, codes, here)?;
                    (at, rest) = (end, after);
                }
                Ok(())
            }
        }
    }

    fn differs(&self) -> ExportError {
        ExportError::Restore { tensor: self.name.clone(), problem: DIFFERS.to_owned() }
    }

    fn resize(&self, buffer: &mut Vec<u8>, len: u64) -> Result<(), ExportError> {
        let resized = memory::resize(buffer, usize::try_from(len).unwrap_or(usize::MAX));
        resized.map_err(|error| self.fail(error.to_string()))
    }

    fn fail(&self, problem: String) -> ExportError {
        ExportError::GgufValues { tensor: self.name.clone(), problem }
    }
}
