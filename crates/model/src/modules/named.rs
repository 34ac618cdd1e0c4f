//! Matching the names of a configuration against the modules of a checkpoint.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use super::{
    error::ModuleError,
    path::without_wrappers,
    patterns::{Patterns, of_glob},
    present::Modules,
};
use crate::config::quantization::{QuantizationMethod, SourceQuantization, WeightCoding, WeightGroup};

/// What a description of quantized weights says about each module of a checkpoint.
///
/// Names of modules are compared without [wrappers](super::WRAPPERS), because tools write them differently in a
/// configuration and in the names of tensors.
///
/// ```
/// use longshore_model::{ModelConfig, modules::NamedModules};
///
/// let config = ModelConfig::parse(
///     br#"{"quantization": {"bits": 4, "group_size": 64, "model.language_model.layers.0.mlp": {"bits": 8, "group_size": 64}}}"#,
/// )?;
/// let quantization = config.quantization.expect("it is described");
/// let named = NamedModules::new(&quantization, ["language_model.model.layers.0.mlp"])?;
/// assert_eq!(named.of("language_model.model.layers.0.mlp").expect("it is quantized").bits, Some(8));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct NamedModules<'q> {
    quantization: &'q SourceQuantization,
    own: HashMap<String, Named<'q>>,
    /// Plain names of modules that are not quantized, without wrappers.
    exempt: HashSet<String>,
    /// Whether modules that nothing describes have the coding of all. With several groups, each with names or patterns of
    /// its own, none of them is the coding of a module that no target covers.
    covers_rest: bool,
    unmatched: Vec<Unmatched<'q>>,
    idle: Vec<&'q str>,
    /// The names and patterns of lists of excluded modules, by the modules that they fit.
    exclusions: HashMap<String, &'q str>,
}

/// A name in a configuration that sets the coding of modules, but fits none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unmatched<'q> {
    /// The name or pattern.
    pub name: &'q str,
    /// The coding that it sets.
    pub coding: &'q WeightCoding,
}

/// The description of one module, under the name that the configuration has for it.
#[derive(Debug, Clone, Copy)]
struct Named<'q> {
    name: &'q str,
    coding: Option<&'q WeightCoding>,
}

impl<'q> NamedModules<'q> {
    /// Matches the names in `quantization` against `modules`: the paths of all modules that have tensors.
    ///
    /// # Errors
    ///
    /// Returns [`ModuleError`] if a name fits two modules, if two names describe one module differently, or if a pattern
    /// that sets a coding cannot be read.
    pub fn new<'m>(
        quantization: &'q SourceQuantization,
        modules: impl IntoIterator<Item = &'m str>,
    ) -> Result<Self, ModuleError> {
        let modules = Modules::new(modules);
        let mut named = Self {
            quantization,
            own: HashMap::new(),
            covers_rest: covers_rest(quantization),
            exempt: quantization.skipped.iter().map(|name| without_wrappers(name)).collect(),
            unmatched: Vec::new(),
            idle: Vec::new(),
            exclusions: HashMap::new(),
        };
        named.overrides(&modules)?;
        named.dynamic(&modules)?;
        named.groups(&modules)?;
        named.skipped(&modules);
        Ok(named)
    }

    /// Returns the coding of the weight of `module`, or `None` if the description excludes the module, or has several
    /// groups of modules none of which covers it.
    #[must_use]
    pub fn of(&self, module: &str) -> Option<&'q WeightCoding> {
        match self.own.get(module) {
            Some(named) => named.coding,
            None if !self.exempt.is_empty() && self.exempt.contains(&without_wrappers(module)) => None,
            None => Some(&self.quantization.weights).filter(|_| self.covers_rest),
        }
    }

    /// Names and patterns that set a coding and fit no module.
    #[must_use]
    pub fn unmatched(&self) -> &[Unmatched<'q>] {
        &self.unmatched
    }

    /// Names and patterns that only exclude modules, and fit none.
    #[must_use]
    pub fn idle(&self) -> &[&'q str] {
        &self.idle
    }

    /// Returns the name or pattern in a list of excluded modules that fits `module`.
    ///
    /// Tools read such lists in their own ways. A name fits a module whose path, without [wrappers](super::WRAPPERS), it
    /// is, begins, ends, or is a segment of.
    #[must_use]
    pub fn exclusion_of(&self, module: &str) -> Option<&'q str> {
        self.exclusions.get(module).copied()
    }

    fn overrides(&mut self, modules: &Modules<'_>) -> Result<(), ModuleError> {
        for (name, coding) in &self.quantization.overrides {
            match modules.find(name)? {
                Some(module) => self.set(module, name, coding.as_ref())?,
                None => self.fits_none(name, coding.as_ref()),
            }
        }
        Ok(())
    }

    fn dynamic(&mut self, modules: &Modules<'_>) -> Result<(), ModuleError> {
        let dynamic = &self.quantization.dynamic;
        let regex = |pattern: &'q str| pattern.strip_prefix(['+', '-']).and_then(|rest| rest.strip_prefix(':'));
        let patterns: Vec<&str> = dynamic.iter().map(|(pattern, _)| regex(pattern).unwrap_or(pattern)).collect();
        let (matched, firsts) = modules.first_matches(&Patterns::new(&patterns)?, patterns.len());
        for (module, first) in firsts {
            let (name, coding) = &dynamic[first];
            self.describe(module, name, coding.as_ref());
        }
        for ((pattern, coding), _) in dynamic.iter().zip(matched).filter(|(_, is_matched)| !is_matched) {
            self.fits_none(pattern, coding.as_ref());
        }
        Ok(())
    }

    /// Names of modules come before patterns, and both before classes, which no tensor tells.
    fn groups(&mut self, modules: &Modules<'_>) -> Result<(), ModuleError> {
        let mut groups: Vec<&WeightGroup> = self.quantization.groups.values().collect();
        groups.sort_by_key(|group| group.place);
        let targets = || groups.iter().flat_map(|group| group.targets.iter().map(move |target| (*group, target)));
        let patterns: Vec<(&WeightGroup, &str)> =
            targets().filter_map(|(group, target)| Some((group, target.strip_prefix("re:")?))).collect();
        for (group, target) in targets().filter(|(_, target)| !target.starts_with("re:")) {
            match modules.find(target)? {
                Some(module) => self.describe(module, target, Some(&group.weights)),
                None if is_class(target) => {}
                None => self.fits_none(target, Some(&group.weights)),
            }
        }
        let regexes: Vec<&str> = patterns.iter().map(|(_, regex)| *regex).collect();
        let (matched, firsts) = modules.first_matches(&Patterns::new(&regexes)?, regexes.len());
        for (module, first) in firsts {
            let (group, name) = patterns[first];
            self.describe(module, name, Some(&group.weights));
        }
        for ((group, regex), _) in patterns.iter().zip(matched).filter(|(_, is_matched)| !is_matched) {
            self.fits_none(regex, Some(&group.weights));
        }
        let of_class =
            |class: &str| groups.iter().find(|group| group.targets.iter().any(|target| target == class)).copied();
        let (linear, embedding) = (of_class("Linear"), of_class("Embedding"));
        if groups.len() > 1 && (linear.is_some() || embedding.is_some()) {
            for module in &modules.all {
                let is_embedding =
                    module.rsplit('.').next().is_some_and(|last| last.contains("embed") || last == "wte");
                let (name, group) = if is_embedding { ("Embedding", embedding) } else { ("Linear", linear) };
                if let Some(group) = group {
                    self.describe(module, name, Some(&group.weights));
                }
            }
        }
        Ok(())
    }

    /// Finds the modules that exemptions fit, and exemptions that fit none. What cannot be read as a pattern excludes nothing.
    fn skipped(&mut self, modules: &Modules<'_>) {
        let skipped = &self.quantization.skipped;
        if skipped.is_empty() {
            return;
        }
        let has_globs = self.quantization.method == QuantizationMethod::ModelOpt;
        let parts = modules.parts();
        let mut patterns = Vec::new();
        let mut plain: HashMap<String, &'q str> = HashMap::new();
        for name in skipped {
            let pattern = match name.strip_prefix("re:") {
                Some(regex) => Some(regex.to_owned()),
                None => (has_globs && name.contains(['*', '?'])).then(|| of_glob(name)),
            };
            match pattern {
                Some(pattern) => patterns.push((name, pattern)),
                None if parts.contains(without_wrappers(name).as_str()) => {
                    plain.entry(without_wrappers(name)).or_insert(name);
                    plain.remove("");
                }
                None => self.idle.push(name),
            }
        }
        for (module, mut parts) in modules.with_parts().filter(|_| !plain.is_empty()) {
            if let Some(name) = parts.find_map(|part| plain.get(part)) {
                self.exclusions.insert(module.to_owned(), name);
            }
        }
        // Whether a pattern fits is only told to the user, so what is too much to check is not told.
        let (readable, odd): (Vec<_>, Vec<_>) =
            patterns.iter().take(1000).partition(|(_, pattern)| Patterns::new(&[pattern]).is_ok());
        let all: Vec<&str> = readable.iter().map(|(_, pattern)| pattern.as_str()).collect();
        if let Ok(all) = Patterns::new(&all) {
            let (matched, firsts) = modules.first_matches(&all, readable.len());
            let firsts = firsts.into_iter().map(|(module, first)| (module.to_owned(), readable[first].0.as_str()));
            self.exclusions.extend(firsts);
            let idle = readable.iter().zip(matched).filter(|(_, is_matched)| !is_matched);
            self.idle.extend(idle.map(|((name, _), _)| name.as_str()));
        }
        self.idle.extend(odd.iter().map(|(name, _)| name.as_str()));
    }

    /// Describes a module that is not excluded and that no name before described.
    fn describe(&mut self, module: &str, name: &'q str, coding: Option<&'q WeightCoding>) {
        if !self.exempt.is_empty() && self.exempt.contains(&without_wrappers(module)) {
            return;
        }
        self.own.entry(module.to_owned()).or_insert(Named { name, coding });
    }

    fn set(&mut self, module: &str, name: &'q str, coding: Option<&'q WeightCoding>) -> Result<(), ModuleError> {
        match self.own.entry(module.to_owned()) {
            Entry::Vacant(place) => {
                place.insert(Named { name, coding });
                Ok(())
            }
            Entry::Occupied(found) if found.get().coding == coding => Ok(()),
            Entry::Occupied(found) => Err(ModuleError::Twice {
                module: module.to_owned(),
                first: found.get().name.to_owned(),
                second: name.to_owned(),
            }),
        }
    }

    fn fits_none(&mut self, name: &'q str, coding: Option<&'q WeightCoding>) {
        let sets =
            |coding: &&WeightCoding| coding.bits.is_some() || coding.group_size.is_some() || coding.mode.is_some();
        match coding.filter(sets) {
            Some(coding) => self.unmatched.push(Unmatched { name, coding }),
            None => self.idle.push(name),
        }
    }
}

fn covers_rest(quantization: &SourceQuantization) -> bool {
    let mut targets = quantization.groups.values().flat_map(|group| &group.targets);
    quantization.groups.len() < 2 || targets.any(|target| is_class(target))
}

/// Whether a target of compressed-tensors is the class of modules, such as `Linear`, rather than the name of one.
fn is_class(target: &str) -> bool {
    !target.contains('.') && target.starts_with(|letter: char| letter.is_ascii_uppercase())
}
