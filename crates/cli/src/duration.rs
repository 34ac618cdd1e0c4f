//! Times as they are typed: `10m`.

use std::time::Duration;

const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 60 * 60), ('d', 24 * 60 * 60)];

/// Reads a whole number and one of the letters s, m, h and d.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let seconds = UNITS.iter().find_map(|(unit, seconds)| {
        let number = text.strip_suffix(*unit).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))?;
        number.parse::<u64>().ok()?.checked_mul(*seconds)
    });
    seconds.map(Duration::from_secs).ok_or_else(|| "expected a whole number and s, m, h or d, such as 10m".into())
}

/// The shortest text that is read as this time.
pub(crate) fn text(time: Duration) -> String {
    let seconds = time.as_secs();
    let (unit, length) = UNITS.iter().rev().find(|(_, length)| seconds.is_multiple_of(*length)).unwrap_or(&UNITS[0]);
    if seconds == 0 { "0s".into() } else { format!("{}{unit}", seconds / length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (given, seconds, shown) in
            [("0s", 0, "0s"), ("10m", 600, "10m"), ("1h", 3600, "1h"), ("2d", 172_800, "2d"), ("90s", 90, "90s")]
        {
            assert_eq!(parse(given), Ok(Duration::from_secs(seconds)), "{given}");
            assert_eq!(text(Duration::from_secs(seconds)), shown);
        }
        assert_eq!(parse("0d").map(text), Ok("0s".into()));
        assert_eq!(parse("120m").map(text), Ok("2h".into()));
        for wrong in [
            "",
            "s",
            "10",
            "1w",
            "-1s",
            "+1s",
            "1.5h",
            " 1s",
            "1 s",
            "1hs",
            "99999999999999999999s",
            "999999999999999999d",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
