//! The step of a `tokenizer.json` that splits texts.

use serde_json::{Value, json};

use super::splits::{DIGIT, DIGITS, GPT2, PUNCTUATION, Split};

/// The step that splits texts so, and turns bytes into letters.
pub(super) fn build(split: &Split) -> Value {
    let regex = |step: &&str| {
        let pattern = json!({ "Regex": step });
        json!({ "type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false })
    };
    let mut steps: Vec<Value> = split.steps.iter().map(regex).collect();
    steps.push(json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false }));
    json!({ "type": "Sequence", "pretokenizers": steps })
}

/// The expressions of a step, and whether it puts a space before a text.
///
/// # Errors
///
/// What is not known, by name.
pub(super) fn steps(value: &Value) -> Result<(Vec<&str>, bool), String> {
    let mut steps = Vec::new();
    let mut found = Found::default();
    read(value, &mut steps, &mut found)?;
    if !found.is_byte_level {
        return Err("its pre_tokenizer has no step ByteLevel".to_owned());
    }
    Ok((steps, found.adds_space))
}

#[derive(Default)]
struct Found {
    is_byte_level: bool,
    adds_space: bool,
}

fn read<'v>(value: &'v Value, steps: &mut Vec<&'v str>, found: &mut Found) -> Result<(), String> {
    let flag = |name: &str| value.get(name).and_then(Value::as_bool);
    match value.get("type").and_then(Value::as_str).unwrap_or_default() {
        "Sequence" => {
            let inner = value.get("pretokenizers").and_then(Value::as_array).into_iter().flatten();
            for step in inner {
                read(step, steps, found)?;
            }
        }
        "ByteLevel" => {
            found.is_byte_level = true;
            found.adds_space |= flag("add_prefix_space") == Some(true);
            if flag("use_regex") != Some(false) {
                steps.push(GPT2);
            }
        }
        "Digits" => steps.push(if flag("individual_digits") == Some(true) { DIGIT } else { DIGITS }),
        "Punctuation" => match value.get("behavior").and_then(Value::as_str).unwrap_or("Isolated") {
            "Contiguous" => steps.push(PUNCTUATION),
            other => return Err(format!("its pre_tokenizer isolates punctuation by the behaviour {other:?}")),
        },
        "Split" => {
            let pattern = value.get("pattern").ok_or("its pre_tokenizer splits by no pattern")?;
            let pattern = pattern.get("Regex").or(pattern.get("String")).and_then(Value::as_str);
            let behaviour = value.get("behavior").and_then(Value::as_str).unwrap_or_default();
            // Where an expression matches everything, both cut the same pieces.
            if behaviour != "Isolated" && !(behaviour == "Removed" && flag("invert") == Some(true)) {
                return Err(format!("its pre_tokenizer splits by the behaviour {behaviour:?}"));
            }
            steps.push(pattern.ok_or("its pre_tokenizer splits by no pattern")?);
        }
        other => return Err(format!("its pre_tokenizer has the step {other:?}")),
    }
    Ok(())
}
