//! Answers of a model to token ids, as JSON, for comparisons with other programs.
//!
//! ```text
//! echo '{"windows": [[1, 2, 3]], "prompts": [[1, 2]], "tokens": 64}' |
//!     cargo run --release -p longshore-run --example answers -- MODEL [--fast]
//! ```
//!
//! MODEL is a GGUF file or a directory. For each window the sum of the negative logarithms of its tokens' probabilities is
//! printed, without the first; for each prompt the greedy tokens, each with the distance of its logit from the next. For
//! `texts`, the mean-pooled embeddings are printed instead.

#![expect(clippy::cast_precision_loss, reason = "the numbers are small")]

use std::{env, error::Error, io, path::Path};

use longshore_packer::manifest::Silent;
use longshore_run::{Embedder, LoadOptions, Measured, Model, Pooling, Precision, Windows, argmax, perplexity};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let path = arguments.first().ok_or("expected the path of a model")?;
    let is_fast = arguments.iter().any(|argument| argument == "--fast");
    let precision = if is_fast { Precision::Fast } else { Precision::Exact };
    let source = longshore_packer::open(Path::new(path), &Silent)?.weights;
    let options = LoadOptions { precision, ..LoadOptions::default() };
    let asked: Value = serde_json::from_reader(io::stdin())?;
    let lists = |member: &str| serde_json::from_value::<Vec<Vec<u32>>>(asked.get(member).cloned().unwrap_or(json!([])));
    if asked.get("texts").is_some() {
        let embedder = Embedder::open(source, options)?;
        let texts = lists("texts")?;
        let vectors: Result<Vec<_>, _> = texts.iter().map(|text| embedder.embed(text, Pooling::Mean)).collect();
        serde_json::to_writer(io::stdout(), &json!({"embeddings": vectors?}))?;
        return Ok(());
    }
    let model = Model::open(source, options)?;
    let mut nlls = Vec::new();
    for window in lists("windows")? {
        let windows = Windows { tokens: &window, bos: None, size: window.len() };
        let found = perplexity(&[Measured { model: &model, windows, against: None }], &mut |_, _| {})?;
        nlls.push(found[0].nll * found[0].tokens as f64);
    }
    let mut greedy = Vec::new();
    for prompt in lists("prompts")? {
        let mut session = model.session();
        let mut logits = session.extend(&prompt)?.to_vec();
        let mut answers = Vec::new();
        for _ in 0..asked["tokens"].as_u64().unwrap_or(64) {
            let next = argmax(&logits);
            let best = logits[next as usize];
            logits[next as usize] = f32::NEG_INFINITY;
            let second = logits[argmax(&logits) as usize];
            answers.push(json!([next, best - second]));
            logits = session.extend(&[next])?.to_vec();
        }
        greedy.push(answers);
    }
    serde_json::to_writer(io::stdout(), &json!({"nlls": nlls, "greedy": greedy}))?;
    Ok(())
}
