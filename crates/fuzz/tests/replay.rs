//! Runs every seed and every finding through its target.
#![expect(clippy::print_stdout, reason = "a target that panics does not know which file it was")]

use std::{fs, path::PathBuf};

use longshore_fuzz::{TARGETS, target};

fn files(folder: &str, target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder).join(target);
    let Ok(entries) = fs::read_dir(&dir) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the directory can be read").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).expect("the file can be read"))).collect()
}

#[test]
fn seeds_and_finds_pass() {
    for (name, run) in TARGETS {
        let seeds = files("corpus", name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for (path, bytes) in seeds.into_iter().chain(files("regressions", name)) {
            println!("{}", path.display());
            run(&bytes);
        }
    }
}

/// Runs damaged copies of every seed: with a bit flipped, a byte removed or doubled, or the end cut off. Every test run
/// thus does a little of the fuzzers' work.
#[test]
fn damaged_seeds_pass() {
    for (name, run) in TARGETS {
        for (path, bytes) in files("corpus", name) {
            println!("{}", path.display());
            let step = (bytes.len() / 40).max(1);
            for at in (0..bytes.len()).step_by(step) {
                run(&bytes[..at]);
                let mut other = bytes.clone();
                other[at] ^= 1 << (at % 8);
                run(&other);
                other.remove(at);
                run(&other);
                other.insert(at, bytes[at]);
                other.insert(at, bytes[at]);
                run(&other);
            }
        }
    }
}

/// Checks that the package of the fuzzers, which is not a member of the workspace, lists the same targets.
#[test]
fn the_fuzzers_are_these_targets() {
    let manifest = include_str!("../libfuzzer/Cargo.toml");
    let listed: Vec<_> = manifest.lines().filter_map(|line| line.strip_prefix("path = \"targets/")).collect();
    let listed: Vec<_> = listed.iter().filter_map(|line| line.strip_suffix(".rs\"")).collect();
    assert_eq!(listed, TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    assert!(target("no such target").is_none());
}
