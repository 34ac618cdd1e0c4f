//! Failing calls, read from the environment.

use std::{env, fs::File, os::fd::IntoRawFd as _, os::unix::ffi::OsStringExt as _};

use crate::{class::Class, fault::Fault};

/// The counted calls, and the failing one.
pub(crate) struct Setting {
    /// The directory whose files are concerned: an absolute path without links, and without a slash at its end.
    pub(crate) under: Vec<u8>,
    /// An open file to which a line is appended for each concerned call.
    pub(crate) log: Option<i32>,
    pub(crate) strike: Option<Strike>,
    /// Whether syncs are answered without being carried out.
    pub(crate) skips_syncs: bool,
}

/// The failing calls.
pub(crate) struct Strike {
    pub(crate) class: Class,
    pub(crate) fault: Fault,
    /// The first call of its class that fails, counted from 1.
    pub(crate) nth: u64,
    /// Whether all later ones do too.
    pub(crate) goes_on: bool,
}

impl Setting {
    /// `None` where the environment says nothing.
    pub(crate) fn of_environment() -> Result<Option<Self>, String> {
        let Some(under) = env::var_os("LONGSHORE_FAULTS_UNDER") else { return Ok(None) };
        let under = under.into_vec();
        if !under.starts_with(b"/") || under.ends_with(b"/") {
            return Err("LONGSHORE_FAULTS_UNDER: expected an absolute path without a slash at its end".into());
        }
        let log = match env::var_os("LONGSHORE_FAULTS_LOG") {
            None => None,
            Some(path) => match File::options().append(true).create(true).open(&path) {
                Ok(file) => Some(file.into_raw_fd()),
                Err(error) => return Err(format!("cannot open {}: {error}", path.display())),
            },
        };
        let strike = match variable("LONGSHORE_FAULTS_STRIKE")? {
            None => None,
            Some(text) => Some(Strike::parse(&text).ok_or_else(|| {
                format!("LONGSHORE_FAULTS_STRIKE: expected CLASS FAULT NTH once|on, such as `write EIO 3 once`, found {text:?}")
            })?),
        };
        let skips_syncs = variable("LONGSHORE_FAULTS_SYNC")?.is_some_and(|text| text == "skip");
        Ok(Some(Self { under, log, strike, skips_syncs }))
    }
}

impl Strike {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let class = Class::named(words.next()?)?;
        let fault = Fault::named(words.next()?)?;
        let nth = words.next()?.parse().ok().filter(|nth| *nth > 0)?;
        let goes_on = match words.next()? {
            "once" => false,
            "on" => true,
            _ => return None,
        };
        words.next().is_none().then_some(Self { class, fault, nth, goes_on })
    }
}

fn variable(name: &str) -> Result<Option<String>, String> {
    env::var_os(name).map(|text| text.into_string().map_err(|_| format!("{name} is not UTF-8"))).transpose()
}
