//! The blobs of a manifest, without what a list of models does not show.

use std::borrow::Cow;

use serde::Deserialize;

use crate::{
    Digest,
    document::{DocumentError, check_files, media_type},
};

/// A blob's digest, and its size in bytes.
pub(super) type SizedBlob = (Digest, u64);

/// The blobs of a manifest, in its order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeanManifest {
    pub(super) config: SizedBlob,
    pub(super) layers: Vec<SizedBlob>,
}

impl LeanManifest {
    /// Parses every document that [`Manifest::parse`](crate::Manifest::parse) accepts, and no other.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let Some((lean, files)) = Plain::manifest(bytes) else { return of_any_form(bytes) };
        checked(lean, files.into_iter())
    }
}

/// Parses a manifest of any form.
fn of_any_form(bytes: &[u8]) -> Result<LeanManifest, DocumentError> {
    let parsed = match str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str::<Document<'_>>(text),
        Err(_) => serde_json::from_slice(bytes),
    };
    let found = parsed.map_err(|source| DocumentError::Json { what: "manifest", source })?;
    if found.schema_version != 2 {
        return Err(DocumentError::Version { what: "manifest", found: found.schema_version, expected: 2 });
    }
    let is_file = |layer: &&Layer<'_>| is_file(layer.media_type.as_bytes());
    let files = found.layers.iter().filter(is_file).map(|layer| layer.name.as_ref().map_or("", |name| &name.0));
    let sized = |layer: &Layer<'_>| (layer.digest, layer.size);
    let lean = LeanManifest { config: sized(&found.config), layers: found.layers.iter().map(sized).collect() };
    checked(lean, files)
}

fn is_file(media_type: &[u8]) -> bool {
    [media_type::JSON, media_type::FILE].iter().any(|known| known.as_bytes() == media_type)
}

/// Refuses companion files that cannot lie in one directory.
fn checked<'d>(lean: LeanManifest, files: impl Iterator<Item = &'d str>) -> Result<LeanManifest, DocumentError> {
    match check_files(files) {
        Some(problem) => Err(DocumentError::Inconsistent { what: "manifest", problem }),
        None => Ok(lean),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document<'d> {
    schema_version: u32,
    #[serde(default, borrow, rename = "mediaType")]
    _media_type: Text<'d>,
    #[serde(borrow)]
    config: Layer<'d>,
    #[serde(borrow)]
    layers: Vec<Layer<'d>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer<'d> {
    #[serde(borrow)]
    media_type: Cow<'d, str>,
    digest: Digest,
    size: u64,
    #[serde(default, borrow)]
    name: Option<Text<'d>>,
}

/// A string that is borrowed where possible. serde borrows for a `Cow` in a field, but not for a `Cow` in an `Option`.
#[derive(Default, Deserialize)]
#[serde(transparent)]
struct Text<'d>(#[serde(borrow)] Cow<'d, str>);

/// The rest of a manifest as [`Manifest::to_bytes`](crate::Manifest::to_bytes) writes it: without spaces, with the fields in their order and
/// texts of visible ASCII without escapes. Nearly every manifest has this form, which is read many times as fast as JSON of any form. All functions
/// return `None` for another form.
struct Plain<'d>(&'d [u8]);

impl<'d> Plain<'d> {
    /// Reads the document. Also returns the names of its companion files.
    fn manifest(document: &'d [u8]) -> Option<(LeanManifest, Vec<&'d str>)> {
        let body = document.strip_suffix(b"\n")?;
        // This loop goes on after a byte that is not plain, so that the compiler checks many bytes at once.
        let other = body.iter().fold(0, |other, byte| other | u8::from(!matches!(byte, b' '..=b'[' | b']'..=b'~')));
        if other != 0 {
            return None;
        }
        let mut rest = Self(body);
        rest.skip(br#"{"schemaVersion":2,"mediaType":""#)?;
        rest.text()?;
        rest.skip(br#","config":"#)?;
        let (config, ..) = rest.layer()?;
        rest.skip(br#","layers":["#)?;
        let mut layers = Vec::with_capacity(body.len() / SHORTEST);
        let mut files = Vec::new();
        if rest.skip(b"]").is_none() {
            loop {
                let (sized, media_type, name) = rest.layer()?;
                layers.push(sized);
                if is_file(media_type) {
                    files.push(str::from_utf8(name).ok()?);
                }
                if rest.skip(b",").is_none() {
                    break;
                }
            }
            rest.skip(b"]")?;
        }
        rest.skip(b"}")?;
        rest.0.is_empty().then_some((LeanManifest { config, layers }, files))
    }

    /// Reads the config or a layer, with its media type and its name.
    fn layer(&mut self) -> Option<(SizedBlob, &'d [u8], &'d [u8])> {
        self.skip(br#"{"mediaType":""#)?;
        let media_type = self.text()?;
        self.skip(br#","digest":""#)?;
        let (digest, rest) = self.0.split_at_checked(DIGEST)?;
        self.0 = rest;
        let digest = Digest::of_text(digest)?;
        self.skip(br#"","size":"#)?;
        let size = self.number()?;
        let name = if self.skip(br#","name":""#).is_some() { self.text()? } else { b"" };
        self.skip(b"}")?;
        Some(((digest, size), media_type, name))
    }

    fn skip(&mut self, text: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    /// Reads a text and its closing quote.
    fn text(&mut self) -> Option<&'d [u8]> {
        let (text, rest) = self.0.split_at(self.0.iter().position(|byte| *byte == b'"')?);
        self.0 = &rest[1..];
        Some(text)
    }

    fn number(&mut self) -> Option<u64> {
        let (digits, rest) = self.0.split_at(self.0.iter().position(|byte| !byte.is_ascii_digit())?);
        self.0 = rest;
        // JSON has no numbers that begin with a zero.
        if digits.len() > 1 && digits[0] == b'0' { None } else { str::from_utf8(digits).ok()?.parse().ok() }
    }
}

/// Length in bytes of a layer with an empty media type and no name.
const SHORTEST: usize = r#"{"mediaType":"","digest":"","size":0},"#.len() + DIGEST;
/// Length in bytes of a digest as text.
const DIGEST: usize = "sha256:".len() + 64;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Descriptor, Manifest, store::Added};

    /// Parses a document in both ways, and checks that they agree with each other and with [`Manifest::parse`].
    fn parse(bytes: &[u8]) -> Result<LeanManifest, String> {
        let found = LeanManifest::parse(bytes).map_err(|error| format!("{error:?}"));
        assert_eq!(of_any_form(bytes).map_err(|error| format!("{error:?}")), found);
        let whole = Manifest::parse(bytes);
        assert_eq!(whole.as_ref().err().map(|error| format!("{error:?}")), found.as_ref().err().cloned());
        if let (Ok(whole), Ok(found)) = (&whole, &found) {
            let blobs: Vec<_> = whole.blobs().map(|blob| (blob.digest, blob.size)).collect();
            assert_eq!((&found.config, &found.layers[..]), blobs.split_first().unwrap());
        }
        found
    }

    fn sample() -> Manifest {
        let blob = |text: &str, size| Added::new(Digest::of(text.as_bytes()), size);
        let file = |name: &str| Descriptor::json(&crate::RelativePath::parse(name).unwrap(), blob(name, 7));
        let tensor = |name: &str, size| Descriptor::tensor(name, blob(name, size));
        let layers = vec![tensor("a.weight", u64::MAX), tensor("b", 0), file("config.json"), file("draft/config.json")];
        Manifest::new(Descriptor::config(blob("config", 10)), layers)
    }

    #[test]
    fn what_is_written_is_plain() {
        for manifest in [sample(), Manifest { layers: Vec::new(), ..sample() }] {
            let bytes = manifest.to_bytes();
            assert!(Plain::manifest(&bytes).is_some());
            parse(&bytes).unwrap();
        }
    }

    #[test]
    fn every_other_form_is_read_too() {
        let text = String::from_utf8(sample().to_bytes()).unwrap();
        for (from, to) in [
            (",", ", "),
            ("\"a.weight\"", r#""a\u002eweight""#),
            ("\"a.weight\"", "\"ä\""),
            ("\"b\"", "null"),
            ("\"size\":0", "\"size\":0,\"other\":[{}]"),
            ("\"mediaType\":\"application/vnd.docker.distribution.manifest.v2+json\",", ""),
            ("}\n", "}"),
        ] {
            let other = text.replacen(from, to, 1);
            assert_ne!(other, text, "{from}");
            assert!(Plain::manifest(other.as_bytes()).is_none(), "{to}");
            assert_eq!(parse(other.as_bytes()).map(|found| found.layers.len()), Ok(4), "{to}");
        }
    }

    #[test]
    fn what_is_wrong_is_refused_in_every_form() {
        let text = String::from_utf8(sample().to_bytes()).unwrap();
        for (from, to) in [
            ("\"schemaVersion\":2", "\"schemaVersion\":1"),
            ("sha256:", "sha512:"),
            ("\"draft/config.json\"", "\"../config.json\""),
            ("\"draft/config.json\"", "\"config.json\""),
            ("\"draft/config.json\"", "\"config.json/a\""),
            ("\"size\":0", "\"size\":00"),
            ("\"size\":0", "\"size\":-1"),
            ("\"size\":0", "\"size\":"),
            ("\"size\":18446744073709551615", "\"size\":18446744073709551616"),
            ("]}", "]"),
            ("}\n", "},"),
        ] {
            let other = text.replacen(from, to, 1);
            assert_ne!(other, text, "{from}");
            parse(other.as_bytes()).unwrap_err();
            parse(other.replace(',', ", ").as_bytes()).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_read_alike(at: prop::sample::Index, byte in 0_u8..128, cut in any::<bool>()) {
            let mut bytes = sample().to_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
            let _ = parse(&bytes);
        }
    }
}
