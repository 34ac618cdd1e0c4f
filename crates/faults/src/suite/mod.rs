//! The verbs of the `longshore` binary with a fault at each of their file calls.

mod command;
mod finding;
mod judge;
mod known;
mod place;
mod plan;
mod report;
mod tree;
mod verb;

pub use finding::{Finding, Kind};
pub use judge::{Case, Outcome};
pub use known::{Known, known};
pub use report::{Group, Report};

use std::{
    io,
    num::NonZero,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{Class, Fault, Strike};
use place::{Clean, Place};
use verb::{VERBS, Verb};

/// The command to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `longshore` binary.
    pub binary: PathBuf,
    /// A small checkpoint.
    pub source: PathBuf,
    /// Verbs by their names; all if there are none.
    pub verbs: Vec<String>,
    /// Classes; all if there are none.
    pub classes: Vec<Class>,
    /// Faults; all if there are none.
    pub faults: Vec<Fault>,
    /// Only this call of each class.
    pub nth: Option<u64>,
    /// At most so many calls of each class with each fault; every one if not given.
    pub sample: Option<u64>,
    /// Number of runs at a time.
    pub jobs: NonZero<usize>,
}

impl Options {
    /// Every verb, call and fault, on the checkpoint in `crates/cli/demo`, with as many jobs as there are cores.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            source: Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/demo/qwen3-moe"),
            verbs: Vec::new(),
            classes: Vec::new(),
            faults: Vec::new(),
            nth: None,
            sample: None,
            jobs: thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
        }
    }

    /// Whether nothing is left out.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let Self { verbs, classes, faults, nth, sample, .. } = self;
        verbs.is_empty() && classes.is_empty() && faults.is_empty() && nth.is_none() && sample.is_none()
    }
}

/// The suite could not be run: nothing is said about the binary.
#[derive(Debug)]
pub struct SuiteError(String);

impl std::fmt::Display for SuiteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SuiteError {}

impl From<io::Error> for SuiteError {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// The runs of one verb.
#[derive(Debug)]
pub struct VerbReport {
    /// The verb's name here.
    pub verb: &'static str,
    /// Number of calls of each class without a fault.
    pub calls: Vec<(Class, u64)>,
    /// One for each fault.
    pub cases: Vec<Case>,
}

/// The names of all verbs.
#[must_use]
pub fn verbs() -> Vec<&'static str> {
    VERBS.iter().map(|verb| verb.name).collect()
}

/// Runs a part of the suite or all of it, and tells `tell` of each verb when it has been through.
///
/// # Errors
///
/// If a verb is not known, or a verb fails without a fault.
pub fn run(options: &Options, tell: impl Fn(&VerbReport)) -> Result<Report, SuiteError> {
    if let Some(unknown) = options.verbs.iter().find(|verb| !verbs().contains(&verb.as_str())) {
        return Err(SuiteError(format!("no verb {unknown:?}, but {}", verbs().join(", "))));
    }
    let mut reports = Vec::new();
    for verb in
        VERBS.iter().filter(|verb| options.verbs.is_empty() || options.verbs.iter().any(|name| name == verb.name))
    {
        let report =
            run_verb(options, verb).map_err(|SuiteError(text)| SuiteError(format!("{}: {text}", verb.name)))?;
        tell(&report);
        reports.push(report);
    }
    Ok(Report::new(reports))
}

fn run_verb(options: &Options, verb: &'static Verb) -> Result<VerbReport, SuiteError> {
    let place = || Place::new(&options.binary, &options.source, verb);
    let first = place()?;
    let clean = first.clean()?;
    let count = |class| clean.run.calls.iter().filter(|call| call.class == class).count() as u64;
    let calls = Class::ALL.map(|class| (class, count(class))).to_vec();
    let strikes = plan::strikes(&clean, options.sample, |strike: &Strike| {
        (options.classes.is_empty() || options.classes.contains(&strike.class))
            && (options.faults.is_empty() || options.faults.contains(&strike.fault))
            && options.nth.is_none_or(|nth| nth == strike.nth)
    });
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = |place: &Place<'_>, clean: &Clean| -> Result<(), SuiteError> {
        while let Some(strike) = strikes.get(next.fetch_add(1, Ordering::Relaxed)) {
            let case = judge::judge(place, clean, *strike)?;
            done.lock().unwrap_or_else(PoisonError::into_inner).push(case);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let others = 1..options.jobs.get().min(strikes.len());
        let others: Vec<_> = others
            .map(|_| {
                scope.spawn(|| {
                    // Names of what killed imports have left differ from place to place.
                    let place = place()?;
                    work(&place, &place.clean()?)
                })
            })
            .collect();
        work(&first, &clean)?;
        others.into_iter().try_for_each(|other| other.join().expect("a worker reports what goes wrong"))
    })?;
    let mut cases = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let order = |case: &Case| (case.strike.class, case.strike.fault, case.strike.goes_on, case.strike.nth);
    cases.sort_by_key(order);
    Ok(VerbReport { verb: verb.name, calls, cases })
}
