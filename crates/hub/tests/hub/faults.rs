//! Faults of the hub, and what somebody else put there: nothing wrong is ever named.

use longshore_fake_hosts::{Fault, Host as _};
use longshore_hub::HubError;
use longshore_manifest::Store;

use crate::support::{checkpoint, hub, hub_of, imported, quantized, try_pull};

#[test]
fn passing_faults_are_overcome() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    checkpoint("qwen3-moe", &source);
    let options = quantized(Some("int4"));
    let expected = imported(&source, &options);
    for fault in [
        Fault::Unreachable,
        Fault::Status(503),
        Fault::Busy(2),
        Fault::Cut(1000),
        Fault::NoRange,
        Fault::BadRange,
        Fault::Status(403),
    ] {
        for (path, after) in [("/cdn/", 0), ("/cdn/", 5), ("/tree/", 0), ("/resolve/", 1)] {
            // A hub's own 403 is an answer; that of a signed address is its age.
            if fault == Fault::Status(403) && path != "/cdn/" {
                continue;
            }
            let host = hub_of(&source);
            let store = Store::open(dir.path().join(format!("store-{fault:?}-{after}-{}", path.len()))).unwrap();
            host.faults.order_after("GET", path, fault.clone(), 1, after);
            let pulled =
                try_pull(&hub(&host), &store, &options).unwrap_or_else(|error| panic!("{fault:?} {path}: {error:?}"));
            assert_eq!(pulled.outcome.digest, expected, "{fault:?} {path}");
        }
    }
}

#[test]
fn damage_in_flight_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    checkpoint("qwen3-moe", &source);
    let options = quantized(Some("int4"));
    let expected = imported(&source, &options);
    let host = hub_of(&source);
    let store = Store::open(dir.path().join("store")).unwrap();
    // Past the header, so that it is the digest that finds it.
    host.faults.order("GET", "/cdn/", Fault::Corrupt(20_000), usize::MAX);
    let error = try_pull(&hub(&host), &store, &options).unwrap_err();
    assert!(matches!(error, HubError::Digest { .. }), "{error:?}");
    assert_eq!(store.names().unwrap(), []);
    host.faults.clear();
    // What is wrong once is fetched again.
    host.faults.order_after("GET", "/cdn/", Fault::Corrupt(20_000), 1, 5);
    assert_eq!(try_pull(&hub(&host), &store, &options).unwrap().outcome.digest, expected);
}

#[test]
fn lasting_faults_end_and_name_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    checkpoint("llama", &source);
    let page = Fault::Page;
    for fault in
        [Fault::Unreachable, Fault::Status(500), Fault::Short(1), Fault::Long, Fault::Packed, page, Fault::Status(404)]
    {
        for path in ["/revision/", "/tree/", "/resolve/", "/cdn/"] {
            let host = hub_of(&source);
            let store = Store::open(dir.path().join(format!("store-{fault:?}-{}", path.replace('/', "")))).unwrap();
            host.faults.order("GET", path, fault.clone(), usize::MAX);
            let pulled = try_pull(&hub(&host), &store, &quantized(None));
            assert!(pulled.is_err(), "{fault:?} {path}");
            assert_eq!(store.names().unwrap(), [], "{fault:?} {path}");
        }
    }
}

#[test]
fn what_the_hub_says_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    checkpoint("llama", &source);
    let host = hub_of(&source);
    let store = Store::open(dir.path().join("store")).unwrap();
    let at = |reference: &str| {
        let (reference, name) = (reference.parse().unwrap(), "x:1".parse().unwrap());
        longshore_hub::pull(&hub(&host), &reference, &store, &name, &quantized(None), &longshore_manifest::Silent)
            .unwrap_err()
    };
    assert!(matches!(at("hf:acme/other"), HubError::NotFound { .. }));
    assert!(matches!(at("hf:acme/tiny@none"), HubError::Revision { .. }));
}

#[test]
fn a_hostile_list_is_refused_before_any_file() {
    for path in ["../x", "/x", "a\\b", "CON", "Config.JSON", "config.json/x"] {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        checkpoint("llama", &source);
        let host = hub_of(&source);
        host.put(path, b"x");
        let store = Store::open(dir.path().join("store")).unwrap();
        let error = try_pull(&hub(&host), &store, &quantized(None)).unwrap_err();
        assert!(matches!(error, HubError::Listing { .. }), "{path}: {error:?}");
        assert_eq!(host.take_log().len(), 2, "{path}");
    }
}
