//! SHA-256 digests of whole blobs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};
use sha2::Digest as _;

/// SHA-256 of a blob's bytes, written as `sha256:` and 64 lower-case hexadecimal digits.
///
/// A digest is made only from 32 bytes, by hashing, or by parsing. A file name made from a digest therefore never
/// leaves its directory.
///
/// ```
/// use longshore_manifest::Digest;
///
/// let digest = Digest::of(b"");
/// assert_eq!(digest.to_string(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
/// assert_eq!(digest.to_string().parse::<Digest>()?, digest);
/// # Ok::<(), longshore_manifest::DigestError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text that is not a [`Digest`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a digest: expected `sha256:` and 64 lower-case hexadecimal digits")]
#[non_exhaustive]
pub struct DigestError {
    /// The text, cut to its first 100 characters.
    pub found: String,
}

/// Hasher that takes a blob piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Digest {
    /// Hashes `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Parses `sha256:` and 64 hexadecimal digits.
    pub(crate) fn of_text(text: &[u8]) -> Option<Self> {
        parse_hex(text.strip_prefix(b"sha256:")?)
    }

    /// Returns the 32 bytes of the digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the name of the blob's file: `sha256-` and 64 hexadecimal digits.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("sha256-{}", Hex(&self.0))
    }

    /// Returns the digest of the blob whose file is called `name`, or `None` if no blob has such a file name.
    #[must_use]
    pub fn from_file_name(name: &str) -> Option<Self> {
        parse_hex(name.strip_prefix("sha256-")?.as_bytes())
    }

    /// Returns the first 12 hexadecimal digits, to show to people.
    #[must_use]
    pub fn short(&self) -> String {
        Hex(&self.0[..6]).to_string()
    }
}

impl Hasher {
    /// Adds the next bytes of the blob.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of all bytes that were added.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // Writes the whole text at once, because a model may have tens of thousands of blobs.
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(str::from_utf8(&text[..2 * self.0.len()]).expect("hexadecimal digits are ASCII"))
    }
}

/// Parses 64 hexadecimal digits. Both loops are without branches, so that the compiler turns them into instructions on many digits at once: a store
/// may name a million blobs.
fn parse_hex(text: &[u8]) -> Option<Digest> {
    /// A value that is no digit's: it has bits outside of a digit's four.
    const NONE: u8 = 0xff;
    let digits: &[u8; 64] = text.try_into().ok()?;
    let value = |byte: u8| {
        let (decimal, letter) = (byte.wrapping_sub(b'0'), byte.wrapping_sub(b'a'));
        let letter = if letter < 6 { letter + 10 } else { NONE };
        if decimal < 10 { decimal } else { letter }
    };
    let values = digits.map(value);
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(values.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1] & 15;
    }
    (values.iter().fold(0, |seen, value| seen | value) < 16).then_some(Digest(bytes))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", Hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::of_text(text.as_bytes()).ok_or_else(|| DigestError { found: text.chars().take(100).collect() })
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A visitor borrows the text from the document, which may hold tens of thousands of digests.
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Digest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a digest")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_text_parses() {
        let hex = "ab".repeat(32);
        assert!(format!("sha256:{hex}").parse::<Digest>().is_ok());
        for bad in [
            String::new(),
            hex.clone(),
            format!("sha256-{hex}"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{hex}0"),
            format!("sha256:{}", &hex[1..]),
            format!("sha512:{hex}"),
            format!("sha256:../{}", &hex[3..]),
            format!("sha256:{}é", &hex[2..]),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_byte_is_a_digit_or_refused() {
        for byte in 0..=255 {
            let digit = (0..).zip(b"0123456789abcdef").find(|(_, digit)| **digit == byte).map(|(value, _)| value);
            for at in [0, 1, 30, 63] {
                let mut text = [b'0'; 64];
                text[at] = byte;
                let found = parse_hex(&text);
                assert_eq!(found.is_some(), digit.is_some(), "{byte}");
                let (Some(found), Some(digit)) = (found, digit) else { continue };
                let mut bytes = [0; 32];
                bytes[at / 2] = if at % 2 == 0 { digit << 4 } else { digit };
                assert_eq!(found.as_bytes(), &bytes, "{byte} at {at}");
            }
        }
    }

    #[test]
    fn file_names_round_trip() {
        let digest = Digest::of(b"longshore");
        assert_eq!(Digest::from_file_name(&digest.file_name()), Some(digest));
        assert_eq!(Digest::from_file_name("sha256-xyz"), None);
        assert_eq!(Digest::from_file_name("lease"), None);
    }
}
