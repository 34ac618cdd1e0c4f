//! Values of opened tensors as F32, a few at a time.

use longshore_quant::{
    Decoder, FloatType, Scheme,
    layout::ggml::{self, GgmlType},
};
use longshore_st_format::Dtype;

use super::{Array, Tensor, WeightsError, plan::Cast};
use crate::document::{GgmlBlocks, Quantization, Role};

/// A reader of a tensor's values.
///
/// The values are those of the model: codes are decoded with their scales, and an
/// [offset](crate::document::TensorEntry::offset) is subtracted. Nothing is kept in memory but what the caller asks for.
#[derive(Debug)]
pub struct Values<'w> {
    tensor: Tensor<'w>,
    form: Form,
    elements: u64,
    /// Bytes of decoded F32, reused.
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Plain(Dtype),
    Blocks(GgmlType),
    Coded { scheme: Scheme, stored: FloatType },
}

impl<'w> Tensor<'w> {
    /// Makes a reader of the tensor's values.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Decode`] for a coding that cannot be decoded, and for floats of fewer than 16 bits.
    pub fn values(&self) -> Result<Values<'w>, WeightsError> {
        let refuse = |found: String| WeightsError::Decode { tensor: self.name().to_owned(), found, to: Dtype::F32 };
        let form = match self.quantization() {
            None => match self.dtype() {
                dtype if is_known(dtype) => Form::Plain(dtype),
                dtype => return Err(refuse(dtype.to_string())),
            },
            Some(found) => form(found, self.dtype()).ok_or_else(|| refuse(found.to_string()))?,
        };
        let elements = self.shape().elements().unwrap_or_default();
        let values = Values { tensor: *self, form, elements, buffer: Vec::new() };
        let weight = self.weight().data.len() as u64;
        let whole = values.bytes(elements).filter(|bytes| *bytes == weight && values.companions_fit());
        whole.map(|_| values).ok_or_else(|| refuse(format!("{weight} bytes for {}", self.shape())))
    }
}

impl Values<'_> {
    /// Returns the number of values that are decoded together. Reads begin and end at a multiple of it.
    #[must_use]
    pub fn group(&self) -> u64 {
        match self.form {
            Form::Plain(_) => 1,
            Form::Blocks(blocks) => blocks.block_size() as u64,
            Form::Coded { scheme, .. } => scheme.group_size().into(),
        }
    }

    /// Returns the number of values.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.elements
    }

    /// Whether the tensor has no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.elements == 0
    }

    /// Fills `out` with the values from value `from`, in the order of the tensor. F64 and wide integers are rounded.
    ///
    /// # Panics
    ///
    /// Panics if the range does not consist of whole [groups](Self::group) of the tensor.
    pub fn read(&mut self, from: u64, out: &mut [f32]) {
        let group = self.group();
        let to = from.saturating_add(out.len() as u64);
        assert!(
            to <= self.elements && from.is_multiple_of(group) && to.is_multiple_of(group),
            "BUG: values {from} to {to} are no whole groups of {group} of {}",
            self.elements
        );
        let weight = self.tensor.weight().data;
        let place = |count: u64| index(self.bytes(count).expect("opening has multiplied more"));
        let weight = &weight[place(from)..place(to)];
        match self.form {
            Form::Plain(dtype) => plain(dtype, weight, out),
            Form::Blocks(blocks) => ggml::decode(blocks, weight, out).expect("these are whole blocks"),
            Form::Coded { scheme, stored } => self.decode(scheme, stored, weight, (from, to), out),
        }
        let offset = self.tensor.offset();
        if offset != 0 {
            #[expect(clippy::cast_precision_loss, reason = "offsets are small")]
            let offset = offset as f32;
            for value in out.iter_mut() {
                *value -= offset;
            }
        }
    }

    /// Bytes of the weight that hold the first `count` values.
    fn bytes(&self, count: u64) -> Option<u64> {
        match self.form {
            Form::Plain(dtype) => count.checked_mul(u64::from(dtype.bits()) / 8),
            Form::Blocks(blocks) => (count / self.group()).checked_mul(blocks.block_bytes() as u64),
            Form::Coded { scheme, stored } => {
                (count / self.group()).checked_mul(scheme.encoded_len(1, stored)?.weight as u64)
            }
        }
    }

    /// Whether the companions have as many groups as the weight, and a global scale for all or for each expert.
    fn companions_fit(&self) -> bool {
        let Form::Coded { scheme, stored } = self.form else { return true };
        let groups = index(self.elements / self.group());
        let Some(group) = scheme.encoded_len(1, stored) else { return false };
        let len = |role| self.tensor.companion(role).map_or(0, |part| part.data.len());
        let scales = len(Role::GlobalScale) / 4;
        len(Role::Scale) == groups * group.scale
            && len(Role::Bias) == groups * group.bias
            && (scales == 0 || groups.is_multiple_of(scales))
    }

    fn decode(&mut self, scheme: Scheme, stored: FloatType, weight: &[u8], (from, to): (u64, u64), out: &mut [f32]) {
        let group = scheme.encoded_len(1, stored).expect("opening has asked for it");
        let (first, last) = (index(from / self.group()), index(to / self.group()));
        let part = |role| self.tensor.companion(role).map_or(&[][..], |part: Array<'_>| part.data);
        let (scale, bias, global) = (part(Role::Scale), part(Role::Bias), part(Role::GlobalScale).as_chunks::<4>().0);
        let all = index(self.elements / self.group());
        let of_each = all.checked_div(global.len()).unwrap_or(usize::MAX).max(1);
        let size = index(self.group());
        let mut at = first;
        while at < last {
            let mut decoder = Decoder::new(scheme, stored, FloatType::F32);
            if let Some(multiplier) = global.get(at / of_each) {
                decoder = decoder.with_global_scale(f32::from_le_bytes(*multiplier));
            }
            let next = last.min((at / of_each + 1).saturating_mul(of_each));
            self.buffer.clear();
            self.buffer.resize((next - at) * size * 4, 0);
            let weight = &weight[(at - first) * group.weight..(next - first) * group.weight];
            let (scale, bias) =
                (&scale[at * group.scale..next * group.scale], &bias[at * group.bias..next * group.bias]);
            decoder.decode(weight, scale, bias, &mut self.buffer).expect("these are whole groups");
            let out = &mut out[(at - first) * size..(next - first) * size];
            for (value, bytes) in out.iter_mut().zip(self.buffer.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
            at = next;
        }
    }
}

fn form(found: &Quantization, stored: Dtype) -> Option<Form> {
    if let Some(blocks) = GgmlBlocks::of(&found.quant_type) {
        return blocks.name.parse().ok().map(Form::Blocks);
    }
    let scheme = Scheme::from_metadata(&found.quant_type, found.group_size).ok()?;
    Some(Form::Coded { scheme, stored: stored.name().parse().ok()? })
}

fn is_known(dtype: Dtype) -> bool {
    matches!(
        dtype,
        Dtype::F64
            | Dtype::F32
            | Dtype::F16
            | Dtype::BF16
            | Dtype::Bool
            | Dtype::U8
            | Dtype::I8
            | Dtype::U16
            | Dtype::I16
            | Dtype::U32
            | Dtype::I32
            | Dtype::U64
            | Dtype::I64
    )
}

#[expect(clippy::cast_precision_loss, reason = "rounding to the nearest is what is asked for")]
fn plain(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    fn each<const N: usize>(bytes: &[u8], out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
        for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
            *out = value(*bytes);
        }
    }
    match dtype {
        Dtype::F32 => each(bytes, out, f32::from_le_bytes),
        Dtype::BF16 => each(bytes, out, |bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)),
        Dtype::F16 | Dtype::F64 => {
            let mut wide = vec![0; out.len() * 4];
            Cast { from: dtype, to: Dtype::F32 }.convert(bytes, &mut wide);
            each(&wide, out, f32::from_le_bytes);
        }
        Dtype::Bool | Dtype::U8 => each(bytes, out, |[byte]| byte.into()),
        Dtype::I8 => each(bytes, out, |bytes| i8::from_le_bytes(bytes).into()),
        Dtype::U16 => each(bytes, out, |bytes| u16::from_le_bytes(bytes).into()),
        Dtype::I16 => each(bytes, out, |bytes| i16::from_le_bytes(bytes).into()),
        Dtype::U32 => each(bytes, out, |bytes| u32::from_le_bytes(bytes) as f32),
        Dtype::I32 => each(bytes, out, |bytes| i32::from_le_bytes(bytes) as f32),
        Dtype::U64 => each(bytes, out, |bytes| u64::from_le_bytes(bytes) as f32),
        Dtype::I64 => each(bytes, out, |bytes| i64::from_le_bytes(bytes) as f32),
        _ => unreachable!("BUG: opening refuses {dtype}"),
    }
}

fn index(count: u64) -> usize {
    usize::try_from(count).expect("it is counted in memory")
}
