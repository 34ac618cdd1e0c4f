//! One module per verb.

mod architectures;
mod copy;
mod diff;
mod experts;
mod export;
mod gc;
mod import;
mod input;
mod inspect;
mod list;
mod load;
mod loss;
#[cfg(feature = "net")]
mod net;
mod policy;
mod rm;
#[cfg(feature = "run")]
mod running;
mod shell;
mod show;
mod verify;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use longshore_manifest::{Store, store::Owner};
use longshore_packer::Source;

use crate::{
    advice::Advice,
    args::{Cli, Command, Global},
    door,
    printer::Printer,
};

/// Runs a command.
pub(crate) fn run(cli: Cli, printer: &Printer) -> anyhow::Result<ExitCode> {
    let global = &cli.global;
    match cli.command {
        Command::Import(args) => import::run(&args, &open(global)?, printer),
        Command::List => list::run(&open(global)?, printer),
        Command::Show(args) => show::run(&args, &open(global)?, printer),
        Command::Load(args) => load::run(&args, || open(global), printer),
        Command::Verify(args) => verify::run(args, &open(global)?, printer),
        Command::Diff(args) => diff::run(&args, &open(global)?, printer),
        Command::Export(args) => export::run(&args, &open(global)?, printer),
        Command::Inspect(args) => inspect::run(&args, printer),
        Command::Copy(args) => copy::run(&args, &open(global)?, printer),
        Command::Rm(args) => rm::run(&args, &open(global)?, printer),
        Command::Gc(args) => gc::run(&args, &open(global)?, printer),
        #[cfg(feature = "net")]
        Command::Pull(args) => net::pull::run(&args, &open(global)?, printer),
        #[cfg(feature = "net")]
        Command::Push(args) => net::push::run(&args, &open(global)?, printer),
        #[cfg(feature = "net")]
        Command::Login(args) => net::login::login(&args, printer),
        #[cfg(feature = "net")]
        Command::Logout(args) => net::login::logout(&args, printer),
        #[cfg(feature = "net")]
        Command::Aliases(args) => net::aliases::run(&args, printer),
        Command::Policy(verb) => policy::run(&verb, || open(global), printer),
        Command::Experts(verb) => experts::run(&verb, || open(global), printer),
        #[cfg(feature = "run")]
        Command::Run(args) => running::run(&args, || open(global), printer),
        #[cfg(feature = "run")]
        Command::Chat(args) => running::chat(&args, || open(global), printer),
        #[cfg(feature = "run")]
        Command::Embed(args) => running::embed(&args, || open(global), printer),
        #[cfg(feature = "run")]
        Command::Perplexity(args) => running::perplexity(&args, || open(global), printer),
        #[cfg(feature = "run")]
        Command::Calibrate(args) => running::calibrate(&args, || open(global), printer),
        Command::Completions(args) => shell::completions(&args, printer),
        Command::Man(args) => shell::man(&args, printer),
    }
}

/// Does `work`, which reads the source at `path`. That may be the manifest of a stored model, which others may replace meanwhile.
fn steadily<T>(path: Option<&Path>, work: &mut dyn FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    match path.and_then(Source::stored) {
        Some((store, name)) => store.steadily(&name, work),
        None => work(),
    }
}

fn open(global: &Global) -> anyhow::Result<Store> {
    let root = match (&global.store, std::env::var_os("LONGSHORE_STORE")) {
        (Some(dir), _) => dir.clone(),
        (None, Some(dir)) if !dir.is_empty() => PathBuf::from(dir),
        (None, _) => dirs::data_dir()
            .ok_or_else(|| {
                Advice::failure("the platform names no data directory")
                    .hint("--store DIR or LONGSHORE_STORE says where the store is")
            })?
            .join("longshore"),
    };
    let store = Store::open(root)?;
    match store.owner() {
        None | Some(Owner::OtherProgram) => Ok(store),
        Some(owner) => Err(no_store(store.root(), owner).into()),
    }
}

/// Says what a directory is that can be no store.
fn no_store(root: &Path, owner: Owner) -> Advice {
    let path = door::path(root);
    let choose = "--store DIR or LONGSHORE_STORE names a store, or a directory that is empty or does not exist yet";
    if owner == Owner::HubCache {
        let snapshot = snapshot(root).unwrap_or_else(|| root.join("models--ORG--MODEL/snapshots/REVISION"));
        return Advice::input(format!("{path} is a Hugging Face hub cache, not a store"))
            .hint(format!("longshore import {} NAME imports a model from it", door::path(snapshot)))
            .hint(choose);
    }
    Advice::input(format!("{path} is not a store: it holds other files")).hint(choose)
}

/// The first snapshot in a hub cache or in a model's directory of one, in byte order.
fn snapshot(root: &Path) -> Option<PathBuf> {
    let below = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        found.sort_unstable();
        found
    };
    let models = below(root);
    std::iter::once(root)
        .chain(models.iter().map(PathBuf::as_path))
        .find_map(|model| below(&model.join("snapshots")).into_iter().next())
}
