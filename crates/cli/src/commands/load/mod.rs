//! `load NAME`: into memory, and how fast that was.

mod cuda;
mod host;
mod mlx;
mod refusals;
mod report;

use std::process::ExitCode;

use longshore_manifest::{Store, weights::OpenOptions};

use crate::{
    advice::Advice,
    args::{Device, Load},
    printer::Printer,
};

pub(super) fn run(args: &Load, store: &Store, printer: &Printer) -> anyhow::Result<ExitCode> {
    let model = store.with_model(&args.name, Ok::<_, anyhow::Error>)?;
    match args.device {
        Device::Host if args.dtype.is_some() => {
            return Err(Advice::failure("--dtype converts values, and --device host maps them as they are stored")
                .hint("--device mlx and --device cuda convert")
                .into());
        }
        Device::Host | Device::Mlx => {}
        Device::Cuda(ordinal) => return cuda::run(args, ordinal, store, printer),
    }
    let globs = refusals::globs(&args.select)?;
    let select = |name: &str| globs.is_match(name);
    let mut options = OpenOptions::default();
    options.component.clone_from(&args.component);
    if !args.select.is_empty() {
        options.select = Some(&select);
    }
    if args.device == Device::Mlx {
        return mlx::run(args, store, &options, printer);
    }
    host::run(args, store, &model, &options, printer)
}
