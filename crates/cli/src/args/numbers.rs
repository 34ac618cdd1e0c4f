//! Numbers as an argument spells them: counts, and sizes of memory.

use std::num::NonZero;

pub(super) fn parse_count(text: &str) -> Result<NonZero<usize>, String> {
    text.parse().map_err(|_| "expected a number from 1".into())
}

/// A size in bytes, with a binary unit: `512M`, `4G`, `4GiB`.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let expected = || "expected a size such as 512M or 4G".to_owned();
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match lower[digits.len()..].trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(expected()),
    };
    let number: u64 = digits.trim().parse().map_err(|_| expected())?;
    number.checked_mul(1 << shift).filter(|size| *size > 0).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        for (text, size) in [("1", 1), ("512M", 512 << 20), ("4G", 4 << 30), ("4GiB", 4 << 30), ("2 kb", 2 << 10)] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for text in ["", "G", "0", "-1", "1.5G", "4X", "99999999999G"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
