//! `completions` and `man`, made from the argument types.

use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::{
    advice::Advice,
    args::{
        Cli,
        shell::{Completions, Man},
    },
    printer::Printer,
};

pub(super) fn completions(args: &Completions, printer: &Printer) -> anyhow::Result<ExitCode> {
    check_plain(printer, "a completion script")?;
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "longshore", &mut script);
    printer.own(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn man(args: &Man, printer: &Printer) -> anyhow::Result<ExitCode> {
    check_plain(printer, "a manual page")?;
    let mut command = Cli::command().disable_help_subcommand(true);
    // Gives verbs the global options, and pages their names.
    command.build();
    if let Some(verb) = &args.verb {
        let found = command.find_subcommand(verb).cloned();
        let unknown = || Advice::failure(format!("no verb {verb:?}")).hint("longshore --help lists the verbs");
        command = found.ok_or_else(unknown)?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    printer.own(&String::from_utf8_lossy(&page))?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses `--json`, which promises a document.
fn check_plain(printer: &Printer, what: &str) -> anyhow::Result<()> {
    if printer.is_json() {
        return Err(Advice::failure(format!("{what} has no JSON form")).hint("leave out --json").into());
    }
    Ok(())
}
