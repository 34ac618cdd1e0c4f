//! Check that a table can be made for each model without one.

use std::collections::HashSet;

use super::{
    super::Store,
    Bad, Problem, Reached,
    outcome::{chain, distinct},
};

impl Store {
    /// Adds the first problem that keeps each model of another program from being read. Blobs that are already reported
    /// as bad are not reported again.
    pub(super) fn check_foreign(&self, models: &[Reached], bad: &mut Vec<Bad>) {
        let known: HashSet<_> = bad.iter().filter_map(|bad| bad.digest).collect();
        for model in models {
            let Some(config) = model.config.as_ref().filter(|config| config.longshore.is_none()) else { continue };
            let Err(error) = self.read_table(config, &model.manifest) else { continue };
            let digest = error.digest();
            if digest.is_some_and(|digest| known.contains(&digest)) || !self.still_reaches(model) {
                continue;
            }
            let layers = model.manifest.layers.iter().filter(|layer| Some(layer.digest) == digest);
            let names = distinct(layers.filter_map(|layer| layer.name.clone()));
            bad.push(Bad { digest, problem: Problem::Tensors(chain(&error)), names, models: vec![model.name.clone()] });
        }
    }
}
