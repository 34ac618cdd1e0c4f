//! The requests of the distribution protocol that a push and a pull need.

use std::{sync::Arc, time::Duration};

use longshore_manifest::Digest;
use longshore_transfer::{Call, Client, Login, Method, Payload, RegistryTokens, TransferError, Url};

use crate::{
    Reference, RegistryError, Version,
    wire::{MAX_ARTIFACT, media_type},
};

/// What a manifest may be, for `Accept`: some registries answer 404 without.
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json";
/// Wait for the answer to an upload: a registry may hash or copy before it answers.
pub(crate) const AFTER_UPLOAD: Duration = Duration::from_secs(10 * 60);

/// A repository of a registry, with the credentials for it.
#[derive(Debug, Clone)]
pub struct Registry {
    client: Client,
    reference: Reference,
    login: Option<Login>,
}

/// Whether this process is told to stop.
pub(crate) type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

impl Registry {
    /// Makes the connection to the repository of `reference`, for reading.
    #[must_use]
    pub fn new(client: Client, reference: Reference, login: Option<Login>) -> Self {
        Self::with_actions(client, reference, login, "pull")
    }

    /// Makes the connection to the repository of `reference`, for reading and writing.
    #[must_use]
    pub fn for_push(client: Client, reference: Reference, login: Option<Login>) -> Self {
        Self::with_actions(client, reference, login, "pull,push")
    }

    fn with_actions(client: Client, reference: Reference, login: Option<Login>, actions: &str) -> Self {
        let scope = format!("repository:{}:{actions}", reference.repository());
        let tokens = RegistryTokens::new(reference.base().origin().clone(), vec![scope], login.clone());
        Self { client: client.with_authority(Arc::new(tokens)), reference, login }
    }

    /// The client that asks for blobs of other repositories of the registry, which a token has to allow. One that the registry does not give is
    /// no reason not to send them.
    pub(crate) fn mounting<'r>(&self, repositories: impl Iterator<Item = &'r str>) -> Client {
        let own = format!("repository:{}:pull,push", self.reference.repository());
        let others = repositories.map(|repository| format!("repository:{repository}:pull"));
        let scopes = std::iter::once(own).chain(others).collect();
        let tokens = RegistryTokens::new(self.reference.base().origin().clone(), scopes, self.login.clone());
        self.client.clone().with_authority(Arc::new(tokens))
    }

    /// What it is the connection to.
    #[must_use]
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Asks the registry whether the credentials are good, without naming a repository.
    ///
    /// # Errors
    ///
    /// [`TransferError::Unauthorized`] if they are not, else as the transfer.
    pub fn check_login(client: &Client, base: &Url, login: Login) -> Result<(), TransferError> {
        let tokens = RegistryTokens::new(base.origin().clone(), Vec::new(), Some(login));
        let client = client.clone().with_authority(Arc::new(tokens));
        let url = base.join("/v2/")?;
        client.read(&Call::get(&url), 64 << 10, &|| false).map(drop)
    }

    pub(crate) fn url(&self, rest: &str) -> Result<Url, TransferError> {
        Ok(self.reference.base().join(&format!("/v2/{}/{rest}", self.reference.repository()))?)
    }

    pub(crate) fn blob_url(&self, digest: &Digest) -> Result<Url, TransferError> {
        self.url(&format!("blobs/{digest}"))
    }

    pub(crate) fn refused(&self, what: impl Into<String>, problem: impl Into<String>) -> RegistryError {
        RegistryError::Refused {
            registry: self.reference.registry().to_owned(),
            what: what.into(),
            problem: problem.into(),
        }
    }

    /// Reads the manifest that the reference means, and its digest.
    pub(crate) fn manifest(&self, stop: Stop<'_>) -> Result<(Digest, Vec<u8>), RegistryError> {
        let version = self.reference.version();
        let url = self.url(&format!("manifests/{version}"))?;
        let mut call = Call::get(&url);
        call.headers.push(("Accept", ACCEPT));
        let (answer, bytes) = match self.client.read(&call, MAX_ARTIFACT, stop) {
            Err(TransferError::Status { status: 404, .. }) => {
                return Err(RegistryError::NotFound { reference: self.reference.to_string() });
            }
            other => other?,
        };
        let found = Digest::of(&bytes);
        let promised = answer.headers.get("Docker-Content-Digest").and_then(|text| text.parse().ok());
        let expected = match version {
            Version::Digest(digest) => Some(*digest),
            Version::Tag(_) => promised,
        };
        match expected.filter(|expected| *expected != found) {
            None => Ok((found, bytes)),
            Some(expected) => Err(RegistryError::Digest {
                what: "the manifest".into(),
                reference: self.reference.to_string(),
                expected,
                found,
            }),
        }
    }

    /// Reads a small blob whole.
    pub(crate) fn small_blob(
        &self,
        what: &str,
        digest: &Digest,
        size: u64,
        stop: Stop<'_>,
    ) -> Result<Vec<u8>, RegistryError> {
        let url = self.blob_url(digest)?;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (_, bytes) = self.client.read(&Call::get(&url), size, stop)?;
            let found = Digest::of(&bytes);
            if found == *digest && bytes.len() as u64 == size {
                return Ok(bytes);
            }
            // Once more from elsewhere.
            if attempt == 2 {
                let (reference, expected) = (self.reference.to_string(), *digest);
                return Err(RegistryError::Digest { what: what.to_owned(), reference, expected, found });
            }
        }
    }

    /// Whether the registry has a blob of this size.
    pub(crate) fn has_blob(&self, digest: &Digest, size: u64, stop: Stop<'_>) -> Result<bool, RegistryError> {
        let url = self.blob_url(digest)?;
        let answer = self.client.send(&Call::new(Method::Head, &url), stop)?;
        match answer.status {
            200 => match answer.headers.number("Content-Length") {
                Some(found) if found != size => Err(self
                    .refused(format!("{digest}"), format!("it has {found} bytes under this digest, expected {size}"))),
                _ => Ok(true),
            },
            404 => Ok(false),
            status => Err(self.refused(format!("{digest}"), format!("it answers {status} to whether it has it"))),
        }
    }

    /// Whether the tag points at this manifest already.
    pub(crate) fn has_manifest(&self, digest: &Digest, stop: Stop<'_>) -> Result<bool, RegistryError> {
        let url = self.url(&format!("manifests/{}", self.reference.version()))?;
        let mut call = Call::new(Method::Head, &url);
        call.headers.push(("Accept", ACCEPT));
        let answer = self.client.send(&call, stop)?;
        let found = answer.headers.get("Docker-Content-Digest").and_then(|text| text.parse::<Digest>().ok());
        Ok(answer.status == 200 && found == Some(*digest))
    }

    /// Puts the manifest under the reference's tag.
    pub(crate) fn put_manifest(&self, bytes: &[u8], stop: Stop<'_>) -> Result<(), RegistryError> {
        let url = self.url(&format!("manifests/{}", self.reference.version()))?;
        let mut call = Call::new(Method::Put, &url);
        call.headers.push(("Content-Type", media_type::ARTIFACT));
        call.payload = Payload::Bytes(bytes);
        call.patience = AFTER_UPLOAD;
        let answer = match self.client.send(&call, stop) {
            Err(TransferError::Status { status: 400, code, message, .. }) => {
                let problem = code.map_or_else(|| message.clone(), |code| format!("{code} {message}"));
                return Err(self.refused("the manifest", problem));
            }
            other => other?,
        };
        if matches!(answer.status, 200..=204) {
            Ok(())
        } else {
            Err(self.refused("the manifest", format!("it answers {}", answer.status)))
        }
    }
}
