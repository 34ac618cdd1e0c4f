//! Times an import from a hub that sends 200 MB a second, quantized to int4 while it arrives, beside the same client that throws the bytes
//! away. Prints the ratio, the most disk and the private memory that the import took.
//!
//! ```sh
//! cargo run --release -p longshore-hub --example rolling [-- MEGABYTES_PER_SHARD]
//! ```
//!
//! The hub is a process of its own on this machine, and holds ten shards in memory.
#![expect(clippy::print_stdout, reason = "it is a program that reports")]

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use longshore_fake_hosts::{FakeHub, serve};
use longshore_hub::{Hub, HubOptions, PullOptions, Remote, pull};
use longshore_manifest::{Progress, Silent, Store};
use longshore_packer::PlanOptions;
use longshore_st_format::{Dtype, Shape, fixtures};
use longshore_transfer::{Client, Download, Http, HttpOptions, Url};

type Failure = Box<dyn Error>;

/// Bytes a second that the hub sends.
const RATE: u64 = 200_000_000;
const SHARDS: usize = 10;
const TURNS: usize = 3;

fn main() -> Result<(), Failure> {
    let mut words = env::args().skip(1);
    match words.next().as_deref() {
        Some("serve") => host(Path::new(&words.next().ok_or("expected a directory")?)),
        size => compare(size.map_or(Ok(100), str::parse)?),
    }
}

/// Serves the files of a directory until its input ends.
fn host(dir: &Path) -> Result<(), Failure> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().ok_or("a file without a name")?.to_string_lossy().into_owned();
        files.push((name, fs::read(&path)?));
    }
    let mut hub = FakeHub::new("acme/large", files);
    hub.rate = Some(RATE);
    let hub = Arc::new(hub);
    let served = serve(hub.clone())?;
    *hub.cdn.lock().map_err(|_| "a thread has panicked")? = format!("http://{}", served.authority());
    println!("{}", served.authority());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn compare(megabytes: u64) -> Result<(), Failure> {
    let scratch = tempfile::tempdir()?;
    let source = scratch.path().join("source");
    let shard = checkpoint(&source, megabytes)?;
    let mut child = Command::new(env::current_exe()?)
        .arg("serve")
        .arg(&source)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut authority = String::new();
    BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut authority)?;
    let endpoint: Url = format!("http://{}", authority.trim()).parse()?;
    let options = HubOptions { endpoint, token: None, cache: None, offline: false };
    let client = Client::new(Http::new(&HttpOptions::default())?);
    let hub = Hub::new(&client, options.clone());
    let mut best = [f64::INFINITY; 2];
    for turn in 1..=TURNS {
        let thrown = discard(&hub, &client, &options.endpoint)?;
        let root = scratch.path().join(format!("store{turn}"));
        let (imported, watch) = import(&hub, &root)?;
        let result = used(&root);
        println!(
            "turn {turn}: thrown away in {thrown:.2} s, imported as int4 in {imported:.2} s; disk {} MB at most, result {} MB + 3 shards of {} MB; \
             private memory {} MB",
            watch.disk.into_inner() / 1_000_000,
            result / 1_000_000,
            shard / 1_000_000,
            watch.memory.into_inner() / 1_000_000,
        );
        best = [best[0].min(thrown), best[1].min(imported)];
        fs::remove_dir_all(&root)?;
    }
    println!(
        "the rate of an import is {:.2} of that of a client that throws the bytes away, best against best",
        best[0] / best[1]
    );
    drop(child.stdin.take());
    child.wait()?;
    Ok(())
}

/// Writes a checkpoint of ten shards, and returns the length of one in bytes.
fn checkpoint(dir: &Path, megabytes: u64) -> Result<u64, Failure> {
    fs::create_dir(dir)?;
    fs::write(dir.join("config.json"), r#"{"architectures":["LlamaForCausalLM"]}"#)?;
    let rows = megabytes * 1_000_000 / 4 / 2 / 4096;
    let mut longest = 0;
    for shard in 0..SHARDS {
        let names = ["mlp.down_proj", "mlp.gate_proj", "mlp.up_proj", "self_attn.q_proj"];
        let tensor = |name| (format!("model.layers.{shard}.{name}.weight"), Dtype::BF16, Shape::new([rows, 4096]));
        let path = dir.join(format!("model-{:05}-of-{SHARDS:05}.safetensors", shard + 1));
        fixtures::write_file(&path, &BTreeMap::new(), &names.map(tensor))?;
        longest = longest.max(path.metadata()?.len());
    }
    Ok(longest)
}

/// Lists the files, downloads them one after the other and forgets them. Returns the seconds that it took.
fn discard(hub: &Hub, client: &Client, endpoint: &Url) -> Result<f64, Failure> {
    let start = Instant::now();
    let remote = Remote::of(hub, &"hf:acme/large".parse()?, &PullOptions::default(), &Silent)?;
    for (path, size) in &remote.files {
        let url = endpoint.join(&format!("/acme/large/resolve/{}/{path}", remote.commit))?;
        client.download(&Download::whole(&url, *size), &mut |_| Ok(()), &|| false)?;
    }
    Ok(start.elapsed().as_secs_f64())
}

fn import(hub: &Hub, root: &Path) -> Result<(f64, Watch), Failure> {
    let store = Store::open(root)?;
    let options = PullOptions {
        plan: PlanOptions { scheme: Some("int4".parse()?), ..PlanOptions::default() },
        ..PullOptions::default()
    };
    let watch =
        Watch { dir: root.to_path_buf(), calls: AtomicU64::new(0), disk: AtomicU64::new(0), memory: AtomicU64::new(0) };
    let start = Instant::now();
    pull(hub, &"hf:acme/large".parse()?, &store, &"large:int4".parse()?, &options, &watch)?;
    Ok((start.elapsed().as_secs_f64(), watch))
}

/// Looks at the disk and the memory now and then while something arrives.
struct Watch {
    dir: PathBuf,
    calls: AtomicU64,
    disk: AtomicU64,
    memory: AtomicU64,
}

impl Progress for Watch {
    fn advance(&self, _bytes: u64) {
        if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(32) {
            self.disk.fetch_max(used(&self.dir), Ordering::Relaxed);
            self.memory.fetch_max(private(), Ordering::Relaxed);
        }
    }
}

/// Bytes that the files below a directory take of the disk.
#[cfg(unix)]
fn used(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let of = |path: PathBuf| match path.symlink_metadata() {
        Ok(found) if found.is_dir() => used(&path),
        Ok(found) => found.blocks() * 512,
        // It is gone by now.
        Err(_) => 0,
    };
    entries.map(|entry| of(entry.path())).sum()
}

#[cfg(not(unix))]
fn used(_dir: &Path) -> u64 {
    0
}

/// Bytes of memory that this process shares with nobody and that no file stands behind; 0 where the system does not say.
fn private() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().map_or(0, |kilobytes: u64| kilobytes * 1024)
}
