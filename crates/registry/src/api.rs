//! The requests of the distribution protocol that a push and a pull need.

use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use longshore_manifest::Digest;
use longshore_transfer::{Answer, Call, Client, Login, Method, Payload, RegistryTokens, TransferError, Url};

use crate::{
    Reference, RegistryError, Version,
    wire::{MAX_ARTIFACT, media_type},
};

/// What a manifest may be, for `Accept`: some registries answer 404 without.
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json";
/// Wait for the answer to an upload: a registry may hash or copy before it answers.
const AFTER_UPLOAD: Duration = Duration::from_secs(10 * 60);

/// A repository of a registry, with the credentials for it.
#[derive(Debug, Clone)]
pub struct Registry {
    client: Client,
    reference: Reference,
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
        let tokens = RegistryTokens::new(reference.base().origin().clone(), vec![scope], login);
        Self { client: client.with_authority(Arc::new(tokens)), reference }
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

    fn url(&self, rest: &str) -> Result<Url, TransferError> {
        Ok(self.reference.base().join(&format!("/v2/{}/{rest}", self.reference.repository()))?)
    }

    pub(crate) fn blob_url(&self, digest: &Digest) -> Result<Url, TransferError> {
        self.url(&format!("blobs/{digest}"))
    }

    fn refused(&self, what: impl Into<String>, problem: impl Into<String>) -> RegistryError {
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

    /// Sends a blob: an upload is opened, and filled with one request. A broken one is begun anew, as registries do not agree on more.
    pub(crate) fn upload(&self, blob: &Upload<'_>, stop: Stop<'_>) -> Result<(), RegistryError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.upload_once(blob, stop)? {
                Ok(()) => return Ok(()),
                Err(error) => self.client.wait_after(error, attempt, stop)?,
            }
            // The answer may have been lost, and not the blob.
            if self.has_blob(blob.digest, blob.size, stop)? {
                return Ok(());
            }
        }
    }

    /// One attempt. The inner error may pass.
    fn upload_once(&self, blob: &Upload<'_>, stop: Stop<'_>) -> Result<Result<(), TransferError>, RegistryError> {
        let url = self.url("blobs/uploads/")?;
        let answer = self.client.send(&Call::new(Method::Post, &url), stop)?;
        let what = || format!("{} ({} bytes)", blob.digest, blob.size);
        if answer.status != 202 {
            return Err(self.refused(what(), format!("it answers {} to the opening of an upload", answer.status)));
        }
        let place = self.location(&url, &answer, &what())?;
        let place = place.with_query("digest", &blob.digest.to_string());
        let open = || -> io::Result<Box<dyn Read + '_>> { (blob.open)() };
        let mut call = Call::new(Method::Put, &place);
        call.headers.push(("Content-Type", "application/octet-stream"));
        call.payload = Payload::Stream { len: blob.size, open: &open };
        call.patience = AFTER_UPLOAD;
        match self.client.send_once(&call, stop) {
            Ok(answer) if matches!(answer.status, 201 | 204) => Ok(Ok(())),
            // The upload is not known any more.
            Ok(answer) if answer.status == 404 => {
                let lost = TransferError::Status {
                    url: answer.url,
                    status: 503,
                    code: None,
                    message: "the upload was lost".into(),
                };
                Ok(Err(lost))
            }
            Ok(answer) => Err(self.refused(what(), format!("it answers {}", answer.status))),
            Err(TransferError::Status { status: 400, code, message, .. }) => {
                let problem = code.map_or_else(|| message.clone(), |code| format!("{code} {message}"));
                Err(self.refused(what(), problem))
            }
            Err(error) if error.is_transient() => Ok(Err(error)),
            Err(error) => Err(error.into()),
        }
    }

    fn location(&self, url: &Url, answer: &Answer, what: &str) -> Result<Url, RegistryError> {
        let location =
            answer.headers.get("Location").ok_or_else(|| self.refused(what, "it says no place for an upload"))?;
        let place = url.join(location).map_err(TransferError::from)?;
        let (from, to) = (url.origin(), place.origin());
        if from.scheme == longshore_transfer::Scheme::Https && to.scheme != from.scheme {
            return Err(self.refused(what, "the place that it says for an upload leaves https"));
        }
        Ok(place)
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

/// A blob to send.
pub(crate) struct Upload<'a> {
    pub(crate) digest: &'a Digest,
    pub(crate) size: u64,
    /// Opens it at its start.
    pub(crate) open: &'a (dyn Fn() -> io::Result<Box<dyn Read + 'a>> + Sync),
}
