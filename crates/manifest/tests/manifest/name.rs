use std::path::Component;

use longshore_manifest::{ModelName, NameProblem};
use proptest::prelude::*;

#[test]
fn valid_forms() {
    let long = "a".repeat(80);
    let long_host = "h".repeat(249);
    for (text, parts, shown) in [
        ("m", ["registry.ollama.ai", "library", "m", "latest"], "m:latest".to_owned()),
        ("m:t", ["registry.ollama.ai", "library", "m", "t"], "m:t".to_owned()),
        ("ns/m", ["registry.ollama.ai", "ns", "m", "latest"], "ns/m:latest".to_owned()),
        ("h.org/ns/m:t", ["h.org", "ns", "m", "t"], "h.org/ns/m:t".to_owned()),
        ("h/library/m", ["h", "library", "m", "latest"], "h/library/m:latest".to_owned()),
        ("registry.ollama.ai/library/m", ["registry.ollama.ai", "library", "m", "latest"], "m:latest".to_owned()),
        ("registry.ollama.ai/ns/m", ["registry.ollama.ai", "ns", "m", "latest"], "ns/m:latest".to_owned()),
        ("localhost:5000/ns/m", ["localhost:5000", "ns", "m", "latest"], "localhost:5000/ns/m:latest".to_owned()),
        ("h:1/ns/m:65535", ["h:1", "ns", "m", "65535"], "h:1/ns/m:65535".to_owned()),
        (
            "Qwen3-MoE_x.5:Q4_K.m",
            ["registry.ollama.ai", "library", "Qwen3-MoE_x.5", "Q4_K.m"],
            "Qwen3-MoE_x.5:Q4_K.m".to_owned(),
        ),
        ("_/_:_", ["registry.ollama.ai", "_", "_", "_"], "_/_:_".to_owned()),
        (&long, ["registry.ollama.ai", "library", &long, "latest"], format!("{long}:latest")),
        (
            &format!("{long_host}:65535/n/m"),
            [&format!("{long_host}:65535"), "n", "m", "latest"],
            format!("{long_host}:65535/n/m:latest"),
        ),
    ] {
        let name: ModelName = text.parse().unwrap();
        assert_eq!([name.host(), name.namespace(), name.model(), name.tag()], parts, "{text}");
        assert_eq!(name.to_string(), shown);
        assert_eq!(name.path(), parts.iter().collect::<std::path::PathBuf>());
    }
}

#[test]
fn invalid_forms_say_which_rule_they_break() {
    use NameProblem::{Character, Empty, Port, TooLong, TooManyParts, Windows};
    let character = |part, found, position| Character { part, found, position };
    let windows = |part, problem| Windows { part, problem };
    let device = "Windows keeps a name in it for a device";
    let drops = "a name in it ends with a dot or a space, which Windows drops";
    let long = "a".repeat(81);
    for (text, expected) in [
        ("", Empty { part: "model" }),
        (":t", Empty { part: "model" }),
        ("m:", Empty { part: "tag" }),
        ("/m", Empty { part: "namespace" }),
        ("ns/", Empty { part: "model" }),
        ("/ns/m", Empty { part: "host" }),
        ("h//m", Empty { part: "namespace" }),
        (":80/n/m", Empty { part: "host" }),
        ("a/b/c/d", TooManyParts { found: 4 }),
        ("https://h/n/m", TooManyParts { found: 5 }),
        ("/etc/passwd/", TooManyParts { found: 4 }),
        ("..", character("model", '.', 1)),
        (".", character("model", '.', 1)),
        ("../m", character("namespace", '.', 1)),
        ("../../m", character("host", '.', 1)),
        ("m:..", character("tag", '.', 1)),
        ("-m", character("model", '-', 1)),
        ("n.s/m", character("namespace", '.', 2)),
        ("localhost:5000/m", character("namespace", ':', 10)),
        ("m:a:b", character("tag", ':', 2)),
        ("m m", character("model", ' ', 2)),
        ("m\n", character("model", '\n', 2)),
        ("m\0", character("model", '\0', 2)),
        ("a\\b", character("model", '\\', 2)),
        ("m@sha256", character("model", '@', 2)),
        ("modèle", character("model", 'è', 4)),
        ("ｍ", character("model", 'ｍ', 1)),
        (&long, TooLong { part: "model", found: 81, limit: 80 }),
        (&format!("{long}/m"), TooLong { part: "namespace", found: 81, limit: 80 }),
        (&format!("m:{long}"), TooLong { part: "tag", found: 81, limit: 80 }),
        (&format!("{}/n/m", "h".repeat(256)), TooLong { part: "host", found: 256, limit: 255 }),
        ("m:1.", windows("tag", drops)),
        ("m.:1", windows("model", drops)),
        ("h.:80/n/m", windows("host", drops)),
        ("CON", windows("model", device)),
        ("nul:latest", windows("model", device)),
        ("m:aux.q4", windows("tag", device)),
        ("com1/m", windows("namespace", device)),
        ("Prn.org/n/m", windows("host", device)),
        ("h:/n/m", Port { found: String::new() }),
        ("h:0/n/m", Port { found: "0".into() }),
        ("h:080/n/m", Port { found: "080".into() }),
        ("h:65536/n/m", Port { found: "65536".into() }),
        ("h:+80/n/m", Port { found: "+80".into() }),
        ("h:1:2/n/m", Port { found: "1:2".into() }),
    ] {
        let error = text.parse::<ModelName>().unwrap_err();
        assert_eq!(error.problem, expected, "{text:?}");
        assert!(error.to_string().contains(&expected.to_string()), "{error}");
    }
}

#[test]
fn a_long_text_is_cut_in_the_error() {
    assert_eq!("ü".repeat(900).parse::<ModelName>().unwrap_err().name, "ü".repeat(200));
}

#[test]
fn json_is_checked_too() {
    let name: ModelName = serde_json::from_str("\"ns/m\"").unwrap();
    assert_eq!(serde_json::to_string(&name).unwrap(), "\"ns/m:latest\"");
    assert!(serde_json::from_str::<ModelName>("\"../m\"").is_err());
    assert!(ModelName::from_parts("h", "n", "m", "..").is_none());
    assert!(ModelName::from_parts("h", "n", "a/b", "t").is_none());
    assert!(ModelName::from_parts("", "n", "m", "t").is_none());
}

/// Generates a part that starts with a letter, a digit or `_`, and that Windows can hold.
fn part(rest: &'static str) -> impl Strategy<Value = String> {
    let any = proptest::string::string_regex(&format!("[A-Za-z0-9_]{rest}")).unwrap();
    any.prop_filter("a name that Windows cannot hold", |text| {
        let name = text.split(':').next().unwrap();
        let stem = name.split('.').next().unwrap().to_lowercase();
        let is_device = ["con", "prn", "aux", "nul"].contains(&&*stem)
            || stem.len() == 4 && (stem.starts_with("com") || stem.starts_with("lpt"));
        !name.ends_with('.') && !is_device
    })
}

proptest! {
    #[test]
    fn valid_names_round_trip(
        host in part("[A-Za-z0-9_.-]{0,60}(:[1-9][0-9]{0,3})?"),
        namespace in part("[A-Za-z0-9_-]{0,79}"),
        model in part("[A-Za-z0-9_.-]{0,79}"),
        tag in part("[A-Za-z0-9_.-]{0,79}"),
        defaults: (bool, bool),
    ) {
        let host = if defaults.0 { "registry.ollama.ai".to_owned() } else { host };
        let namespace = if defaults.1 { "library".to_owned() } else { namespace };
        let name: ModelName = format!("{host}/{namespace}/{model}:{tag}").parse().unwrap();
        prop_assert_eq!(&name.to_string().parse::<ModelName>().unwrap(), &name);
        let path = name.path();
        let parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap()).collect();
        prop_assert_eq!(&parts, &[&*host, &*namespace, &*model, &*tag]);
        prop_assert_eq!(ModelName::from_parts(parts[0], parts[1], parts[2], parts[3]), Some(name));
    }

    #[test]
    fn no_text_leads_out_of_the_store(text in prop_oneof![".*", "[./:\\\\a_~%0-]{0,24}", "([.]{1,3}[/:]?){1,5}"]) {
        if let Ok(name) = text.parse::<ModelName>() {
            let path = name.path();
            prop_assert!(path.is_relative());
            prop_assert_eq!(path.components().count(), 4);
            prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
            prop_assert!(path.iter().all(|part| part.len() <= 255));
        }
    }
}
