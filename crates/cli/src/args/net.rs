//! The arguments of the verbs that reach other machines.

use std::path::PathBuf;

use clap::Args;
use longshore_manifest::ModelName;

use super::{
    policy::{PolicySource, parse_policy},
    types::{Quantize, parse_quantize},
};
use crate::candidates::{self, offers};

/// Bring a model into the store, from a hub or a registry
///
/// REF is `hf:owner/repository[@revision]` for a Hugging Face hub (`HF_ENDPOINT`, `HF_TOKEN`), or
/// `oci:[http://]host[:port]/repository[:tag|@digest]` for a registry that `longshore push` sent it to, `ollama:model[:tag]` for
/// Ollama's, or a name of `longshore aliases`. From a hub it is imported as `longshore import` would, shard by shard: the disk needs room for the
/// result and three shards. From a registry only what is missing moves, and the model keeps its digest.
///
/// What has arrived stays if the command is interrupted or killed, and the same command goes on with it.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  longshore pull hf:Qwen/Qwen3-4B qwen3:int4 --quantize int4   quantized while it arrives
  longshore pull hf:org/model-GGUF model --include '*Q4_K_M*'  one of several files
  longshore pull oci:localhost:5000/me/qwen3:int4              what `push` sent
  longshore pull hf:Qwen/Qwen3-4B --abandon                    give up what arrived")]
pub(crate) struct PullArgs {
    /// Where the model is: `hf:…`, `oci:…`, `ollama:…`, or a name of `longshore aliases`
    #[arg(value_name = "REF")]
    pub(crate) reference: String,
    /// The name to give it [default: the last two parts of REF in lower case, and its tag]
    pub(crate) name: Option<ModelName>,
    /// As for `import`; not from `oci:`
    #[arg(long, value_name = "TYPE", value_parser = offers(candidates::TYPES, parse_quantize))]
    #[arg(hide_possible_values = true)]
    pub(crate) quantize: Option<Quantize>,
    /// As for `import`; not from `oci:`
    #[arg(long, value_name = "P", value_parser = offers(candidates::POLICIES, parse_policy))]
    #[arg(hide_possible_values = true)]
    pub(crate) policy: Option<PolicySource>,
    /// Branch, tag or commit of the hub's repository [default: main]
    #[arg(long, value_name = "R")]
    pub(crate) revision: Option<String>,
    /// Fetch weights whose paths match the pattern, and the files beside them; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub(crate) include: Vec<String>,
    /// Leave out files whose paths match the pattern; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Trust the certificates in this file too, in PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,
    /// Only say what would move and what is there
    #[arg(long, conflicts_with = "abandon")]
    pub(crate) dry_run: bool,
    /// Give up an unfinished pull of REF, and delete what has arrived
    #[arg(long)]
    pub(crate) abandon: bool,
}

#[cfg(feature = "run")]
impl PullArgs {
    /// The arguments of a pull without options.
    pub(crate) fn of(reference: &str, name: &ModelName) -> Self {
        Self {
            reference: reference.to_owned(),
            name: Some(name.clone()),
            quantize: None,
            policy: None,
            revision: None,
            include: Vec::new(),
            exclude: Vec::new(),
            ca_cert: None,
            dry_run: false,
            abandon: false,
        }
    }
}

/// Send a stored model to a registry
///
/// REF is `oci:[http://]host[:port]/repository[:tag]`. Any registry that keeps container images will do. Only what it lacks is sent:
/// tensors that it has from other models are not sent again. `http://` has to be written out, except for this machine.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  longshore push qwen3:int4 oci:ghcr.io/me/qwen3:int4   after `longshore login ghcr.io`
  longshore push qwen3:int4 oci:localhost:5000/qwen3    to this machine")]
pub(crate) struct PushArgs {
    /// The model
    pub(crate) name: ModelName,
    /// Where it goes: `oci:host/repository:tag`
    #[arg(value_name = "REF")]
    pub(crate) reference: String,
    /// Trust the certificates in this file too, in PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,
    /// Only say what would move and what is there
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Keep the password for a registry
///
/// The password is asked for at the terminal without showing it, or read from stdin. It is tried first, and kept in a file that only you
/// can read. Credentials that docker or podman keep are used too, and never changed.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The registry: `ghcr.io`, `localhost:5000`
    pub(crate) host: String,
    /// The user; asked for at the terminal if not given
    #[arg(long, value_name = "U")]
    pub(crate) username: Option<String>,
    /// Trust the certificates in this file too, in PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,
}

/// Forget the password for a registry
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// The registry
    pub(crate) host: String,
}

/// List short names for references, or set one
///
/// They are kept in a TOML file, whose place is shown: `qwen3 = "hf:Qwen/Qwen3-4B"`.
#[derive(Debug, Args)]
pub(crate) struct AliasesArgs {
    /// The short name
    #[arg(requires = "reference")]
    pub(crate) name: Option<String>,
    /// What it stands for
    #[arg(value_name = "REF")]
    pub(crate) reference: Option<String>,
}
