//! A recorded routing, read from its file.

use std::{io::BufReader, path::Path};

use anyhow::Context as _;
use longshore_experts::{Trace, TraceLimits};
use longshore_manifest::open_regular;

use crate::door;

pub(super) fn read(path: &Path) -> anyhow::Result<Trace> {
    let context = || format!("cannot read the trace {}", door::path(path));
    let file = open_regular(path).with_context(context)?;
    Trace::read(BufReader::new(file), &TraceLimits::default()).with_context(context)
}
