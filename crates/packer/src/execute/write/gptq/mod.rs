//! Quantization of one planned tensor by the products of its inputs: each code is chosen for the errors of those before it.

mod matrix;
mod rows;
mod source;

use std::thread;

use longshore_manifest::document::{Loss, Role};
use longshore_quant::{EncodeStats, ErrorMeasure};

pub(super) use self::source::ByHessians;
use self::{
    matrix::{Coded, Matrix, Task},
    rows::{Part, Rows},
};
use super::target::{Noticed, Target};
use crate::{
    execute::{error::ImportError, read::values::ValueBuffers},
    io::threads::threads,
};

/// Whether the codes that are chosen by Hessians lose less under the Hessians of the other text than those that a search
/// finds. They do if there are none.
pub(super) fn is_better(
    target: &mut Target<'_, '_>,
    by: ByHessians<'_>,
    read: &mut ValueBuffers,
) -> Result<bool, ImportError> {
    if by.held.is_none() {
        return Ok(true);
    }
    let mut losses = [0.0; 2];
    run(target, by, Task::Compare, read, &mut |_, _, coded| {
        losses.iter_mut().zip(coded.losses).for_each(|(sum, loss)| *sum += loss);
        Ok(())
    })?;
    Ok(losses[0] < losses[1])
}

/// Quantizes the tensor.
pub(super) fn quantize(
    target: &mut Target<'_, '_>,
    by: ByHessians<'_>,
    read: &mut ValueBuffers,
) -> Result<Noticed, ImportError> {
    let [weight, scale, bias] = [Role::Weight, Role::Scale, Role::Bias].map(|role| target.start(role));
    let one = by.scheme.encoded_len(1, target.tensor.float()).expect("a group is short");
    let groups_of_row = by.hessians.columns as u64 / u64::from(by.scheme.group_size());
    let is_measured = target.options.measure;
    let task = if is_measured { Task::Measure } else { Task::Encode };
    let (mut stats, mut measure) = (EncodeStats::default(), ErrorMeasure::default());
    let mended = run(target, by, task, read, &mut |target, part, coded| {
        let groups = part.row * groups_of_row;
        target.write_at(weight + groups * one.weight as u64, &coded.weight)?;
        target.write_at(scale + groups * one.scale as u64, &coded.scale)?;
        target.write_at(bias + groups * one.bias as u64, &coded.bias)?;
        target.progress.advance(part.read);
        stats += coded.stats;
        measure += coded.measure;
        Ok(())
    })?;
    let loss = is_measured.then(|| Loss {
        max_abs: measure.max_abs(),
        relative_rmse: measure.relative_rmse(),
        zeroed_groups: stats.zeroed_groups,
        non_finite: measure.non_finite(),
    });
    Ok(Noticed { stats, loss, mended, by_hessians: true })
}

/// Takes what was chosen for a part of the rows.
type Take<'t> = dyn FnMut(&mut Target<'_, '_>, &Part, &Coded) -> Result<(), ImportError> + 't;

/// Chooses the codes of all rows, and hands them on in order. The parts are the same for any number of threads. Returns the
/// number of codes of the source that were NaN by mistake.
fn run(
    target: &mut Target<'_, '_>,
    by: ByHessians<'_>,
    task: Task,
    read: &mut ValueBuffers,
    take: &mut Take<'_>,
) -> Result<u64, ImportError> {
    let (tensor, threads) = (target.tensor, threads(target.options.threads));
    let mut rows = Rows::new(target.files, tensor, by.hessians.columns);
    let mut matrix: Option<(u64, Matrix<'_>)> = None;
    let (mut parts, mut coded) = (Vec::<Part>::new(), Vec::new());
    coded.resize_with(threads, Coded::default);
    loop {
        parts.clear();
        while parts.len() < threads {
            target.check()?;
            let Some(part) = rows.next(read, parts.first().map(|part| part.matrix))? else { break };
            parts.push(part);
        }
        let Some(number) = parts.first().map(|part| part.matrix) else { return Ok(rows.mended()) };
        if matrix.as_ref().is_none_or(|(of, _)| *of != number) {
            // The memory of one factor is given back before the next is made.
            drop(matrix.take());
            matrix = Some((number, Matrix::new(tensor, by, number, task, threads)?));
        }
        let (_, matrix) = matrix.as_ref().expect("it was made");
        thread::scope(|scope| {
            let mut shares = parts.iter().zip(&mut coded);
            let own = shares.next();
            for (part, coded) in shares {
                scope.spawn(move || matrix.choose(&part.values, coded));
            }
            if let Some((part, coded)) = own {
                matrix.choose(&part.values, coded);
            }
        });
        for (part, coded) in parts.iter().zip(&mut coded) {
            if let Some(error) = coded.failed.take() {
                return Err(error.into());
            }
            let count = coded.stats.non_finite;
            if count > 0 && !target.options.allow_non_finite {
                return Err(ImportError::NonFinite { tensor: tensor.name.clone(), count });
            }
            take(target, part, coded)?;
        }
    }
}
