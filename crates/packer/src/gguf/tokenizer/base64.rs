//! Base64, in which `tokenizer.json` has bytes.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Encodes bytes, padded with `=`.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(chunk.get(at).copied().unwrap_or_default()));
        for place in 0..4 {
            let letter = usize::try_from(bits >> (18 - 6 * place) & 63).expect("six bits");
            text.push(if place <= chunk.len() { char::from(LETTERS[letter]) } else { '=' });
        }
    }
    text
}

/// Decodes a padded text. `None` if it is none.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take_while(|letter| **letter == b'=').count();
    // Padding stands at the end alone.
    if padding > 2 || text[..text.len() - padding].contains(&b'=') {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in text.chunks(4) {
        let mut bits = 0_u32;
        for (place, letter) in chunk.iter().enumerate() {
            let value = match LETTERS.iter().position(|known| known == letter) {
                Some(value) => u32::try_from(value).expect("six bits"),
                None if *letter == b'=' && place >= 2 => 0,
                None => return None,
            };
            bits = bits << 6 | value;
        }
        bytes.extend([16, 8, 0].map(|place| u8::try_from(bits >> place & 0xff).expect("eight bits")));
    }
    bytes.truncate(bytes.len() - padding);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for (bytes, text) in
            [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (b"\xff\xfe\x00a", "//4AYQ==")]
        {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).as_deref(), Some(bytes));
        }
        for wrong in ["Zg=", "Zg", "====", "Z===", "Zg=a", "Z*==", "=Zg="] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
