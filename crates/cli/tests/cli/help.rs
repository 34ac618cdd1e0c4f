//! The help of every verb, as it is read.

use crate::support::{Sandbox, snapshot};

#[test]
fn of_the_binary() {
    let sandbox = Sandbox::new();
    snapshot!("help", sandbox.ok(["--help"]));
    assert!(sandbox.ok(["--version"]).starts_with("longshore "));
}

#[test]
fn of_every_verb() {
    let sandbox = Sandbox::new();
    let running: &[&str] =
        if cfg!(feature = "run") { &["run", "chat", "embed", "perplexity", "calibrate"] } else { &[] };
    let others = [
        "import",
        "list",
        "show",
        "load",
        "verify",
        "diff",
        "export",
        "inspect",
        "copy",
        "rm",
        "gc",
        "policy",
        "experts",
        "completions",
        "man",
    ];
    for verb in others.iter().chain(running) {
        let verb = *verb;
        let help = sandbox.ok([verb, "--help"]);
        // Examples are not broken into lines as the rest is.
        let examples = help.split("Examples:").nth(1).unwrap_or_default();
        assert!(examples.lines().all(|line| line.chars().count() <= 80), "{examples}");
        snapshot!(format!("help-{verb}"), help);
    }
    snapshot!("help-policy-show", sandbox.ok(["policy", "show", "--help"]));
    snapshot!("help-policy-fit", sandbox.ok(["policy", "fit", "--help"]));
    for verb in ["plan", "replay"] {
        let help = sandbox.ok(["experts", verb, "--help"]);
        let examples = help.split("Examples:").nth(1).unwrap_or_default();
        assert!(!examples.is_empty() && examples.lines().all(|line| line.chars().count() <= 80), "{examples}");
        snapshot!(format!("help-experts-{verb}"), help);
    }
}

#[test]
fn every_model_type_that_an_export_for_mlx_knows_is_listed() {
    let help = Sandbox::new().ok(["export", "--help"]);
    for known in longshore_packer::mlx_architectures() {
        assert!(help.contains(&format!("`{known}`")), "{known}: {help}");
    }
}

#[test]
fn completions_and_the_manual_page_come_from_the_arguments() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(sandbox.ok(["completions", shell]).contains("quantize"), "{shell}");
    }
    // Usual values of an option are offered, though it takes more than those.
    let bash = sandbox.ok(["completions", "bash"]);
    for words in ["int4 int8 nvfp4", "plus best gptq mlx", "default uniform", "host mlx cuda", "bf16 f16 f32"] {
        assert!(bash.contains(words), "{words}");
    }
    let page = sandbox.ok(["man"]);
    assert!(page.starts_with(".ie"));
    // Every page that this one refers to can be printed.
    let verbs: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("longshore\\-")?.strip_suffix("(1)")).collect();
    assert!(verbs.contains(&"import"), "{page}");
    for verb in verbs {
        let page = sandbox.ok(["man", verb]);
        assert!(page.contains(&format!(".TH longshore-{verb} 1")), "{page}");
        assert!(page.contains("\\-\\-store"), "{page}");
    }
    assert_eq!(sandbox.run(["man", "imprt"]).code, 2);
}
