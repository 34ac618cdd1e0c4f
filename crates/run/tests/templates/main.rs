//! Chat templates, compared with how transformers renders them. `record.py` beside this file recorded that.

use std::{
    fs,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use longshore_run::text::{ChatTemplate, TemplateError};
use serde_json::Value;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/templates").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The variables of each case as they are written, since a parsed object forgets the order of its members.
fn variables(cases: &str) -> Vec<String> {
    let lines = cases.lines().filter_map(|line| line.split_once("\"variables\": "));
    lines.map(|(_, rest)| rest.trim_end_matches(',').strip_suffix('}').expect("a case ends there").to_owned()).collect()
}

#[test]
fn templates_give_what_transformers_gives() {
    let cases = read("cases.json");
    let expected: Vec<Value> = serde_json::from_str(&read("expected.json")).expect("it is JSON");
    let variables = variables(&cases);
    assert_eq!(variables.len(), expected.len());
    // Friday, 2026-11-06 09:05:07.
    let now = UNIX_EPOCH + Duration::from_secs(1_793_955_907);
    let tokens = [("bos_token".to_owned(), "<s>".to_owned()), ("eos_token".to_owned(), "</s>".to_owned())];
    let mut wrong = Vec::new();
    for (at, (variables, expected)) in variables.iter().zip(&expected).enumerate() {
        let name = expected["template"].as_str().expect("it has a name");
        let text = read(&format!("templates/{name}.jinja"));
        let template = ChatTemplate::with_time(&text, tokens.clone(), now).expect("it parses");
        let found = match template.render_json(variables) {
            Ok(text) => serde_json::json!({"template": name, "text": text}),
            Err(TemplateError::Raised { message }) => serde_json::json!({"template": name, "error": message}),
            Err(error) => panic!("{name}, case {at}: {error}"),
        };
        if found != *expected {
            wrong.push(format!("{name}, case {at}:\n{found}\nexpected\n{expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
