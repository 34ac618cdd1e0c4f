//! Numbers for people.

use std::time::Duration;

/// A size with three digits and a binary unit: `4.05 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = to_f64(bytes) / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// A count with three digits and a letter: `7.24 B`.
pub(crate) fn count(number: u64) -> String {
    const UNITS: [&str; 4] = ["k", "M", "B", "T"];
    if number < 1000 {
        return number.to_string();
    }
    let mut value = to_f64(number) / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// A time: `1.24 s`, `36.1 ms`, `820 µs`.
pub(crate) fn seconds(value: f64) -> String {
    match value {
        v if v >= 0.9995 => format!("{} s", three_digits(v)),
        v if v >= 0.000_999_5 => format!("{} ms", three_digits(v * 1e3)),
        v => format!("{} µs", three_digits(v * 1e6)),
    }
}

/// A time left or an age: `12 s`, `3 min`, `5 h`, `2 days`, rounded down.
pub(crate) fn clock(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min", s / 60),
        s @ 3600..86_400 => format!("{} h", s / 3600),
        s => plural(usize::try_from(s / 86_400).unwrap_or(usize::MAX), "day"),
    }
}

pub(crate) fn three_digits(value: f64) -> String {
    match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

/// A count as a float: exact to 2^53, near enough for people above.
#[expect(clippy::cast_precision_loss, reason = "what is printed has three digits")]
pub(crate) fn to_f64(number: u64) -> f64 {
    number as f64
}

/// `1 tensor`, `2 tensors`.
pub(crate) fn plural(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1_023_488, "0.98 MiB"),
            (4_348_654_387, "4.05 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (number, text) in [(999, "999"), (1000, "1.00 k"), (7_241_732_096, "7.24 B"), (999_600, "1.00 M")] {
            assert_eq!(count(number), text);
        }
        for (value, text) in [(1.0, "1.00 s"), (0.0361, "36.1 ms"), (0.00082, "820 µs"), (62.0, "62.0 s")] {
            assert_eq!(seconds(value), text);
        }
        for (time, text) in
            [(0, "0 s"), (59, "59 s"), (61, "1 min"), (7200, "2 h"), (86_400, "1 day"), (172_800, "2 days")]
        {
            assert_eq!(clock(Duration::from_secs(time)), text);
        }
    }
}
