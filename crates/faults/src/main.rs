//! The suite as a command.
fn main() {
    let mut args = std::env::args().skip(1);
    let mut options = longshore_faults::suite::Options::new("/tmp/trees/faults/target/debug/longshore");
    options.sample = args.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
    options.verbs = args.collect();
    let began = std::time::Instant::now();
    longshore_faults::suite::run(&options, |report| {
        println!("== {} {:?} {} cases, {:?}", report.verb, report.calls.iter().map(|(c,n)| format!("{} {n}", c.name())).collect::<Vec<_>>(), report.cases.len(), began.elapsed());
        for case in &report.cases {
            for finding in &case.findings {
                println!("{}\t{}\t{}\t{}\t{}\t{}\t{}", report.verb, case.strike, case.outcome.name(), finding.kind.name(), case.place, finding.detail, case.told);
            }
        }
    }).unwrap();
}
