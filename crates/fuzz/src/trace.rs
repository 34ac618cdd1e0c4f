//! Tests recorded routings of experts.

use longshore_experts::{ReplayOptions, Trace, TraceLimits, TraceRecorder, replay};

/// Tests `data` as a trace.
pub(super) fn trace(data: &[u8]) {
    let limits = TraceLimits { layers: 64, experts: 512, line_bytes: 4096, choices: 1 << 16 };
    let trace = match Trace::read(data, &limits) {
        Ok(trace) => trace,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let header = trace.header().clone();
    let (experts, top_k) = (header.experts(), header.top_k() as usize);
    assert!(top_k >= 1 && header.top_k() <= experts && experts <= limits.experts);
    assert!(header.layers().is_sorted() && header.layers().len() <= limits.layers);
    assert!(trace.len() * header.choices() <= limits.choices);
    // What was read is written, and reads as the same.
    let mut recorder = TraceRecorder::new(Vec::new(), header.clone()).expect("a Vec takes it");
    for token in trace.tokens() {
        for (list, layer) in token.chunks_exact(top_k).zip(header.layers()) {
            assert!(list.iter().all(|expert| *expert < experts));
            recorder.observe(*layer, list).expect("a trace has what its header allows");
        }
    }
    let text = recorder.finish().expect("every token has all layers");
    let longer = TraceLimits { line_bytes: text.len(), ..limits };
    assert_eq!(Trace::read(&text[..], &longer).expect("it was just written"), trace);
    let uses: u64 = trace.uses().values().sum();
    assert_eq!(uses, trace.tokens().map(|token| token.len() as u64).sum::<u64>());
    for (slots, pinned, warm) in [(0, 0.5, 0.0), (3, 0.5, 0.5), (1 << 20, 1.0, 0.0)] {
        match replay(&trace, &ReplayOptions { slots, pinned, warm }) {
            Ok(done) => assert!(done.hits <= done.requests && done.pinned <= slots),
            Err(_) => assert!(trace.is_empty(), "something is left to replay"),
        }
    }
}
