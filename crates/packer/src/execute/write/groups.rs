//! Encoding of groups whose scales may have a narrower type than the values that they are chosen for.

use longshore_quant::{
    EncodeBuffers, EncodeError, EncodeStats, Encoder, FloatType, GlobalScale, Importance, Profile, Scheme,
};
use longshore_transform::{float, rounded};

use crate::io::memory::{self, MemoryError};

/// Encodes groups of values of type `source`. Scales and biases of affine groups are stored in type `float`.
#[derive(Debug)]
pub(super) struct GroupEncoder {
    scheme: Scheme,
    source: FloatType,
    float: FloatType,
    encoder: Encoder,
}

/// Codes with F32 scales and biases, which are still to be rounded.
#[derive(Debug, Default)]
pub(super) struct Wide {
    values: Vec<f32>,
    weight: Vec<u8>,
    scale: Vec<u8>,
    bias: Vec<u8>,
}

/// Reason why groups cannot be encoded.
#[derive(Debug)]
pub(super) enum GroupError {
    Encode(EncodeError),
    Memory(MemoryError),
}

impl From<MemoryError> for GroupError {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

impl GroupEncoder {
    pub(super) fn new(scheme: Scheme, source: FloatType, float: FloatType, profile: Profile) -> Self {
        Self { scheme, source, float, encoder: Encoder::new(scheme, source, profile) }
    }

    /// The same encoder with a global scale.
    pub(super) fn with_global_scale(self, global: GlobalScale) -> Self {
        Self { encoder: self.encoder.with_global_scale(global), ..self }
    }

    /// The type of the values.
    pub(super) fn source(&self) -> FloatType {
        self.source
    }

    /// Encodes whole groups. `out` has the lengths for `float`.
    pub(super) fn encode(
        &self,
        src: &[u8],
        importance: Option<Importance<'_>>,
        out: EncodeBuffers<'_>,
        wide: &mut Wide,
    ) -> Result<EncodeStats, GroupError> {
        let encode = |out: EncodeBuffers<'_>| {
            let encoded = match importance {
                None => self.encoder.encode(src, out),
                Some(importance) => self.encoder.encode_weighted(src, importance, out),
            };
            encoded.map_err(GroupError::Encode)
        };
        if self.source == self.float || !self.scheme.is_affine() {
            return encode(out);
        }
        let groups = src.len() / (self.scheme.group_size() as usize * self.source.size());
        let len = self.scheme.encoded_len(groups, self.source).expect("codes take less memory than the floats");
        let Wide { values, weight, scale, bias } = wide;
        memory::resize(weight, len.weight)?;
        memory::resize(scale, len.scale)?;
        memory::resize(bias, len.bias)?;
        let stats = encode(EncodeBuffers { weight, scale, bias })?;
        memory::resize(values, src.len() / self.source.size())?;
        float::read(self.source, src, values);
        let group = u8::try_from(self.scheme.group_size()).expect("a group has at most 128 elements");
        rounded::affine([self.scheme.bits(), group], self.float, values, [scale, bias], out);
        Ok(stats)
    }
}
