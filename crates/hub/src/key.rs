//! Digests of all that decides about the result of a pull.

use longshore_manifest::Digest;

use crate::{FileDigest, Hub, Listed, Listing, PullOptions, select::is_weights};

/// The digest of a pull from a hub, whatever release makes it.
pub(crate) fn of_hub(hub: &Hub, listing: &Listing, files: &[&Listed], options: &PullOptions) -> Digest {
    let Listing { repository, commit, .. } = listing;
    let selection = options.selection.texts();
    let mut text = format!("hf\n{}\n{repository}\n{commit}\n{selection:?}\n", hub.options.endpoint.origin());
    text.push_str(&of_import(options));
    for file in files.iter().filter(|file| is_weights(file)) {
        let digest = match &file.digest {
            FileDigest::Sha256(digest) => digest.to_string(),
            FileDigest::Git(oid) => oid.clone(),
        };
        text.extend([file.path.as_str(), " ", &digest, "\n"]);
    }
    Digest::of(text.as_bytes())
}

/// The digest of a pull of the model of this manifest from Ollama's registry, whatever release makes it.
pub(crate) fn of_ollama(manifest: &Digest, options: &PullOptions) -> Digest {
    Digest::of(format!("ollama\n{manifest}\n{}", of_import(options)).as_bytes())
}

/// The key of what is unfinished of a pull: another release may make other bytes.
pub(crate) fn unfinished(made: &Digest) -> Digest {
    Digest::of(format!("{}\n{made}\n", env!("CARGO_PKG_VERSION")).as_bytes())
}

/// The options of an import that decide about its bytes.
fn of_import(PullOptions { plan, import, .. }: &PullOptions) -> String {
    let importance = import.importance.as_ref().map(|file| format!("{file:?}"));
    format!("{plan:?}\n{importance:?}\n{:?}\n", (import.profile, import.allow_non_finite))
}
