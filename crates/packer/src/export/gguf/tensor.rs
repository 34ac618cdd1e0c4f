//! One tensor of a GGUF file, made of a stored tensor.

use longshore_manifest::document::{BlobEntry, GgmlBlocks, Role, TensorEntry};
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
    io::memory,
    plan::blocks::type_of,
};

/// Number of elements that are made at a time: whole blocks of every type, and whole groups of every scheme.
pub(super) const CHUNK: u64 = 128 << 10;

/// A tensor to be written.
pub(in crate::export) struct GgufTensor<'w> {
    pub(in crate::export) name: String,
    pub(in crate::export) ggml_type: GgmlType,
    pub(in crate::export) shape: Shape,
    made: Made<'w>,
}

/// The way in which the bytes of a tensor are made.
enum Made<'w> {
    /// The stored bytes are those of the file.
    Copied(Stored<'w>),
    /// The codes and scales of a scheme become blocks without loss.
    Mapped(Box<Coded<'w>>),
    /// The values are decoded and encoded.
    Encoded(Values<'w>),
}

/// Values that are decoded to F32.
enum Values<'w> {
    /// Blocks, or single numbers.
    Ggml(GgmlType, Stored<'w>),
    Coded(Box<Coded<'w>>),
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

impl Types {
    /// Chooses how a stored tensor is written under the name `name`. `own` is the type that the file has which it came from.
    pub(in crate::export) fn choose<'w>(
        self,
        reader: &mut Reader<'_>,
        name: &str,
        blob: &BlobEntry,
        entry: &'w TensorEntry,
        own: Option<GgmlType>,
    ) -> Result<Chosen<'w>, ExportError> {
        let tensor = |ggml_type, made| {
            let (name, shape) = (name.to_owned(), entry.shape.clone());
            Ok(Ok(GgufTensor { name, ggml_type, shape, made }))
        };
        let columns = entry.shape.dims().last().copied().unwrap_or(1);
        let is_always_f32 = is_always_f32(name, entry.shape.rank());
        let wanted = self.asked.map(|asked| if is_always_f32 { GgmlType::F32 } else { for_rows(asked, columns) });
        let weight = Stored::new(blob, entry, entry.weight());
        let found = match &entry.quantization {
            None => match of_dtype(entry.dtype) {
                Some(found) => found,
                None => return Ok(Err(format!("GGUF has no type for {}", entry.dtype))),
            },
            Some(coding) => match GgmlBlocks::of(&coding.quant_type) {
                Some(blocks) => type_of(blocks),
                None => return self.of_codes(reader, name, (blob, entry), own, wanted),
            },
        };
        match wanted {
            Some(wanted) if wanted != found && (found.block_size() > 1 || is_float(found)) => {
                tensor(wanted, Made::Encoded(Values::Ggml(found, weight)))
            }
            None if own.is_some_and(|own| own != found) => {
                Ok(Err("it is stored with another type or shape than the header of its file says".to_owned()))
            }
            // Exact, and what llama.cpp reads.
            None if own.is_none() && is_always_f32 && matches!(found, GgmlType::F16 | GgmlType::BF16) => {
                tensor(GgmlType::F32, Made::Encoded(Values::Ggml(found, weight)))
            }
            _ => tensor(found, Made::Copied(weight)),
        }
    }

    /// Chooses how the codes of a scheme are written.
    fn of_codes<'w>(
        self,
        reader: &mut Reader<'_>,
        name: &str,
        (blob, entry): (&BlobEntry, &'w TensorEntry),
        own: Option<GgmlType>,
        wanted: Option<GgmlType>,
    ) -> Result<Chosen<'w>, ExportError> {
        let quantization = entry.quantization.as_ref().expect("the caller has found codes");
        let scales = global_scales(blob, entry, reader)?;
        let coded = match coded(blob, entry, quantization, scales, FloatType::F32) {
            Ok(coded) => Box::new(coded),
            Err(problem) => return Ok(Err(problem)),
        };
        let scheme = coded.decoder.scheme();
        let columns = entry.shape.dims().last().copied().unwrap_or(1);
        let (name, shape) = (name.to_owned(), entry.shape.clone());
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
                Ok(()) => return Ok(Ok(GgufTensor { name, ggml_type, shape, made: Made::Mapped(coded) })),
                Err(error) => problem = format!("{ggml_type} does not hold its {scheme}: {error}"),
            }
        }
        Ok(match wanted {
            Some(ggml_type) => Ok(GgufTensor { name, ggml_type, shape, made: Made::Encoded(Values::Coded(coded)) }),
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
    let part = entry.part(Role::GlobalScale).filter(|_| matches!(tensor.made, Made::Mapped(_)))?;
    let name = scale_name(&tensor.name)?;
    let made = Made::Copied(Stored::new(blob, entry, part));
    Some(GgufTensor { name, ggml_type: GgmlType::F32, shape: Shape::new([part.length / 4]), made })
}

/// The name of the tensor with the scale of the tensor `name`.
pub(in crate::export) fn scale_name(name: &str) -> Option<String> {
    Some(format!("{}.scale", name.strip_suffix(".weight")?))
}

/// Buffers for one thread, reused for every chunk.
#[derive(Default)]
pub(super) struct Buffers {
    codes: [Vec<u8>; 3],
    decoded: Vec<u8>,
    values: Vec<f32>,
}

impl GgufTensor<'_> {
    /// The number of elements.
    pub(super) fn elements(&self) -> u64 {
        self.shape.elements().unwrap_or_default()
    }

    /// The length in bytes of elements that are whole blocks.
    pub(super) fn bytes_of(&self, elements: u64) -> u64 {
        elements / self.ggml_type.block_size() as u64 * self.ggml_type.block_bytes() as u64
    }

    /// Makes the elements `from..to`, which are whole blocks and groups.
    pub(super) fn make(
        &self,
        (from, to): (u64, u64),
        reader: &mut Reader<'_>,
        buffers: &mut Buffers,
        out: &mut Vec<u8>,
    ) -> Result<(), ExportError> {
        let Buffers { codes, decoded, values } = buffers;
        let len = self.bytes_of(to - from);
        let values_of = match &self.made {
            Made::Copied(stored) => return reader.read_to(stored, self.bytes_of(from), len, out),
            Made::Mapped(coded) => {
                for (part, codes) in codes.iter_mut().enumerate() {
                    coded.read_part(part, (from, to), reader, codes)?;
                }
                self.resize(out, len)?;
                let [weight, scale, bias] = codes;
                let (scheme, float) = (coded.decoder.scheme(), coded.decoder.stored());
                let mapped = ggml::from_mlx(self.ggml_type, scheme, float, [weight, scale, bias], out);
                return mapped.map_err(|error| self.fail(error.to_string()));
            }
            Made::Encoded(values) => values,
        };
        let count = usize::try_from(to - from).expect("a chunk is small");
        values.clear();
        match values_of {
            Values::Ggml(known, stored) => {
                let (size, bytes) = (known.block_size() as u64, known.block_bytes() as u64);
                reader.read_to(stored, from / size * bytes, (to - from) / size * bytes, decoded)?;
                values.resize(count, 0.0);
                ggml::decode(*known, decoded, values).map_err(|error| self.fail(error.to_string()))?;
            }
            Values::Coded(coded) => {
                self.resize(decoded, 4 * (to - from))?;
                let (mut at, mut rest) = (from, decoded.as_mut_slice());
                while at < to {
                    // Matrices with their own global scales are decoded one by one.
                    let end = to.min((at / coded.matrix).saturating_add(1).saturating_mul(coded.matrix));
                    let len = usize::try_from(4 * (end - at)).expect("a chunk is small");
                    let (here, after) = rest.split_at_mut(len);
                    coded.decode((at, end), reader, codes, here)?;
                    (at, rest) = (end, after);
                }
                values.extend(decoded.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)));
            }
        }
        self.resize(out, len)?;
        let stats = ggml::encode(self.ggml_type, values, out).map_err(|error| self.fail(error.to_string()))?;
        if self.ggml_type.block_size() > 1 && stats.non_finite > 0 {
            return Err(self.fail(format!("it holds infinities or NaNs, which {} has no codes for", self.ggml_type)));
        }
        if stats.overflowed_groups > 0 {
            return Err(self.fail(format!("its values lie beyond the range of {}", self.ggml_type)));
        }
        Ok(())
    }

    fn resize(&self, buffer: &mut Vec<u8>, len: u64) -> Result<(), ExportError> {
        let resized = memory::resize(buffer, usize::try_from(len).unwrap_or(usize::MAX));
        resized.map_err(|error| self.fail(error.to_string()))
    }

    fn fail(&self, problem: String) -> ExportError {
        ExportError::GgufValues { tensor: self.name.clone(), problem }
    }
}
