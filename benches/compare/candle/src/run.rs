//! Runs models from GGUF files with candle-transformers, and times them.
//!
//! ```text
//! first MODEL.gguf TOKEN,TOKEN…               {"seconds": from the start of loading, "token": likeliest after the prompt}
//! rates MODEL.gguf PROMPT GENERATE REPEAT     {"prefill": [tokens a second], "decode": [tokens a second]}
//! ```
//!
//! A prompt and generating each begin with an empty sequence, and run once before they are timed, as Longshore's do.

use std::{fs::File, io::BufReader, time::Instant};

use candle_core::{D, Device, Tensor, quantized::gguf_file};
use candle_transformers::models::{quantized_gemma3, quantized_llama};

use crate::Failure;

/// The size of the smallest vocabulary of the subject `llama`, that of its synthetic model.
const VOCABULARY: u32 = 32_000;

/// Weights of an architecture, with the keys and values of one sequence.
enum Model {
    Llama(quantized_llama::ModelWeights),
    Gemma(quantized_gemma3::ModelWeights),
}

impl Model {
    /// Reads a model from a GGUF file.
    fn open(path: &str) -> Result<Self, Failure> {
        let mut file = BufReader::new(File::open(path).map_err(|why| format!("{path}: {why}"))?);
        let content = gguf_file::Content::read(&mut file)?;
        let name = content.metadata.get("general.architecture").ok_or("expected an architecture, found none")?;
        match name.to_string()?.as_str() {
            "llama" => Ok(Self::Llama(quantized_llama::ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?)),
            "gemma3" => Ok(Self::Gemma(quantized_gemma3::ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?)),
            other => Err(format!("expected the architecture llama or gemma3, found {other}").into()),
        }
    }

    /// Returns the likeliest token after these, of which the first has this position. Position 0 begins a new sequence.
    fn next(&mut self, tokens: &[u32], position: usize) -> Result<u32, Failure> {
        let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        let logits = match self {
            Self::Llama(model) => model.forward(&input, position)?,
            Self::Gemma(model) => model.forward(&input, position)?,
        };
        Ok(logits.squeeze(0)?.argmax(D::Minus1)?.to_scalar()?)
    }
}

/// Returns the answer to one request.
pub fn answer(words: &[&str]) -> Result<String, Failure> {
    match words {
        ["first", path, prompt] => first(path, prompt),
        ["rates", path, prompt, generate, repeat] => rates(path, prompt.parse()?, generate.parse()?, repeat.parse()?),
        _ => Err(format!("expected first or rates with their arguments, found {words:?}").into()),
    }
}

fn first(path: &str, prompt: &str) -> Result<String, Failure> {
    let prompt: Vec<u32> = prompt.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let started = Instant::now();
    let token = Model::open(path)?.next(&prompt, 0)?;
    Ok(format!("{{\"seconds\": {:.6}, \"token\": {token}}}", started.elapsed().as_secs_f64()))
}

fn rates(path: &str, prompt: u32, generate: usize, repeat: usize) -> Result<String, Failure> {
    let mut model = Model::open(path)?;
    // Made as in Longshore's example `speed`. The time does not depend on which tokens they are.
    let tokens: Vec<u32> = (0..prompt).map(|at| (at * 7919 + 13) % VOCABULARY).collect();
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for run in 0..=repeat {
        let started = Instant::now();
        model.next(&tokens, 0)?;
        let prefilled = f64::from(prompt) / started.elapsed().as_secs_f64();
        let started = Instant::now();
        let mut next = 1;
        for position in 0..generate {
            next = model.next(&[next], position)?;
        }
        if run > 0 {
            prefill.push(prefilled);
            decode.push(generate as f64 / started.elapsed().as_secs_f64());
        }
    }
    // Numbers in brackets are JSON.
    Ok(format!("{{\"prefill\": {prefill:?}, \"decode\": {decode:?}}}"))
}
