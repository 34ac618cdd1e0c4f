//! References of every kind, and the names that models get by them.

use longshore_hub::HubReference;
use longshore_manifest::ModelName;
use longshore_registry::{Reference, Version};
use longshore_transfer::redacted;

use super::short;
use crate::advice::Advice;

/// Where a model comes from.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Hub(HubReference),
    Ollama(ModelName),
    Registry(Reference),
}

impl Place {
    /// Parses a reference, or a short name for one.
    pub(super) fn parse(text: &str, revision: Option<&str>) -> anyhow::Result<Self> {
        let long = if text.contains(':') && text.contains('/') { None } else { short::find(text)? };
        let text = long.as_deref().unwrap_or(text);
        if text.starts_with("hf:") {
            let reference: HubReference = text.parse()?;
            return Ok(Self::Hub(revision.map_or(Ok(reference.clone()), |revision| reference.at(revision))?));
        }
        if revision.is_some() {
            return Err(Advice::failure("--revision is for references to a hub (hf:…)").into());
        }
        if let Some(model) = text.strip_prefix("ollama:") {
            return Ok(Self::Ollama(model.parse()?));
        }
        if text.starts_with("oci:") {
            return Ok(Self::Registry(text.parse()?));
        }
        Err(Advice::failure(format!("{:?} is no reference to a model elsewhere", redacted(text)))
            .hint("hf:owner/repository is a hub's, ollama:model:tag Ollama's, oci:host/repository:tag a registry's; `longshore aliases NAME REF` makes a short name")
            .into())
    }

    /// The name that a model gets if the user gives none: the last two parts in lower case, and the tag or the digest.
    pub(super) fn name(&self) -> anyhow::Result<ModelName> {
        let pinned;
        let (path, tag) = match self {
            Self::Ollama(model) => return Ok(model.clone()),
            Self::Hub(reference) if reference.revision() == "main" => (reference.repository(), "latest"),
            Self::Hub(reference) => (reference.repository(), reference.revision()),
            Self::Registry(reference) => match reference.version() {
                Version::Tag(tag) => (reference.repository(), tag.as_str()),
                // A name that says which version it is.
                Version::Digest(digest) => {
                    pinned = digest.file_name();
                    (reference.repository(), pinned.as_str())
                }
            },
        };
        let parts: Vec<&str> = path.rsplitn(3, '/').take(2).collect();
        let parts: Vec<String> = parts.iter().rev().map(|part| part.to_lowercase()).collect();
        let text = format!("{}:{tag}", parts.join("/"));
        text.parse().map_err(|_| {
            Advice::failure(format!("{self} gives no name for a model: {text:?} is none"))
                .hint("write the name after the reference")
                .into()
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hub(reference) => reference.fmt(f),
            Self::Ollama(model) => write!(f, "ollama:{model}"),
            Self::Registry(reference) => reference.fmt(f),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_by_where_it_comes_from() {
        for (reference, name) in [
            ("hf:Qwen/Qwen3-4B", "qwen/qwen3-4b:latest"),
            ("hf:Qwen/Qwen3-4B@v1.0", "qwen/qwen3-4b:v1.0"),
            ("oci:localhost:5000/a/b/c:int4", "b/c:int4"),
            ("oci:localhost:5000/qwen3:int4", "qwen3:int4"),
        ] {
            assert_eq!(Place::parse(reference, None).unwrap().name().unwrap(), name.parse().unwrap(), "{reference}");
        }
        let hex = "0123456789abcdef".repeat(4);
        let pinned = Place::parse(&format!("oci:localhost:5000/a/b@sha256:{hex}"), None).unwrap();
        assert_eq!(pinned.name().unwrap(), format!("a/b:sha256-{hex}").parse().unwrap());
        let error = Place::parse("https://me:hunter2@ghcr.io/a/b", None).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(Place::parse("hf:a/b@refs/pr/1", None).unwrap().name().is_err());
        assert!(Place::parse("oci:localhost:5000/a", Some("v1")).is_err());
        assert!(matches!(Place::parse("hf:a/b", Some("v1")).unwrap(), Place::Hub(hub) if hub.revision() == "v1"));
        assert!(Place::parse("ftp:x/y", None).is_err());
    }
}
