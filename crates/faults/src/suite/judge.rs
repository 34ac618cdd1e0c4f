//! One run with a fault, and whether every promise was kept.

use serde_json::Value;

use super::{
    SuiteError,
    command::{End, Run},
    finding::{Finding, Kind},
    place::{Clean, Place, settled},
    plan::is_harmless,
    tree::{TEMPORARY, Tree},
};
use crate::{Fault, Strike};

/// End of a run with a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The call that was to fail was not made.
    Unreached,
    /// The work was done all the same.
    Done,
    /// The work was done, and what nobody needs any more is left for `gc`, as a warning says.
    Warned,
    /// It failed, and said so.
    Failed,
    /// It was killed, as it was to be.
    Killed,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Unreached, Self::Done, Self::Warned, Self::Failed, Self::Killed];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreached => "unreached",
            Self::Done => "done",
            Self::Warned => "warned",
            Self::Failed => "failed",
            Self::Killed => "killed",
        }
    }
}

/// A run with a fault.
#[derive(Debug, Clone)]
pub struct Case {
    /// The call that was to fail.
    pub strike: Strike,
    /// End of the run.
    pub outcome: Outcome,
    /// The call that failed, and on what: paths without what differs from run to run.
    pub place: String,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// End of the run, and its stderr.
    pub told: String,
}

/// Runs the verb with a fault, and leaves the place as it was before.
pub(crate) fn judge(place: &Place<'_>, clean: &Clean, strike: Strike) -> Result<Case, SuiteError> {
    let run = place.binary.run(place.verb.act, Some(strike))?;
    let hit = run.calls.iter().find(|call| call.fault.is_some());
    let mut outcome = match (hit, run.end) {
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
    let tree = place.tree()?;
    match outcome {
        Outcome::Killed => {}
        _ if !run.is_done() => found.check_end(strike, &run),
        _ if found.check_result(strike, &run, &tree) => outcome = Outcome::Warned,
        _ => {}
    }
    if run.end == End::Hung {
        // The leftovers vary, since the import was stopped at some instant.
        place.reset()?;
    } else if tree != clean.before.tree {
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

    /// The exit status and the message of a run that did not do its work.
    fn check_end(&mut self, strike: Strike, run: &Run) {
        let End::Status(status @ (1 | 2)) = run.end else { return self.add(Kind::Ended, run.to_string()) };
        if is_harmless(strike.class, strike.fault) {
            self.add(Kind::Refused, run.to_string());
        } else if status != 2 {
            self.add(Kind::Status, format!("{run} {}", run.stdout.trim()));
        }
        // Where the answer is no, it may stand in the document.
        if status == 1 && run.stderr.is_empty() && !run.document().is_null() {
            return;
        }
        let mut lines = run.stderr.lines();
        let first = lines.next().unwrap_or_default();
        if !first.starts_with("error: ") || !lines.all(|line| line.starts_with("hint: ")) {
            self.add(Kind::Message, run.to_string());
        }
        if !self.names_a_path(first) {
            self.add(Kind::Path, run.to_string());
        }
    }

    fn names_a_path(&self, line: &str) -> bool {
        line.contains(&*self.place.binary.work.to_string_lossy())
    }

    /// Outcome of a run that succeeded: whether blobs that nobody needs are left, and a warning says so.
    fn check_result(&mut self, strike: Strike, run: &Run, tree: &Tree) -> bool {
        let differences = tree.differences(&self.clean.after.tree);
        let is_harmless = is_harmless(strike.class, strike.fault);
        let (answer, expected) = (settled(run.document()), self.clean.answer.clone());
        if answer != expected && (is_harmless || without_counts(answer.clone()) != without_counts(expected.clone())) {
            self.add(Kind::Swallowed, differing(&answer, &expected));
        }
        // Temporary files may be left. A later check covers that the next import sweeps them.
        let differences = if is_harmless { differences } else { lasting(differences) };
        if differences.is_empty() {
            return false;
        }
        let is_surplus = |path: &String| path.starts_with("+store/blobs/");
        let is_told = run.stderr.lines().any(|line| line.starts_with("warning: ") && self.names_a_path(line));
        if is_harmless || !is_told || !differences.iter().all(is_surplus) {
            self.add(Kind::Swallowed, format!("{run} {}", differences.join(" ")));
        }
        is_told
    }

    /// The state after a failure, where it is neither exactly the state before nor that after.
    fn check_state(&mut self, strike: Strike, outcome: Outcome, tree: &Tree) -> Result<(), SuiteError> {
        let Clean { before, after, .. } = self.clean;
        let models = self.place.models()?;
        match &models {
            Ok(models) if *models == before.models || *models == after.models => {}
            Ok(models) => self.add(Kind::State, format!("{models:?}")),
            Err(told) => self.add(Kind::Damage, told.clone()),
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
            let is_new = |path: &String| path.starts_with('+') && !is_skeleton(path);
            let mut left: Vec<_> = tree.differences(&before.tree).into_iter().filter(is_new).collect();
            // A part of the work is worth something where it is not all or nothing, and all of it where a name has it.
            if !self.place.verb.is_whole || models.is_ok_and(|models| models != before.models) {
                let strange = tree.differences(&after.tree);
                left.retain(|path| strange.contains(path));
            }
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

/// The differences that are not in what is temporary.
fn lasting(differences: Vec<String>) -> Vec<String> {
    differences.into_iter().filter(|path| !path[1..].starts_with(TEMPORARY)).collect()
}

/// An answer without what a failure may change though all is done: bytes that were written again or not freed, and what had to be repaired.
fn without_counts(mut answer: Value) -> Value {
    if let Some(fields) = answer.as_object_mut() {
        fields.remove("repaired");
        for count in ["new", "reused", "taken_over", "freed", "kept", "temporary"] {
            fields.remove(&format!("{count}_bytes"));
            fields.remove(&format!("{count}_blobs"));
        }
    }
    answer
}

/// The fields of two answers that differ.
fn differing(answer: &Value, expected: &Value) -> String {
    let Some(fields) = expected.as_object() else { return format!("it answers {answer}, not {expected}") };
    let differing = fields.iter().filter(|(name, value)| answer[name.as_str()] != **value);
    let differing: Vec<_> = differing.map(|(name, value)| format!("{name} is {}, not {value}", answer[name])).collect();
    format!("it answers that {}", differing.join(", "))
}

/// Whether a difference is one of a store that has nothing in it yet.
fn is_skeleton(difference: &str) -> bool {
    let empty = ["store", "store/blobs", "store/manifests", "store/tmp", "store/longshore.json"];
    difference.strip_prefix('+').is_some_and(|path| empty.contains(&path))
}

/// A path below the place, with `*` for digests and for the names of what is temporary.
fn settled_path(place: &Place<'_>, path: &str) -> String {
    let below = std::path::Path::new(path).strip_prefix(&place.binary.work).unwrap_or(std::path::Path::new(path));
    let parts = below.iter().map(|part| {
        let part = part.to_string_lossy();
        if let Some(start) = part.find("sha256-") {
            format!("{}sha256-*", &part[..start])
        } else if part.starts_with(".out.") {
            ".out.*".to_owned()
        } else if part.starts_with(|first: char| first.is_ascii_digit()) {
            "*".to_owned()
        } else {
            part.into_owned()
        }
    });
    let parts: Vec<_> = parts.collect();
    if parts.is_empty() { ".".into() } else { parts.join("/") }
}
