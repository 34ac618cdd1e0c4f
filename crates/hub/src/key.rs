//! Digests of all that decides about the result of a pull.

use longshore_manifest::{Digest, store::Made};
use longshore_packer::{HessianFile, ImportanceFile};

use crate::{
    FileDigest, Hub, Listed, Listing, PullOptions,
    select::{is_usual, is_weights},
};

/// The digest of a pull from a hub, whatever release makes it.
pub(crate) fn of_hub(hub: &Hub, listing: &Listing, files: &[&Listed], options: &PullOptions) -> Digest {
    let Listing { repository, commit, .. } = listing;
    let selection = options.selection.texts();
    let mut text = format!("hf\n{}\n{repository}\n{commit}\n{selection:?}\n", hub.options.endpoint.origin());
    text.push_str(&of_import(options));
    // A whole snapshot of the hub's cache may lack files that a pull brings, and have others that none does.
    let is_brought = |file: &Listed| !selection.is_empty() || is_weights(file) || is_usual(file.path.as_str());
    for file in files.iter().filter(|file| is_brought(file)) {
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

/// The key of what is unfinished of a pull from the hub's cache alone: links, with which no other pull goes on.
pub(crate) fn offline(made: &Made) -> Digest {
    Digest::of(format!("offline\n{}\n", made.key).as_bytes())
}

/// The options of an import that decide about its bytes.
fn of_import(PullOptions { plan, import, .. }: &PullOptions) -> String {
    let importance = import.importance.as_deref().map(ImportanceFile::digest);
    let gptq = import.gptq.as_ref();
    let gptq = gptq.map(|gptq| (gptq.hessians.digest(), gptq.held.as_deref().map(HessianFile::digest)));
    format!("{plan:?}\n{importance:?}\n{gptq:?}\n{:?}\n", (import.profile, import.allow_non_finite))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
mod tests {
    use std::sync::Arc;

    use longshore_packer::ImportOptions;

    use super::*;

    #[test]
    fn a_file_of_statistics_is_known_by_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str, mean: f32| {
            let header = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}  "#;
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.bytes());
            bytes.extend(mean.to_le_bytes());
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let importance = Some(Arc::new(ImportanceFile::open(&path).unwrap()));
            let import = ImportOptions { importance, ..ImportOptions::default() };
            of_import(&PullOptions { import, ..PullOptions::default() })
        };
        assert_eq!(of("a", 1.0), of("b", 1.0));
        assert_ne!(of("a", 1.0), of("c", 2.0));
    }
}
