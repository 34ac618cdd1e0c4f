//! One run with a fault, and whether every promise was kept.

use super::{
    SuiteError,
    command::{End, Run},
    finding::{Finding, Kind},
    place::{Clean, Place, settled},
    plan::is_harmless,
    tree::{TEMPORARY, Tree},
};
use crate::{Fault, Strike};

/// How a run with a fault ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The call that was to fail was not made.
    Unreached,
    /// The work was done all the same.
    Done,
    /// It failed, and said so.
    Failed,
    /// It was killed, as it was to be.
    Killed,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreached => "unreached",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Killed => "killed",
        }
    }
}

/// A run with a fault.
#[derive(Debug, Clone)]
pub struct Case {
    /// What was to fail.
    pub strike: Strike,
    /// How the run ended.
    pub outcome: Outcome,
    /// The call that failed, and on what: paths without what differs from run to run.
    pub place: String,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// How it ended, and what was on stderr.
    pub told: String,
}

/// Runs the verb with a fault, and leaves the place as it was before.
pub(crate) fn judge(place: &Place<'_>, clean: &Clean, strike: Strike) -> Result<Case, SuiteError> {
    let run = place.binary.run(place.verb.act, Some(strike))?;
    let hit = run.calls.iter().find(|call| call.fault.is_some());
    let outcome = match (hit, run.end) {
        (None, _) => Outcome::Unreached,
        (Some(_), End::Status(0)) => Outcome::Done,
        (Some(_), End::Signal(9)) if strike.fault == Fault::Kill => Outcome::Killed,
        _ => Outcome::Failed,
    };
    let at = hit.map(|call| {
        let paths: Vec<_> = call.paths.iter().map(|path| settled_path(place, path)).collect();
        format!("{} {}", call.name, paths.join(" "))
    });
    let mut found = Found { place, clean, findings: Vec::new() };
    if outcome != Outcome::Killed {
        found.check_end(strike, &run);
    }
    let tree = place.tree()?;
    if run.is_done() {
        found.check_result(&run, &tree);
    }
    if tree != clean.before.tree {
        if !run.is_done() && tree != clean.after.tree {
            found.check_state(strike, outcome, &tree)?;
        }
        if tree != clean.after.tree {
            found.check_again(&tree)?;
        }
        place.reset()?;
    }
    let findings = found.findings;
    Ok(Case { strike, outcome, place: at.unwrap_or_default(), findings, told: run.to_string() })
}

struct Found<'a> {
    place: &'a Place<'a>,
    clean: &'a Clean,
    findings: Vec<Finding>,
}

impl Found<'_> {
    fn add(&mut self, kind: Kind, detail: impl Into<String>) {
        self.findings.push(Finding { kind, detail: detail.into() });
    }

    /// The exit status and the message.
    fn check_end(&mut self, strike: Strike, run: &Run) {
        let status = match run.end {
            End::Status(0) => return,
            End::Status(status @ (1 | 2)) => status,
            _ => return self.add(Kind::Ended, run.to_string()),
        };
        if is_harmless(strike.class, strike.fault) {
            self.add(Kind::Refused, run.to_string());
        } else if status != 2 {
            self.add(Kind::Status, run.to_string());
        }
        let mut lines = run.stderr.lines();
        let first = lines.next().unwrap_or_default();
        if !first.starts_with("error: ") || !lines.all(|line| line.starts_with("hint: ")) {
            self.add(Kind::Message, run.to_string());
        }
        if !first.contains(&*self.place.binary.work.to_string_lossy()) {
            self.add(Kind::Path, run.to_string());
        }
    }

    /// What was done, where it says that it was.
    fn check_result(&mut self, run: &Run, tree: &Tree) {
        let answer = settled(run.document());
        if answer != self.clean.answer {
            self.add(Kind::Swallowed, format!("it answers {answer}, not {}", self.clean.answer));
        }
        let differences = tree.lasting().differences(&self.clean.after.tree.lasting());
        if !differences.is_empty() {
            self.add(Kind::Swallowed, differences.join(" "));
        }
    }

    /// What there is after a failure, where it is not exactly what was before or would be after.
    fn check_state(&mut self, strike: Strike, outcome: Outcome, tree: &Tree) -> Result<(), SuiteError> {
        let Clean { before, after, .. } = self.clean;
        match self.place.models()? {
            Ok(models) if models == before.models || models == after.models => {}
            Ok(models) => self.add(Kind::State, format!("{models:?}")),
            Err(told) => self.add(Kind::Damage, told),
        }
        match self.place.bad()? {
            Ok(bad) => {
                let new: Vec<_> = bad.into_iter().filter(|bad| !before.bad.contains(bad)).collect();
                if !new.is_empty() {
                    self.add(Kind::Damage, format!("bad: {}", new.join(" ")));
                }
            }
            Err(told) => self.add(Kind::Damage, told),
        }
        if tree.has("out") && tree.below("out/") != after.tree.below("out/") {
            self.add(Kind::Half, tree.below("out/").differences(&after.tree.below("out/")).join(" "));
        }
        if outcome == Outcome::Failed && !strike.goes_on {
            let [old, new] = [before, after].map(|state| tree.differences(&state.tree));
            let left = if old.len() <= new.len() { old } else { new };
            let left: Vec<_> = left.into_iter().filter(|path| !is_skeleton(path)).collect();
            if !left.is_empty() {
                self.add(Kind::Left, left.join(" "));
            }
        }
        Ok(())
    }

    /// That the verb can be run again, and gives what it gives without a fault, at the latest after another import and a collection.
    fn check_again(&mut self, tree: &Tree) -> Result<(), SuiteError> {
        let is_done = tree.lasting() == self.clean.after.tree.lasting()
            || !self.place.verb.is_repeatable && self.looks_done(tree)?;
        if !is_done {
            let again = self.place.binary.run(self.place.verb.act, None)?;
            if !again.is_done() {
                self.add(Kind::Again, again.to_string());
                return Ok(());
            }
            if self.place.tree()? == self.clean.after.tree {
                return Ok(());
            }
        }
        if let Err(error) = self.place.sweep() {
            self.add(Kind::Again, error.to_string());
            return Ok(());
        }
        let tree = self.place.tree()?;
        let differences = tree.differences(&self.clean.swept);
        if !differences.is_empty() {
            self.add(Kind::Again, differences.join(" "));
        }
        if !tree.below(TEMPORARY).is_empty() {
            self.add(Kind::Again, "something temporary is left after another import");
        }
        Ok(())
    }

    /// Whether the work is done, though not all that nobody needs is gone.
    fn looks_done(&self, tree: &Tree) -> Result<bool, SuiteError> {
        let Clean { before, after, .. } = self.clean;
        if tree.has("out") || after.tree.has("out") {
            return Ok(tree.has("out"));
        }
        Ok(before.models != after.models && self.place.models()?.is_ok_and(|models| models == after.models))
    }
}

/// Whether a difference is one of a store that has nothing in it yet.
fn is_skeleton(difference: &str) -> bool {
    let empty = ["store", "store/blobs", "store/manifests", "store/tmp", "store/longshore.json"];
    difference.strip_prefix('+').is_some_and(|path| empty.contains(&path) || path.starts_with("store/manifests/"))
}

/// A path below the place, with `*` for digests and for the names of what is temporary.
fn settled_path(place: &Place<'_>, path: &str) -> String {
    let below = std::path::Path::new(path).strip_prefix(&place.binary.work).unwrap_or(std::path::Path::new(path));
    let parts = below.iter().map(|part| {
        let part = part.to_string_lossy();
        if let Some(start) = part.find("sha256-") {
            format!("{}sha256-*", &part[..start])
        } else if part.starts_with(|first: char| first.is_ascii_digit()) {
            "*".to_owned()
        } else {
            part.into_owned()
        }
    });
    let parts: Vec<_> = parts.collect();
    if parts.is_empty() { ".".into() } else { parts.join("/") }
}
