//! The command line: parse, run, map to an exit status.

mod advice;
mod args;
mod candidates;
mod causes;
mod commands;
mod door;
mod duration;
mod errors;
mod format;
mod hints;
mod json;
mod lines;
#[cfg(all(test, feature = "net", feature = "run"))]
mod pages;
mod printer;
mod progress;
mod signals;
mod table;
mod usage;

use std::process::ExitCode;

use clap::Parser as _;

use args::Cli;
use printer::Printer;

fn main() -> ExitCode {
    signals::ignore_file_size();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::report(error),
    };
    cli.global.color.write_global();
    let printer = Printer::new(&cli.global);
    match commands::run(cli, &printer) {
        Ok(code) => code,
        Err(error) => ExitCode::from(errors::report(&error)),
    }
}
