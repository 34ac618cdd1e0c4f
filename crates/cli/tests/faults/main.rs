//! Verbs whose file calls fail one by one: a sample of what `longshore-faults suite` runs.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what broke is a table, and a test that checks nothing says so"
)]

use std::env;

use longshore_faults::{
    Class,
    suite::{self, Options},
    unavailable,
};

/// Number of calls of each class that meet each fault.
const SAMPLE: u64 = 4;

#[test]
fn a_failing_file_call_breaks_no_promise() {
    if let Some(why) = unavailable() {
        assert!(env::var_os("LONGSHORE_TEST_FAULTS").is_none(), "LONGSHORE_TEST_FAULTS is set, but {why}");
        eprintln!("skipped: {why}");
        return;
    }
    let mut options = Options::new(env!("CARGO_BIN_EXE_longshore"));
    options.sample = Some(SAMPLE);
    let report = suite::run(&options, |_| ()).unwrap_or_else(|error| panic!("{error}"));
    // Shown where the test fails, or with --nocapture.
    println!("{report}");
    assert!(report.is_as_known(), "a promise is broken: see above");
    // Where nothing is caught, nothing fails.
    let calls = report.verbs.iter().flat_map(|verb| verb.calls.iter());
    let caught = |class| calls.clone().any(|(other, calls)| *other == class && *calls > 0);
    assert!(Class::ALL.into_iter().all(caught), "{:?}", report.verbs);
}
