//! The model that statistics were recorded on, as their file states it.

use std::{collections::BTreeMap, path::Path};

use longshore_manifest::{Digest, document::Scaled};

/// What a file of statistics says of the model that ran.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Recorded {
    /// Digest of the stored model.
    model: Option<Digest>,
    basis: Basis,
    columns: Columns,
}

/// Factors that the columns of a model had.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Columns {
    /// These, or none.
    Stated(Option<Scaled>),
    /// The file does not say.
    Unstated,
}

/// The basis that the residual stream of a model was in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Basis {
    /// That of the checkpoint.
    Plain,
    /// That of a rotation with this seed.
    Rotated(u64),
    /// That of a rotation whose seed is not stated.
    OfSomeSeed,
    /// The file does not say.
    Unstated,
}

/// The weights that statistics are to be used for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weighed {
    /// Digest of the stored model.
    pub(crate) model: Option<Digest>,
    /// Seed of the rotation of the residual stream.
    pub(crate) seed: Option<u64>,
    /// Whether the import makes the rotation, and the source has none.
    pub(crate) is_made: bool,
    /// Factors that the columns of the source have.
    pub(crate) awq: Option<Scaled>,
}

/// The statistics are of weights in another basis.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OtherBasis {
    pub(crate) found: String,
    pub(crate) expected: String,
}

/// Hint for statistics of weights in another basis.
pub(crate) const OTHER_BASIS: &str = "calibrate a stored model of the same rotation and factors by its name: import SOURCE NAME --rotate SEED, then calibrate NAME";

impl Recorded {
    /// A file that states nothing.
    pub(crate) const NOTHING: Self = Self { model: None, basis: Basis::Unstated, columns: Columns::Unstated };

    /// Reads the metadata of a file. What is not as a calibration writes it counts as not stated.
    pub(crate) fn of(metadata: &BTreeMap<String, String>) -> Self {
        let model = metadata.get("model").and_then(|model| serde_json::from_str(model).ok());
        let basis = match metadata.get("rotated").map(String::as_str) {
            Some("false") => Basis::Plain,
            // Earlier versions did not write the seed.
            Some("true") => Basis::OfSomeSeed,
            Some(seed) => seed.parse().map_or(Basis::Unstated, Basis::Rotated),
            None => Basis::Unstated,
        };
        let awq = metadata.get("awq").and_then(|awq| serde_json::from_str(awq).ok());
        Self { model, basis, columns: awq.map_or(Columns::Unstated, Columns::Stated) }
    }

    /// Checks that the statistics in `path` are of the basis of some weights. Returns warnings: a basis that is not known, and
    /// another model.
    pub(crate) fn check(&self, path: &Path, weights: Weighed) -> Result<Vec<String>, OtherBasis> {
        let is_same = self.model.is_some() && self.model == weights.model;
        let mut warnings = Vec::new();
        match (self.basis, weights.seed) {
            (Basis::Plain | Basis::Unstated, None) => {}
            (Basis::Rotated(found), Some(seed)) if found == seed => {}
            (Basis::OfSomeSeed, Some(_)) if is_same && !weights.is_made => {}
            (Basis::Unstated, Some(_)) if !weights.is_made => {
                warnings.push(format!(
                    "{} does not say whether it was recorded on a rotated model, and the weights are rotated",
                    path.display()
                ));
            }
            (_, seed) => return Err(OtherBasis { found: self.basis.to_string(), expected: basis(seed).to_string() }),
        }
        match self.columns {
            Columns::Stated(found) if found != weights.awq => {
                return Err(OtherBasis { found: scaled(found), expected: scaled(weights.awq) });
            }
            Columns::Unstated if weights.awq.is_some() && !is_same => warnings.push(format!(
                "{} does not say whether it was recorded on a model whose columns have factors, and those of the weights have",
                path.display()
            )),
            _ => {}
        }
        // The source of a rotation is never what was calibrated for it.
        if let (Some(found), Some(own)) = (self.model, weights.model)
            && !is_same
            && !weights.is_made
        {
            warnings.push(format!("{} was recorded with the model {found}, and the source is {own}", path.display()));
        }
        Ok(warnings)
    }
}

fn basis(seed: Option<u64>) -> Basis {
    seed.map_or(Basis::Plain, Basis::Rotated)
}

fn scaled(awq: Option<Scaled>) -> String {
    match awq {
        None => "without factors of columns".to_owned(),
        Some(awq) => format!("with factors of columns to the power {}, by {}", awq.power, awq.statistics),
    }
}

impl std::fmt::Display for Basis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain => f.write_str("not rotated"),
            Self::Rotated(seed) => write!(f, "rotated by seed {seed}"),
            Self::OfSomeSeed => f.write_str("rotated by a seed that the file does not state"),
            Self::Unstated => f.write_str("rotated or not, which the file does not state"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(rotated: Option<&str>, model: Option<Digest>) -> Recorded {
        let mut metadata = BTreeMap::new();
        metadata.extend(rotated.map(|rotated| ("rotated".to_owned(), rotated.to_owned())));
        metadata.extend(model.map(|model| ("model".to_owned(), format!("\"{model}\""))));
        Recorded::of(&metadata)
    }

    /// Whether a file is taken without a warning, with one, or refused.
    fn taken(recorded: Recorded, weights: Weighed) -> Option<usize> {
        recorded.check(Path::new("f"), weights).ok().map(|warnings| warnings.len())
    }

    #[test]
    fn only_statistics_of_the_same_basis_are_taken() {
        let weights = |seed, is_made| Weighed { model: None, seed, is_made, awq: None };
        for is_made in [false, true] {
            let rotated = weights(Some(7), is_made);
            assert_eq!(taken(recorded(Some("7"), None), rotated), Some(0));
            for other in ["8", "false", "true"] {
                assert_eq!(taken(recorded(Some(other), None), rotated), None, "{other}");
            }
            assert_eq!(taken(recorded(None, None), rotated), if is_made { None } else { Some(1) });
        }
        let plain = weights(None, false);
        for (rotated, expected) in
            [(None, Some(0)), (Some("false"), Some(0)), (Some("true"), None), (Some("7"), None), (Some("x"), Some(0))]
        {
            assert_eq!(taken(recorded(rotated, None), plain), expected, "{rotated:?}");
        }
        let error = recorded(Some("7"), None).check(Path::new("f"), weights(Some(8), true)).expect_err("another");
        assert_eq!((&*error.found, &*error.expected), ("rotated by seed 7", "rotated by seed 8"));
    }

    /// A file of an earlier version names the model, which has one seed.
    #[test]
    fn a_seed_that_is_not_stated_is_that_of_the_model() {
        let [one, other] = [b"one", b"two"].map(|bytes| Digest::of(bytes));
        let found = recorded(Some("true"), Some(one));
        let weights = |model, is_made| Weighed { model: Some(model), seed: Some(7), is_made, awq: None };
        assert_eq!(taken(found, weights(one, false)), Some(0));
        assert_eq!(taken(found, weights(other, false)), None);
        assert_eq!(taken(found, weights(one, true)), None);
    }

    #[test]
    fn only_statistics_of_the_same_factors_are_taken() {
        let [one, other] = [b"one", b"two"].map(|bytes| Digest::of(bytes));
        let [near, far] = [0.25, 0.5].map(|power| Some(Scaled::new(power, one)));
        let recorded = |awq: Option<Option<Scaled>>, model| {
            let stated = awq.map(|awq| serde_json::to_string(&awq).expect("it is a record"));
            let mut metadata: BTreeMap<_, _> = stated.map(|awq| ("awq".to_owned(), awq)).into_iter().collect();
            metadata.insert("model".to_owned(), format!("\"{model}\""));
            Recorded::of(&metadata)
        };
        let weights = |awq| Weighed { model: Some(one), seed: None, is_made: false, awq };
        for awq in [None, near] {
            assert_eq!(taken(recorded(Some(awq), one), weights(awq)), Some(0));
            assert_eq!(taken(recorded(Some(far), one), weights(awq)), None);
            assert_eq!(taken(recorded(None, one), weights(awq)), Some(0));
        }
        assert_eq!(taken(recorded(Some(None), one), weights(near)), None);
        // Another model, and a file of an earlier version that tells nothing of factors.
        assert_eq!(taken(recorded(None, other), weights(near)), Some(2));
        let error = recorded(Some(far), one).check(Path::new("f"), weights(None)).expect_err("it has factors");
        assert!(error.found.starts_with("with factors of columns to the power 0.5"), "{error:?}");
        assert_eq!(error.expected, "without factors of columns");
    }

    #[test]
    fn another_model_is_warned_of() {
        let [one, other] = [b"one", b"two"].map(|bytes| Digest::of(bytes));
        let weights = |seed, is_made| Weighed { model: Some(one), seed, is_made, awq: None };
        assert_eq!(taken(recorded(Some("false"), Some(one)), weights(None, false)), Some(0));
        assert_eq!(taken(recorded(Some("false"), Some(other)), weights(None, false)), Some(1));
        assert_eq!(taken(recorded(Some("7"), Some(other)), weights(Some(7), true)), Some(0));
        let text = BTreeMap::from([("model".to_owned(), "\"no digest\\u001b\"".to_owned())]);
        assert_eq!(Recorded::of(&text), Recorded::NOTHING);
    }
}
