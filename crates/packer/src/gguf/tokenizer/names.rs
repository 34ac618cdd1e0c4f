//! Tokens that are told by their form.

/// The character that stands for a space in the tokens of `SentencePiece`.
pub(super) const SPACE: &str = "\u{2581}";
/// Prefix of the tokens of `WordPiece` that go on with a word.
pub(super) const GOES_ON: &str = "##";

/// The token of one byte, such as `<0x0A>`.
pub(super) fn is_byte(token: &str) -> bool {
    let hex = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    hex.is_some_and(|hex| hex.len() == 2 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()))
}
