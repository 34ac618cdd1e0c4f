//! The function that repairs a store.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use longshore_manifest::{
    Digest, ModelName, Progress, Store,
    store::{Bad, ModelError, VerifyOptions},
};

use super::{
    model::{Failures, Mender},
    outcome::{AGAIN, RepairError, RepairOptions, RepairOutcome, RepairProblem, Repaired, Unrepaired},
};
use crate::source::checkpoint::Source;

/// Verifies models, and builds each of their damaged or missing blobs again from `source`.
///
/// A blob is built with the options in the model's record. It is put in place only if it has the same digest as before,
/// so a repair can never change a model, whatever the source. Names are not changed either. A lost config document is
/// made again if options can be found that give the same document.
///
/// # Errors
///
/// Returns a [`RepairError`] if nothing could be done: a name does not exist, the store belongs to another program or
/// cannot be written, or the source has changed. A blob that cannot be repaired is not an error; see
/// [`RepairOutcome::left`].
pub fn repair(
    store: &Store,
    source: impl Into<Arc<Source>>,
    options: &RepairOptions,
    progress: &dyn Progress,
) -> Result<RepairOutcome, RepairError> {
    let source = source.into();
    if store.is_foreign() {
        // Refuses a foreign store before gigabytes are hashed.
        store.ingest()?;
    }
    let before = store.verify(&verify(options.names.clone()), progress)?;
    let is_needed = |bad: &&Bad| bad.problem.is_of_bytes() && !bad.models.is_empty();
    let damaged: BTreeMap<Digest, &Bad> =
        before.bad.iter().filter(is_needed).filter_map(|bad| Some((bad.digest?, bad))).collect();
    if damaged.is_empty() {
        let mut verified = before;
        let left = std::mem::take(&mut verified.bad).into_iter().map(|bad| unrepaired(bad, &mut HashMap::new()));
        return Ok(RepairOutcome { left: left.collect(), repaired: Vec::new(), verified });
    }
    let ingest = store.ingest()?;
    let mut mender = Mender::new(store, &ingest, &source, options, progress, &damaged);
    let mut failures = Failures::new();
    let harmed: BTreeSet<ModelName> =
        before.bad.iter().filter(is_needed).flat_map(|bad| bad.models.iter().cloned()).collect();
    // Models with a record come first: a blob that others share is then built from the record.
    for with_record in [true, false] {
        for name in &harmed {
            mender.mend(name, with_record, &mut failures)?;
        }
    }
    let whole = mender.mended();
    if progress.cancelled() {
        return Err(RepairError::Cancelled);
    }
    progress.begin("making durable", 0);
    let placed = ingest.mend(&whole)?;
    let repaired = placed.into_iter().map(|(digest, size)| {
        let Bad { problem, names, models, .. } = damaged[&digest];
        Repaired { digest, size, problem: problem.to_string(), names: names.clone(), models: models.clone() }
    });
    let mut repaired: Vec<_> = repaired.collect();
    repaired.sort_by_key(|blob| blob.digest);

    // With the repaired documents, more can be checked than before.
    let mut verified = before;
    if !repaired.is_empty() {
        let is_there = |name: &&ModelName| !matches!(store.manifest(name), Err(ModelError::NotFound { .. }));
        let mut after = store.verify(&verify(harmed.iter().filter(is_there).cloned().collect()), progress)?;
        let is_other = |bad: &Bad| !bad.models.iter().any(|name| harmed.contains(name));
        after.bad.extend(verified.bad.into_iter().filter(is_other));
        verified = after;
    }
    let left = std::mem::take(&mut verified.bad).into_iter().map(|bad| unrepaired(bad, &mut failures)).collect();
    Ok(RepairOutcome { repaired, left, verified })
}

fn verify(names: Vec<ModelName>) -> VerifyOptions {
    VerifyOptions { names, chunks: true, ..VerifyOptions::default() }
}

fn unrepaired(bad: Bad, failures: &mut Failures) -> Unrepaired {
    let failure = bad.digest.and_then(|digest| failures.remove(&digest));
    let (why, hint) = match failure {
        Some(failure) if bad.problem.is_of_bytes() => failure,
        _ if bad.models.is_empty() => (RepairProblem::Unneeded, Some("longshore gc".to_owned())),
        _ => (RepairProblem::Documents, Some(AGAIN.to_owned())),
    };
    Unrepaired { bad, why, hint }
}
