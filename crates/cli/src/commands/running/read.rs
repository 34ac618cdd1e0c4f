//! Texts that are read: prompts on stdin, and files.

use std::{
    io::{self, Read as _},
    path::Path,
};

use anyhow::Context as _;
use longshore_manifest::open_regular;

use crate::{advice::Advice, door};

/// Largest text that is read whole, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// Reads stdin to its end.
pub(super) fn stdin() -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes).context("cannot read stdin")?;
    utf8(bytes, "stdin")
}

/// Reads a text file.
pub(super) fn file(path: &Path) -> anyhow::Result<String> {
    let name = door::path(path);
    let failed = || format!("cannot read {name}");
    let file = open_regular(path).with_context(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).with_context(failed)?;
    utf8(bytes, &name)
}

fn utf8(bytes: Vec<u8>, name: &str) -> anyhow::Result<String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Advice::input(format!("{name} has more than {MAX_BYTES} bytes")).into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Advice::input(format!("{name} is not UTF-8: byte {at} begins no character"))
            .hint("iconv -t UTF-8 converts a text")
            .into()
    })
}
