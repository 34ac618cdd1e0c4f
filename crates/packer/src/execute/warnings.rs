//! What quantization lost, in words.

use longshore_quant::EncodeStats;

/// What a user should know of a tensor that was quantized; nothing of one that fits its scheme.
pub(super) fn of(tensor: &str, stats: &EncodeStats) -> Vec<String> {
    let counts = [
        (stats.non_finite, "elements that are infinite or NaN, and spoil their groups"),
        (stats.overflowed_groups, "groups too large for the scheme, which decode to infinities, NaNs or noise"),
        (stats.clipped_groups, "groups clipped to the largest value of the scheme"),
        (stats.zeroed_groups, "groups that underflow to zero"),
    ];
    let found = counts.into_iter().filter(|(count, _)| *count > 0);
    found.map(|(count, what)| format!("tensor {tensor:?}: {what}: {count}")).collect()
}

/// What is said of codes that were NaN by mistake.
pub(super) fn mended(tensor: &str, count: u64) -> String {
    format!(
        "tensor {tensor:?}: codes that MLX before 0.32.2 wrote for its largest weights, and that later versions read as NaN: {count}; they became 448"
    )
}
