//! The library's log.

use std::{fs, io, path::Path};

use crate::{Class, Fault};

/// A file call that concerned the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its kind.
    pub class: Class,
    /// Number of the call in its class and process, counted from 1.
    pub number: u64,
    /// The kernel's name for it, such as `pread64`.
    pub name: String,
    /// The call's result: below zero an error.
    pub answer: i64,
    /// The fault injected into it, if any.
    pub fault: Option<Fault>,
    /// The files that it concerned, one or two.
    pub paths: Vec<String>,
}

/// The calls in a log, in the order in which they ended. A log that is not there has none.
///
/// # Errors
///
/// If it cannot be read, or a line is none of the library's.
pub fn calls(log: &Path) -> io::Result<Vec<Call>> {
    let text = match fs::read(log) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let parsed = text.lines().map(|line| {
        parse(line)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("not a line of the log: {line:?}")))
    });
    parsed.collect()
}

fn parse(line: &str) -> Option<Call> {
    let mut fields = line.split('\t');
    Some(Call {
        class: Class::named(fields.next()?)?,
        number: fields.next()?.parse().ok()?,
        name: fields.next()?.to_owned(),
        answer: fields.next()?.parse().ok()?,
        fault: match fields.next()? {
            "-" => None,
            name => Some(Fault::named(name)?),
        },
        paths: fields.map(ToOwned::to_owned).collect(),
    })
}
