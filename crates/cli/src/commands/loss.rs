//! Loss of quantization, for reports.

use std::fmt::Write as _;

use longshore_manifest::document::Loss;
use serde::Serialize;

/// The loss of one tensor as JSON documents have it. `relative_rmse` is null where all weights are zero, `sqnr_db` also where
/// nothing is lost.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Lost {
    max_abs: f64,
    relative_rmse: Option<f64>,
    sqnr_db: Option<f64>,
    zeroed_groups: u64,
    non_finite: u64,
}

impl From<&Loss> for Lost {
    fn from(loss: &Loss) -> Self {
        let &Loss { max_abs, relative_rmse, zeroed_groups, non_finite } = loss;
        Self { max_abs, relative_rmse, sqnr_db: loss.sqnr_db(), zeroed_groups, non_finite }
    }
}

impl Lost {
    /// The ratio, and what else a reader should know.
    pub(super) fn describe(self) -> String {
        let mut text = match (self.relative_rmse, self.sqnr_db) {
            // A tensor that is lost altogether has a ratio that rounds to minus nothing.
            (Some(rmse), Some(db)) => {
                format!("{:.3} % ({:.1} dB)", rmse * 100.0, if db.abs() < 0.05 { 0.0 } else { db })
            }
            _ if self.non_finite > 0 => "not a number".into(),
            _ => "nothing".into(),
        };
        for (count, noun, what) in [(self.zeroed_groups, "group", "zeroed"), (self.non_finite, "value", "not finite")] {
            if count > 0 {
                let plural = if count == 1 { "" } else { "s" };
                let _ = write!(text, ", {count} {noun}{plural} {what}");
            }
        }
        text
    }

    /// Orders tensors by how much they lost.
    pub(super) fn rank(self) -> (bool, f64) {
        (self.non_finite > 0, self.relative_rmse.unwrap_or_default())
    }
}
