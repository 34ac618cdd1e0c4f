//! Choosing a scheme for each tensor by measured losses, under a budget of bytes, and writing the choice as a policy.

use std::{cmp::Ordering, collections::BTreeMap, fmt::Write as _};

use crate::Scheme;

/// What a tensor costs and loses in one scheme.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offer {
    /// The scheme; `None` keeps the tensor as it is.
    pub scheme: Option<Scheme>,
    /// Bytes of all its parts.
    pub bytes: u64,
    /// The loss, in a unit that all tensors share. Not negative.
    pub loss: f64,
}

/// Chooses one offer of each tensor, so that all together cost at most `budget` bytes. Returns the places of the chosen
/// offers, and `None` if the cheapest cost more.
///
/// All tensors begin with their cheapest offer. Of the steps to better ones, those are taken first that lower the loss most
/// for each byte; steps that the rest of the budget does not allow are passed over. Offers that lose more than a mixture of two
/// others of the same cost are not considered. Ties go to the tensor that comes first.
///
/// # Panics
///
/// Panics if a tensor has no offer.
#[must_use]
pub fn choose(tensors: &[Vec<Offer>], budget: u64) -> Option<Vec<usize>> {
    let hulls: Vec<Vec<usize>> = tensors.iter().map(|offers| hull(offers)).collect();
    let cheapest = |hull: &Vec<usize>| *hull.first().expect("every tensor has an offer");
    let mut chosen: Vec<usize> = hulls.iter().map(cheapest).collect();
    let spent = chosen.iter().zip(tensors).map(|(at, offers)| offers[*at].bytes).fold(0, u64::saturating_add);
    let mut left = budget.checked_sub(spent)?;
    let mut steps: Vec<(f64, usize, usize)> = Vec::new();
    for (tensor, (hull, offers)) in hulls.iter().zip(tensors).enumerate() {
        for (at, pair) in hull.windows(2).enumerate() {
            steps.push((-slope(&offers[pair[0]], &offers[pair[1]]), tensor, at));
        }
    }
    steps.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    for (_, tensor, at) in steps {
        let (hull, offers) = (&hulls[tensor], &tensors[tensor]);
        // A step that was passed over bars those after it.
        let more = offers[hull[at + 1]].bytes - offers[hull[at]].bytes;
        if chosen[tensor] == hull[at] && more <= left {
            (chosen[tensor], left) = (hull[at + 1], left - more);
        }
    }
    Some(chosen)
}

/// The offers on the lower convex hull of losses over bytes, the cheapest first.
fn hull(offers: &[Offer]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..offers.len()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (&offers[*a], &offers[*b]);
        a.bytes.cmp(&b.bytes).then(a.loss.partial_cmp(&b.loss).unwrap_or(Ordering::Equal))
    });
    let mut hull: Vec<usize> = Vec::new();
    for at in order {
        let is_worse = |last: &usize| offers[*last].loss <= offers[at].loss;
        if hull.last().is_some_and(is_worse) {
            continue;
        }
        while let [.., before, last] = *hull {
            if slope(&offers[before], &offers[last]) < slope(&offers[last], &offers[at]) {
                break;
            }
            hull.pop();
        }
        hull.push(at);
    }
    hull
}

/// The change of the loss for each byte from one offer to a dearer one.
fn slope(from: &Offer, to: &Offer) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a ratio of bytes")]
    let bytes = to.bytes.saturating_sub(from.bytes).max(1) as f64;
    (to.loss - from.loss) / bytes
}

/// Writes a policy that gives every named tensor its scheme. `description` is one line.
#[must_use]
pub fn text<'t>(description: &str, chosen: impl IntoIterator<Item = (&'t str, Option<Scheme>)>) -> String {
    let mut by_scheme: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, scheme) in chosen {
        // With its group, whatever group is requested.
        let action = scheme.map_or_else(
            || "keep".to_owned(),
            |scheme| {
                let group = if scheme.is_affine() { format!("-g{}", scheme.group_size()) } else { String::new() };
                format!("{}{group}", scheme.quant_type())
            },
        );
        by_scheme.entry(action).or_default().push(name);
    }
    let mut text = format!("description = {}\nmin_elements = 1\n", quoted(description));
    for (action, names) in by_scheme {
        text.push_str("\n[[rule]]\nname = [\n");
        for name in names {
            let _ = writeln!(text, "    {},", quoted(name));
        }
        let _ = writeln!(text, "]\naction = \"{action}\"\nreason = \"fitted: {action}\"");
    }
    text
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policy, Query};

    fn offers(numbers: &[(u64, f64)]) -> Vec<Offer> {
        let schemes = [Some(Scheme::INT4), Some(Scheme::INT8), None];
        let offers = numbers.iter().zip(schemes.into_iter().cycle());
        offers.map(|((bytes, loss), scheme)| Offer { scheme, bytes: *bytes, loss: *loss }).collect()
    }

    #[test]
    fn bytes_go_where_they_help_most() {
        let tensors = [offers(&[(10, 1.0), (20, 0.1), (40, 0.0)]), offers(&[(100, 2.0), (200, 0.2), (400, 0.0)])];
        let chosen = |budget| choose(&tensors, budget);
        assert_eq!(chosen(109), None);
        assert_eq!(chosen(110), Some(vec![0, 0]));
        assert_eq!(chosen(119), Some(vec![0, 0]));
        assert_eq!(chosen(120), Some(vec![1, 0]));
        // The larger step is passed over, and a smaller one is taken.
        assert_eq!(chosen(150), Some(vec![2, 0]));
        assert_eq!(chosen(220), Some(vec![1, 1]));
        assert_eq!(chosen(u64::MAX), Some(vec![2, 2]));
    }

    #[test]
    fn offers_above_the_hull_are_left_out() {
        let all = offers(&[(10, 1.0), (20, 0.95), (30, 0.0), (40, 0.5), (30, 0.1)]);
        assert_eq!(hull(&all), [0, 2]);
        assert_eq!(hull(&offers(&[(10, 0.0)])), [0]);
    }

    #[test]
    fn the_text_is_a_policy() {
        let schemes = [("a.weight", Some(Scheme::INT4)), ("b.weight", None), ("c.weight", "int5-g32".parse().ok())];
        let policy = Policy::parse(&text("4.60 \"bits\"", schemes), "fitted").expect("it is one");
        assert_eq!(policy.description(), "4.60 \"bits\"");
        for (name, scheme) in schemes {
            assert_eq!(policy.decide(&Query::new(name, &[4, 64]), Some(Scheme::INT8)).scheme, scheme, "{name}");
        }
        assert_eq!(policy.decide(&Query::new("d.weight", &[4, 64]), Some(Scheme::INT8)).scheme, None);
    }
}
