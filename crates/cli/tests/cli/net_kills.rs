//! Pulls and pushes that are killed before file calls of theirs: a call is an instant that no clock moves.
#![cfg(all(unix, feature = "net"))]
#![expect(clippy::print_stderr, reason = "a test that checks nothing says so")]

use std::{env, fs, os::unix::process::ExitStatusExt as _, path::Path, process::Command, sync::Arc};

use longshore_fake_hosts::{FakeRegistry, serve};
use longshore_faults::{Class, Fault, Preload, Strike, calls, unavailable};
use longshore_manifest::{Digest, Store};

use crate::{
    net::{command, hub, json, ok},
    support::{Run, Sandbox, files},
};

const KILLS: u32 = 50;

/// The calls before which something is killed: those that change files.
const CHANGES: [Class; 6] = [Class::Write, Class::Sync, Class::Rename, Class::Open, Class::Remove, Class::Make];

/// Numbers without order, the same in every run.
struct Seed(u64);

impl Seed {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Runs a command to its end, or kills it before a call on a file below `under`. Returns the number of its calls of each class, or `None` if it
/// was killed.
fn watched(mut command: Command, under: &Path, strike: Option<Strike>) -> Option<Vec<u64>> {
    let log = under.with_extension("calls");
    fs::remove_file(&log).unwrap_or_default();
    fs::create_dir_all(under).unwrap();
    let under = under.canonicalize().unwrap();
    Preload { under, log: Some(log.clone()), strike, skip_syncs: true }.apply(&mut command);
    let output = command.output().unwrap();
    if output.status.signal() == Some(9) {
        return None;
    }
    assert!(output.status.success(), "{strike:?}: {}", String::from_utf8_lossy(&output.stderr));
    let calls = calls(&log).unwrap();
    let count = |class| calls.iter().filter(|call| call.class == class).map(|call| call.number).max().unwrap_or(0);
    Some(CHANGES.map(count).to_vec())
}

/// A kind of pull, with a store of its own.
struct Kind<'k> {
    args: &'k [&'k str],
    sandbox: &'k Sandbox,
}

impl Kind<'_> {
    fn command(&self, endpoint: &str) -> Command {
        let mut command = command(self.sandbox, self.args);
        command.env("HF_ENDPOINT", endpoint);
        command
    }

    /// The model that a store has, if any; and no more than one pull that is not finished.
    fn found(&self) -> Option<Digest> {
        let store = Store::open(self.sandbox.store()).unwrap();
        assert!(store.pulls().unwrap().len() <= 1);
        let names = store.names().unwrap();
        assert!(names.len() <= 1, "{names:?}");
        names.first().map(|name| store.manifest(name).unwrap().0)
    }
}

#[test]
fn killed_pulls_and_pushes_go_on_and_name_nothing_before_the_end() {
    if let Some(why) = unavailable() {
        assert!(env::var_os("LONGSHORE_TEST_FAULTS").is_none(), "LONGSHORE_TEST_FAULTS is set, but {why}");
        eprintln!("skipped: {why}");
        return;
    }
    let publisher = Sandbox::new();
    let (host, served) = hub(&publisher, "qwen3-moe");
    ok(&publisher, &["import", "./qwen3-moe", "tiny:int4", "--quantize", "int4"]);
    let digest = Store::open(publisher.store()).unwrap().manifest(&"tiny:int4".parse().unwrap()).unwrap().0;
    let registry = Arc::new(FakeRegistry::default());
    let oci = serve(registry.clone()).unwrap();
    let reference = format!("oci:{}/me/tiny:int4", oci.authority());
    ok(&publisher, &["push", "tiny:int4", &reference]);
    let endpoint = format!("http://{}", served.authority());
    let (first, second) = (Sandbox::new(), Sandbox::new());
    let kinds = [
        // Named by the references, so that they are known again after a kill at the very end.
        Kind { args: &["pull", "hf:acme/tiny", "--quantize", "int4"], sandbox: &first },
        Kind { args: &["pull", &reference], sandbox: &second },
    ];
    let mut seed = Seed(0x5eed);
    for kind in &kinds {
        let root = kind.sandbox.store();
        let most = watched(kind.command(&endpoint), &root, None).unwrap();
        assert_eq!(kind.found(), Some(digest));
        fs::remove_dir_all(&root).unwrap();
        let mut kills = 0;
        while kills < KILLS * 2 / 5 {
            let at = usize::try_from(seed.below(CHANGES.len() as u64)).unwrap();
            let (class, nth) = (CHANGES[at], 1 + seed.below(most[at].max(1)));
            let strike = Strike { class, fault: Fault::Kill, nth, goes_on: false };
            if watched(kind.command(&endpoint), &root, Some(strike)).is_none() {
                kills += 1;
                assert!(kind.found().is_none_or(|found| found == digest), "{strike}");
                continue;
            }
            // It came to its end before that call.
            assert_eq!(kind.found(), Some(digest), "{strike}");
            ends(kind.sandbox);
        }
        let done = Run::of(&mut kind.command(&endpoint));
        assert_eq!(done.code, 0, "{done:?}");
        assert_eq!(kind.found(), Some(digest));
        ends(kind.sandbox);
    }
    drop(host);
    pushes(&publisher, &oci.authority(), &registry, &mut seed);
}

/// Verifies a store, removes its model, and checks that nothing stays.
fn ends(sandbox: &Sandbox) {
    ok(sandbox, &["verify"]);
    ok(sandbox, &["gc", "--grace", "0s"]);
    let name = json(&ok(sandbox, &["list", "--json"]))["models"][0]["name"].as_str().unwrap().to_owned();
    ok(sandbox, &["rm", &name]);
    for dir in ["blobs", "pulls", "tmp"] {
        assert_eq!(files(&sandbox.store().join(dir)).len(), 0, "{dir}");
    }
    fs::remove_dir_all(sandbox.store()).unwrap();
}

/// Kills pushes before what they read: a push changes nothing here but its note.
fn pushes(publisher: &Sandbox, authority: &str, registry: &FakeRegistry, seed: &mut Seed) {
    let root = publisher.store();
    let mut kills = 0;
    for round in 0.. {
        let repository = format!("me/again{round}");
        let reference = format!("oci:{authority}/{repository}:1");
        // Without it, nothing would move to another repository.
        fs::remove_dir_all(root.join("origins")).unwrap_or_default();
        loop {
            let strike = Strike { class: Class::Read, fault: Fault::Kill, nth: 1 + seed.below(60), goes_on: false };
            let push = command(publisher, &["push", "tiny:int4", &reference]);
            if watched(push, &root, Some(strike)).is_some() {
                break;
            }
            kills += 1;
            // A tag has all of a model, or is not there.
            if let Some(manifest) = registry.manifest(&repository, "1") {
                let manifest = json(std::str::from_utf8(&manifest).unwrap());
                let mut layers = manifest["layers"].as_array().unwrap().iter();
                assert!(layers.all(|layer| registry.blob(&repository, layer["digest"].as_str().unwrap()).is_some()));
            }
            if kills == KILLS / 5 {
                return;
            }
        }
        assert!(registry.manifest(&repository, "1").is_some());
    }
}
