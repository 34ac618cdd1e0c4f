//! The way of one blob into a repository: from another one of the same registry, or from here.

use std::{
    io::{self, Read},
    sync::atomic::{AtomicBool, Ordering},
};

use longshore_manifest::Digest;
use longshore_transfer::{Answer, Call, Client, Method, Payload, TransferError, Url};

use crate::{
    Registry, RegistryError,
    api::{AFTER_UPLOAD, Stop},
};

/// A blob to send.
pub(crate) struct Upload<'a> {
    pub(crate) digest: &'a Digest,
    pub(crate) size: u64,
    /// Opens it at its start.
    pub(crate) open: &'a (dyn Fn() -> io::Result<Box<dyn Read + 'a>> + Sync),
    /// The repository where the registry is likely to have it.
    pub(crate) mount: Option<Mount<'a>>,
}

/// Another repository of the registry.
pub(crate) struct Mount<'a> {
    pub(crate) from: &'a str,
    /// A client that may read it.
    pub(crate) client: &'a Client,
    /// Set once the registry has failed at a mount as often as one is tried: no other layer waits for the same.
    pub(crate) is_over: &'a AtomicBool,
}

/// The outcome of a mount.
enum Mounted {
    /// The repository has the blob now.
    There,
    /// An upload was opened in place of that.
    Opened(Url),
    /// Nothing.
    Refused,
}

impl Registry {
    /// Sends a blob, unless the registry has it in another repository and takes it from there: an upload is opened, and filled with one request.
    /// A broken one is begun anew, as registries do not agree on more. Returns whether it was sent.
    pub(crate) fn upload(&self, blob: &Upload<'_>, stop: Stop<'_>) -> Result<bool, RegistryError> {
        let mut opened = match &blob.mount {
            None => None,
            Some(mount) => match self.mount(blob, mount, stop)? {
                Mounted::There => return Ok(false),
                Mounted::Opened(place) => Some(place),
                Mounted::Refused => None,
            },
        };
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.upload_once(blob, opened.take(), stop)? {
                Ok(()) => return Ok(true),
                Err(error) => self.client().wait_after(error, attempt, stop)?,
            }
            // The answer may have been lost, and not the blob.
            if self.has_blob(blob.digest, blob.size, stop)? {
                return Ok(true);
            }
        }
    }

    /// Asks for a blob of another repository. A registry that does not take it from there opens an upload; one that answers anything else is
    /// asked for an upload as if nothing had been.
    fn mount(&self, blob: &Upload<'_>, mount: &Mount<'_>, stop: Stop<'_>) -> Result<Mounted, RegistryError> {
        let uploads = self.url("blobs/uploads/")?;
        let url = uploads.with_query("mount", &blob.digest.to_string()).with_query("from", mount.from);
        match mount.client.send(&Call::new(Method::Post, &url), stop) {
            // A mount is not taken on trust: no manifest may name what the repository lacks.
            Ok(answer) if answer.status == 201 && self.has_blob(blob.digest, blob.size, stop)? => Ok(Mounted::There),
            Ok(answer) if answer.status == 202 => {
                Ok(self.location(&uploads, &answer, "").map_or(Mounted::Refused, Mounted::Opened))
            }
            Err(TransferError::Cancelled) => Err(RegistryError::Cancelled),
            Err(error) if error.is_transient() => {
                mount.is_over.store(true, Ordering::Relaxed);
                Ok(Mounted::Refused)
            }
            _ => Ok(Mounted::Refused),
        }
    }

    /// Opens an upload, and returns its address.
    fn open_upload(&self, what: &str, stop: Stop<'_>) -> Result<Url, RegistryError> {
        let url = self.url("blobs/uploads/")?;
        let answer = self.client().send(&Call::new(Method::Post, &url), stop)?;
        if answer.status != 202 {
            return Err(self.refused(what, format!("it answers {} to the opening of an upload", answer.status)));
        }
        self.location(&url, &answer, what)
    }

    /// One attempt, to the address of an upload that is open already, if there is one. The inner error may pass.
    fn upload_once(
        &self,
        blob: &Upload<'_>,
        opened: Option<Url>,
        stop: Stop<'_>,
    ) -> Result<Result<(), TransferError>, RegistryError> {
        let what = || format!("{} ({} bytes)", blob.digest, blob.size);
        let place = match opened {
            Some(place) => place,
            None => self.open_upload(&what(), stop)?,
        };
        let place = place.with_query("digest", &blob.digest.to_string());
        let open = || -> io::Result<Box<dyn Read + '_>> { (blob.open)() };
        let mut call = Call::new(Method::Put, &place);
        call.headers.push(("Content-Type", "application/octet-stream"));
        call.payload = Payload::Stream { len: blob.size, open: &open };
        call.patience = AFTER_UPLOAD;
        match self.client().send_once(&call, stop) {
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
}
