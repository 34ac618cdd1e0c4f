//! Compares listing a store with `cat` of the same manifests, in turn.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use clap::Parser;
use longshore_benches::stats::time;
use longshore_manifest::{
    Config, Descriptor, Digest, Manifest, ModelName, Store,
    document::{BlobEntry, Facts, Import, Part, Role, TensorEntry, TensorTable},
    store::Added,
};
use longshore_st_format::{Dtype, Shape};

/// Compare `longshore list` with `cat` of the manifests that it reads
#[derive(Parser)]
struct Args {
    /// Directory to create, with a store whose tensor blobs are missing
    scratch: PathBuf,
    /// Program to run; default: call the library
    #[arg(long)]
    longshore: Option<PathBuf>,
    #[arg(long, default_value = "200")]
    models: usize,
    #[arg(long, default_value = "500")]
    layers: usize,
    /// Number of runs
    #[arg(long, default_value = "25")]
    runs: usize,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let manifests = make(&args)?;
    let store = Store::open(&args.scratch)?;
    let (mut cat, mut list) = (Duration::MAX, Duration::MAX);
    for _ in 0..args.runs {
        let mut command = Command::new("cat");
        command.args(&manifests).stdout(Stdio::null());
        cat = cat.min(time(|| Ok(command.status()?.success()))?.0);
        let listed = time(|| match &args.longshore {
            Some(program) => run(program, &args.scratch),
            None => Ok(store.list()?.iter().filter(|entry| entry.summary.is_ok()).count()),
        })?;
        anyhow::ensure!(listed.1 == args.models, "listed {} models", listed.1);
        list = list.min(listed.0);
    }
    let bytes = manifests.iter().map(|path| Ok(path.metadata()?.len())).sum::<std::io::Result<u64>>()?;
    println!("{} manifests of {} layers, {bytes} bytes", manifests.len(), args.layers);
    println!("least of {}: cat {cat:?}, list {list:?}, ratio {:.2}", args.runs, list.as_secs_f64() / cat.as_secs_f64());
    Ok(())
}

fn run(program: &Path, store: &Path) -> anyhow::Result<usize> {
    let output = Command::new(program).arg("--store").arg(store).arg("list").output()?;
    Ok(String::from_utf8(output.stdout)?.lines().count().saturating_sub(1))
}

/// Creates the store; returns the paths of the manifests.
fn make(args: &Args) -> anyhow::Result<Vec<PathBuf>> {
    fs::create_dir_all(args.scratch.join("blobs"))?;
    fs::write(args.scratch.join("longshore.json"), "{\"longshore\":\"store\",\"version\":1}\n")?;
    let store = Store::open(&args.scratch)?;
    let mut paths = Vec::new();
    for model in 0..args.models {
        let name: ModelName = format!("model-{model}:latest").parse()?;
        let layer = |at: usize| {
            let name = format!("model.layers.{}.mlp.experts.{}.weight", at / 8, at % 8);
            let digest = Digest::of(format!("{} {at}", if at.is_multiple_of(2) { 0 } else { model }).as_bytes());
            Descriptor::tensor(name, Added::new(digest, 4096))
        };
        let layers: Vec<_> = (0..args.layers).map(layer).collect();
        let config =
            Config::new(TensorTable::new(Facts::default(), Import::default(), layers.iter().map(entry).collect()));
        let config = config.to_bytes();
        let digest = Digest::of(&config);
        fs::write(store.blob_path(&digest), &config)?;
        let config = Descriptor::config(Added::new(digest, config.len() as u64));
        let path = store.manifest_path(&name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        fs::write(&path, Manifest::new(config, layers).to_bytes())?;
        paths.push(path);
    }
    Ok(paths)
}

fn entry(layer: &Descriptor) -> BlobEntry {
    let shape = Shape::new([32, 64]);
    let part =
        Part { role: Role::Weight, dtype: Dtype::BF16, shape: shape.clone(), offset: 0, length: 4096, blob: None };
    let name = layer.name.clone().unwrap_or_default();
    BlobEntry::new(layer.digest, vec![TensorEntry::new(name, Dtype::BF16, shape, vec![part])])
}
