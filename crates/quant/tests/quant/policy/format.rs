//! Tests of the format of policies, and of the errors about mistakes in them.

use longshore_quant::{
    Scheme,
    policy::{Policy, PolicyProblem, Query},
};

use super::{decision, named};

fn parse(text: &str) -> Policy {
    Policy::parse(text, "mine").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Returns true where a policy of one rule with these conditions matches the query.
fn holds(conditions: &str, query: Query<'_>, request: &str) -> bool {
    let policy = parse(&format!("{conditions}\naction = \"keep\"\nreason = \"matched\"\n"));
    policy.decide(&query, request.parse().ok()).rule == "matched"
}

#[test]
fn built_in_policies_parse_from_their_source() {
    for name in Policy::names() {
        let policy = named(name);
        let again = Policy::parse(policy.source(), name).expect("it is the built-in one to the byte");
        assert_eq!((again.name(), again.source()), (*name, policy.source()));
        assert!(!policy.description().is_empty(), "{name}");
        assert!(policy.source().len() < 32 << 10, "{name}");
    }
}

#[test]
fn every_condition() {
    let q = Query::new("model.layers.3.mlp.up_proj.weight", &[64, 64]);
    let rows: &[(&str, Query<'_>, &str, bool)] = &[
        ("[[rule]]\nname = '*up_proj*'", q, "int4", true),
        ("[[rule]]\nname = ['x', '*up_proj*']", q, "int4", true),
        ("[[rule]]\nname = 'up_proj'", q, "int4", false),
        ("[[rule]]\nname = '*up_proj*'\nnot_name = '*.weight'", q, "int4", false),
        ("[role.up]\nname = '*up_proj*'\nnot_name = '*bias'\n[[rule]]\nrole = 'up'", q, "int4", true),
        ("[role.up]\nname = '*up_proj*'\nnot_name = 'm*'\n[[rule]]\nrole = 'up'", q, "int4", false),
        ("[role.up]\nname = '*up_proj*'\n[[rule]]\nnot_role = 'up'", q, "int4", false),
        ("[role.s]\nor_stacked = true\n[[rule]]\nrole = 's'", q, "int4", false),
        ("[role.s]\nor_stacked = true\n[[rule]]\nrole = 's'", Query { stacked: true, ..q }, "int4", true),
        ("[[rule]]\nstacked = true", q, "int4", false),
        ("[[rule]]\nstacked = true", Query { stacked: true, ..q }, "int4", true),
        ("[[rule]]\nrank = 2", q, "int4", true),
        ("[[rule]]\nrank = [3, 4]", q, "int4", false),
        ("[[rule]]\nrank_below = 3", q, "int4", true),
        ("[[rule]]\nrank_above = 2", q, "int4", false),
        ("[[rule]]\nelements_below = 4_097", q, "int4", true),
        ("[[rule]]\nelements_below = 0x1000", q, "int4", false),
        ("[[rule]]\ncomponent = 'text_encoder*'", q, "int4", false),
        ("[[rule]]\ncomponent = 'text_encoder*'", Query { component: Some("text_encoder_2"), ..q }, "int4", true),
        ("[[rule]]\narchitecture = 'Gemma4*'", q, "int4", false),
        ("[[rule]]\narchitecture = 'Gemma4*'", Query { architecture: Some("Gemma4ForCausalLM"), ..q }, "int4", true),
        ("[model.g]\narchitecture = 'G*'\n[[rule]]\nmodel = 'g'", Query { architecture: Some("G"), ..q }, "int4", true),
        (
            "[model.g]\narchitecture = 'G*'\n[[rule]]\nmodel = 'g'",
            Query { architecture: Some("H"), ..q },
            "int4",
            false,
        ),
        ("[[rule]]\ndraft = true", q, "int4", false),
        ("[[rule]]\ndraft = true", Query { draft: true, ..q }, "int4", true),
        ("[[rule]]\ntied = true", q, "int4", false),
        ("[[rule]]\ntied = true", Query { tied: true, ..q }, "int4", true),
        ("[[rule]]\nexperts = [8, 16]", Query { experts: Some(16), ..q }, "int4", true),
        ("[[rule]]\nexperts = 8", q, "int4", false),
        ("[[rule]]\nlayer = 3", q, "int4", true),
        ("[[rule]]\nlayer = 2", q, "int4", false),
        ("[[rule]]\nin_layer = true", q, "int4", true),
        ("[[rule]]\nlayers_known = true", q, "int4", false),
        ("[[rule]]\nlayers_known = true", Query { layers: Some(4), ..q }, "int4", true),
        ("[[rule]]\nlayers_known = true", Query { counted_layers: Some(4), ..q }, "int4", true),
        ("[[rule]]\nlayers_stated = true", Query { layers: Some(4), ..q }, "int4", true),
        ("[[rule]]\nlayers_stated = true", Query { counted_layers: Some(4), ..q }, "int4", false),
        ("[[rule]]\ndense = true", Query { dense_layers: Some(&[3]), ..q }, "int4", true),
        ("[[rule]]\ndense = true", q, "int4", false),
        (
            "[cadence.c]\nfirst = 'n/2'\nlast = 'n'\n[[rule]]\ncadence = 'c'",
            Query { layers: Some(8), ..q },
            "int4",
            true,
        ),
        (
            "[cadence.c]\nfirst = 'n/2'\nlast = 'n'\nevery = 2\nat = 1\n[[rule]]\ncadence = 'c'",
            Query { layers: Some(6), ..q },
            "int4",
            false,
        ),
        ("[[rule]]\nrequest = 'int4'", q, "int4-g32", true),
        ("[[rule]]\nrequest = ['int4', 'nvfp4']", q, "mxfp4", false),
        ("[[rule]]\nfamily = 'integer'", q, "int4", true),
        ("[[rule]]\nfamily = 'float'", q, "int4", false),
        ("[[rule]]\nbits_below = 5", q, "mxfp4", true),
        ("[[rule]]\nbits_below = 5", q, "mxfp8", false),
    ];
    for (conditions, query, request, expected) in rows {
        assert_eq!(holds(conditions, *query, request), *expected, "{conditions}\n{query:?} {request}");
    }
}

#[test]
fn every_action() {
    let of = |action: &str, shape: &[u64], request: &str| {
        let policy = parse(&format!("[[rule]]\naction = {action}"));
        decision(&policy, &Query::new("a.weight", shape), request)
    };
    for (action, request, expected) in [
        ("'keep'", "int4", "-"),
        ("'request'", "int4-g32", "int4-g32"),
        ("'eight-bit'", "int4-g32", "int8-g32"),
        ("'eight-bit'", "nvfp4", "mxfp8"),
        ("'int8'", "int4-g32", "int8-g32"),
        ("'int8'", "nvfp4", "int8"),
        ("'int8-g64'", "int4-g32", "int8"),
        ("'int6-g32'", "nvfp4", "int6-g32"),
        ("'mxfp4'", "int4", "mxfp4"),
    ] {
        assert_eq!(of(action, &[64, 128], request), expected, "{action} {request}");
    }
    // Fallbacks are tried in order, and `keep` ends them.
    assert_eq!(of("'int8'\nfallback = ['mxfp8', 'request']", &[64, 96], "nvfp4"), "mxfp8");
    assert_eq!(of("'int8'\nfallback = ['mxfp8', 'request']", &[64, 48], "nvfp4"), "nvfp4");
    assert_eq!(of("'int8'\nfallback = ['keep', 'request']", &[64, 48], "nvfp4"), "-");
    assert_eq!(of("'int8'\nfallback = 'request'", &[64, 8], "nvfp4"), "-");
}

#[test]
fn a_decision_names_its_rule() {
    let text = "\
# mine
[[rule]]
name = 'b.weight'
action = 'int8'
fallback = 'mxfp8'
reason = 'the second letter'

[[rule]]
name = 'a.weight'
action = 'request'
";
    let policy = parse(text);
    let decide = |name: &str, shape: &[u64]| {
        let decision = policy.decide(&Query::new(name, shape), Some(Scheme::NVFP4));
        (decision.rule.into_owned(), decision.line)
    };
    assert_eq!(decide("b.weight", &[64, 64]), ("the second letter".into(), Some(2)));
    let fallback = "the second letter (last dimension 96 is not a multiple of 64: mxfp8)";
    assert_eq!(decide("b.weight", &[64, 96]), (fallback.into(), Some(2)));
    let kept = "last dimension 48 is not a multiple of 64: kept";
    assert_eq!(decide("b.weight", &[64, 48]), (kept.into(), Some(2)));
    assert_eq!(decide("a.weight", &[64, 64]), ("rule of line 8: as requested".into(), Some(8)));
    assert_eq!(decide("c.weight", &[64, 64]), ("no rule matches: kept".into(), None));
    assert_eq!(decide("a.weight", &[64]), ("rank below 2: kept".into(), None));
    assert_eq!(decide("a.bias", &[64, 64]), ("bias: kept".into(), None));
    assert_eq!(decide("a.weight", &[4, 64]), ("fewer than 1,024 elements: kept".into(), None));
}

#[test]
fn eight_bit_floats_that_no_scheme_holds() {
    let own = parse("min_elements = 1\nfp8 = 'int4'\n[[rule]]\naction = 'keep'");
    for (policy, shape, scheme, rule) in [
        (&named("default"), &[16, 64][..], Some("int8"), "FP8 that no type holds exactly: int8"),
        (&named("uniform"), &[8, 2, 64], Some("int8"), "FP8 that no type holds exactly: int8"),
        (&named("v0.32"), &[16, 64], Some("mxfp8"), "FP8 that no type holds exactly: mxfp8"),
        (&own, &[16, 64], Some("int4"), "FP8 that no type holds exactly: int4"),
        // Groups of 64 do not divide the rows, groups of 32 do.
        (&own, &[16, 96], Some("mxfp8"), "FP8 that no type holds exactly: mxfp8"),
        (&own, &[64, 48], None, "FP8, and no group divides the last dimension 48: decoded"),
        // One row less than is worth quantizing, whatever the policy's `min_elements` says.
        (&own, &[15, 64], None, "FP8, and fewer than 1024 elements: decoded"),
        (&named("uniform"), &[15, 64], None, "FP8, and fewer than 1024 elements: decoded"),
    ] {
        let found = policy.decide_fp8(shape);
        assert_eq!(found.scheme.map(|scheme| scheme.to_string()).as_deref(), scheme, "{} {shape:?}", policy.name());
        assert_eq!((found.rule.as_ref(), found.line), (rule, None));
    }
}

#[test]
fn names_and_descriptions() {
    let rule = "[[rule]]\naction = 'keep'\n";
    assert_eq!(parse(rule).name(), "mine");
    assert_eq!(parse(&format!("name = 'other'\n{rule}")).name(), "other");
    assert_eq!(parse(&format!("description = 'for tests'\n{rule}")).description(), "for tests");
    // Models record the name of their policy, so no other policy may take it.
    for (text, name) in [(format!("# \nname = 'default'\n{rule}"), "mine"), (rule.to_owned(), "uniform")] {
        let error = Policy::parse(&text, name).expect_err("the name is taken");
        assert!(matches!(error.problem, PolicyProblem::Reserved { .. }), "{error}");
    }
}

/// Texts with one mistake each, and the error with its position.
#[test]
fn mistakes_are_explained() {
    let rows = [
        ("rule = 3", "line 1, column 8: rule: expected tables: [[rule]], found 3"),
        ("", "line 1, column 1: a policy needs a \"rule\""),
        (
            "[[rule]]\naction = 'kep'",
            "line 2, column 10: action: expected \"keep\", \"request\", \"eight-bit\", or a type: \
          \"int2\" … \"int8\", \"int4-g32\" and so on, \"nvfp4\", \"mxfp4\", \"mxfp8\", found \"kep\"",
        ),
        ("\n[[rule]]\nreason = 'x'", "line 2, column 1: a rule needs a \"action\""),
        ("[[rule]]\naction = 3", "line 2, column 10: action: expected a string, found 3"),
        (
            "[[rule]]\naction = 'keep'\nname = ['a', 'b?']",
            "line 3, column 14: name: expected a pattern of `*`, which stands for \
          any characters, and characters of names, found \"b?\"",
        ),
        (
            "[[rule]]\naction = 'keep'\nname = []",
            "line 3, column 8: name: expected a string or a list of strings, found an empty list",
        ),
        ("[[rule]]\naction = 'keep'\nrank = -1", "line 3, column 8: rank: expected a whole number from 0, found -1"),
        (
            "[[rule]]\naction = 'keep'\nrole = 'up'",
            "line 3, column 8: role: expected a role, of which the policy defines none, found \"up\"",
        ),
        (
            "[role.down]\nname = 'a'\n[role.up]\nname = 'b'\n[[rule]]\naction = 'keep'\nrole = ['up', 'donw']",
            "line 7, column 15: role: expected a role (down, up), found \"donw\"",
        ),
        (
            "[[rule]]\naction = 'keep'\nstacked = 'yes'",
            "line 3, column 11: stacked: expected true or false, found \"yes\"",
        ),
        (
            "[[rule]]\naction = 'keep'\nfamily = 'int'",
            "line 3, column 10: family: expected \"integer\" or \"float\", found \"int\"",
        ),
        (
            "[[rule]]\naction = 'fp8'",
            "line 2, column 10: action: expected \"keep\", \"request\", \"eight-bit\", or a type: \
          \"int2\" … \"int8\", \"int4-g32\" and so on, \"nvfp4\", \"mxfp4\", \"mxfp8\", found \"fp8\"",
        ),
        (
            "[[rule]]\naction = 'keep'\nrequest = 'int4-g32'",
            "line 3, column 11: request: expected a type without a group: \
          \"int2\" … \"int8\", \"nvfp4\", \"mxfp4\" or \"mxfp8\", found \"int4-g32\"",
        ),
        (
            "[cadence.c]\nfirst = 'n/0'\nlast = 'n'",
            "line 2, column 9: first: expected a number of layers such as \"7n/8\" or \
          \"n/2-4\", where n counts all layers, found \"n/0\"",
        ),
        ("[cadence.c]\nfirst = 'n'", "line 1, column 1: a cadence needs a \"last\""),
        (
            "[cadence.c]\nfirst = 'n'\nlast = 'n'\nevery = 3\nat = 3",
            "line 5, column 6: at: expected a whole number from 0 to 2, found 3",
        ),
        ("[role]\nup = 3", "line 2, column 6: role: expected tables: [role.NAME], found 3"),
        ("[role.up]\nnot_name = 'x'", "line 1, column 1: a role needs a \"name\""),
        (
            "[role.up]\nnames = 'x'",
            "line 2, column 1: a role has no \"names\", expected one of name, not_name, or_stacked",
        ),
        ("min_elements = 0", "line 1, column 16: min_elements: expected a whole number from 1, found 0"),
        (
            "name = 'a b'",
            "line 1, column 8: name: expected 1 to 64 letters, digits, dots, hyphens and underscores, found \"a b\"",
        ),
        (
            "description = \"a\\nb\"",
            "line 1, column 15: description: expected one line of at most 300 characters, found \"a\\nb\"",
        ),
        (
            "[[rule]]\naction = 'keep'\nreason = \"\\u001b[2J\"",
            "line 3, column 10: reason: expected one line of at most 300 \
          characters, found \"\\u{1b}[2J\"",
        ),
    ];
    for (text, expected) in rows {
        let error = Policy::parse(text, "mine").expect_err(text);
        assert_eq!(error.to_string(), expected, "{text}");
    }
    let error = Policy::parse("[[rule]]\naction = 'keep'\nnmae = 'x'\nzzz = 1", "mine").expect_err("there is no nmae");
    assert!(
        error.to_string().starts_with("line 3, column 1: a rule has no \"nmae\", expected one of name, not_name, role")
    );
    let error = Policy::parse("é = 1\n[[rule]\n", "mine").expect_err("it is no TOML");
    assert!(error.to_string().starts_with("line 2, column 8: not TOML: "), "{error}");
}

#[test]
fn limits() {
    let rule = "[[rule]]\naction = 'keep'\n";
    assert!(Policy::parse(&rule.repeat(Policy::MAX_RULES), "mine").is_ok());
    let list = |entries| format!("name = [{}]", "'a',".repeat(entries));
    assert!(Policy::parse(&format!("{rule}{}", list(10_000)), "mine").is_ok());
    let many = list(10_001);
    let roles: Vec<String> = (0..65).map(|at| format!("[role.r{at}]\nname = 'x'\n")).collect();
    let rows = [
        (rule.repeat(Policy::MAX_RULES + 1), "at most 1000 rules in a policy, found 1001"),
        (" ".repeat(Policy::MAX_BYTES + 1), "at most 262144 bytes in a policy, found 262145"),
        (format!("{rule}{many}"), "at most 10000 entries of lists in a policy, found 10001"),
        (roles.concat(), "at most 64 tables of one kind in a policy, found 65"),
    ];
    for (text, expected) in rows {
        let error = Policy::parse(&text, "mine").expect_err("it is too much");
        assert_eq!(error.problem.to_string(), expected);
    }
    // Endless nesting is refused too.
    for open in ["[", "{a="] {
        let text = format!("x = {}", open.repeat(60_000));
        assert!(Policy::parse(&text, "mine").is_err());
    }
    assert!(Policy::parse(&format!("[{}x]", "a.".repeat(100_000)), "mine").is_err());
}

/// The examples in `docs/policy.md` are policies, and the page describes every key.
#[test]
fn the_page_about_the_format() {
    let page = include_str!("../../../docs/policy.md");
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|block| block.split("```").next()).collect();
    let [whole, sets] = blocks[..] else { panic!("the page has two examples") };
    let first = parse(whole);
    assert_eq!(decision(&first, &Query::new("model.layers.0.mlp.down_proj.weight", &[64, 64]), "int4"), "int8");
    assert_eq!(decision(&first, &Query::new("model.norm.weight", &[64, 64]), "int4"), "-");
    let tables = "role = ['down', 'expert']\nmodel = 'gemma4'\ncadence = 'usual'";
    let second = parse(&format!("{sets}\n[[rule]]\naction = 'request'\n{tables}"));
    let name = "model.layers.6.mlp.experts.down_proj.weight";
    let query = Query { architecture: Some("Gemma4ForCausalLM"), ..Query::new(name, &[64, 64]) };
    assert_eq!(decision(&second, &Query { layers: Some(32), ..query }, "int4"), "int4");
    assert_eq!(decision(&second, &Query { layers: Some(40), ..query }, "int4"), "-");

    for text in ["x = 1", "[role.a]\nx = 1", "[model.a]\nx = 1", "[cadence.a]\nx = 1", "[[rule]]\nx = 1"] {
        let error = Policy::parse(text, "mine").expect_err("there is no x");
        let PolicyProblem::UnknownKey { known, .. } = error.problem else { panic!("{error}") };
        for key in known {
            assert!(
                [format!("`{key}"), format!("{key} ="), format!("[{key}."), format!("[[{key}]]")]
                    .iter()
                    .any(|form| page.contains(form)),
                "{key}"
            );
        }
    }
}
