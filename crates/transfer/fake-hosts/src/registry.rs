//! A registry of the OCI distribution protocol.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{Asked, Faults, Host, Logged, Reply, host::sha256};

/// A registry in memory. As real ones do, it does not check the sizes in a manifest, and refuses one that names a blob that it lacks.
#[derive(Debug, Default)]
pub struct FakeRegistry {
    state: Mutex<State>,
    /// What is to go wrong.
    pub faults: Faults,
    log: Mutex<Vec<Logged>>,
    next: AtomicU64,
    /// `user:password` in base64; no login is needed without.
    pub login: Option<String>,
    /// Whether blobs of other repositories are not taken from there.
    takes_no_mounts: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Blobs of each repository, by digest.
    blobs: HashMap<(String, String), Vec<u8>>,
    /// Manifests by repository and digest.
    manifests: HashMap<(String, String), Vec<u8>>,
    /// Digests by repository and tag.
    tags: BTreeMap<(String, String), String>,
    uploads: HashSet<String>,
}

impl FakeRegistry {
    /// Makes a registry that needs a login: `user:password` in base64.
    #[must_use]
    pub fn with_login(login: &str) -> Self {
        Self { login: Some(login.to_owned()), ..Self::default() }
    }

    /// Makes a registry that takes no blobs from its other repositories.
    #[must_use]
    pub fn without_mounts() -> Self {
        Self { takes_no_mounts: true, ..Self::default() }
    }

    /// Number and bytes of the blobs of all repositories.
    #[must_use]
    pub fn size(&self) -> (usize, u64) {
        let state = self.state();
        (state.blobs.len(), state.blobs.values().map(|blob| blob.len() as u64).sum())
    }

    /// The manifest under a tag.
    #[must_use]
    pub fn manifest(&self, repository: &str, tag: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let digest = state.tags.get(&(repository.to_owned(), tag.to_owned()))?;
        state.manifests.get(&(repository.to_owned(), digest.clone())).cloned()
    }

    /// A blob of a repository.
    #[must_use]
    pub fn blob(&self, repository: &str, digest: &str) -> Option<Vec<u8>> {
        self.state().blobs.get(&(repository.to_owned(), digest.to_owned())).cloned()
    }

    /// Puts a manifest under a tag, as it is, and returns its digest.
    pub fn put_manifest(&self, repository: &str, tag: &str, bytes: &[u8]) -> String {
        let digest = format!("sha256:{}", sha256(bytes));
        let mut state = self.state();
        state.manifests.insert((repository.to_owned(), digest.clone()), bytes.to_vec());
        state.tags.insert((repository.to_owned(), tag.to_owned()), digest.clone());
        digest
    }

    /// Puts a blob into a repository and returns its digest.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = format!("sha256:{}", sha256(bytes));
        self.state().blobs.insert((repository.to_owned(), digest.clone()), bytes.to_vec());
        digest
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blobs(&self, asked: &Asked, repository: &str, digest: &str) -> Reply {
        match self.blob(repository, digest) {
            Some(blob) if matches!(asked.method.as_str(), "GET" | "HEAD") => {
                Reply::content(asked, &blob, &format!("\"{digest}\"")).with("Docker-Content-Digest", digest)
            }
            Some(_) => Reply::new(405, ""),
            None => error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
        }
    }

    fn upload(&self, asked: &Asked, repository: &str, id: &str) -> Reply {
        match asked.method.as_str() {
            "POST" => {
                let mounted = asked.query("mount").zip(asked.query("from")).filter(|_| !self.takes_no_mounts);
                let mounted = mounted.and_then(|(digest, from)| Some((self.blob(&from, &digest)?, digest)));
                if let Some((blob, digest)) = mounted {
                    self.put_blob(repository, &blob);
                    let place = format!("/v2/{repository}/blobs/{digest}");
                    return Reply::new(201, "").with("Location", place).with("Docker-Content-Digest", digest);
                }
                let id = format!("upload-{}", self.next.fetch_add(1, Ordering::Relaxed));
                self.state().uploads.insert(id.clone());
                Reply::new(202, "").with("Location", format!("/v2/{repository}/blobs/uploads/{id}?_state=secret"))
            }
            "PUT" => {
                if !self.state().uploads.remove(id) {
                    return error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
                }
                let found = format!("sha256:{}", sha256(&asked.body));
                if asked.query("digest").as_deref() != Some(&found) {
                    return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
                }
                self.put_blob(repository, &asked.body);
                Reply::new(201, "").with("Docker-Content-Digest", found)
            }
            _ => Reply::new(405, ""),
        }
    }

    fn manifests(&self, asked: &Asked, repository: &str, version: &str) -> Reply {
        if asked.method == "PUT" {
            let document: serde_json::Value = serde_json::from_slice(&asked.body).unwrap_or_default();
            let layers = document["layers"].as_array().cloned().unwrap_or_default();
            let lacks =
                |entry: &serde_json::Value| self.blob(repository, entry["digest"].as_str().unwrap_or("")).is_none();
            if std::iter::once(&document["config"]).chain(&layers).any(lacks) {
                return error(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry");
            }
            let digest = self.put_manifest(repository, version, &asked.body);
            return Reply::new(201, "").with("Docker-Content-Digest", digest);
        }
        let digest = match version.strip_prefix("sha256:") {
            Some(_) => Some(version.to_owned()),
            None => self.state().tags.get(&(repository.to_owned(), version.to_owned())).cloned(),
        };
        let found = digest.and_then(|digest| {
            let bytes = self.state().manifests.get(&(repository.to_owned(), digest.clone())).cloned()?;
            Some((digest, bytes))
        });
        // As docker-registry: an OCI manifest is not there for who does not accept one.
        let accepts = asked.header("Accept").is_some_and(|accept| accept.contains("vnd.oci.image.manifest"));
        match found.filter(|_| accepts) {
            Some((digest, bytes)) => Reply::new(200, bytes)
                .with("Content-Type", "application/vnd.oci.image.manifest.v1+json")
                .with("Docker-Content-Digest", digest),
            None => error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        }
    }
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::new(status, format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#))
}

impl Host for FakeRegistry {
    fn answer(&self, asked: &Asked) -> Reply {
        if let Some(login) = &self.login
            && asked.header("Authorization") != Some(&format!("Basic {login}"))
        {
            return error(401, "UNAUTHORIZED", "authentication required")
                .with("WWW-Authenticate", "Basic realm=\"test\"");
        }
        let Some(rest) = asked.path.strip_prefix("/v2/") else { return Reply::new(404, "") };
        if rest.is_empty() {
            return Reply::new(200, "{}");
        }
        if let Some((repository, id)) = rest.split_once("/blobs/uploads/") {
            return self.upload(asked, repository, id);
        }
        if let Some((repository, digest)) = rest.split_once("/blobs/") {
            return self.blobs(asked, repository, digest);
        }
        match rest.split_once("/manifests/") {
            Some((repository, version)) => self.manifests(asked, repository, version),
            None => Reply::new(404, ""),
        }
    }

    fn restart(&self) {
        self.state().uploads.clear();
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn log(&self) -> &Mutex<Vec<Logged>> {
        &self.log
    }
}
