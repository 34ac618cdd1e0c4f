//! Says what GGUF files are, one line of JSON for each path that stdin has: the other side of `tests/python/`.
//!
//! A file that is accepted is also written again, and must be the same bytes. A value is the SHA-256 of its bytes in a file, as they are
//! made from what was decoded.

#![expect(clippy::print_stdout, reason = "a program for developers prints")]

use std::{error::Error, io};

use longshore_gguf::{Gguf, Header, HeaderError, Layout, TensorView, Value, Writer};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

fn main() -> Result<(), Box<dyn Error>> {
    for line in io::stdin().lines() {
        let bytes = std::fs::read(line?)?;
        let said = match Gguf::new(&bytes[..]) {
            Ok(file) => accepted(&file, &bytes)?,
            Err(error) => refused(&error),
        };
        println!("{said}");
    }
    Ok(())
}

fn accepted(file: &Gguf<&[u8]>, bytes: &[u8]) -> Result<Json, Box<dyn Error>> {
    let header = file.header();
    let pairs = header.metadata().iter().map(|(key, value)| json!([key, value.value_type().id(), sum(&encode(value))]));
    let tensors = file.iter().zip(header.iter()).map(|(view, info)| {
        let TensorView { name, ggml_type, dims, data, .. } = view;
        json!([name, ggml_type.name(), dims.as_slice(), info.file_range().start, data.len(), sum(data)])
    });
    Ok(json!({
        "version": header.version(),
        "alignment": header.alignment(),
        "data_start": header.data_start(),
        "pairs": pairs.collect::<Vec<_>>(),
        "tensors": tensors.collect::<Vec<_>>(),
        "same": rewrite(header, file)? == bytes,
    }))
}

/// The variant, and the message with its causes.
fn refused(error: &HeaderError) -> Json {
    let name = format!("{error:?}");
    let name = name.split([' ', '{', '(']).next().unwrap_or_default();
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    json!({"refused": name, "message": message})
}

fn rewrite(header: &Header, file: &Gguf<&[u8]>) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut writer = Writer::new(Vec::new(), Layout::from_header(header.clone()))?;
    for tensor in file.iter() {
        writer.write(tensor.data)?;
    }
    Ok(writer.finish()?)
}

/// The bytes of a value in a file, from what it was decoded to.
fn encode(value: Value<'_>) -> Vec<u8> {
    match value {
        Value::U8(number) => number.to_le_bytes().to_vec(),
        Value::I8(number) => number.to_le_bytes().to_vec(),
        Value::U16(number) => number.to_le_bytes().to_vec(),
        Value::I16(number) => number.to_le_bytes().to_vec(),
        Value::U32(number) => number.to_le_bytes().to_vec(),
        Value::I32(number) => number.to_le_bytes().to_vec(),
        Value::F32(number) => number.to_le_bytes().to_vec(),
        Value::U64(number) => number.to_le_bytes().to_vec(),
        Value::I64(number) => number.to_le_bytes().to_vec(),
        Value::F64(number) => number.to_le_bytes().to_vec(),
        Value::Bool(value) => vec![value.into()],
        Value::String(text) => [&(text.as_bytes().len() as u64).to_le_bytes(), text.as_bytes()].concat(),
        Value::Array(array) => {
            let mut bytes = array.element_type().id().to_le_bytes().to_vec();
            bytes.extend((array.len() as u64).to_le_bytes());
            bytes.extend(array.iter().flat_map(encode));
            bytes
        }
        _ => Vec::new(),
    }
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
