//! Results in tables.

use std::{collections::BTreeMap, fmt};

use super::{Case, Finding, Kind, Known, Outcome, VerbReport, known};
use crate::{Class, Fault};

/// Results of a run of the suite.
#[derive(Debug)]
pub struct Report {
    /// One for each verb.
    pub verbs: Vec<VerbReport>,
    known: Vec<Known>,
}

/// One problem that several calls show.
#[derive(Debug)]
pub struct Group<'a> {
    /// The verb.
    pub verb: &'static str,
    /// The first of the runs.
    pub first: &'a Case,
    /// The problem there.
    pub finding: &'a Finding,
    /// Number of runs of this kind.
    pub count: usize,
    /// The line of `known.txt`, where there is one.
    pub known: Option<&'static str>,
}

impl Report {
    pub(super) fn new(verbs: Vec<VerbReport>) -> Self {
        Self { verbs, known: known() }
    }

    /// Problems, by verb, class, fault, kind and the call's files.
    #[must_use]
    pub fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: BTreeMap<(usize, Class, Fault, Kind, &str), Group<'_>> = BTreeMap::new();
        for (at, verb) in self.verbs.iter().enumerate() {
            for case in &verb.cases {
                for finding in &case.findings {
                    let known = self.known.iter().find(|known| known.is(verb.verb, case, finding));
                    let key = (at, case.strike.class, case.strike.fault, finding.kind, case.place.as_str());
                    groups
                        .entry(key)
                        .or_insert_with(|| Group {
                            verb: verb.verb,
                            first: case,
                            finding,
                            count: 0,
                            known: known.map(|known| known.line),
                        })
                        .count += 1;
                }
            }
        }
        groups.into_values().collect()
    }

    /// Whether everything that is wrong is known.
    #[must_use]
    pub fn is_as_known(&self) -> bool {
        self.groups().iter().all(|group| group.known.is_some())
    }

    /// The lines of `known.txt` that describe nothing that was seen.
    #[must_use]
    pub fn unseen(&self) -> Vec<&'static str> {
        let groups = self.groups();
        let is_seen = |line| groups.iter().any(|group| group.known == Some(line));
        self.known.iter().map(|known| known.line).filter(|line| !is_seen(line)).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table(f, &self.verbs, &self.known)?;
        let groups = self.groups();
        for (title, is_known) in [("known", true), ("wrong", false)] {
            for group in groups.iter().filter(|group| group.known.is_some() == is_known) {
                let Group { verb, first: Case { strike, place, .. }, finding, count, .. } = group;
                writeln!(f, "\n{title}: {verb}: {strike}, and {} more: {place}", count - 1)?;
                writeln!(f, "    {}: {}", finding.kind.name(), finding.detail)?;
            }
        }
        let runs: usize = self.verbs.iter().map(|verb| verb.cases.len()).sum();
        let wrong = groups.iter().filter(|group| group.known.is_none()).count();
        writeln!(f, "\n{runs} runs, {} ways to be wrong that are known, {wrong} that are not", groups.len() - wrong)
    }
}

/// Counts by verb, class and fault.
fn table(f: &mut fmt::Formatter<'_>, verbs: &[VerbReport], known: &[Known]) -> fmt::Result {
    write!(f, "{:18} {:7} {:6} {:11} {:>5}", "verb", "class", "calls", "fault", "runs")?;
    for outcome in Outcome::ALL {
        write!(f, " {:>9}", outcome.name())?;
    }
    writeln!(f, " {:>6} {:>6}", "known", "wrong")?;
    for verb in verbs {
        for chunk in verb.cases.chunk_by(|a, b| kind(a) == kind(b)) {
            let Some((class, fault, goes_on)) = chunk.first().map(kind) else { continue };
            let calls = verb.calls.iter().find(|(other, _)| *other == class).map_or(0, |(_, calls)| *calls);
            let fault = format!("{}{}", fault.name(), if goes_on { " on" } else { "" });
            write!(f, "{:18} {:7} {calls:6} {fault:11} {:5}", verb.verb, class.name(), chunk.len())?;
            for outcome in Outcome::ALL {
                write!(f, " {:9}", chunk.iter().filter(|case| case.outcome == outcome).count())?;
            }
            let is_known =
                |case: &Case, finding: &Finding| known.iter().any(|known| known.is(verb.verb, case, finding));
            let wrong = |case: &&Case| case.findings.iter().any(|finding| !is_known(case, finding));
            let all = chunk.iter().filter(|case| !case.findings.is_empty()).count();
            let wrong = chunk.iter().filter(wrong).count();
            writeln!(f, " {:6} {wrong:6}", all - wrong)?;
        }
    }
    Ok(())
}

fn kind(case: &Case) -> (Class, Fault, bool) {
    (case.strike.class, case.strike.fault, case.strike.goes_on)
}
