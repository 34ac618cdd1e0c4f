//! The table of architectures.

use std::{collections::BTreeMap, sync::OnceLock};

use super::{
    families::FAMILIES,
    names::{TRANSPOSED_FAMILIES, plain},
    row::Architecture,
};
use crate::experts::{ExpertName, ExpertNaming};

/// Names of the architectures that some runtime runs, one per line. Comments in the file give the source of each list.
const KNOWN: &str = include_str!("known.txt");

static TABLE: OnceLock<Architectures> = OnceLock::new();

/// A table of architectures. A program adds its own to a copy of [`Architectures::known`], and [installs](Self::install) the copy
/// where every model that the process opens is to be read by it.
///
/// ```
/// use longshore_model::architecture::{Architecture, Architectures};
///
/// let mut table = Architectures::built_in();
/// table.register(Architecture::new(["TideForCausalLM", "tide"]).with_facts(|reader, facts| {
///     facts.hidden_size = reader.number("hidden_size", &["tide_width"]);
/// }));
/// let config = table.parse(br#"{"architectures": ["TideForCausalLM"], "tide_width": 64}"#)?;
/// assert_eq!(config.hidden_size, Some(64));
/// assert_eq!(config.source("hidden_size").as_deref(), Some("tide_width"));
/// # Ok::<(), longshore_model::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Architectures {
    rows: Vec<Architecture>,
    /// Position of the row of each name, reduced to what is compared.
    places: BTreeMap<String, usize>,
}

impl Architectures {
    /// Returns the table of this process: the one that was [installed](Self::install), or that of this crate.
    #[must_use]
    pub fn known() -> &'static Self {
        TABLE.get_or_init(build)
    }

    /// Makes this table the one of the process. Whatever opens, imports or exports a model reads its `config.json` by this table
    /// from now on.
    ///
    /// ```
    /// use longshore_model::{ModelConfig, architecture::{Architecture, Architectures}};
    ///
    /// let mut table = Architectures::built_in();
    /// table.register(Architecture::new(["TideForCausalLM"]).with_runtime("tide-engine"));
    /// table.install().expect("nothing has read a configuration before");
    /// assert!(Architectures::known().find("TideForCausalLM").is_some());
    /// ```
    ///
    /// # Errors
    ///
    /// The table itself, if the process has read a configuration or has installed a table before: models that are open
    /// already were read by that one.
    pub fn install(self) -> Result<(), Self> {
        TABLE.set(self)
    }

    /// Builds a copy of the table of this crate. In contrast to [`Architectures::known`], it does not settle the table of the process.
    #[must_use]
    pub fn built_in() -> Self {
        build()
    }

    /// Adds an architecture. Its names stand for it from now on, also those that stood for another.
    pub fn register(&mut self, architecture: Architecture) {
        let place = self.rows.len();
        self.places.extend(architecture.names.iter().map(|name| (plain(name), place)));
        self.rows.push(architecture);
    }

    /// Finds the architecture of a class or of a `model_type`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Architecture> {
        self.rows.get(*self.places.get(&plain(name))?)
    }

    /// Iterates over the architectures that some name stands for, in the order of these names.
    pub fn iter(&self) -> impl Iterator<Item = &Architecture> {
        let mut places: Vec<_> = self.places.iter().collect();
        // Of the names of one row, only the first counts.
        let mut seen = vec![false; self.rows.len()];
        places.retain(|(_, place)| !std::mem::replace(&mut seen[**place], true));
        places.into_iter().map(|(_, place)| &self.rows[*place])
    }

    /// Finds the architecture by the first of these names that is in the table, one with facts of its own if there is one.
    pub(crate) fn of<'n>(&self, names: impl Iterator<Item = &'n str> + Clone) -> Option<&Architecture> {
        let mut found = names.filter_map(|name| self.find(name));
        let mut others = found.clone();
        found.find(|architecture| architecture.facts.is_some()).or_else(|| others.next())
    }

    /// Returns how the first of these names' architectures that names experts in a way of its own does so, or
    /// [`ExpertName::parse`].
    pub(crate) fn expert_naming<'n>(&self, names: impl Iterator<Item = &'n str>) -> ExpertNaming {
        let own = names.filter_map(|name| self.find(name)).find_map(|architecture| architecture.experts);
        own.unwrap_or(|name| ExpertName::parse(name))
    }

    fn add(&mut self, name: &str) -> &mut Architecture {
        let place = *self.places.entry(plain(name)).or_insert(self.rows.len());
        if place == self.rows.len() {
            self.rows.push(Architecture::new([name]));
        }
        &mut self.rows[place]
    }
}

fn build() -> Architectures {
    let mut table = Architectures::default();
    let mut runtime = "";
    for line in KNOWN.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some(name) = line.strip_prefix('[') {
            runtime = name.trim_end_matches(']');
            continue;
        }
        let row = table.add(line);
        if !row.names.iter().any(|name| name == line) {
            row.names.push(line.to_owned());
        }
        if row.runtimes.last().is_none_or(|last| last != runtime) {
            row.runtimes.push(runtime.to_owned());
        }
    }
    for (names, reader) in FAMILIES {
        for name in names {
            table.add(name).facts = Some(reader);
        }
    }
    for name in TRANSPOSED_FAMILIES {
        table.add(name).is_transposed = true;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_join_what_each_list_says_of_a_name() {
        let table = Architectures::known();
        let qwen = table.find("Qwen3ForCausalLM").expect("it is known");
        assert_eq!(qwen.names(), ["Qwen3ForCausalLM", "qwen3"]);
        assert_eq!(qwen.runtimes(), ["ollama", "mlx-lm"]);
        assert!(qwen.has_own_facts() && !qwen.has_transposed_experts());
        assert!(table.find("gpt_oss").is_some_and(Architecture::has_transposed_experts));
        assert!(table.find("NoSuchForCausalLM").is_none());
        let names: Vec<_> = table.iter().map(|row| plain(&row.names()[0])).collect();
        assert!(names.is_sorted() && names.len() > 100, "{names:?}");
    }

    #[test]
    fn a_programs_own_row_stands_before() {
        let mut table = Architectures::known().clone();
        let count = table.iter().count();
        table.register(Architecture::new(["qwen3"]).with_runtime("own").with_transposed_experts());
        assert_eq!(table.find("Qwen3ForCausalLM").map(|row| row.runtimes().to_vec()), Some(vec!["own".to_owned()]));
        assert_eq!(table.iter().count(), count);
        assert_eq!(Architectures::known().find("qwen3").map(|row| row.runtimes().len()), Some(2));
    }
}
