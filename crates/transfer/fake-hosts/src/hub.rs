//! A hub of model files.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Value, json};

use crate::{
    Asked, Faults, Host, Logged, Reply,
    host::{decode, sha256},
};

/// Files from this length on are kept outside Git, and served by the other host under a signature.
const LARGE: usize = 10 << 10;

/// A hub with one repository. Large files come from `/cdn/…`, by a signed address.
#[derive(Debug)]
pub struct FakeHub {
    repository: String,
    files: Mutex<BTreeMap<String, Arc<File>>>,
    /// What is to go wrong.
    pub faults: Faults,
    log: Mutex<Vec<Logged>>,
    /// Address that signed addresses begin with, such as `http://localhost:1234`; the host's own if empty.
    pub cdn: Mutex<String>,
    /// Token that is needed.
    pub token: Option<String>,
    /// Entries of one page of the listing.
    pub page: usize,
    /// Bytes a second that a socket sends of large files.
    pub rate: Option<u64>,
}

/// A file of the repository, with its digests.
#[derive(Debug)]
struct File {
    bytes: Vec<u8>,
    sha256: String,
    git: String,
}

impl File {
    fn new(bytes: Vec<u8>) -> Arc<Self> {
        let (sha256, git) = (sha256(&bytes), git_oid(&bytes));
        Arc::new(Self { bytes, sha256, git })
    }
}

impl FakeHub {
    /// Makes the hub of one repository, such as `acme/tiny`.
    #[must_use]
    pub fn new(repository: &str, files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        Self {
            repository: repository.to_owned(),
            files: Mutex::new(files.into_iter().map(|(path, bytes)| (path, File::new(bytes))).collect()),
            faults: Faults::default(),
            log: Mutex::default(),
            cdn: Mutex::default(),
            token: None,
            page: 1000,
            rate: None,
        }
    }

    /// The commit: it changes with the files.
    #[must_use]
    pub fn commit(&self) -> String {
        let files = self.files();
        let listing: Vec<_> = files.iter().map(|(path, file)| format!("{path} {}\n", file.sha256)).collect();
        sha256(listing.concat().as_bytes())[..40].to_owned()
    }

    /// Adds or replaces a file.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        self.files().insert(path.to_owned(), File::new(bytes.to_vec()));
    }

    fn files(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<File>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_large(path: &str, bytes: &[u8]) -> bool {
        bytes.len() >= LARGE || [".safetensors", ".gguf", ".bin"].iter().any(|end| path.ends_with(end))
    }

    fn tree(&self, asked: &Asked) -> Reply {
        let files = self.files();
        let entries: Vec<Value> = files
            .iter()
            .map(|(path, file)| {
                let size = file.bytes.len();
                let mut entry = json!({"type": "file", "path": path, "size": size, "oid": file.git});
                if Self::is_large(path, &file.bytes) {
                    entry["lfs"] = json!({"oid": file.sha256, "size": size, "pointerSize": 134});
                }
                entry
            })
            .collect();
        let at: usize = asked.query("cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let page: Vec<&Value> = entries.iter().skip(at).take(self.page).collect();
        let reply = Reply::new(200, json!(page).to_string());
        let next = at + self.page;
        if next < entries.len() {
            let link = format!("<http://{}{}?recursive=true&cursor={next}>; rel=\"next\"", asked.host, asked.path);
            return reply.with("Link", link);
        }
        reply
    }

    fn resolve(&self, asked: &Asked, path: &str) -> Reply {
        let Some(file) = self.files().get(path).cloned() else {
            return error(404, "EntryNotFound", "Entry not found");
        };
        if Self::is_large(path, &file.bytes) {
            let cdn = self.cdn.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let cdn = if cdn.is_empty() { format!("http://{}", asked.host) } else { cdn };
            let digest = &file.sha256;
            return Reply::new(302, "")
                .with("Location", format!("{cdn}/cdn/{digest}?sig=good"))
                .with("X-Linked-Etag", format!("\"{digest}\""));
        }
        Reply::content(asked, &file.bytes, &format!("\"{}\"", file.git))
    }

    fn cdn(&self, asked: &Asked, digest: &str) -> Reply {
        if asked.query("sig").as_deref() != Some("good") {
            return Reply::new(403, "<Error><Code>AccessDenied</Code></Error>");
        }
        if asked.header("Authorization").is_some() {
            return Reply::new(400, "<Error><Code>InvalidArgument</Code></Error>");
        }
        let found = self.files().values().find(|file| file.sha256 == digest).cloned();
        let reply = found.map_or_else(|| Reply::new(404, ""), |file| Reply::content(asked, &file.bytes, "\"v1\""));
        Reply { rate: self.rate, ..reply }
    }
}

/// Digest of a file as Git has it.
fn git_oid(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    use sha1::Digest as _;
    let mut hasher = sha1::Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hasher.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::new(status, json!({"error": message}).to_string())
        .with("X-Error-Code", code)
        .with("X-Error-Message", message)
}

impl Host for FakeHub {
    fn answer(&self, asked: &Asked) -> Reply {
        let path = decode(&asked.path);
        if let Some(digest) = path.strip_prefix("/cdn/") {
            return self.cdn(asked, digest);
        }
        let shown = asked.header("Authorization").and_then(|value| value.strip_prefix("Bearer "));
        if self.token.is_some() && shown != self.token.as_deref() {
            return error(401, "RepoNotFound", "Repository not found");
        }
        let commit = self.commit();
        let api = format!("/api/models/{}/", self.repository);
        if let Some(rest) = path.strip_prefix(&api) {
            let (verb, revision) = rest.split_once('/').unwrap_or((rest, "main"));
            if ![commit.as_str(), "main"].contains(&revision) {
                return error(404, "RevisionNotFound", "Invalid rev id");
            }
            return match verb {
                "revision" => Reply::new(200, json!({"id": self.repository, "sha": commit}).to_string()),
                "tree" => self.tree(asked),
                _ => Reply::new(404, ""),
            };
        }
        let resolve = format!("/{}/resolve/{commit}/", self.repository);
        match path.strip_prefix(&resolve) {
            Some(file) => self.resolve(asked, file).with("X-Repo-Commit", commit),
            None => error(404, "RepoNotFound", "Repository not found"),
        }
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn log(&self) -> &Mutex<Vec<Logged>> {
        &self.log
    }
}
