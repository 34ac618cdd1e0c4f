//! `gc` and what it keeps.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::support::{DEMO, Sandbox};

#[test]
fn what_is_new_stays_until_it_is_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m"]);
    let blob = sandbox.store().join("blobs").join(format!("sha256-{}", "0".repeat(64)));
    fs::write(&blob, [0; 2048]).unwrap();
    let kept = "kept 1 blob, 2.00 KiB, younger than 1h; --grace 0s deletes such blobs too\n";
    assert_eq!(sandbox.ok(["gc"]), format!("freed 0 B (0 blobs)\n{kept}"));
    let document: serde_json::Value = serde_json::from_str(&sandbox.ok(["gc", "--grace", "2d", "--json"])).unwrap();
    assert_eq!((&document["kept_blobs"], &document["kept_bytes"]), (&1.into(), &2048.into()));
    assert!(blob.exists());
    assert_eq!(sandbox.ok(["gc", "--grace", "0s"]), "freed 2.00 KiB (1 blob)\n");
    assert!(!blob.exists());
    sandbox.ok(["verify"]);
}

#[test]
fn a_grace_is_a_number_and_a_unit() {
    let sandbox = Sandbox::new();
    for wrong in ["5", "h", "1.5h", "1w", "-1h"] {
        let run = sandbox.run(["gc", &format!("--grace={wrong}")]);
        assert!(run.stderr.contains("expected a whole number and s, m, h or d"), "{run:?}");
    }
}

#[test]
fn a_lease_that_cannot_be_read_is_for_people_to_remove() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m"]);
    let dir = sandbox.store().join("tmp").join("unknown");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("lease"), "no line of JSON\n").unwrap();
    let hint = format!("if no import is running, remove {}", dir.display());
    let run = sandbox.run(["gc"]);
    assert!(run.code != 0 && run.stderr.contains(&hint), "{run:?}");
    let run = sandbox.run(["rm", "m"]);
    assert!(run.stderr.contains("were left for a later `longshore gc`") && run.stderr.contains(&hint), "{run:?}");
    fs::remove_dir_all(&dir).unwrap();
    sandbox.ok(["gc", "--grace", "0s"]);
}

/// Sends signals at instants spread over all that a `gc` does. It deletes everything or nothing, and cleans up.
#[cfg(unix)]
#[test]
fn a_signal_ends_it_between_two_whole_states() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m"]);
    let blobs = sandbox.store().join("blobs");
    let orphans: Vec<_> = (0..2000).map(|at| blobs.join(format!("sha256-{at:064}"))).collect();
    let left = || orphans.iter().filter(|path| path.exists()).count();
    let mut stopped = 0;
    for (round, (signal, status)) in (0..12).zip([("-INT", 130), ("-TERM", 143)].into_iter().cycle()) {
        for path in &orphans {
            fs::write(path, b"x").unwrap();
        }
        let mut child = sandbox.command(["gc", "--grace", "0s"]).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(4 * round));
        let _ = Command::new("kill").args([signal, &child.id().to_string()]).status();
        let ended = child.wait().unwrap();
        match ended.code() {
            Some(0) => assert_eq!(left(), 0),
            Some(found) if found == status => {
                assert_eq!(left(), orphans.len());
                stopped += 1;
            }
            // The signal came before the command was at work.
            None => assert_eq!(left(), orphans.len()),
            other => panic!("{other:?}"),
        }
        assert_eq!(fs::read_dir(sandbox.store().join("tmp")).map_or(0, Iterator::count), 0, "{ended:?}");
    }
    assert!(stopped > 0 || cfg!(not(target_os = "linux")), "no signal came while it was at work");
    sandbox.ok(["gc", "--grace", "0s"]);
    sandbox.ok(["verify"]);
}
