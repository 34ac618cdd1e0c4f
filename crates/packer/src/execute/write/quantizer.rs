//! Encoding of a tensor run by run, with measurement of the loss.

use longshore_manifest::document::Loss;
use longshore_quant::{
    Decoder, EncodeBuffers, EncodeStats, EncodedLen, ErrorMeasure, FloatType, GlobalScale, Importance, Profile, Scheme,
};

use super::groups::{GroupEncoder, GroupError, Wide};
use crate::{
    execute::{error::ImportError, importance::TensorImportance},
    io::memory,
    plan::planned::PlannedTensor,
};

/// Quantizes the pieces of one tensor, and collects statistics.
pub(super) struct Quantizer<'a> {
    tensor: &'a PlannedTensor,
    scheme: Scheme,
    /// The type of the scales and biases of affine groups.
    float: FloatType,
    encoder: GroupEncoder,
    importance: Option<&'a TensorImportance>,
    /// Decodes the encoded groups if the loss is measured.
    decoder: Option<Decoder>,
    measure: ErrorMeasure,
    stats: EncodeStats,
}

/// Buffers for the codes of one run, and for their decoded values if the loss is measured.
#[derive(Debug, Default)]
pub(in crate::execute) struct EncodedRun {
    pub(super) weight: Vec<u8>,
    pub(super) scale: Vec<u8>,
    pub(super) bias: Vec<u8>,
    decoded: Vec<u8>,
    wide: Wide,
}

impl<'a> Quantizer<'a> {
    pub(super) fn new(
        tensor: &'a PlannedTensor,
        scheme: Scheme,
        source: FloatType,
        profile: Profile,
        importance: Option<&'a TensorImportance>,
        is_measured: bool,
    ) -> Self {
        let float = tensor.float();
        let encoder = GroupEncoder::new(scheme, source, float, profile);
        let decoder = is_measured.then(|| Decoder::new(scheme, float, FloatType::F32));
        let (measure, stats) = (ErrorMeasure::default(), EncodeStats::default());
        Self { tensor, scheme, float, encoder, importance, decoder, measure, stats }
    }

    /// The same quantizer with a global scale.
    pub(super) fn with_global_scale(mut self, global: GlobalScale) -> Self {
        self.encoder = self.encoder.with_global_scale(global);
        self.decoder = self.decoder.map(|decoder| decoder.with_global_scale(global.multiplier()));
        self
    }

    /// The length of one group in bytes: in the source, and in each part.
    pub(super) fn group(&self) -> (usize, EncodedLen) {
        (self.scheme.group_size() as usize * self.encoder.source().size(), self.encoded_len(1))
    }

    fn encoded_len(&self, groups: usize) -> EncodedLen {
        self.scheme.encoded_len(groups, self.float).expect("codes take less memory than the floats that they are for")
    }

    /// Encodes a run of whole groups that starts at byte `at` of the tensor.
    pub(super) fn encode(
        &mut self,
        at: u64,
        run: &[u8],
        out: &mut EncodedRun,
        allow_non_finite: bool,
    ) -> Result<(), ImportError> {
        let (group_bytes, _) = self.group();
        let len = self.encoded_len(run.len() / group_bytes);
        memory::resize(&mut out.weight, len.weight)?;
        memory::resize(&mut out.scale, len.scale)?;
        memory::resize(&mut out.bias, len.bias)?;
        let mut buffers = Buffers { weight: &mut out.weight, scale: &mut out.scale, bias: &mut out.bias };
        match self.importance {
            None => self.encode_groups(run, None, &mut buffers, &mut out.wide)?,
            Some(importance) => {
                // A run may begin in the matrix of one expert and end in that of another, each with its own importance.
                let size = self.encoder.source().size();
                let mut element = at / size as u64;
                let mut rest = run;
                while !rest.is_empty() {
                    let (of_matrix, left) = importance.at(element);
                    let len = usize::try_from(left).unwrap_or(usize::MAX).saturating_mul(size).min(rest.len());
                    let (head, tail) = rest.split_at(len);
                    self.encode_groups(head, Some(of_matrix), &mut buffers, &mut out.wide)?;
                    element += (len / size) as u64;
                    rest = tail;
                }
            }
        }
        if self.stats.non_finite > 0 && !allow_non_finite {
            let (tensor, count) = (self.tensor.name.clone(), self.stats.non_finite);
            return Err(ImportError::NonFinite { tensor, count });
        }
        self.measure(run, out)
    }

    fn encode_groups(
        &mut self,
        src: &[u8],
        importance: Option<Importance<'_>>,
        buffers: &mut Buffers<'_>,
        wide: &mut Wide,
    ) -> Result<(), ImportError> {
        let (group_bytes, _) = self.group();
        let groups = src.len() / group_bytes;
        let out = buffers.take(self.encoded_len(groups));
        let stats = self.encoder.encode(src, importance, out, wide).map_err(|error| match error {
            GroupError::Encode(source) => ImportError::Encode { tensor: self.tensor.name.clone(), source },
            GroupError::Memory(error) => error.into(),
        })?;
        self.stats += stats;
        Ok(())
    }

    fn measure(&mut self, run: &[u8], out: &mut EncodedRun) -> Result<(), ImportError> {
        let Some(decoder) = &self.decoder else { return Ok(()) };
        let source = self.encoder.source();
        memory::resize(&mut out.decoded, run.len() / source.size() * FloatType::F32.size())?;
        decoder.decode(&out.weight, &out.scale, &out.bias, &mut out.decoded).expect("BUG: parts that encoding made");
        self.measure += ErrorMeasure::between(source, run, FloatType::F32, &out.decoded)
            .expect("BUG: as many elements as were encoded");
        Ok(())
    }

    /// Returns the statistics, and the loss if it was measured.
    pub(super) fn finish(self) -> (EncodeStats, Option<Loss>) {
        let loss = self.decoder.map(|_| Loss {
            max_abs: self.measure.max_abs(),
            relative_rmse: self.measure.relative_rmse(),
            zeroed_groups: self.stats.zeroed_groups,
            non_finite: self.measure.non_finite(),
        });
        (self.stats, loss)
    }
}

/// The part of a run's buffers that is still to be filled.
struct Buffers<'b> {
    weight: &'b mut [u8],
    scale: &'b mut [u8],
    bias: &'b mut [u8],
}

impl<'b> Buffers<'b> {
    /// Splits off the buffers for the next groups, of length `len`.
    fn take(&mut self, len: EncodedLen) -> EncodeBuffers<'b> {
        let weight = self.weight.split_off_mut(..len.weight);
        let scale = self.scale.split_off_mut(..len.scale);
        let bias = self.bias.split_off_mut(..len.bias);
        let why = "the buffers are as long as all their pieces";
        EncodeBuffers { weight: weight.expect(why), scale: scale.expect(why), bias: bias.expect(why) }
    }
}
