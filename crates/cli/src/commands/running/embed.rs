//! x
pub(in crate::commands) fn run(_: &crate::args::running::Embed, _: impl FnOnce() -> anyhow::Result<longshore_manifest::Store>, _: &crate::printer::Printer) -> anyhow::Result<std::process::ExitCode> { unimplemented!() }
