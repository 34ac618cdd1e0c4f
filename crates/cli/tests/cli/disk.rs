//! Disks that are full or read-only, and imports that are stopped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use longshore_st_format::{Dtype, Shape, fixtures};

use crate::support::{DEMO, Run, Sandbox};

/// A small file system in memory, unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    /// `None` where mounting is not allowed, as for ordinary users.
    fn new(at: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "longshore-test"]).arg(at).stderr(Stdio::null());
        let mounted = mount.status().is_ok_and(|status| status.success());
        let required = std::env::var_os("LONGSHORE_TEST_MOUNTS").is_some();
        assert!(mounted || !required, "LONGSHORE_TEST_MOUNTS is set, but {} cannot be mounted", at.display());
        mounted.then(|| Self(at.to_path_buf()))
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn failed(run: &Run) {
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.starts_with("error: ") && run.stderr.contains("hint: "), "{run:?}");
    assert!(!run.stderr.contains("panicked"), "{run:?}");
}

#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    let sandbox = Sandbox::new();
    let Some(mount) = Mount::new(&sandbox.store(), "size=1536k") else { return };
    sandbox.ok(["import", DEMO, "small", "--quantize", "int4"]);
    // The free space is checked before anything is written,
    failed(&sandbox.run(["import", DEMO, "large"]));
    // and a disk that fills up meanwhile is noticed too: here by many small files, each a page on the disk.
    let dir = sandbox.path().join("many");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("config.json"), r#"{"architectures":["LlamaForCausalLM"]}"#).unwrap();
    let tensors: Vec<_> = (0..600).map(|at| (format!("t{at}"), Dtype::U8, Shape::new([64]))).collect();
    fixtures::write_file(dir.join("model.safetensors"), &std::collections::BTreeMap::new(), &tensors).unwrap();
    let run = sandbox.run(["import", "many", "many"]);
    failed(&run);
    assert!(run.stderr.contains("No space left"), "{run:?}");
    assert_eq!(fs::read_dir(sandbox.store().join("tmp")).unwrap().count(), 0);
    sandbox.ok(["verify"]);
    assert_eq!(sandbox.ok(["list"]).lines().count(), 2);
    mount.remount("size=16m");
    sandbox.ok(["import", DEMO, "large"]);
    sandbox.ok(["verify"]);
}

/// A checkpoint of many small tensors, each a page on the disk.
#[cfg(all(unix, feature = "net"))]
fn many(sandbox: &Sandbox) -> PathBuf {
    let dir = sandbox.path().join("many");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("config.json"), r#"{"architectures":["LlamaForCausalLM"]}"#).unwrap();
    let tensors: Vec<_> = (0..600).map(|at| (format!("t{at}"), Dtype::U8, Shape::new([64]))).collect();
    fixtures::write_file(dir.join("model.safetensors"), &std::collections::BTreeMap::new(), &tensors).unwrap();
    dir
}

/// The disk fills up while the model arrives: the free space that is asked for before is enough for its bytes, and not for its pages.
#[cfg(all(unix, feature = "net"))]
#[test]
fn a_full_disk_ends_a_pull_which_goes_on_when_there_is_room() {
    use std::sync::Arc;

    use longshore_fake_hosts::{FakeRegistry, serve};

    use crate::net::{command, hub_of};

    let publisher = Sandbox::new();
    let dir = many(&publisher);
    publisher.ok(["import", "./many", "many:1"]);
    let registry = serve(Arc::new(FakeRegistry::default())).unwrap();
    let reference = format!("oci:{}/me/many:1", registry.authority());
    assert_eq!(Run::of(&mut command(&publisher, &["push", "many:1", &reference])).code, 0);
    let (_host, hub) = hub_of(&dir);
    for place in [reference.as_str(), "hf:acme/tiny"] {
        let sandbox = Sandbox::new();
        let Some(mount) = Mount::new(&sandbox.store(), "size=1536k") else { return };
        let pull = || {
            let mut command = command(&sandbox, &["pull", place, "many:1"]);
            Run::of(command.env("HF_ENDPOINT", format!("http://{}", hub.authority())))
        };
        let run = pull();
        failed(&run);
        assert!(run.stderr.contains("No space left"), "{run:?}");
        assert!(!sandbox.ok(["list"]).contains("many"), "{place}");
        mount.remount("size=64m");
        let run = pull();
        assert_eq!(run.code, 0, "{run:?}");
        sandbox.ok(["verify"]);
        assert_eq!(fs::read_dir(sandbox.store().join("pulls")).unwrap().count(), 0);
    }
}

#[test]
fn a_read_only_store_is_read_and_not_written() {
    let sandbox = Sandbox::new();
    let Some(mount) = Mount::new(&sandbox.store(), "size=16m") else { return };
    sandbox.ok(["import", DEMO, "m"]);
    mount.remount("ro");
    for args in [&["import", DEMO, "n"][..], &["copy", "m", "n"], &["rm", "m"], &["rm", "absent", "m"]] {
        let run = sandbox.run(args);
        assert_eq!(run.code, 2, "{run:?}");
        assert!(run.stderr.contains("Read-only file system"), "{run:?}");
    }
    for args in [&["list"][..], &["show", "m"], &["load", "m"], &["verify"], &["export", "m", "out"], &["gc"]] {
        sandbox.ok(args);
    }
    mount.remount("rw");
    sandbox.ok(["verify"]);
}

#[test]
fn a_full_disk_leaves_no_half_of_an_export() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m"]);
    let target = sandbox.path().join("small");
    let Some(_mount) = Mount::new(&target, "size=256k") else { return };
    failed(&sandbox.run(["export", "m", "small/out"]));
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written_is_a_failure() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m"]);
    for args in [&["show", "m"][..], &["show", "m", "--json"], &["--help"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = sandbox.command(args).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(args == ["--help"] || stderr.contains("cannot write to stdout"), "{stderr}");
        assert!(!stderr.contains("gc"), "{stderr}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_nothing_behind() {
    let sandbox = Sandbox::new();
    let dir = sandbox.path().join("big");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("config.json"), r#"{"architectures":["LlamaForCausalLM"]}"#).unwrap();
    let tensors = [("model.layers.0.mlp.up_proj.weight".to_owned(), Dtype::F32, Shape::new([16384, 4096]))];
    fixtures::write_file(dir.join("model.safetensors"), &std::collections::BTreeMap::new(), &tensors).unwrap();
    let mut import = sandbox.command(["import", "big", "m", "--quantize", "int4"]);
    let child = import.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let temporary = sandbox.store().join("tmp");
    let started = || {
        let imports = fs::read_dir(&temporary).into_iter().flatten().flatten();
        imports.flat_map(|import| fs::read_dir(import.path()).into_iter().flatten()).count() > 0
    };
    while !started() {
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("stopped"), "{stderr}");
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    assert_eq!(fs::read_dir(sandbox.store().join("blobs")).unwrap().count(), 0);
    assert!(sandbox.ok(["list", "-q"]).is_empty());
}
