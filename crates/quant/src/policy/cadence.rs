//! Cadences: sensitive layers of a model by their position.

/// Largest factor, divisor, offset or step that a policy may write.
const MAX_NUMBER: u64 = 1_000_000;

/// The sensitive layers of a model: some first layers, some last layers, and layers at regular steps between.
#[derive(Debug, Clone)]
pub(super) struct Cadence {
    /// Layers before this index are sensitive.
    pub(super) first: Linear,
    /// Layers from this index on are sensitive.
    pub(super) last: Linear,
    /// End of the range, from `first` on, in which one layer per step is sensitive. Defaults to `last`.
    pub(super) middle_end: Option<Linear>,
    /// Number of layers per step; not zero.
    pub(super) every: u64,
    /// Index within each step of the sensitive layer, from 0.
    pub(super) at: u64,
    /// Number of layers of a model whose configuration does not give it.
    pub(super) layers: Option<u64>,
    /// Whether only a number of layers counts that the configuration states in `num_hidden_layers`.
    pub(super) needs_stated: bool,
}

impl Cadence {
    /// Returns true where `layer` is sensitive in a model of `layers` layers. Returns false where either is unknown.
    pub(super) fn holds(&self, layer: Option<u64>, layers: Option<u64>) -> bool {
        let (Some(layer), Some(layers)) = (layer, layers.or(self.layers).filter(|&layers| layers > 0)) else {
            return false;
        };
        let (at, first, last) = (i128::from(layer), self.first.of(layers), self.last.of(layers));
        let middle_end = self.middle_end.map_or(last, |end| end.of(layers));
        let every = i128::from(self.every);
        at < first || at >= last || (at < middle_end && (at - first).rem_euclid(every) == i128::from(self.at))
    }
}

/// A linear term `factor × n / divisor + offset`, where n is the number of layers. The division rounds down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Linear {
    factor: u64,
    divisor: u64,
    offset: i64,
}

impl Linear {
    /// Parses a number, or a term such as `7n/8` or `n/2-4`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text: String = text.chars().filter(|c| *c != ' ').collect();
        let Some((factor, rest)) = text.split_once('n') else {
            return Some(Self { factor: 0, divisor: 1, offset: number(&text)?.cast_signed() });
        };
        let factor = if factor.is_empty() { 1 } else { number(factor)? };
        let sign = rest.find(['+', '-']).unwrap_or(rest.len());
        let (divisor, offset) = rest.split_at(sign);
        let divisor = match divisor.strip_prefix('/') {
            Some(divisor) => number(divisor).filter(|&divisor| divisor > 0)?,
            None if divisor.is_empty() => 1,
            None => return None,
        };
        let offset = match offset.split_at_checked(1) {
            Some(("-", offset)) => -number(offset)?.cast_signed(),
            Some((_, offset)) => number(offset)?.cast_signed(),
            None => 0,
        };
        Some(Self { factor, divisor, offset })
    }

    fn of(self, n: u64) -> i128 {
        // A factor has at most 20 bits, so the product with a `u64` stays far below 2^127.
        i128::from(n) * i128::from(self.factor) / i128::from(self.divisor) + i128::from(self.offset)
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&number| digits && number <= MAX_NUMBER)
}

/// Returns the number after the first `layers` in a tensor's name: 5 in `model.layers.5.mlp.up_proj.weight`.
pub(super) fn layer(name: &str) -> Option<u64> {
    let mut segments = name.split('.').peekable();
    while let Some(segment) = segments.next() {
        let Some(next) = segments.peek().filter(|_| segment == "layers") else { continue };
        if next.bytes().all(|byte| byte.is_ascii_digit()) && !next.is_empty() {
            return next.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(text: &str) -> Linear {
        Linear::parse(text).expect("it is linear")
    }

    fn promoted(middle_end: Option<&str>, layers: u64) -> Vec<u64> {
        let cadence = Cadence {
            first: linear("n/8"),
            last: linear("7n/8"),
            middle_end: middle_end.map(linear),
            every: 3,
            at: 2,
            layers: None,
            needs_stated: false,
        };
        (0..layers).filter(|&layer| cadence.holds(Some(layer), Some(layers))).collect()
    }

    /// All rows of §3.4 of the specification of ollama's rules.
    #[test]
    fn the_layers_that_ollama_promotes() {
        assert_eq!(promoted(None, 30), [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 27, 28, 29]);
        assert_eq!(promoted(None, 32), [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]);
        assert_eq!(promoted(None, 40), [0, 1, 2, 3, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31, 34, 35, 36, 37, 38, 39]);
        let middle = |from: u64, to: u64| (from..to).step_by(3);
        assert_eq!(promoted(None, 48), (0..6).chain(middle(8, 42)).chain(42..48).collect::<Vec<_>>()[..]);
        assert_eq!(promoted(None, 52), (0..6).chain(middle(8, 45)).chain(45..52).collect::<Vec<_>>()[..]);
        assert_eq!(promoted(Some("n/2-4"), 40), [0, 1, 2, 3, 4, 7, 10, 13, 35, 36, 37, 38, 39]);
    }

    #[test]
    fn a_position_needs_a_layer_and_their_number() {
        let mut cadence = Cadence {
            first: linear("n"),
            last: linear("n"),
            middle_end: None,
            every: 1,
            at: 0,
            layers: None,
            needs_stated: false,
        };
        assert!(cadence.holds(Some(0), Some(1)));
        assert!(cadence.holds(Some(u64::MAX), Some(u64::MAX)));
        for (layer, layers) in [(None, Some(40)), (Some(0), None), (Some(0), Some(0))] {
            assert!(!cadence.holds(layer, layers));
        }
        cadence.layers = Some(40);
        assert!(cadence.holds(Some(0), None));
    }

    #[test]
    fn linear_terms() {
        assert_eq!(linear("7n/8").of(30), 26);
        assert_eq!(linear("n / 2 - 4").of(40), 16);
        assert_eq!(linear("n+1").of(2), 3);
        assert_eq!(linear("n").of(u64::MAX), i128::from(u64::MAX));
        assert_eq!(linear("12").of(40), 12);
        for text in ["", "n/0", "x", "n*2", "n/", "n-", "+n", "-1", "n/2/2", "9999999n", "n/+2", "nn", "é"] {
            assert_eq!(Linear::parse(text), None, "{text}");
        }
    }

    #[test]
    fn layers_in_names() {
        for (name, expected) in [
            ("model.layers.5.mlp.up_proj.weight", Some(5)),
            ("layers.12.mlp", Some(12)),
            ("encoder.layers.weight.layers.3.x", Some(3)),
            ("model.layers.x.weight", None),
            ("model.layers", None),
            ("model.layers..x", None),
            ("model.layers.99999999999999999999.x", None),
            ("model.my_layers.3.x", None),
            ("", None),
        ] {
            assert_eq!(layer(name), expected, "{name}");
        }
    }
}
