//! Building damaged blobs again, from the checkpoint that their models were imported from.

mod candidates;
mod described;
mod model;
mod outcome;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use longshore_manifest::{
    Digest, ModelName, Progress, Store,
    store::{Bad, ModelError, Problem, VerifyOptions},
};

use self::model::{Failures, Mender};
pub use self::outcome::{RepairError, RepairOptions, RepairOutcome, RepairProblem, Repaired, Unrepaired};
use crate::source::Source;

/// Verifies models, and builds every blob of theirs that is damaged or missing again from `source`.
///
/// A blob is built as the model's record says that it was imported, and put in place only if it has the digest that it had. So a
/// repair cannot make anything else of a model, whatever the source; and no name changes what it points at. A config document
/// that is lost is made again, if options can be found that give the same one.
///
/// # Errors
///
/// What cannot be repaired is no error, see [`RepairOutcome::left`]. [`RepairError`] where nothing was changed: a name that does not
/// exist, a store of another program, or one that cannot be written.
pub fn repair(
    store: &Store,
    source: &Source,
    options: &RepairOptions,
    progress: &dyn Progress,
) -> Result<RepairOutcome, RepairError> {
    if store.is_foreign() {
        // Says so before gigabytes are hashed.
        store.ingest()?;
    }
    let before = store.verify(&verify(options.names.clone()), progress)?;
    let is_needed = |bad: &&Bad| is_damage(&bad.problem) && !bad.models.is_empty();
    let damaged: BTreeMap<Digest, &Bad> =
        before.bad.iter().filter(is_needed).filter_map(|bad| Some((bad.digest?, bad))).collect();
    if damaged.is_empty() {
        let mut verified = before;
        let left = std::mem::take(&mut verified.bad).into_iter().map(|bad| unrepaired(bad, &mut HashMap::new()));
        return Ok(RepairOutcome { left: left.collect(), repaired: Vec::new(), verified });
    }
    let ingest = store.ingest()?;
    let wanted: BTreeSet<Digest> = damaged.keys().copied().collect();
    let mut mender = Mender::new(store, &ingest, source, options, progress, wanted);
    let mut failures = Failures::new();
    let harmed: BTreeSet<ModelName> =
        before.bad.iter().filter(is_needed).flat_map(|bad| bad.models.iter().cloned()).collect();
    // Those whose record is there first: a blob that others share is built from it.
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

    // With the documents that are back, more can be checked than before.
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
    VerifyOptions { names }
}

/// Whether a blob is not what its digest says, so that building it again helps.
fn is_damage(problem: &Problem) -> bool {
    matches!(problem, Problem::Missing | Problem::Size { .. } | Problem::Content { .. } | Problem::Read(_))
}

fn unrepaired(bad: Bad, failures: &mut Failures) -> Unrepaired {
    let failure = bad.digest.and_then(|digest| failures.remove(&digest));
    let (why, hint) = match failure {
        Some(failure) if is_damage(&bad.problem) => failure,
        _ if bad.models.is_empty() => (RepairProblem::Unneeded, Some("longshore gc".to_owned())),
        _ => (RepairProblem::Documents, Some(AGAIN.to_owned())),
    };
    Unrepaired { bad, why, hint }
}

/// What to do where documents are lost.
const AGAIN: &str = "import the model again under its name";
