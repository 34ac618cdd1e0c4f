//! The library, loaded before a program that makes file calls with its C library and without it.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the program answers so, and a test that checks nothing says so"
)]

use std::{
    env,
    fs::{self, File},
    io::{IoSlice, Read as _, Write as _},
    os::unix::{fs::FileExt as _, process::ExitStatusExt as _},
    path::Path,
    process::{Command, Output},
};

use longshore_faults::{Call, Class, Fault, Preload, Strike, calls, unavailable};
use rustix::{
    fs::{CWD, Mode, OFlags, RenameFlags},
    io::Errno,
};
use tempfile::TempDir;

/// Where the program is to work, and what it is to do; this test is the program.
const DIRECTORY: &str = "LONGSHORE_TEST_FAULTS_DIRECTORY";
const ACT: &str = "LONGSHORE_TEST_FAULTS_ACT";

/// Calls of a program, and the faults that it met.
struct Seen {
    output: Output,
    calls: Vec<Call>,
    directory: TempDir,
}

impl Seen {
    /// Answers of the program's steps.
    fn answers(&self) -> Vec<String> {
        assert!(self.output.status.success(), "{:?}", self.output);
        let stdout = String::from_utf8(self.output.stdout.clone()).expect("it prints text");
        stdout.lines().filter_map(|line| line.strip_prefix("answer: ")).map(ToOwned::to_owned).collect()
    }

    fn names(&self, class: Class) -> Vec<&str> {
        self.calls.iter().filter(|call| call.class == class).map(|call| call.name.as_str()).collect()
    }
}

/// Runs the program; `None`, which is said, where that cannot be.
fn see(act: &str, strike: Option<(Class, Fault, u64, bool)>) -> Option<Seen> {
    if let Some(why) = unavailable() {
        assert!(env::var_os("LONGSHORE_TEST_FAULTS").is_none(), "LONGSHORE_TEST_FAULTS is set, but {why}");
        eprintln!("skipped: {why}");
        return None;
    }
    let directory = TempDir::new().expect("there is a temporary directory");
    let under = directory.path().canonicalize().expect("it is there").join("under");
    fs::create_dir(&under).expect("it is ours");
    fs::write(under.join("there"), [7; 100]).expect("it is ours");
    let log = directory.path().join("log");
    let mut command = Command::new(env::current_exe().expect("this runs"));
    command.args(["--exact", "program", "--nocapture"]).env(DIRECTORY, &under).env(ACT, act);
    let strike = strike.map(|(class, fault, nth, goes_on)| Strike { class, fault, nth, goes_on });
    Preload { under, log: Some(log.clone()), strike, skip_syncs: true }.apply(&mut command);
    let output = command.output().expect("this runs");
    Some(Seen { output, calls: calls(&log).expect("the library writes it"), directory })
}

/// The program.
#[test]
fn program() {
    let (Some(directory), Ok(act)) = (env::var_os(DIRECTORY), env::var(ACT)) else { return };
    let directory = Path::new(&directory);
    match act.as_str() {
        "everything" => everything(directory),
        "writes" => {
            let file = File::create(directory.join("new")).expect("nothing prevents it");
            for _ in 0..4 {
                answer(rustix::io::write(&file, &[1; 100]));
            }
        }
        "several" => {
            let mut file = File::create(directory.join("new")).expect("nothing prevents it");
            let buffers = [IoSlice::new(&[1; 30]), IoSlice::new(&[2; 30]), IoSlice::new(&[3; 30])];
            answer(file.write_vectored(&buffers));
            answer(file.write(&[4]));
        }
        "reads" => {
            let file = File::open(directory.join("there")).expect("nothing prevents it");
            for _ in 0..3 {
                answer(rustix::io::read(&file, &mut [0; 40]));
            }
        }
        "read to the end" => {
            let mut bytes = Vec::new();
            let mut file = File::open(directory.join("there")).expect("nothing prevents it");
            answer(file.read_to_end(&mut bytes));
        }
        "syncs" => {
            let opened = rustix::fs::open(directory.join("there"), OFlags::PATH, Mode::empty());
            let file = opened.expect("nothing prevents it");
            answer(rustix::fs::fsync(&file).map(|()| 0));
        }
        other => panic!("BUG: {other}"),
    }
}

/// Calls of every class but `map`, of files in the directory and elsewhere.
fn everything(directory: &Path) {
    let path = |name: &str| directory.join(name);
    let file = File::create(path("a")).expect("nothing prevents it");
    file.write_all_at(b"text", 3).expect("nothing prevents it");
    file.sync_all().expect("nothing prevents it");
    rustix::fs::syncfs(&file).expect("nothing prevents it");
    rustix::fs::renameat_with(CWD, path("a"), CWD, path("b"), RenameFlags::NOREPLACE).expect("nothing prevents it");
    fs::rename(path("b"), path("c")).expect("nothing prevents it");
    fs::hard_link(path("c"), path("d")).expect("nothing prevents it");
    fs::copy(path("d"), path("e")).expect("nothing prevents it");
    fs::create_dir(path("f")).expect("nothing prevents it");
    assert_eq!(fs::read_dir(directory).expect("nothing prevents it").count(), 5);
    fs::remove_dir(path("f")).expect("nothing prevents it");
    fs::remove_file(path("e")).expect("nothing prevents it");
    file.set_modified(std::time::UNIX_EPOCH).expect("nothing prevents it");
    let opened = rustix::fs::open(directory, OFlags::DIRECTORY, Mode::empty()).expect("nothing prevents it");
    let opened = rustix::fs::openat(&opened, "./there", OFlags::empty(), Mode::empty()).expect("nothing prevents it");
    assert_eq!(rustix::io::pread(&opened, &mut [0; 8], 96), Ok(4));
    // A directory whose name begins as the one that is concerned, and files elsewhere.
    let beside = directory.with_file_name("underneath");
    fs::write(&beside, "text").expect("nothing prevents it");
    fs::rename(&beside, path("g")).expect("nothing prevents it");
    assert!(!fs::read("/proc/self/status").expect("nothing prevents it").is_empty());
}

fn answer<E: Into<std::io::Error>>(result: Result<usize, E>) {
    let text = result.map_or_else(|error| format!("{:?}", error.into().kind()), |count| count.to_string());
    println!("answer: {text}");
}

#[test]
fn every_call_is_counted() {
    let Some(seen) = see("everything", None) else { return };
    seen.answers();
    assert_eq!(seen.names(Class::Sync), ["fsync", "syncfs"]);
    let renames: Vec<_> = seen.calls.iter().filter(|call| call.class == Class::Rename).collect();
    let pairs = [("a", "b"), ("b", "c"), ("c", "d"), ("underneath", "g")];
    let root = seen.directory.path().canonicalize().expect("it is there");
    for (call, (from, to)) in renames.iter().zip(pairs) {
        let from = if from == "underneath" { root.join(from) } else { root.join("under").join(from) };
        assert_eq!(call.paths, [from, root.join("under").join(to)].map(|path| path.display().to_string()));
    }
    assert_eq!(renames.len(), pairs.len());
    assert!(renames[0].name == "renameat2" && renames[2].name == "linkat", "{renames:?}");
    assert_eq!(seen.names(Class::Read), ["pread64"]);
    assert_eq!(seen.names(Class::Write).first(), Some(&"pwrite64"));
    // Copying takes as many calls as the library likes; one of them is for the end of the file.
    assert!(seen.names(Class::Write).contains(&"copy_file_range"), "{:?}", seen.names(Class::Write));
    assert_eq!(seen.names(Class::Make).len(), 1);
    assert_eq!(seen.names(Class::Remove).len(), 2);
    assert_eq!(seen.names(Class::Touch)[..], ["fchmod", "utimensat"]);
    assert!(seen.names(Class::List).len() >= 2);
    assert!(seen.names(Class::Open).len() >= 6 && !seen.names(Class::Stat).is_empty());
    let under = root.join("under");
    let concerned = |call: &Call| call.paths.iter().any(|path| Path::new(path).starts_with(&under));
    assert!(seen.calls.iter().all(concerned), "{:?}", seen.calls);
    for class in Class::ALL {
        let of_class = seen.calls.iter().filter(|call| call.class == class);
        assert!(of_class.zip(1..).all(|(call, number)| call.number == number && call.fault.is_none()));
    }
}

#[test]
fn one_call_fails() {
    let Some(seen) = see("writes", Some((Class::Write, Fault::Enospc, 2, false))) else { return };
    assert_eq!(seen.answers(), ["100", "StorageFull", "100", "100"]);
    let faults: Vec<_> = seen.calls.iter().filter(|call| call.class == Class::Write).map(|call| call.fault).collect();
    assert_eq!(faults, [None, Some(Fault::Enospc), None, None]);
    let written = fs::metadata(seen.directory.path().join("under/new")).expect("it is there").len();
    assert_eq!(written, 300);
}

#[test]
fn all_calls_fail_from_one_on() {
    let Some(seen) = see("reads", Some((Class::Read, Fault::Eio, 2, true))) else { return };
    let failed = format!("{:?}", std::io::Error::from(Errno::IO).kind());
    assert_eq!(seen.answers(), ["40", &failed, &failed]);
}

#[test]
fn a_call_is_interrupted() {
    let Some(seen) = see("reads", Some((Class::Read, Fault::Eintr, 1, false))) else { return };
    assert_eq!(seen.answers(), ["Interrupted", "40", "40"]);
    let Some(seen) = see("read to the end", Some((Class::Read, Fault::Eintr, 1, false))) else { return };
    assert_eq!(seen.answers(), ["100"]);
}

#[test]
fn a_call_does_half_of_its_work() {
    let Some(seen) = see("writes", Some((Class::Write, Fault::Short, 2, true))) else { return };
    assert_eq!(seen.answers(), ["100", "50", "50", "50"]);
    let Some(seen) = see("several", Some((Class::Write, Fault::Short, 1, true))) else { return };
    // The first of three buffers and half of the second; a byte cannot be halved.
    assert_eq!(seen.answers(), ["45", "1"]);
    let written = fs::read(seen.directory.path().join("under/new")).expect("it is there");
    assert_eq!(written, [&[1; 30][..], &[2; 15], &[4]].concat());
    let Some(seen) = see("read to the end", Some((Class::Read, Fault::Short, 1, true))) else { return };
    assert_eq!(seen.answers(), ["100"]);
    assert!(seen.names(Class::Read).len() > 3);
}

#[test]
fn the_process_is_killed() {
    let Some(seen) = see("writes", Some((Class::Write, Fault::Kill, 3, false))) else { return };
    assert_eq!(seen.output.status.signal(), Some(9));
    assert_eq!(seen.names(Class::Write).len(), 3);
    let written = fs::metadata(seen.directory.path().join("under/new")).expect("it is there").len();
    assert_eq!(written, 200);
}

#[test]
fn syncs_are_left_out() {
    let Some(seen) = see("syncs", None) else { return };
    // The kernel would not sync a file that was opened for its path alone.
    assert_eq!(seen.answers(), ["0"]);
}

#[test]
fn nonsense_is_refused() {
    if unavailable().is_some() {
        return;
    }
    let run = |name: &str, value: &str| {
        let mut command = Command::new("true");
        Preload { under: "/nowhere".into(), ..Preload::default() }.apply(&mut command);
        let output = command.env(name, value).output().expect("there is such a program");
        assert_eq!(output.status.code(), Some(126), "{output:?}");
        String::from_utf8(output.stderr).expect("it is text")
    };
    assert!(run("LONGSHORE_FAULTS_STRIKE", "write EIO 0 once").contains("expected CLASS FAULT NTH once|on"));
    assert!(run("LONGSHORE_FAULTS_STRIKE", "write EIO 1").contains("found \"write EIO 1\""));
    assert!(run("LONGSHORE_FAULTS_UNDER", "here/").contains("expected an absolute path"));
    assert!(run("LONGSHORE_FAULTS_LOG", "/nowhere/log").contains("cannot open /nowhere/log"));
}
