//! Tests of replay against counts of another program.

use longshore_experts::{
    LayerBefore, MostUsed, Predictor, ReplayError, ReplayOptions, SameAgain, Trace, TraceHeader, TraceLimits, recall,
    replay,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Row {
    slots: usize,
    pinned: f64,
    requests: u64,
    hits: u64,
}

fn trace(text: &str) -> Trace {
    Trace::read(text.as_bytes(), &TraceLimits::default()).unwrap()
}

fn vectors() -> Trace {
    trace(include_str!("../vectors/trace.jsonl"))
}

/// Rows of `vectors/hits.json`, or of the folder that a larger run of `vectors/make.py` wrote.
#[test]
fn hits_are_those_of_the_other_program() {
    let mut sets = vec![(vectors(), include_str!("../vectors/hits.json").to_owned())];
    if let Some(folder) = std::env::var_os("LONGSHORE_EXPERT_VECTORS").map(std::path::PathBuf::from) {
        let text = |name| std::fs::read_to_string(folder.join(name)).unwrap();
        sets.push((trace(&text("trace.jsonl")), text("hits.json")));
    }
    for (trace, rows) in sets {
        let rows: Vec<Row> = serde_json::from_str(&rows).unwrap();
        assert_eq!(rows.len(), 12);
        for Row { slots, pinned, requests, hits } in rows {
            let found = replay(&trace, &ReplayOptions { slots, pinned, warm: 0.5 }).unwrap();
            assert_eq!((found.requests, found.hits), (requests, hits), "{slots} slots, {pinned} of them pinned");
            assert_eq!(found.misses(), requests - hits);
        }
    }
}

#[test]
fn the_ends_of_the_options() {
    let trace = vectors();
    let with = |slots, pinned, warm| replay(&trace, &ReplayOptions { slots, pinned, warm });
    let all = trace.len() as u64 * trace.header().choices() as u64;
    let none = with(0, 0.5, 0.0).unwrap();
    assert_eq!((none.requests, none.hits, none.pinned), (all, 0, 0));
    // As many slots as experts, all pinned: everything hits, although nothing was counted.
    let whole = with(64, 1.0, 0.0).unwrap();
    assert_eq!((whole.hits, whole.pinned), (all, 64));
    // More slots than experts.
    assert_eq!(with(1000, 1.0, 0.5).unwrap().pinned, 64);
    assert!(matches!(with(4, 1.5, 0.5), Err(ReplayError::Share { what: "pinned slots", .. })));
    assert!(matches!(with(4, 0.5, f64::NAN), Err(ReplayError::Share { what: "counted tokens", .. })));
    assert_eq!(with(4, 0.5, 1.0).unwrap_err(), ReplayError::Nothing { tokens: 60, warm: 60 });
}

type Maker = fn(&TraceHeader) -> Box<dyn Predictor>;

/// A routing where each layer keeps its experts of the token before, and one where each token's layers choose alike.
#[test]
fn predictors_find_what_is_there() {
    let header = r#"{"version":1,"layers":[0,1,2],"experts":8,"top_k":2}"#;
    let lines = |line: fn(u32) -> String| (0..20).map(line).fold(header.to_owned(), |text, line| text + "\n" + &line);
    let steady = trace(&lines(|_| "[[0,1],[2,3],[4,5]]".to_owned()));
    let alike = trace(&lines(|token| {
        let pair = format!("[{},{}]", token * 2 % 8, (token * 2 + 1) % 8);
        format!("[{pair},{pair},{pair}]")
    }));
    // Shares of what was chosen, in percent.
    let measure =
        |trace: &Trace, make: Maker| (100.0 * recall(trace, 1, make(trace.header()).as_mut()).unwrap()).round();
    let makers: [Maker; 3] = [
        |header| Box::new(MostUsed::new(header)),
        |header| Box::new(SameAgain::new(header)),
        |header| Box::new(LayerBefore::new(header)),
    ];
    assert_eq!(makers.map(|make| format!("{}", measure(&steady, make))), ["100", "100", "0"]);
    let [most, same, before] = makers.map(|make| measure(&alike, make));
    assert!(most < 50.0 && same < 1.0 && before > 99.0, "{most} {same} {before}");
    assert_eq!(recall(&steady, 20, &mut SameAgain::new(steady.header())), None);
}
