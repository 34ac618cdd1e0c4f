//! Faults of the registry: nothing wrong is ever named, and each ends.

use std::sync::atomic::{AtomicU64, Ordering};

use longshore_fake_hosts::Fault;
use longshore_manifest::Progress;
use longshore_registry::{PullOptions, Registry, RegistryError, pull};

use crate::support::{client, import, layers, name, reference, registry, store, try_pull, try_push, verify};

#[test]
fn passing_faults_are_overcome() {
    let faults = [
        Fault::Unreachable,
        Fault::Status(500),
        Fault::Status(503),
        Fault::Busy(3),
        Fault::Cut(1000),
        Fault::Cut(0),
        Fault::NoRange,
        Fault::BadRange,
        Fault::Corrupt(77),
        Fault::Without("ETag"),
        Fault::Without("Content-Length"),
    ];
    for fault in faults {
        let dir = tempfile::tempdir().unwrap();
        let (here, there, host) = (store(&dir.path().join("here")), store(&dir.path().join("there")), registry());
        let digest = import(&here, "m:1", &layers(1));
        try_push(&host, &here, "m:1", "a/m:1").unwrap();
        host.faults.order("GET", "/blobs/", fault.clone(), 1);
        host.faults.order_after("GET", "/blobs/", fault.clone(), 1, 5);
        let pulled = try_pull(&host, &there, "a/m:1", "m:1").unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(pulled.digest, digest, "{fault:?}");
        verify(&there);
    }
}

#[test]
fn lasting_faults_name_nothing() {
    let faults = [
        Fault::Unreachable,
        Fault::Status(500),
        Fault::Status(403),
        Fault::Status(404),
        Fault::Busy(100_000),
        Fault::Cut(0),
        Fault::Corrupt(0),
        Fault::Short(1),
        Fault::Long,
        Fault::Packed,
        Fault::Page,
        Fault::Redirect("http://localhost:5000/v2/".into()),
        Fault::Says(500, "write: no space left on device"),
    ];
    for fault in faults {
        for path in ["/manifests/", "/blobs/"] {
            let dir = tempfile::tempdir().unwrap();
            let (here, there, host) = (store(&dir.path().join("here")), store(&dir.path().join("there")), registry());
            import(&here, "m:1", &layers(1));
            try_push(&host, &here, "m:1", "a/m:1").unwrap();
            import(&there, "m:1", &[("a.weight".into(), 5, 50)]);
            let before = there.manifest(&name("m:1")).unwrap();
            host.faults.order("GET", path, fault.clone(), usize::MAX);
            let error = try_pull(&host, &there, "a/m:1", "m:1").expect_err(&format!("{fault:?} {path}"));
            assert!(!matches!(error, RegistryError::Cancelled), "{fault:?} {path}");
            assert_eq!(there.manifest(&name("m:1")).unwrap(), before, "{fault:?} {path}");
            verify(&there);
        }
    }
}

#[test]
fn a_push_overcomes_what_passes() {
    for (method, path, fault) in [
        ("PUT", "/uploads/", Fault::Unreachable),
        ("PUT", "/uploads/", Fault::Lost),
        ("PUT", "/uploads/", Fault::Status(503)),
        ("PUT", "/uploads/", Fault::Status(404)),
        ("POST", "/uploads/", Fault::Status(502)),
        ("POST", "/uploads/", Fault::Lost),
        ("HEAD", "/blobs/", Fault::Unreachable),
        ("PUT", "/manifests/", Fault::Lost),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (here, there, host) = (store(&dir.path().join("here")), store(&dir.path().join("there")), registry());
        import(&here, "m:1", &layers(1));
        host.faults.order(method, path, fault.clone(), 2);
        try_push(&host, &here, "m:1", "a/m:1").unwrap_or_else(|error| panic!("{method} {fault:?}: {error}"));
        try_pull(&host, &there, "a/m:1", "m:1").unwrap();
        verify(&there);
    }
}

#[test]
fn a_push_that_fails_points_no_tag_at_anything() {
    for (method, path, fault) in [
        ("PUT", "/uploads/", Fault::Says(500, "no space left on device")),
        ("PUT", "/uploads/", Fault::Status(413)),
        ("PUT", "/uploads/", Fault::Says(400, "{\"errors\":[{\"code\":\"DIGEST_INVALID\",\"message\":\"no\"}]}")),
        ("POST", "/uploads/", Fault::Status(403)),
        ("POST", "/uploads/", Fault::Without("Location")),
        ("POST", "/uploads/", Fault::Status(404)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (here, host) = (store(&dir.path().join("here")), registry());
        import(&here, "m:1", &layers(1));
        host.faults.order(method, path, fault.clone(), usize::MAX);
        try_push(&host, &here, "m:1", "a/m:1").expect_err(&format!("{method} {fault:?}"));
        assert_eq!(host.manifest("a/m", "1"), None);
        host.faults.clear();
        try_push(&host, &here, "m:1", "a/m:1").unwrap();
    }
}

#[test]
fn a_damaged_blob_is_not_sent_with_others() {
    let dir = tempfile::tempdir().unwrap();
    let (here, host) = (store(&dir.path().join("here")), registry());
    import(&here, "m:1", &layers(1));
    let (_, manifest) = here.manifest(&name("m:1")).unwrap();
    let small = manifest.layers.iter().find(|layer| layer.size == 3000).unwrap();
    let path = here.blob_path(&small.digest);
    let mut content = std::fs::read(&path).unwrap();
    content[5] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, content).unwrap();
    let error = try_push(&host, &here, "m:1", "a/m:1").unwrap_err();
    assert!(matches!(error, RegistryError::Damaged { digest, .. } if digest == small.digest), "{error}");
}

/// What the stage of the pulling is told.
#[derive(Default)]
struct Told {
    total: AtomicU64,
    done: AtomicU64,
}

impl Progress for Told {
    fn begin(&self, stage: &'static str, total: u64) {
        if stage == "pulling" {
            self.total.store(total, Ordering::Relaxed);
        }
    }

    fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[test]
fn progress_ends_at_its_total_whatever_comes_twice() {
    for fault in [Fault::Corrupt(77), Fault::Cut(1000), Fault::NoRange] {
        let dir = tempfile::tempdir().unwrap();
        let (here, there, host) = (store(&dir.path().join("here")), store(&dir.path().join("there")), registry());
        import(&here, "m:1", &layers(1));
        // A blob between two others is there already, and comes along.
        import(&there, "o:1", &layers(1)[4..5]);
        try_push(&host, &here, "m:1", "a/m:1").unwrap();
        // After the two documents.
        host.faults.order_after("GET", "/blobs/", fault.clone(), 1, 2);
        let told = Told::default();
        let from = Registry::new(client(&host), reference("a/m:1"), None);
        pull(&from, &there, &name("m:1"), &PullOptions::default(), &told).unwrap();
        assert_eq!(told.done.into_inner(), told.total.into_inner(), "{fault:?}");
        verify(&there);
    }
}
