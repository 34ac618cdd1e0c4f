//! Faults of the program that are known, and wait to be mended.

use super::{Case, Finding, Kind};
use crate::{Class, Fault};

/// One line of `known.txt`: what is wrong, and where it is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The line, for messages.
    pub line: &'static str,
    verbs: Vec<&'static str>,
    class: Class,
    faults: Vec<Fault>,
    kind: Kind,
    /// The call and the files that it is about.
    place: &'static str,
}

/// All of them.
///
/// # Panics
///
/// If `known.txt`, which is compiled in, has a line that says nothing.
#[must_use]
pub fn known() -> Vec<Known> {
    let lines = include_str!("../../known.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| parse(line).unwrap_or_else(|| panic!("BUG: known.txt has the line {line:?}"))).collect()
}

impl Known {
    /// Whether this is it.
    #[must_use]
    pub fn is(&self, verb: &str, case: &Case, finding: &Finding) -> bool {
        (self.verbs == ["*"] || self.verbs.contains(&verb))
            && self.class == case.strike.class
            && self.faults.contains(&case.strike.fault)
            && self.kind == finding.kind
            && case.place.split(' ').zip(self.place.split(' ')).all(|(found, known)| is_word(found, known))
    }
}

/// Whether a word is this one, or begins as one that ends in `…`.
fn is_word(found: &str, known: &str) -> bool {
    known.strip_suffix('…').map_or(found == known, |start| found.starts_with(start))
}

fn parse(line: &'static str) -> Option<Known> {
    let (fields, place) = line.split_once(": ")?;
    let mut fields = fields.split_whitespace();
    let known = Known {
        line,
        verbs: fields.next()?.split(',').collect(),
        class: Class::named(fields.next()?)?,
        faults: fields.next()?.split(',').map(Fault::named).collect::<Option<_>>()?,
        kind: Kind::ALL.into_iter().find(|kind| Some(kind.name()) == fields.clone().next())?,
        place,
    };
    (fields.count() == 1).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Strike, suite::Outcome};

    fn case(fault: Fault, place: &str) -> Case {
        let strike = Strike { class: Class::Open, fault, nth: 3, goes_on: false };
        Case { strike, outcome: Outcome::Failed, place: place.into(), findings: Vec::new(), told: String::new() }
    }

    #[test]
    fn every_field_counts() {
        let known = parse("load,verify open EIO,EINTR refused: openat store/blobs/…").expect("it is a line");
        let finding = |kind| Finding { kind, detail: String::new() };
        let is = |verb, fault, place, kind| known.is(verb, &case(fault, place), &finding(kind));
        let place = "openat store/blobs/…";
        assert!(is("load", Fault::Eio, place, Kind::Refused));
        assert!(!is("gc", Fault::Eio, place, Kind::Refused));
        assert!(!is("load", Fault::Short, place, Kind::Refused));
        assert!(is("load", Fault::Eio, "openat store/blobs/sha256-*", Kind::Refused));
        assert!(!is("load", Fault::Eio, "openat store", Kind::Refused));
        assert!(!is("load", Fault::Eio, "statx store/blobs/sha256-*", Kind::Refused));
        assert!(!is("load", Fault::Eio, place, Kind::Path));
        let anywhere = parse("* open EIO refused: openat …").expect("it is a line");
        assert!(anywhere.is("gc", &case(Fault::Eio, "openat store"), &finding(Kind::Refused)));
    }

    #[test]
    fn the_list_is_one() {
        assert!(known().iter().all(|known| !known.faults.is_empty()));
    }
}
