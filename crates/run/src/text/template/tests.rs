use std::collections::BTreeMap;

use longshore_manifest::{
    document::{Import, TensorTable},
    weights::Source,
};
use longshore_model::Facts;

use super::*;

fn source(files: &[(&str, &str)]) -> Source {
    let table = TensorTable::new(Facts::default(), Import::default(), Vec::new());
    let files: BTreeMap<_, _> =
        files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
    Source::of_parts("m", table, [], files)
}

fn render(text: &str) -> Result<String, TemplateError> {
    ChatTemplate::new(text, []).and_then(|template| template.render(&[Message::user("Hello")], true))
}

fn opened(files: &[(&str, &str)]) -> Option<String> {
    let template = ChatTemplate::open(&source(files)).expect("the files can be read");
    template.map(|template| template.render(&[], false).expect("it renders"))
}

#[test]
fn the_standalone_template_wins_and_default_is_chosen_of_several() {
    let config = r#"{"chat_template": "config", "bos_token": "<s>"}"#;
    assert_eq!(opened(&[("tokenizer_config.json", config)]).as_deref(), Some("config"));
    let both = [("tokenizer_config.json", config), ("chat_template.jinja", "file {{ bos_token }}")];
    assert_eq!(opened(&both).as_deref(), Some("file <s>"));
    let several = r#"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}"#;
    assert_eq!(opened(&[("tokenizer_config.json", several)]).as_deref(), Some("d"));
    for none in ["{}", r#"{"chat_template": ""}"#, r#"{"chat_template": 3}"#, r#"{"chat_template": [{"name": "x"}]}"#] {
        assert_eq!(opened(&[("tokenizer_config.json", none)]), None, "{none}");
    }
    assert_eq!(opened(&[]), None);
}

#[test]
fn documents_that_cannot_be_used_are_named() {
    let error = ChatTemplate::open(&source(&[("tokenizer_config.json", "[]")])).expect_err("it is a list");
    assert_eq!(error.to_string(), "tokenizer_config.json of m: expected a JSON object");
    let error = ChatTemplate::open(&source(&[("chat_template.jinja", "a\n{% if %}")])).expect_err("it does not parse");
    assert!(error.to_string().starts_with("the chat template is not valid at line 2: "), "{error}");
    let template = ChatTemplate::new("", []).expect("it is empty");
    assert!(matches!(template.render_json("[1]"), Err(TemplateError::Variables { .. })));
    assert!(matches!(template.render_json("{"), Err(TemplateError::Variables { .. })));
}

#[test]
fn what_a_template_raises_is_passed_on() {
    let error =
        render("{% for m in messages %}{{ raise_exception('no ' ~ m.role) }}{% endfor %}").expect_err("it raises");
    assert_eq!(error.to_string(), "the chat template refuses the conversation: no user");
    let error = render("a\n{{ messages[0].nothing.at.all }}").expect_err("it is undefined");
    assert!(matches!(error, TemplateError::Render { line: Some(2), .. }), "{error}");
}

#[test]
fn nothing_else_can_be_reached() {
    for text in [
        "{% include 'chat' %}",
        "{% import 'chat' as x %}",
        "{% extends 'chat' %}",
        "{{ debug() }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ strftime_now('%Y' * 100000) }}",
    ] {
        assert!(render(text).is_err(), "{text}");
    }
}

/// Templates that would take for ever or all memory. None may do either, and each has to be stopped by what it is paid for, rather
/// than by the deadline.
#[test]
fn hostile_templates_are_stopped() {
    let loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}x{% endfor %}{% endfor %}{% endfor %}";
    let big = "{% set s = 'a' * 1000000 %}";
    let many = format!("{big}{{% set l = [s] * 100000 %}}");
    let doubling =
        "{% set ns = namespace(s='aaaaaaaaaa') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}";
    let nested = "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}";
    for text in [
        loops.to_owned(),
        loops.replace('x', ""),
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}".to_owned(),
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(45) }}".to_owned(),
        "{{ range(10**9) }}".to_owned(),
        "{{ range(10**9) | list | length }}".to_owned(),
        "{{ 'a' * 10**9 }}".to_owned(),
        "{{ ('a' * 10**9) | length }}".to_owned(),
        "{% set x = [1] * 10**9 %}{{ x }}".to_owned(),
        "{% set x = [1] * 10**9 %}{{ x | tojson }}".to_owned(),
        "{% set x = [1] * 10**9 %}{{ x | list | length }}".to_owned(),
        "{% set x = [1] * 10**9 %}{% for y in x %}{% endfor %}".to_owned(),
        doubling.to_owned(),
        doubling.replace("ns.s ~ ns.s", "ns.s + ns.s"),
        doubling.replace("ns.s ~ ns.s", "[ns.s, ns.s] | join"),
        doubling.replace("ns.s ~ ns.s", "''.join([ns.s, ns.s])"),
        doubling.replace("ns.s ~ ns.s", "ns.s | replace('a', 'aaaaaaaaaaaa')"),
        doubling.replace("ns.s ~ ns.s", "ns.s.replace('a', 'aaaaaaaaaaaa')"),
        doubling.replace("ns.s ~ ns.s", "'%s%s' | format(ns.s, ns.s)"),
        doubling.replace("ns.s ~ ns.s", "'{0}{0}'.format(ns.s)"),
        doubling.replace("ns.s ~ ns.s", "ns.s | tojson | tojson"),
        format!("{many}{{{{ l }}}}"),
        format!("{many}{{{{ l | join }}}}"),
        format!("{many}{{{{ ''.join(l) }}}}"),
        format!("{many}{{{{ l | string | length }}}}"),
        format!("{many}{{{{ l | tojson | length }}}}"),
        format!("{many}{{{{ '%s' | format(l) }}}}"),
        format!("{many}{{{{ '{{}}'.format(l) }}}}"),
        format!("{big}{{{{ ('{{0}}' * 100000).format(s) | length }}}}"),
        format!("{big}{{{{ ('%s' * 3) | format(s, s, s) | indent(10**9) }}}}"),
        "{{ '{:999999999}'.format(1) }}".to_owned(),
        "{{ '%999999999d' | format(1) }}".to_owned(),
        "{{ [[[1]]] | tojson(indent=10**9) }}".to_owned(),
        "{{ ('a\n' * 100000) | indent(100000) }}".to_owned(),
        format!("{nested}{{{{ ns.l }}}}"),
        format!("{nested}{{{{ ns.l | tojson }}}}"),
        format!("{nested}{{{{ ns.l | string }}}}"),
        format!("{nested}{{{{ ns.l | join(',') }}}}"),
        "{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}".to_owned(),
        "{% set x %}{% for i in range(99999) %}{{ 'a' * 10000 }}{% endfor %}{% endset %}".to_owned(),
        "{% filter upper %}{% for i in range(99999) %}{{ 'a' * 10000 }}{% endfor %}{% endfilter %}".to_owned(),
    ] {
        let error = render(&text).expect_err(&text);
        let is_late =
            matches!(error, TemplateError::Limit { limit } if limit == bounded::TIME || limit == bounded::MEMORY);
        assert!(!is_late, "{text}: {error}");
    }
}

#[test]
fn sixteen_mebibytes_are_written_and_no_more() {
    let text = |count: usize| format!("{{{{ 'a' * {count} }}}}");
    assert_eq!(render(&text(16 << 20)).expect("it fits").len(), 16 << 20);
    let error = render(&text((16 << 20) + 1)).expect_err("it is too long");
    assert_eq!(error.to_string(), "the chat template was stopped: it writes more than 16 MiB");
}

#[test]
fn a_deep_value_neither_prints_nor_ends_the_process() {
    let deep = "{% set ns = namespace(l=[]) %}{% for i in range(90000) %}{% set ns.l = [ns.l] %}{% endfor %}";
    assert_eq!(render(deep).expect("it is dropped"), "");
    let error = render(&format!("{deep}{{{{ ns.l }}}}")).expect_err("it is too deep");
    assert!(error.to_string().contains("at most 128 lists"), "{error}");
}
