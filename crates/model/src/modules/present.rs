//! The modules that a checkpoint has, found by their names.

use std::collections::{HashMap, HashSet};

use super::{
    error::ModuleError,
    path::without_wrappers,
    patterns::{Patterns, wrapped},
};

/// Longest path whose beginnings and ends are listed, in bytes. Published ones are below 200.
const MAX_PATH: usize = 1024;

/// The modules of a checkpoint.
pub(super) struct Modules<'m> {
    /// In byte order.
    pub(super) all: Vec<&'m str>,
    /// The same without wrappers.
    bare: Vec<String>,
    /// Indices of the modules by what they are without wrappers: the first, and another if there is one.
    by_bare: HashMap<String, (usize, Option<usize>)>,
}

impl<'m> Modules<'m> {
    pub(super) fn new(modules: impl IntoIterator<Item = &'m str>) -> Self {
        let mut all: Vec<&str> = modules.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        let bare: Vec<String> = all.iter().map(|module| without_wrappers(module)).collect();
        let mut by_bare = HashMap::with_capacity(all.len());
        for (at, bare) in bare.iter().enumerate() {
            by_bare.entry(bare.clone()).and_modify(|found: &mut (usize, _)| found.1 = Some(at)).or_insert((at, None));
        }
        Self { all, bare, by_bare }
    }

    /// Returns the module that `name` is, whatever its wrappers.
    pub(super) fn find(&self, name: &str) -> Result<Option<&'m str>, ModuleError> {
        match self.by_bare.get(&without_wrappers(name)) {
            None => Ok(None),
            Some((module, None)) => Ok(Some(self.all[*module])),
            Some((first, Some(second))) => Err(ModuleError::Ambiguous {
                name: name.to_owned(),
                first: self.all[*first].to_owned(),
                second: self.all[*second].to_owned(),
            }),
        }
    }

    /// Returns which of `len` patterns match any module, and of each module that a pattern matches the first pattern.
    ///
    /// Patterns that match no module as it is called are tried on its name with other wrappers.
    pub(super) fn first_matches(&self, patterns: &Patterns, len: usize) -> (Vec<bool>, Vec<(&'m str, usize)>) {
        let mut matched = vec![false; len];
        if len == 0 {
            return (matched, Vec::new());
        }
        let mut of_modules: Vec<Vec<usize>> = Vec::with_capacity(self.all.len());
        for module in &self.all {
            let found = patterns.matching(module);
            for at in &found {
                matched[*at] = true;
            }
            of_modules.push(found);
        }
        if matched.contains(&false) {
            let as_called = matched.clone();
            for (bare, found) in self.bare.iter().zip(&mut of_modules) {
                let others = wrapped(bare).flat_map(|path| patterns.matching(&path)).filter(|at| !as_called[*at]);
                found.extend(others);
                for at in found {
                    matched[*at] = true;
                }
            }
        }
        let firsts =
            self.all.iter().zip(of_modules).filter_map(|(module, found)| Some((*module, found.into_iter().min()?)));
        (matched, firsts.collect())
    }

    /// Returns every beginning, every end and every segment of the modules' paths without wrappers, as names in lists
    /// of excluded modules may be any of these.
    pub(super) fn parts(&self) -> HashSet<&str> {
        self.bare.iter().filter(|bare| bare.len() <= MAX_PATH).flat_map(|bare| parts_of(bare)).collect()
    }

    /// Returns each module whose path is listed with its parts, as [`Self::parts`] has them.
    pub(super) fn with_parts(&self) -> impl Iterator<Item = (&'m str, impl Iterator<Item = &str>)> {
        let short = self.all.iter().zip(&self.bare).filter(|(_, bare)| bare.len() <= MAX_PATH);
        short.map(|(module, bare)| (*module, parts_of(bare)))
    }
}

/// Returns the beginnings, ends and segments of one path without wrappers.
fn parts_of(bare: &str) -> impl Iterator<Item = &str> {
    let ends = bare.match_indices('.').flat_map(|(at, _)| [&bare[..at], &bare[at + 1..]]);
    [bare].into_iter().chain(bare.split('.')).chain(ends)
}
