//! The arguments that name what is loaded.

use longshore_manifest::Store;

use super::Input;
use crate::{
    advice::Advice,
    args::{load::Load, target::Target},
    door,
};

/// The only name, or the paths. `store` opens the store where one is needed.
pub(super) fn input(args: &Load, store: impl FnOnce() -> anyhow::Result<Store>) -> anyhow::Result<Input> {
    let mut paths = Vec::new();
    for target in &args.target {
        match target {
            Target::Name(name) if args.target.len() == 1 => {
                return Ok(Input::Stored { store: store()?, name: name.clone() });
            }
            Target::Name(name) => {
                return Err(Advice::failure(format!("{name} is a name in a store: only one model can be loaded"))
                    .hint("several arguments are safetensors files of one model; ./ before a name makes it a path")
                    .into());
            }
            Target::Path(path) => paths.push(path.clone()),
        }
    }
    let gguf = paths.iter().find(|path| path.extension().is_some_and(|end| end == "gguf"));
    if let (Some(gguf), true) = (gguf, paths.len() > 1) {
        return Err(Advice::failure(format!("{} is a GGUF file: expected it alone", door::path(gguf)))
            .hint("any file of a split set opens all of it")
            .into());
    }
    if let (Some(dir), true) = (paths.iter().find(|path| path.is_dir()), paths.len() > 1) {
        return Err(Advice::failure(format!("{} is a directory: expected it alone, or files", dir.display())).into());
    }
    if args.verify {
        return Err(Advice::failure("--verify compares with digests, and files outside of a store have none")
            .hint("longshore import stores them, and checks what it writes")
            .into());
    }
    Ok(Input::Files(paths))
}
