//! Sums of bytes as 64-bit words, which prove that all bytes were read, and that they are the expected ones.

use std::time::Instant;

/// Sums all words of `bytes`; zeros fill up the last word. Sums wrap around, so sums of pieces may be added in any
/// order.
#[must_use]
pub fn words(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().fold(u64::from_le_bytes(last), |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

/// Reads every byte once, on one thread. Returns a line of JSON: the time from `started` until this call (`open`) and
/// until all bytes were read (`seconds`), the number of slices, the number of their bytes, and the sum.
#[must_use]
pub fn report(started: Instant, slices: &[&[u8]]) -> String {
    let open = started.elapsed().as_secs_f64();
    let sum = slices.iter().fold(0_u64, |sum, bytes| sum.wrapping_add(words(bytes)));
    let seconds = started.elapsed().as_secs_f64();
    let bytes: usize = slices.iter().map(|bytes| bytes.len()).sum();
    let tensors = slices.len();
    format!(r#"{{"open":{open},"seconds":{seconds},"bytes":{bytes},"tensors":{tensors},"sum":"{sum:016x}"}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_filled_up() {
        assert_eq!(words(&[]), 0);
        assert_eq!(words(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 1]), 1 + 2 + 256);
        assert_eq!(words(&[0xff; 16]), u64::MAX - 1);
    }
}
