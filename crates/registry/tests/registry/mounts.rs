//! Layers that the registry has in another repository.

use std::sync::{Arc, Mutex};

use longshore_fake_hosts::{Asked, FakeRegistry, Fault, Faults, Host, Logged, Loop, Reply};
use longshore_manifest::Silent;
use longshore_registry::{Registry, push, push_plan};
use longshore_transfer::Client;

use crate::support::{Counted, client, import, layers, name, reference, registry, store, try_pull, try_push, verify};

/// Bytes that a registry got of blobs, and that it copied from one repository to another.
fn received(host: &FakeRegistry) -> u64 {
    host.take_log().iter().filter(|line| line.path.contains("/uploads/")).map(|line| line.received).sum()
}

#[test]
fn what_another_repository_has_does_not_move() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there, host) = (store(&dir.path().join("here")), store(&dir.path().join("there")), registry());
    import(&here, "m:1", &layers(1));
    let digest = try_push(&host, &here, "m:1", "a/m:1").unwrap().digest;
    host.take_log();
    // From where it was pushed to.
    let to = Registry::for_push(client(&host), reference("b/m:1"), None);
    let plan = push_plan(&to, &here, &name("m:1"), &Silent).unwrap();
    assert_eq!(plan.elsewhere_bytes, plan.missing_bytes);
    let pushed = try_push(&host, &here, "m:1", "b/m:1").unwrap();
    assert_eq!(received(&host), 0);
    assert!(pushed.moved_bytes < 10_000 && pushed.reused_bytes + pushed.moved_bytes == pushed.bytes, "{pushed:?}");
    // From where it was pulled from, by who has never pushed.
    try_pull(&host, &there, "b/m:1", "m:1").unwrap();
    host.take_log();
    try_push(&host, &there, "m:1", "c/d/m:1").unwrap();
    assert_eq!(received(&host), 0);
    // Another model moves only what is its own.
    import(&there, "m:2", &layers(2));
    try_push(&host, &there, "m:2", "e/m:2").unwrap();
    let got = received(&host);
    assert!((4 << 20..(4 << 20) + 60_000).contains(&got), "{got}");
    let last = store(&dir.path().join("last"));
    assert_eq!(try_pull(&host, &last, "c/d/m:1", "m:1").unwrap().digest, digest);
    try_pull(&host, &last, "e/m:2", "m:2").unwrap();
    verify(&last);
}

#[test]
fn another_registry_is_asked_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (here, host, other) = (store(&dir.path().join("here")), registry(), registry());
    import(&here, "m:1", &layers(1));
    try_push(&host, &here, "m:1", "a/m:1").unwrap();
    let to = Registry::for_push(client(&other), "oci:localhost:6000/b/m:1".parse().unwrap(), None);
    assert_eq!(push_plan(&to, &here, &name("m:1"), &Silent).unwrap().elsewhere_bytes, 0);
    let pushed = push(&to, &here, &name("m:1"), &Silent).unwrap();
    assert_eq!((pushed.moved_bytes, pushed.reused_bytes), (pushed.bytes, 0));
}

/// A registry that has an answer of its own to mounts.
struct Answers {
    inner: Arc<FakeRegistry>,
    status: u16,
    log: Mutex<Vec<Logged>>,
}

impl Host for Answers {
    fn answer(&self, asked: &Asked) -> Reply {
        if asked.query("mount").is_some() && self.status != 202 {
            Reply::new(self.status, "")
        } else {
            self.inner.answer(asked)
        }
    }

    fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    fn log(&self) -> &Mutex<Vec<Logged>> {
        &self.log
    }
}

#[test]
fn what_a_registry_does_not_mount_is_sent() {
    for status in [200, 201, 202, 400, 401, 403, 404, 405] {
        let dir = tempfile::tempdir().unwrap();
        let here = store(&dir.path().join("here"));
        import(&here, "m:1", &layers(1));
        // A 202 is an upload, and the 201 a lie.
        let inner = Arc::new(FakeRegistry::without_mounts());
        let host = Arc::new(Answers { inner: inner.clone(), status, log: Mutex::default() });
        let to = |text: &str| Registry::for_push(Client::new(Arc::new(Loop(host.clone()))), reference(text), None);
        push(&to("a/m:1"), &here, &name("m:1"), &Silent).unwrap();
        host.take_log();
        let pushed =
            push(&to("b/m:1"), &here, &name("m:1"), &Silent).unwrap_or_else(|error| panic!("{status}: {error}"));
        assert_eq!((pushed.moved_bytes, pushed.reused_bytes), (pushed.bytes, 0), "{status}");
        let posts = host.take_log().iter().filter(|line| line.method == "POST").count();
        let uploads = inner.size().0 / 2;
        // An upload that a mount has opened is used.
        assert_eq!(posts, if status == 202 { uploads } else { 2 * uploads }, "{status}");
        let there = store(&dir.path().join("there"));
        try_pull(&inner, &there, "b/m:1", "m:1").unwrap();
        verify(&there);
    }
}

#[test]
fn few_layers_wait_for_a_registry_that_fails_at_mounts() {
    let dir = tempfile::tempdir().unwrap();
    let here = store(&dir.path().join("here"));
    import(&here, "m:1", &layers(1));
    let inner = Arc::new(FakeRegistry::default());
    let host = Arc::new(Answers { inner, status: 503, log: Mutex::default() });
    let client = Client::new(Arc::new(Loop(host.clone()))).with_clock(Arc::new(Counted::default()));
    let to = |text: &str| Registry::for_push(client.clone(), reference(text), None);
    push(&to("a/m:1"), &here, &name("m:1"), &Silent).unwrap();
    host.take_log();
    let pushed = push(&to("b/m:1"), &here, &name("m:1"), &Silent).unwrap();
    assert_eq!((pushed.moved_bytes, pushed.reused_bytes), (pushed.bytes, 0));
    // Four layers are sent at a time, and each asks six times.
    let failed = host.take_log().iter().filter(|line| line.status == 503).count();
    assert!((6..=24).contains(&failed), "{failed}");
}

#[test]
fn a_mount_overcomes_what_passes() {
    let dir = tempfile::tempdir().unwrap();
    let (here, host) = (store(&dir.path().join("here")), registry());
    import(&here, "m:1", &layers(1));
    try_push(&host, &here, "m:1", "a/m:1").unwrap();
    host.take_log();
    for fault in [Fault::Unreachable, Fault::Lost, Fault::Status(503), Fault::Busy(1)] {
        host.faults.order("POST", "/uploads/", fault.clone(), 1);
        let pushed = try_push(&host, &here, "m:1", &format!("b{}/m:1", host.size().0)).unwrap();
        assert_eq!(received(&host), 0, "{fault:?}");
        assert!(pushed.moved_bytes < 10_000, "{fault:?}");
    }
}
