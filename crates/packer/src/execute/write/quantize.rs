//! Quantization of one planned tensor, a piece at a time.

use std::sync::{Mutex, PoisonError};

use longshore_manifest::document::Role;
use longshore_quant::{FloatType, GlobalScale, Profile, Scheme};

use super::{
    gptq::{self, ByHessians},
    in_turn::in_turn,
    quantizer::{EncodedPiece, Quantizer, Sums},
    target::{Noticed, Target},
};
use crate::{
    execute::{
        error::ImportError,
        options::{GptqOptions, ImportOptions},
        read::values::{ValueBuffers, ValueReader},
    },
    plan::planned::PlannedTensor,
    statistics::importance::TensorImportance,
};

/// Quantizes the tensor to `scheme`.
pub(super) fn quantize(
    mut target: Target<'_, '_>,
    scheme: Scheme,
    read: &mut ValueBuffers,
    encoded: &mut EncodedPiece,
    factor: &Mutex<()>,
) -> Result<Noticed, ImportError> {
    let (tensor, options) = (target.tensor, target.options);
    let importance = match &options.importance {
        Some(file) => file.of(tensor)?,
        None => None,
    };
    if let Some(by) = by_hessians(options, tensor, scheme, importance.as_ref())? {
        let _turn = factor.lock().unwrap_or_else(PoisonError::into_inner);
        if gptq::is_better(&mut target, by, read)? {
            return gptq::quantize(&mut target, by, read);
        }
    }
    // The codes of MLX's profiles are those that MLX chooses for the merged weights as they would be stored.
    let is_wide = matches!(options.profile, Profile::Plus | Profile::Best);
    let reader_of = if is_wide { ValueReader::wide } else { ValueReader::new };
    let source = if is_wide { ValueReader::wide_float(tensor) } else { tensor.float() };
    let mut quantizer = Quantizer::new(tensor, scheme, source, options.profile, importance.as_ref(), options.measure);
    if tensor.global_scale.is_some() {
        let global = global_scale(&target, reader_of(target.files, tensor), source, read)?;
        target.write_at(target.start(Role::GlobalScale), &global.multiplier().to_le_bytes())?;
        quantizer = quantizer.with_global_scale(global);
    }
    let bias_start = if scheme.has_bias() { target.start(Role::Bias) } else { 0 };
    let places = [target.start(Role::Weight), target.start(Role::Scale), bias_start];
    let (group_bytes, group) = quantizer.group();
    let reader = reader_of(target.files, tensor);
    let (helpers, stop) = (target.helpers(), target.stop);
    let mut sums = Sums::default();
    let mended = in_turn(
        reader,
        helpers,
        stop,
        (read, encoded),
        &|piece, encoded| quantizer.encode(piece, encoded),
        &mut |piece, encoded| {
            sums.add(encoded);
            let count = sums.stats().non_finite;
            if count > 0 && !options.allow_non_finite {
                return Err(ImportError::NonFinite { tensor: tensor.name.clone(), count });
            }
            for (start, (each, part)) in places.into_iter().zip([
                (group.weight, &encoded.weight),
                (group.scale, &encoded.scale),
                (group.bias, &encoded.bias),
            ]) {
                let mut rest = part.as_slice();
                for (at, run) in piece.runs() {
                    let (of_run, after) = rest.split_at(run.len() / group_bytes * each);
                    target.write_at(start + at / group_bytes as u64 * each as u64, of_run)?;
                    rest = after;
                }
            }
            target.progress.advance(piece.read_len());
            Ok(())
        },
    )?;
    Ok(Noticed { stats: sums.stats(), loss: quantizer.loss(&sums), mended, by_hessians: false })
}

/// The Hessians that codes of `scheme` are chosen by. `None` if there are none, or none of the other text.
fn by_hessians<'a>(
    options: &'a ImportOptions,
    tensor: &'a PlannedTensor,
    scheme: Scheme,
    importance: Option<&'a TensorImportance>,
) -> Result<Option<ByHessians<'a>>, ImportError> {
    let Some(GptqOptions { hessians: file, held }) = options.gptq.as_ref().filter(|_| scheme.is_affine()) else {
        return Ok(None);
    };
    let of_held = held.as_ref().map(|file| file.of(tensor)).transpose()?.flatten();
    let hessians = file.of(tensor)?.filter(|_| held.is_none() || of_held.is_some());
    Ok(hessians.map(|hessians| ByHessians { scheme, file, hessians, held: of_held, importance }))
}

/// Reads the tensor once to choose its global scale.
fn global_scale(
    target: &Target<'_, '_>,
    reader: ValueReader<'_>,
    float: FloatType,
    buffers: &mut ValueBuffers,
) -> Result<GlobalScale, ImportError> {
    let mut largest = 0.0_f32;
    in_turn(
        reader,
        target.helpers(),
        target.stop,
        (buffers, &mut 0.0),
        &|piece, of_piece| {
            *of_piece = piece.runs().map(|(_, bytes)| float.max_abs(bytes)).fold(0.0, f32::max);
            Ok(())
        },
        &mut |_, of_piece| {
            largest = largest.max(*of_piece);
            Ok(())
        },
    )?;
    // A global scale is of no use for a tensor of zeros, or for numbers that are too small or too large to divide by.
    Ok(GlobalScale::from_max_abs(largest).unwrap_or(GlobalScale::ONE))
}
