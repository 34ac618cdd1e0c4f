//! The arguments of the verbs that tend a store: they check it, name its models anew and free its disk.

use std::{num::NonZero, path::PathBuf, time::Duration};

use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use longshore_manifest::ModelName;

use super::{
    import::{MergedAdapter, parse_adapter},
    numbers::parse_count,
    policy::{PolicySource, parse_policy},
};
use crate::candidates::{self, offers};

/// Hash blobs again and check that all documents agree
///
/// Without names, the whole store is checked, blobs that no model reaches included. Each bad blob is named with the models that need it.
///
/// With --repair, blobs that are damaged or missing are built again from the checkpoint that the models were imported from, as they
/// were imported, and put in place if they have the digest that they had. The exit status is 0 if nothing bad is left.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Only these models
    pub(crate) names: Vec<ModelName>,
    /// Hash the chunks of large blobs on all cores, and not the blobs as wholes, where the tensor table has the chunks' digests
    ///
    /// Faster where there are fewer large blobs than cores. It trusts the tables: what they say of a blob's chunks is not compared with the blob's own digest.
    #[arg(long, conflicts_with = "repair")]
    pub(crate) fast: bool,
    /// Build bad blobs again from this checkpoint, what was SOURCE at the import; or fetch what is wrong of them from a registry: oci:…
    #[arg(long, value_name = "SOURCE")]
    pub(crate) repair: Option<PathBuf>,
    /// The policy's file, if the import used one that is not built in
    #[arg(long, value_name = "P", requires = "repair", value_parser = offers(candidates::POLICIES, parse_policy))]
    #[arg(hide_possible_values = true)]
    pub(crate) policy: Option<PolicySource>,
    /// The importance file, if the import used one
    #[arg(long, value_name = "FILE", requires = "repair")]
    pub(crate) importance: Option<PathBuf>,
    /// The draft model's checkpoint, if the import used one
    #[arg(long, value_name = "DIR", requires = "repair")]
    pub(crate) draft: Option<PathBuf>,
    /// An adapter that was merged at the import, with its weight; may be given several times
    #[arg(long, value_name = "DIR[=WEIGHT]", requires = "repair")]
    #[arg(value_parser = OsStringValueParser::new().try_map(parse_adapter))]
    pub(crate) adapter: Vec<MergedAdapter>,
    /// Threads that build blobs [default: all]
    #[arg(long, value_name = "N", requires = "repair", value_parser = parse_count)]
    pub(crate) threads: Option<NonZero<usize>>,
    /// Trust the certificates in this file too, in PEM, where SOURCE is a registry's
    #[cfg(feature = "net")]
    #[arg(long, value_name = "FILE", requires = "repair")]
    pub(crate) ca_cert: Option<PathBuf>,
}

/// Give a model a second name
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// The model
    pub(crate) from: ModelName,
    /// The new name
    pub(crate) to: ModelName,
}

/// Remove names, and the blobs that only they reach
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// The names
    #[arg(required = true)]
    pub(crate) names: Vec<ModelName>,
}

/// Delete what no name reaches
///
/// Blobs without a name are what is left where a name was given to another model, or where a removal ran beside an import that needed
/// them and was given up. It runs beside imports and takes nothing from them. Refused while a manifest cannot be read.
#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Only say what would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Keep what was written or reused less than this ago: 0s, 10m, 1h, 2d. Where several machines share the store over a network,
    /// this protects their imports
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = crate::duration::parse)]
    pub(crate) grace: Duration,
    /// Give up unfinished pulls too, and delete what arrived of them
    #[arg(long)]
    pub(crate) pulls: bool,
}
