//! Encoding of a tensor piece by piece, with measurement of the loss.

use longshore_manifest::document::Loss;
use longshore_quant::{
    Decoder, EncodeBuffers, EncodeStats, EncodedLen, ErrorMeasure, FloatType, GlobalScale, Importance, Profile, Scheme,
};

use super::groups::{GroupEncoder, GroupError, Wide};
use crate::{
    execute::{
        error::ImportError,
        read::piece::{Piece, as_index},
    },
    io::memory,
    plan::planned::PlannedTensor,
    statistics::importance::TensorImportance,
};

/// Quantizes the pieces of one tensor.
pub(super) struct Quantizer<'a> {
    tensor: &'a PlannedTensor,
    scheme: Scheme,
    /// The type of the scales and biases of affine groups.
    float: FloatType,
    encoder: GroupEncoder,
    importance: Option<&'a TensorImportance>,
    /// Decodes the encoded groups if the loss is measured.
    decoder: Option<Decoder>,
}

/// The codes of all runs of a piece, one after the other, and what was noticed of them.
#[derive(Debug, Default)]
pub(in crate::execute) struct EncodedPiece {
    pub(super) weight: Vec<u8>,
    pub(super) scale: Vec<u8>,
    pub(super) bias: Vec<u8>,
    stats: EncodeStats,
    measure: ErrorMeasure,
    decoded: Vec<u8>,
    wide: Wide,
}

/// Notes about the pieces of one tensor, added up.
#[derive(Debug, Default)]
pub(super) struct Sums {
    stats: EncodeStats,
    measure: ErrorMeasure,
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
        Self { tensor, scheme, float, encoder, importance, decoder }
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

    /// Encodes the runs of a piece, which are whole groups.
    pub(super) fn encode(&self, piece: &Piece<'_>, out: &mut EncodedPiece) -> Result<(), ImportError> {
        let (group_bytes, _) = self.group();
        let source = self.encoder.source();
        let EncodedPiece { weight, scale, bias, stats, measure, decoded, wide } = out;
        (*stats, *measure) = Default::default();
        let len = self.encoded_len(as_index(piece.len()) / group_bytes);
        memory::resize(weight, len.weight)?;
        memory::resize(scale, len.scale)?;
        memory::resize(bias, len.bias)?;
        let mut buffers = Buffers { weight, scale, bias };
        for (at, run) in piece.runs() {
            *stats += self.encode_run(at, run, &mut buffers, wide)?;
        }
        let Some(decoder) = &self.decoder else { return Ok(()) };
        memory::resize(decoded, as_index(piece.len()) / source.size() * FloatType::F32.size())?;
        decoder.decode(weight, scale, bias, decoded).expect("BUG: parts that encoding made");
        let mut rest = decoded.as_slice();
        for (_, run) in piece.runs() {
            let (of_run, after) = rest.split_at(run.len() / source.size() * FloatType::F32.size());
            *measure += ErrorMeasure::between(source, run, FloatType::F32, of_run)
                .expect("BUG: as many elements as were encoded");
            rest = after;
        }
        Ok(())
    }

    /// Encodes a run that starts at byte `at` of the tensor.
    fn encode_run(
        &self,
        at: u64,
        run: &[u8],
        buffers: &mut Buffers<'_>,
        wide: &mut Wide,
    ) -> Result<EncodeStats, ImportError> {
        let Some(importance) = self.importance else { return self.encode_groups(run, None, buffers, wide) };
        // A run may begin in the matrix of one expert and end in that of another, each with its own importance.
        let size = self.encoder.source().size();
        let mut stats = EncodeStats::default();
        let mut element = at / size as u64;
        let mut rest = run;
        while !rest.is_empty() {
            let (of_matrix, left) = importance.at(element);
            let len = usize::try_from(left).unwrap_or(usize::MAX).saturating_mul(size).min(rest.len());
            let (head, tail) = rest.split_at(len);
            stats += self.encode_groups(head, Some(of_matrix), buffers, wide)?;
            element += (len / size) as u64;
            rest = tail;
        }
        Ok(stats)
    }

    fn encode_groups(
        &self,
        src: &[u8],
        importance: Option<Importance<'_>>,
        buffers: &mut Buffers<'_>,
        wide: &mut Wide,
    ) -> Result<EncodeStats, ImportError> {
        let (group_bytes, _) = self.group();
        let groups = src.len() / group_bytes;
        let out = buffers.take(self.encoded_len(groups));
        self.encoder.encode(src, importance, out, wide).map_err(|error| match error {
            GroupError::Encode(source) => ImportError::Encode { tensor: self.tensor.name.clone(), source },
            GroupError::Memory(error) => error.into(),
        })
    }

    /// Returns the loss of the tensor, if it was measured.
    pub(super) fn loss(&self, sums: &Sums) -> Option<Loss> {
        self.decoder.as_ref().map(|_| Loss {
            max_abs: sums.measure.max_abs(),
            relative_rmse: sums.measure.relative_rmse(),
            zeroed_groups: sums.stats.zeroed_groups,
            non_finite: sums.measure.non_finite(),
        })
    }
}

impl Sums {
    /// Adds what was noticed of the next piece.
    pub(super) fn add(&mut self, piece: &EncodedPiece) {
        self.stats += piece.stats;
        self.measure += piece.measure;
    }

    /// Counts of all pieces.
    pub(super) fn stats(&self) -> EncodeStats {
        self.stats
    }
}

/// The part of a piece's buffers that is still to be filled.
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
