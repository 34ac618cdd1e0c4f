//! The codes of rows of one matrix.

use std::num::NonZero;

use longshore_quant::{
    Decoder, EncodeBuffers, EncodeStats, EncodedLen, ErrorMeasure, FloatType, Importance, Profile, Scheme,
};
use longshore_transform::{
    cholesky::Factor,
    codes, float,
    gptq::{Chosen, Gptq, loss, order},
};

use super::source::ByHessians;
use crate::{
    execute::{
        error::ImportError,
        hessians::Hessian,
        read::values::ValueReader,
        write::groups::{GroupEncoder, GroupError, Wide},
    },
    io::memory::MemoryError,
    plan::planned::PlannedTensor,
};

/// The part of the mean of a Hessian's diagonal that is added to the diagonal.
const DAMPING: f64 = 0.01;

/// What codes are wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Encode,
    /// To be encoded, and their errors measured.
    Measure,
    /// To be compared with those of a search.
    Compare,
}

/// The codes of some rows, and what is known of their errors.
#[derive(Debug, Default)]
pub(super) struct Coded {
    pub(super) weight: Vec<u8>,
    pub(super) scale: Vec<u8>,
    pub(super) bias: Vec<u8>,
    pub(super) stats: EncodeStats,
    pub(super) measure: ErrorMeasure,
    /// Losses under the Hessian of the other text: of these codes, and of those of the search.
    pub(super) losses: [f64; 2],
    /// The system gave no memory for them.
    pub(super) failed: Option<MemoryError>,
    chosen: Chosen,
    errors: Vec<f32>,
    bytes: Vec<u8>,
    wide: Wide,
}

/// What the codes of one matrix are chosen by.
pub(super) struct Matrix<'a> {
    task: Task,
    scheme: Scheme,
    float: FloatType,
    encoder: GroupEncoder,
    /// The mean square of each input.
    squares: Vec<f32>,
    order: Vec<usize>,
    factor: Factor,
    held: Option<Hessian<'a>>,
    /// The importance of the search.
    importance: Option<&'a [f32]>,
}

impl<'a> Matrix<'a> {
    pub(super) fn new(
        tensor: &PlannedTensor,
        by: ByHessians<'a>,
        number: u64,
        task: Task,
        threads: usize,
    ) -> Result<Self, ImportError> {
        let hessian = by.hessians.matrix(number);
        let squares = hessian.diagonal();
        let order = order(&squares, by.scheme.group_size() as usize);
        let threads = NonZero::new(threads).unwrap_or(NonZero::<usize>::MIN);
        let factor = Factor::new(hessian.columns, &|row, out| hessian.row(row, out), &order, DAMPING, threads)
            .map_err(|error| by.file.value(&tensor.name, error))?;
        Ok(Self {
            task,
            scheme: by.scheme,
            float: tensor.float(),
            // The values of the search are those that an import without Hessians encodes.
            encoder: GroupEncoder::new(by.scheme, ValueReader::wide_float(tensor), tensor.float(), Profile::Best),
            squares,
            order,
            factor,
            held: by.held.map(|held| held.matrix(number)),
            importance: by.importance.map(|importance| importance.of_matrix(number)),
        })
    }

    /// Chooses the codes of whole rows. [`Coded::failed`] says whether that failed.
    pub(super) fn choose(&self, values: &[f32], out: &mut Coded) {
        out.failed = self.try_choose(values, out).err();
    }

    fn try_choose(&self, values: &[f32], out: &mut Coded) -> Result<(), MemoryError> {
        let group = self.scheme.group_size() as usize;
        let gptq = Gptq { factor: &self.factor, order: &self.order, bits: self.scheme.bits(), group };
        let Coded { weight, scale, bias, stats, measure, losses, chosen, errors, bytes, wide, .. } = out;
        (*stats, *measure, *losses) = (EncodeStats::default(), ErrorMeasure::default(), [0.0; 2]);
        let mut failed = None;
        let mut search = |first: usize, values: &[f32], scales: &mut [f32], biases: &mut [f32]| {
            let found = self.search(
                values,
                Some(&self.squares[first..first + group]),
                [&mut *weight, &mut *scale, &mut *bias],
                (&mut *bytes, &mut *wide),
            );
            match found {
                Ok(found) => *stats += found,
                Err(error) => failed = Some(error),
            }
            float::read(self.float, scale, scales);
            float::read(self.float, bias, biases);
        };
        gptq.rows(values, &mut search, chosen);
        if let Some(error) = failed {
            return Err(error);
        }
        let Chosen { codes, scales, biases, .. } = chosen;
        errors.clear();
        let numbers = codes
            .chunks_exact(group)
            .zip(scales.iter().zip(&*biases))
            .flat_map(|(codes, (scale, bias))| codes.iter().map(move |code| f32::from(*code) * scale + bias));
        errors.extend(values.iter().zip(numbers).map(|(value, number)| value - number));
        if self.task == Task::Compare {
            losses[0] = self.loss(errors);
            self.search(values, self.importance, [&mut *weight, &mut *scale, &mut *bias], (&mut *bytes, wide))?;
            bytes.resize(size_of_val(values), 0);
            let decoder = Decoder::new(self.scheme, self.float, FloatType::F32);
            decoder.decode(weight, scale, bias, bytes).expect("BUG: parts that encoding made");
            float::read(FloatType::F32, bytes, errors);
            errors.iter_mut().zip(values).for_each(|(error, value)| *error = value - *error);
            losses[1] = self.loss(errors);
            return Ok(());
        }
        if self.task == Task::Measure {
            let bytes_of =
                |values: &mut dyn Iterator<Item = f32>| values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
            let before = bytes_of(&mut values.iter().copied());
            let after = bytes_of(&mut values.iter().zip(&*errors).map(|(value, error)| value - error));
            *measure = ErrorMeasure::between(FloatType::F32, &before, FloatType::F32, &after)
                .expect("BUG: as many elements as were encoded");
        }
        let len = self.resize(scales.len(), [&mut *weight, &mut *scale, &mut *bias]);
        debug_assert_eq!(weight.len(), len.weight, "the codes fill it");
        codes::pack(self.scheme.bits(), codes, weight);
        float::write(self.float, scales, scale);
        float::write(self.float, biases, bias);
        Ok(())
    }

    /// Searches for the codes of groups in a row, whose columns have this importance.
    fn search(
        &self,
        values: &[f32],
        importance: Option<&[f32]>,
        [weight, scale, bias]: [&mut Vec<u8>; 3],
        (bytes, wide): (&mut Vec<u8>, &mut Wide),
    ) -> Result<EncodeStats, MemoryError> {
        let groups = values.len() / self.scheme.group_size() as usize;
        self.resize(groups, [&mut *weight, &mut *scale, &mut *bias]);
        let source = self.encoder.source();
        bytes.resize(values.len() * source.size(), 0);
        float::write(source, values, bytes);
        let importance = importance.and_then(|importance| Importance::new(importance).ok());
        let encoded = self.encoder.encode(bytes, importance, EncodeBuffers { weight, scale, bias }, wide);
        encoded.map_err(|error| match error {
            GroupError::Memory(error) => error,
            GroupError::Encode(error) => panic!("BUG: whole groups of rows, and buffers of their lengths: {error}"),
        })
    }

    /// Gives parts the lengths that groups need.
    fn resize(&self, groups: usize, [weight, scale, bias]: [&mut Vec<u8>; 3]) -> EncodedLen {
        let len = self.scheme.encoded_len(groups, self.float).expect("codes take less memory than the floats");
        weight.resize(len.weight, 0);
        scale.resize(len.scale, 0);
        bias.resize(len.bias, 0);
        len
    }

    fn loss(&self, errors: &[f32]) -> f64 {
        let Some(held) = self.held else { return 0.0 };
        loss(errors, held.columns, &|first, out| held.panel(first, out))
    }
}
