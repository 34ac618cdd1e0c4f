//! Tests of the form of traces.

use longshore_experts::{RecordError, Trace, TraceError, TraceHeader, TraceLimits, TraceReader, TraceRecorder};
use proptest::prelude::*;

const HEADER: &str = r#"{"version":1,"layers":[0,3],"experts":4,"top_k":2}"#;

fn read(text: &str) -> Result<Trace, TraceError> {
    Trace::read(text.as_bytes(), &TraceLimits::default())
}

fn refused(lines: &[&str]) -> String {
    read(&lines.join("\n")).expect_err("it is no trace").to_string()
}

#[test]
fn a_trace_is_read_with_and_without_the_last_end_of_line() {
    for end in ["", "\n"] {
        let trace = read(&format!("{HEADER}\n[[3,1],[0,2]]\n[[ 1, 3 ],[2,0]]{end}")).unwrap();
        assert_eq!(trace.len(), 2);
        assert_eq!(trace.tokens().map(<[u32]>::to_vec).collect::<Vec<_>>(), [[3, 1, 0, 2], [1, 3, 2, 0]]);
        let uses: Vec<_> = trace.uses().into_iter().map(|(key, uses)| (key.layer, key.expert, uses)).collect();
        assert_eq!(uses, [(0, 1, 2), (0, 3, 2), (3, 0, 2), (3, 2, 2)]);
    }
    let none = read(HEADER).unwrap();
    assert!(none.is_empty() && none.tokens().next().is_none());
}

#[test]
fn a_line_that_is_none_is_named() {
    assert!(refused(&[]).starts_with("the trace is empty"));
    assert!(refused(&["[]"]).starts_with("line 1 of the trace is not {"));
    assert!(refused(&[&HEADER.replace("\"top_k\":2", "\"top_k\":2,\"x\":1")]).contains("unknown field"));
    assert!(refused(&[&HEADER.replace("\"experts\":4,", "\"experts\":4,\"experts\":4,")]).contains("duplicate field"));
    assert_eq!(refused(&[&HEADER.replace(":1,", ":2,")]), "the trace has version 2, expected 1");
    for (from, to) in
        [("[0,3]", "[3,0]"), ("[0,3]", "[]"), ("[0,3]", "[1,1]"), ("\"top_k\":2", "\"top_k\":0"), (":4", ":1")]
    {
        assert!(refused(&[&HEADER.replace(from, to)]).starts_with("the first line of the trace says "), "{to}");
    }
    let second = |line: &str| refused(&[HEADER, "[[0,1],[0,1]]", line]);
    assert!(second("\n").starts_with("line 3 of the trace is not a list"));
    assert!(second("[[0,1],[0,1.0]]").starts_with("line 3 of the trace is not a list"));
    assert!(second("[[0,1],[0,-1]]").starts_with("line 3 of the trace is not a list"));
    assert!(second("[[0,1],[0,1]] x").starts_with("line 3 of the trace is not a list"));
    assert!(second("[[0,1],[0,").starts_with("line 3 of the trace is not a list"));
    assert_eq!(second("[[0,1]]"), "line 3 of the trace has the experts of 1 layers, expected 2");
    assert_eq!(second("[[0,1],[2]]"), "line 3 of the trace has 1 experts in layer 3, expected 2");
    assert_eq!(second("[[0,1],[2,4]]"), "line 3 of the trace has expert 4 in layer 3, expected one below 4");
    assert_eq!(second("[[1,1],[2,0]]"), "line 3 of the trace has expert 1 twice in layer 0");
}

#[test]
fn limits_bound_what_is_kept() {
    let text = format!("{HEADER}\n[[3,1],[0,2]]\n[[3,1],[0,2]]\n");
    let with = |change: fn(&mut TraceLimits)| {
        let mut limits = TraceLimits::default();
        change(&mut limits);
        Trace::read(text.as_bytes(), &limits).map(|trace| trace.len()).map_err(|error| error.to_string())
    };
    assert_eq!(with(|limits| limits.choices = 8), Ok(2));
    assert_eq!(with(|limits| limits.choices = 7), Err("the trace has more than 7 choices, as of line 3".into()));
    assert_eq!(with(|limits| limits.line_bytes = HEADER.len()), Ok(2));
    let bytes = HEADER.len() - 1;
    let found = TraceReader::new(text.as_bytes(), &TraceLimits { line_bytes: bytes, ..TraceLimits::default() });
    assert!(matches!(found, Err(TraceError::Limit { line: 1, what: "bytes in a line", .. })));
    assert_eq!(with(|limits| limits.layers = 1), Err("the trace has more than 1 layers, as of line 1".into()));
    assert!(with(|limits| limits.experts = 3).unwrap_err().contains("more than 3 experts in a layer"));
}

proptest! {
    /// A recorder writes what it saw, whatever the sizes of the batches, and a reader reads it.
    #[test]
    fn what_is_recorded_is_read(
        layers in prop::collection::btree_set(0_u32..99, 1..4),
        batches in prop::collection::vec((1_usize..4, any::<u32>()), 0..5),
    ) {
        let layers: Vec<u32> = layers.into_iter().collect();
        let (experts, top_k) = (7_u32, 3_usize);
        let header = TraceHeader::new(layers.clone(), experts, 3).unwrap();
        let mut recorder = TraceRecorder::new(Vec::new(), header.clone()).unwrap();
        let mut expected = Vec::new();
        for (tokens, seed) in &batches {
            // The experts of a token follow each other, from a place that the seed gives.
            let choice = |token: usize, layer: u32| {
                let first = (seed % 1000 + u32::try_from(token).unwrap() * 5 + layer) % experts;
                (0..3).map(move |at| (first + at) % experts)
            };
            for layer in &layers {
                let chosen: Vec<u32> = (0..*tokens).flat_map(|token| choice(token, *layer)).collect();
                prop_assert_eq!(chosen.len(), tokens * top_k);
                recorder.observe(*layer, &chosen).unwrap();
            }
            for token in 0..*tokens {
                expected.push(layers.iter().flat_map(|layer| choice(token, *layer)).collect::<Vec<u32>>());
            }
        }
        let text = recorder.finish().unwrap();
        let trace = Trace::read(&text[..], &TraceLimits::default()).unwrap();
        prop_assert_eq!(trace.header(), &header);
        prop_assert_eq!(trace.tokens().map(<[u32]>::to_vec).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_recorder_refuses_what_the_header_does_not_allow() {
    let header = TraceHeader::new([0, 3], 4, 2).unwrap();
    let mut recorder = TraceRecorder::new(Vec::new(), header).unwrap();
    assert!(matches!(recorder.observe(1, &[0, 1]), Err(RecordError::Layer { layer: 1, .. })));
    assert!(matches!(recorder.observe(0, &[0, 1, 2]), Err(RecordError::Ragged { layer: 0, found: 3, top_k: 2 })));
    assert!(matches!(recorder.observe(0, &[0, 4]), Err(RecordError::Experts { layer: 0, .. })));
    assert!(matches!(recorder.observe(0, &[2, 2]), Err(RecordError::Experts { layer: 0, .. })));
    recorder.observe(0, &[0, 1, 2, 3]).unwrap();
    recorder.observe(3, &[0, 1]).unwrap();
    assert!(matches!(recorder.finish(), Err(RecordError::Unfinished { layer: 0, found: 1 })));
}
