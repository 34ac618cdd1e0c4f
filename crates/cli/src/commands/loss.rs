//! What quantization lost, for reports.

use longshore_manifest::document::Loss;
use serde::Serialize;

/// The loss of one tensor as JSON documents have it. A ratio is null where nothing is lost, or all weights are zero.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Lost {
    max_abs: f64,
    relative_rmse: Option<f64>,
    sqnr_db: Option<f64>,
    zeroed_groups: u64,
}

impl From<&Loss> for Lost {
    fn from(loss: &Loss) -> Self {
        Self {
            max_abs: loss.max_abs,
            relative_rmse: loss.relative_rmse,
            sqnr_db: loss.sqnr_db(),
            zeroed_groups: loss.zeroed_groups,
        }
    }
}

impl Lost {
    /// The ratio, and what else a reader should know.
    pub(super) fn describe(self) -> String {
        let ratio = ratio_of(self.relative_rmse, self.sqnr_db);
        if self.zeroed_groups == 0 { ratio } else { format!("{ratio}, {} groups zeroed", self.zeroed_groups) }
    }
}

/// The relative error of a tensor, and the same in decibels.
pub(super) fn ratio(loss: &Loss) -> String {
    ratio_of(loss.relative_rmse, loss.sqnr_db())
}

fn ratio_of(relative_rmse: Option<f64>, sqnr_db: Option<f64>) -> String {
    match (relative_rmse, sqnr_db) {
        (Some(rmse), Some(db)) => format!("{:.3} % ({db:.1} dB)", rmse * 100.0),
        _ => "nothing".into(),
    }
}
