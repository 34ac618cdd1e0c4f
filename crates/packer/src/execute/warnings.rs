//! Warnings about losses of quantization.

use longshore_quant::EncodeStats;

/// Number of tensors up to which each gets its own line for the same warning. More tensors share one line.
const APART: usize = 3;

/// A warning about one tensor.
#[derive(Debug)]
pub(super) struct Warning {
    /// Name of the tensor.
    tensor: String,
    /// Description of the things that `count` counts.
    what: &'static str,
    count: u64,
    /// Text that follows the count.
    remark: &'static str,
}

/// Warnings about a tensor that was quantized. There are none if the tensor fits its scheme.
pub(super) fn of(tensor: &str, stats: &EncodeStats) -> impl Iterator<Item = Warning> {
    let counts = [
        (stats.non_finite, "elements that are infinite or NaN, and spoil their groups"),
        (stats.overflowed_groups, "groups too large for the scheme, which decode to infinities, NaNs or noise"),
        (stats.clipped_groups, "groups clipped to the largest value of the scheme"),
        (stats.zeroed_groups, "groups that underflow to zero"),
    ];
    let found = counts.into_iter().filter(|(count, _)| *count > 0);
    found.map(|(count, what)| Warning { tensor: tensor.to_owned(), what, count, remark: "" })
}

/// A warning about codes that were NaN by mistake.
pub(super) fn mended(tensor: &str, count: u64) -> Warning {
    let what = "codes that MLX before 0.32.2 wrote for its largest weights, and that later versions read as NaN";
    Warning { tensor: tensor.to_owned(), what, count, remark: "; they became 448" }
}

/// Renders the warnings as one line each, in their order. A warning that applies to many tensors becomes one line, in
/// place of its first.
pub(super) fn lines(warnings: &[Warning]) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, warning) in warnings.iter().enumerate() {
        let Warning { tensor, what, count, remark } = warning;
        let alike: Vec<&Warning> = warnings.iter().filter(|other| other.what == *what).collect();
        if alike.len() <= APART {
            lines.push(format!("tensor {tensor:?}: {what}: {count}{remark}"));
        } else if warnings[..at].iter().all(|other| other.what != *what) {
            let sum = alike.iter().map(|other| other.count).fold(0, u64::saturating_add);
            let worst = alike.iter().rev().max_by_key(|other| other.count).unwrap_or(&warning);
            let (most, where_) = (worst.count, &worst.tensor);
            lines.push(format!("{} tensors: {what}: {sum}, {most} of them in {where_:?}{remark}", alike.len()));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clipped(tensor: &str, count: u64) -> Warning {
        let mut stats = EncodeStats::default();
        stats.clipped_groups = count;
        of(tensor, &stats).next().expect("there are some")
    }

    #[test]
    fn many_tensors_share_a_line() {
        let few = [clipped("a", 1), mended("b", 2), clipped("c", 3)];
        assert_eq!(lines(&few).len(), 3);
        let many = [clipped("a", 1), mended("b", 2), clipped("c", 7), clipped("d", 7), clipped("e", 4)];
        let found = lines(&many);
        assert_eq!(found[0], r#"4 tensors: groups clipped to the largest value of the scheme: 19, 7 of them in "c""#);
        assert!(
            found[1].starts_with(r#"tensor "b": codes"#) && found[1].ends_with(": 2; they became 448"),
            "{found:?}"
        );
        assert_eq!(found.len(), 2);
        assert!(lines(&[]).is_empty());
    }
}
