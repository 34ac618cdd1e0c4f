//! `aliases [NAME REF]`: short names for references.

use std::{collections::BTreeMap, process::ExitCode};

use serde::Serialize;

use super::{reference::Place, short};
use crate::{
    advice::Advice,
    args::net::AliasesArgs,
    door,
    printer::{Printer, VERSION},
    table::{Align, table},
};

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    aliases: &'a BTreeMap<String, String>,
}

pub(in crate::commands) fn run(args: &AliasesArgs, printer: &Printer) -> anyhow::Result<ExitCode> {
    let mut aliases = short::read()?;
    if let (Some(name), Some(reference)) = (&args.name, &args.reference) {
        let is_short = !name.is_empty()
            && name.len() <= 80
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte));
        if !is_short {
            return Err(Advice::failure(format!(
                "{name:?} is no short name: expected letters, digits, `_`, `-`, `.` and `:`"
            ))
            .into());
        }
        let place = Place::parse(reference, None)?;
        aliases.insert(name.clone(), place.to_string());
        short::write(&aliases)?;
        printer.note(&format!("{name} stands for {place}"));
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> =
        aliases.iter().map(|(name, reference)| vec![name.clone(), reference.clone()]).collect();
    printer.report(&Report { version: VERSION, aliases: &aliases }, || {
        table(&[("NAME", Align::Left), ("REFERENCE", Align::Left)], &rows, printer.columns())
    })?;
    printer.note(&format!("kept in {}", door::path(short::path()?)));
    Ok(ExitCode::SUCCESS)
}
