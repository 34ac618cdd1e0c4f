//! Measures times and formats them.

use std::time::{Duration, Instant};

/// Runs `work`. Returns the elapsed time and the result of `work`.
///
/// # Errors
///
/// The error of `work`.
pub fn time<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(Duration, T)> {
    let started = Instant::now();
    let answer = work()?;
    Ok((started.elapsed(), answer))
}

/// Median of `times`, in seconds.
#[must_use]
pub fn median(times: &[Duration]) -> f64 {
    let mut times: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Formats times and the rate for `bytes` as `label 1.234 s (0.9 … 1.5) 3.21 GB/s`.
#[must_use]
pub fn line(label: &str, times: &[Duration], bytes: u64) -> String {
    let seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    let least = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let most = seconds.iter().copied().fold(0.0, f64::max);
    let middle = median(times);
    #[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
    let rate = bytes as f64 / 1e9 / middle;
    format!("{label:<44} {middle:>9.4} s  ({least:.4} … {most:.4})  {rate:>7.2} GB/s")
}
