//! The suite as a command, and a way to let a call of any program fail.

use std::{
    env,
    io::{self, Write as _},
    num::NonZero,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::{Args, Parser};
use longshore_faults::{Class, Fault, Preload, Strike, calls, suite, unavailable};

/// Fail the file calls of a program one by one
///
/// A library that is loaded before the program counts its file calls and fails the one that it is told to. Linux, x86-64 and 64-bit Arm.
#[derive(Debug, Parser)]
#[command(name = "longshore-faults", max_term_width = 100)]
enum Cli {
    Suite(Suite),
    Run(Run),
}

/// Run the verbs of longshore with a fault at each of their file calls
///
/// After each run the exit status, the message and the store have to be as they are promised. Every way to be wrong is printed, those that
/// known.txt lists apart. The exit status is 0 if there are no others, 1 if there are, and 2 if the suite cannot be run.
#[derive(Debug, Args)]
struct Suite {
    /// The longshore binary [default: the one beside this binary]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Only this verb; may be given several times [default: all]
    #[arg(long, value_name = "VERB", value_parser = clap::builder::PossibleValuesParser::new(suite::verbs()))]
    verb: Vec<String>,
    /// Only this class of calls; may be given several times [default: all]
    #[arg(long, value_name = "CLASS", value_parser = class)]
    class: Vec<Class>,
    /// Only this fault: EIO, ENOSPC, EINTR, short or kill; may be given several times [default: all]
    #[arg(long, value_name = "FAULT", value_parser = fault)]
    fault: Vec<Fault>,
    /// Only this call of each class, counted from 1
    #[arg(long, value_name = "N")]
    nth: Option<u64>,
    /// At most so many calls of each class with each fault, spread evenly [default: every one]
    #[arg(long, value_name = "N")]
    sample: Option<u64>,
    /// Number of runs at a time [default: the number of cores]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
}

/// Run any program with the library
///
/// Without --fault the calls are only counted. The counts go to stderr after the program has ended; its exit status is that of this command.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  longshore-faults run --under /tmp/x -- cp -r /tmp/x/a /tmp/x/b
  longshore-faults run --under /tmp/x --class write --nth 3 --fault ENOSPC -- longshore --store /tmp/x import …")]
struct Run {
    /// The directory whose files are concerned
    #[arg(long, value_name = "DIR", default_value = ".")]
    under: PathBuf,
    /// The class of calls: read, write, sync, rename, open, map, remove, make, list, stat, touch
    #[arg(long, value_name = "CLASS", value_parser = class, requires = "fault")]
    class: Option<Class>,
    /// Number of the call in its class, counted from 1
    #[arg(long, value_name = "N", default_value = "1")]
    nth: NonZero<u64>,
    /// Fault of the call: EIO, ENOSPC, EINTR, short or kill
    #[arg(long, value_name = "FAULT", value_parser = fault, requires = "class")]
    fault: Option<Fault>,
    /// All later calls of the class meet the same
    #[arg(long)]
    on: bool,
    /// Keep a line for each call in this file: class, number, call, answer, fault, paths
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Answer syncs without carrying them out
    #[arg(long)]
    skip_syncs: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<std::ffi::OsString>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match unavailable() {
        Some(why) => Err(why.into()),
        None => match cli {
            Cli::Suite(arguments) => suite(arguments),
            Cli::Run(arguments) => run(arguments),
        },
    };
    done.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "error: {error}");
        ExitCode::from(2)
    })
}

fn suite(arguments: Suite) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let Suite { binary, verb, class, fault, nth, sample, jobs } = arguments;
    let beside = env::current_exe()?.with_file_name("longshore");
    let binary = binary.map_or(Ok(beside), std::path::absolute)?;
    if !binary.is_file() {
        return Err(format!("there is no {}: `cargo build -p longshore` makes it", binary.display()).into());
    }
    let mut options = suite::Options::new(binary);
    options.verbs = verb;
    options.classes = class;
    options.faults = fault;
    options.nth = nth;
    options.sample = sample;
    options.jobs = jobs.unwrap_or(options.jobs);
    let report = suite::run(&options, |verb| {
        let wrong = verb.cases.iter().filter(|case| !case.findings.is_empty()).count();
        let _ = writeln!(io::stderr(), "{}: {} runs, {wrong} with findings", verb.verb, verb.cases.len());
    })?;
    write!(io::stdout(), "{report}")?;
    // Whoever asks for a part cannot see all.
    if options.is_whole() {
        for line in report.unseen() {
            writeln!(io::stdout(), "known, and not seen: {line}")?;
        }
    }
    Ok(ExitCode::from(u8::from(!report.is_as_known())))
}

fn run(arguments: Run) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let Run { under, class, nth, fault, on, log, skip_syncs, command } = arguments;
    let under = under.canonicalize().map_err(|error| format!("{}: {error}", under.display()))?;
    let scratch = tempfile::tempdir()?;
    let log = log.map_or(Ok(scratch.path().join("calls")), std::path::absolute)?;
    let strike = class.zip(fault).map(|(class, fault)| Strike { class, fault, nth: nth.get(), goes_on: on });
    let (program, rest) = command.split_first().ok_or("there is no command")?;
    let mut command = Command::new(program);
    command.args(rest);
    Preload { under, log: Some(log.clone()), strike, skip_syncs }.apply(&mut command);
    let status = command.status().map_err(|error| format!("{}: {error}", Path::new(program).display()))?;
    let calls = calls(&log)?;
    for class in Class::ALL {
        let of_class: Vec<_> = calls.iter().filter(|call| call.class == class).collect();
        if of_class.is_empty() {
            continue;
        }
        writeln!(io::stderr(), "{:8} {}", class.name(), of_class.len())?;
        if let Some(call) = of_class.iter().find(|call| call.fault.is_some()) {
            writeln!(
                io::stderr(),
                "         number {} met a fault: {} {}",
                call.number,
                call.name,
                call.paths.join(" ")
            )?;
        }
    }
    // The exit status that a shell reports where a signal ended the program.
    let code = status.code().unwrap_or(128 + 9);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(2)))
}

fn class(name: &str) -> Result<Class, String> {
    Class::named(name).ok_or_else(|| format!("expected one of {}", Class::ALL.map(Class::name).join(", ")))
}

fn fault(name: &str) -> Result<Fault, String> {
    Fault::named(name).ok_or_else(|| format!("expected one of {}", Fault::ALL.map(Fault::name).join(", ")))
}
