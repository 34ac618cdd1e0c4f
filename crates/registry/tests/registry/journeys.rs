//! What moves, and what does not.

use longshore_manifest::{Silent, store::GcOptions};
use longshore_registry::{Registry, pull_plan, push_plan};

use crate::support::{client, files, import, layers, name, reference, registry, store, try_pull, try_push, verify};

#[test]
fn a_model_arrives_with_its_digest_and_moves_once() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there, host) = (store(&dir.path().join("here")), store(&dir.path().join("there")), registry());
    let digest = import(&here, "m:1", &layers(1));

    let to = Registry::for_push(client(&host), reference("a/m:1"), None);
    let plan = push_plan(&to, &here, &name("m:1"), &Silent).unwrap();
    assert_eq!((plan.digest, host.size()), (digest, (0, 0)));
    let pushed = try_push(&host, &here, "m:1", "a/m:1").unwrap();
    assert_eq!((pushed.digest, pushed.artifact, pushed.reused_bytes), (digest, plan.artifact, 0));
    assert!(plan.missing_bytes <= pushed.moved_bytes && pushed.moved_bytes == pushed.bytes);

    host.take_log_();
    let again = try_push(&host, &here, "m:1", "a/m:1").unwrap();
    assert_eq!((again.moved_bytes, again.artifact), (0, pushed.artifact));
    let log = host.take_log_();
    assert_eq!(log.iter().map(|line| line.received).sum::<u64>(), 0);
    assert!(log.iter().all(|line| line.method == "HEAD"), "{log:?}");

    let from = Registry::new(client(&host), reference("a/m:1"), None);
    let plan = pull_plan(&from, &there, &Silent).unwrap();
    assert_eq!((plan.digest, plan.missing), (digest, plan.blobs));
    let pulled = try_pull(&host, &there, "a/m:1", "copy:1").unwrap();
    assert_eq!((pulled.digest, there.manifest(&name("copy:1")).unwrap().0), (digest, digest));
    verify(&there);
    assert_eq!(files(&there.root().join("pulls")), [""; 0]);
    assert_eq!(files(&there.root().join("tmp")), [""; 0]);

    host.take_log_();
    let again = try_pull(&host, &there, "a/m:1", "copy:2").unwrap();
    assert_eq!((again.moved_bytes, again.digest), (0, digest));
    assert!(host.take_log_().len() <= 3);
}

trait TakeLog {
    fn take_log_(&self) -> Vec<longshore_fake_hosts::Logged>;
}

impl TakeLog for std::sync::Arc<longshore_fake_hosts::FakeRegistry> {
    fn take_log_(&self) -> Vec<longshore_fake_hosts::Logged> {
        longshore_fake_hosts::Host::take_log(&**self)
    }
}

#[test]
fn a_second_model_moves_only_what_is_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there, host) = (store(&dir.path().join("here")), store(&dir.path().join("there")), registry());
    import(&here, "m:1", &layers(1));
    import(&here, "m:2", &layers(2));
    try_push(&host, &here, "m:1", "a/m:1").unwrap();
    host.take_log_();
    let second = try_push(&host, &here, "m:2", "a/m:2").unwrap();
    let sent: u64 = host.take_log_().iter().map(|line| line.received).sum();
    // Two expert blobs, two packs, and the documents; not the embedding and attention.
    assert_eq!(sent, second.moved_bytes);
    assert!((4 << 20..(4 << 20) + 60_000).contains(&sent), "{sent}");

    try_pull(&host, &there, "a/m:1", "m:1").unwrap();
    host.take_log_();
    let pulled = try_pull(&host, &there, "a/m:2", "m:2").unwrap();
    let got: u64 = host.take_log_().iter().map(|line| line.sent).sum();
    assert!((4 << 20..(4 << 20) + 60_000).contains(&got), "{got}");
    assert!(pulled.moved_bytes < got && pulled.moved_bytes > 4 << 20);
    verify(&there);
}

#[test]
fn small_blobs_that_lie_together_come_in_one_request() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there, host) = (store(&dir.path().join("here")), store(&dir.path().join("there")), registry());
    import(&here, "m:1", &layers(1));
    try_push(&host, &here, "m:1", "a/m:1").unwrap();
    host.take_log_();
    try_pull(&host, &there, "a/m:1", "m:1").unwrap();
    let log = host.take_log_();
    // Manifest, index, stored manifest; the embedding, two expert and two attention blobs; two packs and that of the rest.
    assert_eq!(log.len(), 3 + 5 + 3, "{log:?}");
}

#[test]
fn an_interrupted_pull_goes_on_after_another_import_and_a_gc() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there, host) = (store(&dir.path().join("here")), store(&dir.path().join("there")), registry());
    import(&here, "m:1", &layers(1));
    let whole = try_push(&host, &here, "m:1", "a/m:1").unwrap().bytes;
    // Two blobs arrive in part, and then there is no registry any more.
    host.faults.order_after("GET", "/blobs/", longshore_fake_hosts::Fault::Cut(900_000), 3, 4);
    host.faults.order_after("GET", "/blobs/", longshore_fake_hosts::Fault::Unreachable, usize::MAX, 3);
    try_pull(&host, &there, "a/m:1", "m:1").unwrap_err();
    assert_eq!(there.names().unwrap(), []);
    let kept = there.pulls().unwrap();
    assert_eq!((kept.len(), kept[0].is_running), (1, false));
    assert!(kept[0].kept_bytes > 1 << 20, "{kept:?}");
    assert_eq!(kept[0].record.reference, "oci:localhost:5000/a/m:1");

    import(&there, "other:1", &[("x.weight".into(), 99, 5000)]);
    there.gc(&GcOptions { grace: std::time::Duration::ZERO, ..GcOptions::default() }, &Silent).unwrap();
    there.remove(&name("other:1")).unwrap();
    host.faults.clear();
    host.take_log_();
    let pulled = try_pull(&host, &there, "a/m:1", "m:1").unwrap();
    let got: u64 = host.take_log_().iter().map(|line| line.sent).sum();
    assert!(got + kept[0].kept_bytes <= whole + 20_000, "{got} of {whole}, {} kept", kept[0].kept_bytes);
    assert!(pulled.moved_bytes < pulled.bytes);
    verify(&there);
    assert!(there.pulls().unwrap().is_empty());
}

#[test]
fn an_abandoned_pull_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there, host) = (store(&dir.path().join("here")), store(&dir.path().join("there")), registry());
    import(&here, "m:1", &layers(1));
    try_push(&host, &here, "m:1", "a/m:1").unwrap();
    host.faults.order_after("GET", "/blobs/", longshore_fake_hosts::Fault::Unreachable, usize::MAX, 4);
    try_pull(&host, &there, "a/m:1", "m:1").unwrap_err();
    let pulls = there.pulls().unwrap();
    let (_, bytes) = there.abandon_pull(&pulls[0]).unwrap();
    assert!(bytes > 0);
    assert!(there.pulls().unwrap().is_empty());
    there.gc(&GcOptions { grace: std::time::Duration::ZERO, ..GcOptions::default() }, &Silent).unwrap();
    assert_eq!(files(there.root()).len(), 1, "{:?}", files(there.root()));
}

#[test]
fn a_login_is_asked_for_and_used() {
    let dir = tempfile::tempdir().unwrap();
    let here = store(&dir.path().join("here"));
    import(&here, "m:1", &[("a.weight".into(), 1, 100)]);
    let host = std::sync::Arc::new(longshore_fake_hosts::FakeRegistry::with_login("bWU6c2VjcmV0"));
    let error = try_push(&host, &here, "m:1", "a/m:1").unwrap_err();
    assert!(error.hint().unwrap().contains("login"), "{error}");
    let login =
        longshore_transfer::Login::Password { user: "me".into(), password: longshore_transfer::Secret::new("secret") };
    let to = Registry::for_push(client(&host), reference("a/m:1"), Some(login));
    longshore_registry::push(&to, &here, &name("m:1"), &Silent).unwrap();
}
