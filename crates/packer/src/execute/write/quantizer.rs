//! Encoding of a tensor piece by piece, with measurement of the loss.

use longshore_manifest::document::Loss;
use longshore_quant::{
    Decoder, EncodeBuffers, EncodeStats, EncodedLen, Encoder, ErrorMeasure, FloatType, GlobalScale, Importance,
    Profile, Scheme,
};
use longshore_transform::{float, rounded};

use crate::{
    execute::{
        error::ImportError,
        importance::TensorImportance,
        read::piece::{Piece, as_index},
    },
    io::memory,
    plan::planned::PlannedTensor,
};

/// Quantizes the pieces of one tensor.
pub(super) struct Quantizer<'a> {
    tensor: &'a PlannedTensor,
    scheme: Scheme,
    /// The type of the values that are encoded. It may be wider than that of the scales.
    source: FloatType,
    /// The type of the scales and biases of affine groups.
    float: FloatType,
    encoder: Encoder,
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

/// What was noticed of the pieces of one tensor.
#[derive(Debug, Default)]
pub(super) struct Sums {
    stats: EncodeStats,
    measure: ErrorMeasure,
}

/// Codes with F32 scales and biases, which are still to be rounded.
#[derive(Debug, Default)]
struct Wide {
    values: Vec<f32>,
    weight: Vec<u8>,
    scale: Vec<u8>,
    bias: Vec<u8>,
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
        let encoder = Encoder::new(scheme, source, profile);
        let decoder = is_measured.then(|| Decoder::new(scheme, float, FloatType::F32));
        Self { tensor, scheme, source, float, encoder, importance, decoder }
    }

    /// The same quantizer with a global scale.
    pub(super) fn with_global_scale(mut self, global: GlobalScale) -> Self {
        self.encoder = self.encoder.with_global_scale(global);
        self.decoder = self.decoder.map(|decoder| decoder.with_global_scale(global.multiplier()));
        self
    }

    /// The length of one group in bytes: in the source, and in each part.
    pub(super) fn group(&self) -> (usize, EncodedLen) {
        (self.scheme.group_size() as usize * self.source.size(), self.encoded_len(1))
    }

    fn encoded_len(&self, groups: usize) -> EncodedLen {
        self.scheme.encoded_len(groups, self.float).expect("codes take less memory than the floats that they are for")
    }

    /// Encodes the runs of a piece, which are whole groups.
    pub(super) fn encode(&self, piece: &Piece<'_>, out: &mut EncodedPiece) -> Result<(), ImportError> {
        let (group_bytes, _) = self.group();
        let EncodedPiece { weight, scale, bias, stats, measure, decoded, wide } = out;
        (*stats, *measure) = Default::default();
        let values = as_index(piece.len()) / self.source.size();
        let len = self.encoded_len(values * self.source.size() / group_bytes);
        memory::resize(weight, len.weight)?;
        memory::resize(scale, len.scale)?;
        memory::resize(bias, len.bias)?;
        let mut buffers = Buffers { weight, scale, bias };
        for (at, run) in piece.runs() {
            *stats += self.encode_run(at, run, &mut buffers, wide)?;
        }
        let Some(decoder) = &self.decoder else { return Ok(()) };
        memory::resize(decoded, values * FloatType::F32.size())?;
        decoder.decode(weight, scale, bias, decoded).expect("BUG: parts that encoding made");
        let mut rest = decoded.as_slice();
        for (_, run) in piece.runs() {
            let (of_run, after) = rest.split_at(run.len() / self.source.size() * FloatType::F32.size());
            *measure += ErrorMeasure::between(self.source, run, FloatType::F32, of_run)
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
        let size = self.source.size();
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
        let encode = |out: EncodeBuffers<'_>| {
            let encoded = match importance {
                None => self.encoder.encode(src, out),
                Some(importance) => self.encoder.encode_weighted(src, importance, out),
            };
            encoded.map_err(|source| ImportError::Encode { tensor: self.tensor.name.clone(), source })
        };
        if self.source == self.float || !self.scheme.is_affine() {
            encode(out)
        } else {
            let len = self.scheme.encoded_len(groups, self.source).expect("codes take less memory than the floats");
            let Wide { values, weight, scale, bias } = wide;
            memory::resize(weight, len.weight)?;
            memory::resize(scale, len.scale)?;
            memory::resize(bias, len.bias)?;
            let stats = encode(EncodeBuffers { weight, scale, bias })?;
            memory::fill(values, src.len() / self.source.size(), 0.0)?;
            float::read(self.source, src, values);
            let group = u8::try_from(self.scheme.group_size()).expect("a group has at most 128 elements");
            rounded::affine([self.scheme.bits(), group], self.float, values, [scale, bias], out);
            Ok(stats)
        }
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
