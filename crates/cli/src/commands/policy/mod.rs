//! `policy list`, `policy show P`, `policy fit NAME`: what chooses a type for each tensor.

mod fit;

use std::{io::Read as _, path::Path, process::ExitCode};

use anyhow::Context as _;
use longshore_manifest::{Store, open_regular};
use longshore_quant::policy::Policy;
use serde::Serialize;

use crate::{
    advice::Advice,
    args::policy::{PolicySource, PolicyVerb},
    door,
    lines::Lines,
    printer::{Printer, VERSION},
    table::facts,
};

#[derive(Serialize)]
struct List<'a> {
    version: u32,
    policies: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    description: &'a str,
}

#[derive(Serialize)]
struct Shown<'a> {
    version: u32,
    #[serde(flatten)]
    entry: Entry<'a>,
    toml: &'a str,
}

impl<'a> From<&'a Policy> for Entry<'a> {
    fn from(policy: &'a Policy) -> Self {
        Self { name: policy.name(), description: policy.description() }
    }
}

pub(super) fn run(
    verb: &PolicyVerb,
    store: impl FnOnce() -> anyhow::Result<Store>,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    match verb {
        PolicyVerb::Fit(args) => return fit::run(args, store, printer),
        PolicyVerb::List => {
            let policies: Vec<Policy> = Policy::names().iter().filter_map(|name| Policy::named(name).ok()).collect();
            let report = List { version: VERSION, policies: policies.iter().map(Entry::from).collect() };
            printer.report(&report, || {
                let lines: Vec<_> =
                    report.policies.iter().map(|entry| (entry.name, entry.description.to_owned())).collect();
                facts(&lines, printer.columns())
            })?;
        }
        PolicyVerb::Show(args) => {
            let policy = open(&args.policy)?;
            let report = Shown { version: VERSION, entry: Entry::from(&policy), toml: policy.source() };
            printer.report(&report, || Lines::document(policy.source()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The policy that an argument names, read from its file if it is one.
pub(super) fn open(source: &PolicySource) -> anyhow::Result<Policy> {
    let path = match source {
        PolicySource::BuiltIn(policy) => return Ok(policy.clone()),
        PolicySource::File(path) => path,
    };
    let context = || format!("cannot read the policy {}", door::path(path));
    let text = read(path).with_context(context)?;
    Policy::parse(&text, &name(path)).with_context(context)
}

/// Name of a policy whose file gives it none: the file's name, in the characters that names may have.
fn name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.chars().take(64).map(|c| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' }).collect()
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    // One byte more than is read tells a text that is too long; the parser says so.
    open_regular(path)?.take(Policy::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) if error.as_bytes().len() > Policy::MAX_BYTES => {
            Ok(String::from_utf8_lossy(error.as_bytes()).into_owned())
        }
        Err(error) => {
            let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n').count();
            Err(Advice::input(format!("line {line}: expected UTF-8 text, found other bytes")).into())
        }
    }
}
