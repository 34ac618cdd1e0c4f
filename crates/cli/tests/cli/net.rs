//! `push`, `pull`, `login` and their like, against a registry and a hub behind sockets.
#![cfg(all(unix, feature = "net"))]

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use longshore_fake_hosts::{FakeHub, FakeRegistry, Fault, Host as _, serve};

use crate::support::{Run, Sandbox, files};

/// A command whose settings, credentials and proxies are the sandbox's.
pub(crate) fn command(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = sandbox.command(args);
    let home = sandbox.path().join("home");
    command.env("HOME", &home).env("XDG_CONFIG_HOME", home.join("config")).env("XDG_CACHE_HOME", home.join("cache"));
    for variable in
        ["HF_TOKEN", "HF_HOME", "HF_ENDPOINT", "HF_HUB_CACHE", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"]
    {
        command.env_remove(variable);
    }
    for variable in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(variable);
    }
    command
}

pub(crate) fn run(sandbox: &Sandbox, args: &[&str]) -> Run {
    Run::of(&mut command(sandbox, args))
}

pub(crate) fn ok(sandbox: &Sandbox, args: &[&str]) -> String {
    let run = run(sandbox, args);
    assert_eq!(run.code, 0, "{run:?}");
    run.stdout
}

pub(crate) fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_model_goes_to_a_registry_and_comes_back() {
    let host = Arc::new(FakeRegistry::default());
    let served = serve(host.clone()).unwrap();
    let reference = format!("oci:{}/me/tiny:int4", served.authority());
    let (here, there) = (Sandbox::new(), Sandbox::new());
    here.checkpoint("qwen3-moe");
    ok(&here, &["import", "./qwen3-moe", "tiny:int4", "--quantize", "int4"]);

    let plan = json(&ok(&here, &["push", "tiny:int4", &reference, "--dry-run", "--json"]));
    assert_eq!(host.size().0, 0);
    let pushed = json(&ok(&here, &["push", "tiny:int4", &reference, "--json"]));
    assert_eq!((&pushed["artifact"], pushed["reused_bytes"].as_u64()), (&plan["artifact"], Some(0)));
    let again = json(&ok(&here, &["push", "tiny:int4", &reference, "--json"]));
    assert_eq!((again["moved_bytes"].as_u64(), &again["digest"]), (Some(0), &pushed["digest"]));

    let plan = json(&ok(&there, &["pull", &reference, "--dry-run", "--json"]));
    assert_eq!((&plan["name"], &plan["digest"]), (&"me/tiny:int4".into(), &pushed["digest"]));
    let pulled = json(&ok(&there, &["pull", &reference, "--json"]));
    assert_eq!(pulled["digest"], pushed["digest"]);
    ok(&there, &["verify"]);
    // Again: nothing moves. Under a name that another model has: not without its being written.
    let again = json(&ok(&there, &["pull", &reference, "--json"]));
    assert_eq!(again["moved_bytes"].as_u64(), Some(0));
    there.checkpoint("llama");
    ok(&there, &["import", "./llama", "me/tiny:int4"]);
    let taken = run(&there, &["pull", &reference]);
    assert_eq!(taken.code, 1, "{taken:?}");
    ok(&there, &["pull", &reference, "me/tiny:int4"]);
    let human = ok(&there, &["pull", &reference, "me/tiny:int4"]);
    assert!(human.contains("were there already"), "{human}");
}

#[test]
fn errors_say_what_to_do() {
    let host = Arc::new(FakeRegistry::with_login("bWU6c2VjcmV0"));
    let served = serve(host).unwrap();
    let sandbox = Sandbox::new();
    let reference = format!("oci:{}/me/tiny", served.authority());
    let refused = run(&sandbox, &["pull", &reference]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("longshore login"), "{refused:?}");
    assert!(!refused.stderr.contains("given"), "{refused:?}");
    for (args, code, text) in [
        (&["pull", "qwen3"][..], 2, "no reference"),
        (&["pull", "oci:localhost"], 1, "not a reference"),
        (&["pull", "hf:a"], 1, "owner/repository"),
        (&["push", "none:1", &reference], 1, "no model"),
        (&["pull", &reference, "--quantize", "int4"], 2, "hub"),
        (&["pull", &reference, "--ca-cert", "none.pem"], 2, "none.pem"),
        (&["pull", &reference, "--abandon"], 1, "no unfinished pull"),
        (&["logout", "nowhere.example"], 1, "no password"),
    ] {
        let run = run(&sandbox, args);
        assert!(run.stderr.contains(text) && run.stdout.is_empty(), "{args:?}: {run:?}");
        assert_eq!(run.code, code, "{args:?}: {run:?}");
    }
}

#[test]
fn a_password_is_tried_kept_and_forgotten() {
    let host = Arc::new(FakeRegistry::with_login("bWU6c2VjcmV0"));
    let served = serve(host.clone()).unwrap();
    let sandbox = Sandbox::new();
    let authority = served.authority();
    let login = |password: &str| {
        let mut child = command(&sandbox, &["login", &authority, "--username", "me"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let wrong = login("wrong\n");
    assert!(!wrong.status.success());
    let shown = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!shown.contains("wrong") && !shown.contains("Basic"), "{shown}");
    let right = login("secret\n");
    assert!(right.status.success(), "{right:?}");
    let kept = sandbox.path().join("home/config/longshore/auth.json");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&kept.metadata().unwrap().permissions()) & 0o777, 0o600);

    sandbox.checkpoint("llama");
    ok(&sandbox, &["import", "./llama", "tiny:1"]);
    let reference = format!("oci:{authority}/me/tiny:1");
    let pushed = run(&sandbox, &["push", "tiny:1", &reference, "-v"]);
    assert_eq!(pushed.code, 0, "{pushed:?}");
    assert!(!format!("{pushed:?}").contains("bWU6"), "{pushed:?}");
    ok(&sandbox, &["logout", &authority]);
    assert_ne!(run(&sandbox, &["push", "tiny:1", &reference]).code, 0);
}

#[test]
fn short_names_stand_for_references() {
    let sandbox = Sandbox::new();
    ok(&sandbox, &["aliases", "tiny", "hf:acme/tiny"]);
    let listed = json(&ok(&sandbox, &["aliases", "--json"]));
    assert_eq!(listed["aliases"]["tiny"], "hf:acme/tiny@main");
    assert_ne!(run(&sandbox, &["aliases", "tiny", "nothing"]).code, 0);
    let missing = run(&sandbox, &["pull", "tiny", "--abandon"]);
    assert!(missing.stderr.contains("hf:acme/tiny@main"), "{missing:?}");
}

/// A hub with a checkpoint's files, behind a socket.
pub(crate) fn hub(sandbox: &Sandbox, model: &str) -> (Arc<FakeHub>, longshore_fake_hosts::Served) {
    hub_of(&sandbox.checkpoint(model))
}

/// A hub with the files of a directory, behind a socket.
pub(crate) fn hub_of(dir: &std::path::Path) -> (Arc<FakeHub>, longshore_fake_hosts::Served) {
    let named = files(dir).into_iter().map(|(path, bytes)| {
        let name = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().into_owned();
        (name, bytes)
    });
    let host = Arc::new(FakeHub::new("acme/tiny", named));
    let served = serve(host.clone()).unwrap();
    *host.cdn.lock().unwrap() = format!("http://localhost:{}", served.address.port());
    (host, served)
}

#[test]
fn a_pull_from_a_hub_is_an_import() {
    let sandbox = Sandbox::new();
    let (host, served) = hub(&sandbox, "qwen3-moe");
    ok(&sandbox, &["import", "./qwen3-moe", "imported:1", "--quantize", "int4"]);
    let imported = json(&ok(&sandbox, &["list", "--json"]))["models"][0]["digest"].clone();
    let other = Sandbox::new();
    let endpoint = format!("http://{}", served.authority());
    let with = |args: &[&str]| {
        let mut command = command(&other, args);
        command.env("HF_ENDPOINT", &endpoint);
        Run::of(&mut command)
    };
    let plan = with(&["pull", "hf:acme/tiny", "--dry-run", "--json"]);
    assert_eq!(plan.code, 0, "{plan:?}");
    assert_eq!(json(&plan.stdout)["commit"], host.commit());
    let pulled = with(&["pull", "hf:acme/tiny", "tiny:int4", "--quantize", "int4", "--json"]);
    assert_eq!(pulled.code, 0, "{pulled:?}");
    assert_eq!(json(&pulled.stdout)["digest"], imported);
    ok(&other, &["verify"]);
}

#[test]
fn a_pull_again_finds_what_is_there_and_takes_no_name_of_another() {
    let sandbox = Sandbox::new();
    let (host, served) = hub(&sandbox, "llama");
    let endpoint = format!("http://{}", served.authority());
    let with = |args: &[&str]| Run::of(command(&sandbox, args).env("HF_ENDPOINT", &endpoint));
    let moved = |run: &Run| json(&run.stdout)["moved_bytes"].as_u64().unwrap();
    let first = with(&["pull", "hf:acme/tiny", "--json"]);
    assert_eq!(first.code, 0, "{first:?}");
    assert!(moved(&first) > 0);
    // The same, by the name that it has anyway and by itself: only documents are asked for.
    for args in [&["pull", "hf:acme/tiny", "--json"][..], &["pull", "hf:acme/tiny", "acme/tiny", "--json"]] {
        host.take_log();
        let again = with(args);
        assert_eq!((again.code, moved(&again)), (0, 0), "{again:?}");
        assert_eq!(json(&again.stdout)["digest"], json(&first.stdout)["digest"]);
        assert_eq!(host.take_log().len(), 2);
    }
    let again = with(&["pull", "hf:acme/tiny"]);
    assert!(again.stderr.contains("acme/tiny:latest is there already"), "{again:?}");
    assert!(again.stderr.contains("`longshore verify acme/tiny:latest`"), "{again:?}");
    let plan = json(&with(&["pull", "hf:acme/tiny", "--dry-run", "--json"]).stdout);
    assert_eq!(plan["missing_bytes"], 0, "{plan}");
    // With a blob gone it comes again.
    let (path, _) = files(&sandbox.store().join("blobs")).into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    fs::remove_file(sandbox.store().join("blobs").join(path)).unwrap();
    assert!(moved(&with(&["pull", "hf:acme/tiny", "--json"])) > 0);
    ok(&sandbox, &["verify"]);
    // With other options, and at another commit, it is another model.
    let other = with(&["pull", "hf:acme/tiny", "--quantize", "int8"]);
    assert!(other.code == 1 && other.stderr.contains("with other options"), "{other:?}");
    let before = host.commit();
    host.put("README.md", b"Read me again.");
    let other = with(&["pull", "hf:acme/tiny"]);
    assert!(other.code == 1 && other.stderr.contains("and that is at"), "{other:?}");
    assert!(other.stderr.contains(&before[..12]) && other.stderr.contains("replaces"), "{other:?}");
    // A name that is written replaces, and then it is there.
    assert!(moved(&with(&["pull", "hf:acme/tiny", "acme/tiny", "--json"])) > 0);
    assert_eq!(moved(&with(&["pull", "hf:acme/tiny", "--json"])), 0);
    // A model of the same bytes that was imported from a directory was made otherwise.
    ok(&sandbox, &["import", "./llama", "acme/tiny:int8", "--quantize", "int8"]);
    let other = with(&["pull", "hf:acme/tiny", "acme/tiny:int8", "--json"]);
    assert!(other.code == 0 && moved(&other) > 0, "{other:?}");
}

#[test]
fn an_unfinished_pull_with_other_options_gives_no_name_away() {
    let sandbox = Sandbox::new();
    let (host, served) = hub(&sandbox, "llama");
    let endpoint = format!("http://{}", served.authority());
    let with = |args: &[&str]| Run::of(command(&sandbox, args).env("HF_ENDPOINT", &endpoint));
    let first = with(&["pull", "hf:acme/tiny", "acme/tiny", "--quantize", "int8"]);
    assert_eq!(first.code, 0, "{first:?}");
    host.faults.order("GET", "/cdn/", Fault::Status(404), usize::MAX);
    let broken = with(&["pull", "hf:acme/tiny", "acme/tiny", "--quantize", "int4"]);
    assert_ne!(broken.code, 0, "{broken:?}");
    host.faults.clear();
    assert_eq!(json(&ok(&sandbox, &["list", "--json"]))["pulls"].as_array().unwrap().len(), 1);
    let other = with(&["pull", "hf:acme/tiny"]);
    assert!(other.code == 1 && other.stderr.contains("with other options"), "{other:?}");
    // What is there already ends no pull with other options, and the same one goes on.
    assert_eq!(with(&["pull", "hf:acme/tiny", "--quantize", "int8"]).code, 0);
    assert_eq!(json(&ok(&sandbox, &["list", "--json"]))["pulls"].as_array().unwrap().len(), 1);
    let done = with(&["pull", "hf:acme/tiny", "--quantize", "int4"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(json(&ok(&sandbox, &["list", "--json"]))["pulls"].as_array().unwrap().is_empty());
}

#[test]
fn a_pull_from_ollamas_registry_again_finds_what_is_there() {
    let host = Arc::new(FakeRegistry::default());
    let served = serve(host.clone()).unwrap();
    let (publisher, sandbox) = (Sandbox::new(), Sandbox::new());
    publisher.checkpoint("llama");
    ok(&publisher, &["import", "./llama", "tiny:1"]);
    for blob in files(&publisher.store().join("blobs")).values() {
        host.put_blob("me/tiny", blob);
    }
    let manifest = publisher.store().join("manifests/registry.ollama.ai/library/tiny/1");
    host.put_manifest("me/tiny", "1", &fs::read(manifest).unwrap());
    let reference = format!("ollama:{}/me/tiny:1", served.authority());
    let pull = || json(&ok(&sandbox, &["pull", &reference, "--json"]));
    let (first, again) = (pull(), pull());
    assert!(first["moved_bytes"].as_u64().unwrap() > 0);
    assert_eq!((&again["moved_bytes"], &again["digest"]), (&0.into(), &first["digest"]));
    ok(&sandbox, &["verify"]);
    let other = run(&sandbox, &["pull", &reference, "--quantize", "int8"]);
    assert!(other.code == 1 && other.stderr.contains("with other options"), "{other:?}");
}

/// Starts a command, kills it after a while, and returns whether it was still running.
fn killed(mut command: Command, after: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    thread::sleep(after);
    let was_running = child.try_wait().unwrap().is_none();
    let _ = child.kill();
    child.wait().unwrap();
    was_running
}

#[test]
fn an_unfinished_pull_is_shown_and_given_up() {
    let sandbox = Sandbox::new();
    let registry = Arc::new(FakeRegistry::default());
    let oci = serve(registry.clone()).unwrap();
    let reference = format!("oci:{}/me/tiny:1", oci.authority());
    sandbox.checkpoint("qwen3-moe");
    ok(&sandbox, &["import", "./qwen3-moe", "tiny:1"]);
    ok(&sandbox, &["push", "tiny:1", &reference]);
    registry.faults.order("GET", "/blobs/", Fault::Slow(50_000), usize::MAX);
    for way in [&["pull", &reference, "--abandon"][..], &["gc", "--pulls", "--grace", "0s"]] {
        let other = Sandbox::new();
        assert!(killed(command(&other, &["pull", &reference]), Duration::from_millis(1500)));
        let listed = run(&other, &["list"]);
        assert!(listed.stderr.contains("not finished") && listed.stderr.contains(&reference), "{listed:?}");
        ok(&other, &["gc", "--grace", "0s"]);
        assert_eq!(json(&ok(&other, &["list", "--json"]))["pulls"].as_array().unwrap().len(), 1);
        ok(&other, way);
        let listed = json(&ok(&other, &["list", "--json"]));
        assert!(listed["pulls"].as_array().unwrap().is_empty(), "{listed}");
        assert_eq!(fs::read_dir(other.store().join("pulls")).unwrap().count(), 0);
    }
}

#[cfg(feature = "run")]
#[test]
fn a_reference_runs_only_the_model_that_it_means() {
    let registry = Arc::new(FakeRegistry::default());
    let served = serve(registry.clone()).unwrap();
    let reference = format!("oci:{}/me/tiny:1", served.authority());
    let (publisher, sandbox) = (Sandbox::new(), Sandbox::new());
    publisher.checkpoint("llama");
    ok(&publisher, &["import", "./llama", "tiny:1"]);
    let pushed = json(&ok(&publisher, &["push", "tiny:1", &reference, "--json"]));
    sandbox.checkpoint("qwen3-moe");
    ok(&sandbox, &["import", "./qwen3-moe", "me/tiny:1"]);
    ok(&sandbox, &["import", "./qwen3-moe", "me/tiny"]);
    // Another model has the name.
    let other = run(&sandbox, &["run", &reference, "x"]);
    assert_eq!(other.code, 1, "{other:?}");
    assert!(other.stderr.contains("is another model than oci:"), "{other:?}");
    // Of a hub's, the store's notes say whether it is the one. The hub is not asked.
    let other = run(&sandbox, &["run", "hf:me/tiny", "x"]);
    assert_eq!(other.code, 1, "{other:?}");
    assert!(other.stderr.contains("me/tiny:latest is not known to be made of hf:me/tiny@main"), "{other:?}");
    // Nobody answers: the stored one is run, and that is said.
    let away = run(&sandbox, &["run", "oci:127.0.0.1:1/me/tiny:1", "x"]);
    assert!(away.stderr.contains("127.0.0.1:1 cannot be asked: me/tiny:1 is run as it is stored"), "{away:?}");
    // A digest is in the name, and no other model has it.
    let pinned = format!("oci:{}/me/tiny@{}", served.authority(), pushed["artifact"].as_str().unwrap());
    let pinned = run(&sandbox, &["run", &pinned, "x"]);
    assert!(pinned.stderr.contains(" as me/tiny:sha256-"), "{pinned:?}");
    let same = run(&publisher, &["pull", &reference]);
    assert_eq!(same.code, 0, "{same:?}");
    let same = run(&publisher, &["run", &reference, "x"]);
    assert!(!same.stderr.contains("another model") && !same.stderr.contains("cannot be asked"), "{same:?}");
}

#[test]
fn a_repair_takes_names_of_registries_and_says_what_it_cannot_take() {
    let registry = Arc::new(FakeRegistry::default());
    let served = serve(registry.clone()).unwrap();
    let reference = format!("oci:{}/me/tiny:1", served.authority());
    let sandbox = Sandbox::new();
    sandbox.checkpoint("llama");
    ok(&sandbox, &["import", "./llama", "tiny:1"]);
    ok(&sandbox, &["push", "tiny:1", &reference]);
    ok(&sandbox, &["aliases", "mine", &reference]);
    for source in [reference.as_str(), "mine"] {
        let blobs = files(&sandbox.store().join("blobs"));
        let (path, mut bytes) = blobs.into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        let path = sandbox.store().join("blobs").join(path);
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        let repaired = json(&ok(&sandbox, &["verify", "--repair", source, "--json"]));
        assert_eq!(repaired["repaired"].as_array().unwrap().len(), 1, "{repaired}");
    }
    for source in ["hf:acme/tiny", "ollama:tiny:1"] {
        let refused = run(&sandbox, &["verify", "--repair", source]);
        assert!(refused.code != 0 && refused.stderr.contains("only a registry does"), "{refused:?}");
    }
    let missing = run(&sandbox, &["verify", "--repair", &reference, "--ca-cert", "none.pem"]);
    assert_eq!(missing.code, 0, "nothing is asked where nothing is bad: {missing:?}");
}

#[test]
fn a_tree_that_leaves_its_directory_is_refused() {
    let sandbox = Sandbox::new();
    let (host, served) = hub(&sandbox, "llama");
    host.put("../x", b"x");
    let mut command = command(&sandbox, &["pull", "hf:acme/tiny"]);
    let run = Run::of(command.env("HF_ENDPOINT", format!("http://{}", served.authority())));
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("../x"), "{run:?}");
}
