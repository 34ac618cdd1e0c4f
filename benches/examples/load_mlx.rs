//! Loads a stored model as MLX arrays for `benches/compare/run.py load` and `mlx`: `PROGRAM STORE NAME [copied]`.
//!
//! Like the example `load`, it then reads every byte once and prints the sum of the bytes with the times, as a line of
//! JSON.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

#[cfg(any(target_os = "macos", longshore_mlx))]
fn main() -> anyhow::Result<()> {
    use std::time::Instant;

    use anyhow::Context;
    use longshore_benches::words::report;
    use longshore_loader_mlx::{LoadOptions, Memory, MlxWeights, Tensor};
    use longshore_manifest::{Store, weights::plan::Selection};
    use mlx_rs::Array;

    let mut args = std::env::args().skip(1);
    let (root, name) = args.next().zip(args.next()).context("expected STORE NAME")?;
    let memory = match args.next().as_deref() {
        None => Memory::Automatic,
        Some("copied") => Memory::Copied,
        Some(other) => anyhow::bail!("expected `copied` or nothing after NAME, found {other:?}"),
    };
    let started = Instant::now();
    let store = Store::open(root)?;
    let mut weights = MlxWeights::open(&store, &store.model(&name.parse()?)?, &Selection::default())?;
    weights.load(&LoadOptions { memory, ..LoadOptions::default() })?;
    let loaded = started.elapsed();

    let mut arrays: Vec<&Array> = Vec::new();
    for name in weights.names() {
        let tensor: &Tensor = weights.get(name)?;
        arrays.push(tensor.weight());
        arrays.extend(tensor.quantized().map(|tensor| &tensor.scale));
        arrays.extend(tensor.quantized().and_then(|tensor| tensor.bias.as_ref()));
    }
    // Views of the same memory. Their creation is not part of the measured time.
    let views = arrays.iter().map(|array| array.view::<u8>()).collect::<Result<Vec<_>, _>>()?;
    let bytes: Vec<&[u8]> = views.iter().map(|view| view.try_as_slice::<u8>()).collect::<Result<_, _>>()?;
    let until_now = started.elapsed().checked_sub(loaded).unwrap_or_default();
    println!("{}", report(started + until_now, &bytes));
    Ok(())
}

#[cfg(not(any(target_os = "macos", longshore_mlx)))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!("this build has no MLX: crates/loader-mlx/linux/setup.sh prepares it")
}
