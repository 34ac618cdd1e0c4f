//! Stored credentials: a file of ours, and those of docker and podman, which are read only.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::{Secret, TransferError};

/// Longest file, or answer of a helper, that is read, in bytes.
const MAX: u64 = 4 << 20;
/// Longest wait for a helper.
const HELPER: Duration = Duration::from_secs(30);
/// Time between two looks at whether a helper has ended.
const LOOK: Duration = Duration::from_millis(5);

/// What to show to a registry.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Login {
    /// A user's password.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token that other tokens are had for.
    Identity(Secret),
}

/// Files with credentials.
///
/// Ours has docker's form, `{"auths":{"host":{"auth":"…"}}}`, and is readable by its owner alone. It comes first. The others are read, with
/// the helpers that they name (`credHelpers`, `credsStore`), and never written.
#[derive(Debug, Clone, Default)]
pub struct Logins {
    own: Option<PathBuf>,
    others: Vec<PathBuf>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    auths: BTreeMap<String, Entry>,
    #[serde(skip_serializing)]
    creds_store: Option<String>,
    #[serde(skip_serializing)]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identitytoken: Option<String>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry(…)")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

impl Logins {
    /// Reads `own`, then `others`.
    #[must_use]
    pub fn new(own: Option<PathBuf>, others: Vec<PathBuf>) -> Self {
        Self { own, others }
    }

    /// The files of docker and podman on this machine: `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`, `$REGISTRY_AUTH_FILE`,
    /// `$XDG_RUNTIME_DIR/containers/auth.json`.
    #[must_use]
    pub fn of_other_programs() -> Vec<PathBuf> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let docker = variable("DOCKER_CONFIG").or_else(|| Some(std::env::home_dir()?.join(".docker")));
        let podman = variable("XDG_RUNTIME_DIR").map(|dir| dir.join("containers").join("auth.json"));
        [docker.map(|dir| dir.join("config.json")), variable("REGISTRY_AUTH_FILE"), podman]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Finds credentials for a registry, named `host` or `host:port`.
    ///
    /// # Errors
    ///
    /// [`TransferError::Login`] if a file or a helper's answer cannot be read. A missing file has no credentials.
    pub fn find(&self, host: &str) -> Result<Option<Login>, TransferError> {
        for path in self.own.iter().chain(&self.others) {
            let file = read(path)?;
            let is_own = Some(path) == self.own.as_ref();
            let helper = file.cred_helpers.iter().find(|(key, _)| is_key_of(key, host));
            if let (false, Some((_, helper))) = (is_own, helper) {
                if let Some(login) = ask_helper(helper, host)? {
                    return Ok(Some(login));
                }
                continue;
            }
            if let Some((_, entry)) = file.auths.iter().find(|(key, _)| is_key_of(key, host))
                && let Some(login) = of_entry(entry, path)?
            {
                return Ok(Some(login));
            }
            if let (false, Some(helper)) = (is_own, &file.creds_store)
                && let Some(login) = ask_helper(helper, host)?
            {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }

    /// Keeps a password in the file of ours. The file is replaced at once, and nobody else can read it.
    ///
    /// # Errors
    ///
    /// [`TransferError::Login`] if the file cannot be written.
    pub fn store(&self, host: &str, user: &str, password: &Secret) -> Result<(), TransferError> {
        if user.contains(':') || user.chars().chain(password.reveal().chars()).any(char::is_control) {
            return Err(fail("a user name with a colon, or a control character, cannot be sent to a registry", None));
        }
        self.change(|file| {
            let auth = STANDARD.encode(format!("{user}:{}", password.reveal()));
            file.auths.insert(host.to_owned(), Entry { auth: Some(auth), identitytoken: None });
            true
        })
        .map(drop)
    }

    /// Removes the credentials of a registry from the file of ours. Returns whether there were any.
    ///
    /// # Errors
    ///
    /// [`TransferError::Login`] if the file cannot be written.
    pub fn forget(&self, host: &str) -> Result<bool, TransferError> {
        self.change(|file| file.auths.remove(host).is_some())
    }

    fn change(&self, change: impl FnOnce(&mut File) -> bool) -> Result<bool, TransferError> {
        let Some(own) = &self.own else { return Err(fail("there is no place to keep credentials", None)) };
        let mut file = read(own)?;
        if !change(&mut file) {
            return Ok(false);
        }
        let text = serde_json::to_vec_pretty(&file).expect("texts serialize");
        write(own, &text).map_err(|error| fail(&format!("cannot write {}", own.display()), Some(error)))?;
        Ok(true)
    }
}

fn fail(problem: &str, source: Option<io::Error>) -> TransferError {
    TransferError::Login { problem: problem.to_owned(), source }
}

fn read(path: &Path) -> Result<File, TransferError> {
    let mut bytes = Vec::new();
    match fs::File::open(path) {
        Ok(file) => file.take(MAX).read_to_end(&mut bytes),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(File::default());
        }
        Err(error) => Err(error),
    }
    .map_err(|error| fail(&format!("cannot read {}", path.display()), Some(error)))?;
    // The parser's message might show a part of the text.
    serde_json::from_slice(&bytes).map_err(|_| fail(&format!("{} is not a file of credentials", path.display()), None))
}

/// Writes a file that only its owner can read, at once.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let temporary = dir.join(format!(".auth-{}.json", std::process::id()));
    let _ = fs::remove_file(&temporary);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let done = written.and_then(|()| fs::rename(&temporary, path));
    if done.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    done
}

/// Whether a key of a file means this host: `host`, `host:port`, `https://host/v1/`. Docker's own is written in its old form.
fn is_key_of(key: &str, host: &str) -> bool {
    let bare = key.split_once("://").map_or(key, |(_, rest)| rest);
    let bare = bare.split('/').next().unwrap_or_default();
    bare.eq_ignore_ascii_case(host) || is_docker(bare) && is_docker(host)
}

/// Whether a host is one of Docker Hub's.
fn is_docker(host: &str) -> bool {
    matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

/// The name under which a helper has a registry's credentials. Docker's own are under its old address.
fn server(host: &str) -> &str {
    if is_docker(host) { "https://index.docker.io/v1/" } else { host }
}

fn of_entry(entry: &Entry, path: &Path) -> Result<Option<Login>, TransferError> {
    if let Some(token) = entry.identitytoken.as_ref().filter(|token| !token.is_empty()) {
        return Ok(Some(Login::Identity(Secret::new(token.clone()))));
    }
    let Some(auth) = entry.auth.as_ref().filter(|auth| !auth.is_empty()) else { return Ok(None) };
    let decoded = STANDARD.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let parts = decoded.as_deref().and_then(|text| text.split_once(':'));
    let (user, password) =
        parts.ok_or_else(|| fail(&format!("{} holds credentials that cannot be decoded", path.display()), None))?;
    Ok(Some(Login::Password { user: user.to_owned(), password: Secret::new(password.trim_end_matches('\0')) }))
}

/// Asks a helper program, `docker-credential-<name>`, within a bound of time and length.
fn ask_helper(name: &str, host: &str) -> Result<Option<Login>, TransferError> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !is_plain || name.is_empty() {
        return Err(fail("the name of a credential helper holds what no program's name may", None));
    }
    ask_program(&format!("docker-credential-{name}"), server(host), HELPER)
}

fn ask_program(program: &str, server: &str, time: Duration) -> Result<Option<Login>, TransferError> {
    let end = Instant::now() + time;
    let failed = |error| fail(&format!("cannot run {program}"), Some(error));
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read has nothing to say either.
        let _ = stdin.write_all(server.as_bytes());
    }
    let stdout = child.stdout.take();
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.map(|stdout| stdout.take(MAX).read_to_end(&mut bytes));
        let _ = send.send(read.transpose().map(|_| bytes));
    });
    let answer = receive.recv_timeout(time);
    // One that has said all may still not end.
    let mut ended = None;
    while answer.is_ok() && ended.is_none() && Instant::now() < end {
        ended = child.try_wait().map_err(failed)?;
        if ended.is_none() {
            thread::sleep(LOOK);
        }
    }
    if ended.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let (Ok(answer), Some(status)) = (answer, ended) else {
        return Err(fail(&format!("{program} does not answer, or does not end"), None));
    };
    let answer = answer.map_err(failed)?;
    if !status.success() {
        // A helper says so if it has none.
        return Ok(None);
    }
    let found: HelperAnswer = serde_json::from_slice(&answer)
        .map_err(|_| fail(&format!("{program} does not answer as a credential helper does"), None))?;
    let secret = Secret::new(found.secret);
    Ok(Some(match found.username.as_str() {
        "<token>" => Login::Identity(secret),
        _ => Login::Password { user: found.username, password: secret },
    }))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
mod tests {
    use super::*;

    fn password(login: Option<Login>) -> Option<(String, String)> {
        match login? {
            Login::Password { user, password } => Some((user, password.reveal().to_owned())),
            Login::Identity(token) => Some(("<token>".into(), token.reveal().to_owned())),
        }
    }

    #[test]
    fn what_is_kept_comes_back_and_nobody_else_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("deep").join("auth.json");
        let logins = Logins::new(Some(own.clone()), Vec::new());
        assert!(logins.find("h:5000").unwrap().is_none());
        assert!(!logins.forget("h:5000").unwrap());
        logins.store("h:5000", "me", &Secret::new("p:w")).unwrap();
        logins.store("other", "you", &Secret::new("x")).unwrap();
        assert_eq!(password(logins.find("h:5000").unwrap()), Some(("me".into(), "p:w".into())));
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&own.metadata().unwrap().permissions()) & 0o777, 0o600);
        assert!(logins.forget("h:5000").unwrap());
        assert!(logins.find("h:5000").unwrap().is_none() && logins.find("other").unwrap().is_some());
        assert_eq!(fs::read_dir(own.parent().unwrap()).unwrap().count(), 1);
        assert!(logins.store("h", "a:b", &Secret::new("x")).is_err());
        fs::write(&own, "{\"auths\":{\"h\":{\"auth\":\"c2VjcmV0\"}}} trailing").unwrap();
        assert!(!format!("{:?}", logins.find("h").unwrap_err()).contains("c2VjcmV0"));
    }

    #[test]
    fn the_files_of_other_programs_are_understood_and_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("config.json");
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6c2VjcmV0"},"h:1":{"identitytoken":"t"},"empty":{}},"HttpHeaders":{}}"#;
        fs::write(&other, text).unwrap();
        let logins = Logins::new(None, vec![dir.path().join("none"), other.clone()]);
        assert_eq!(password(logins.find("registry-1.docker.io").unwrap()), Some(("me".into(), "secret".into())));
        assert_eq!(password(logins.find("h:1").unwrap()), Some(("<token>".into(), "t".into())));
        assert!(logins.find("h").unwrap().is_none() && logins.find("empty").unwrap().is_none());
        assert!(logins.store("h", "a", &Secret::new("b")).is_err());
        assert_eq!(fs::read_to_string(&other).unwrap(), text);
    }

    #[cfg(unix)]
    #[test]
    fn a_helper_is_asked_for_dockers_old_address_and_has_to_end() {
        let dir = tempfile::tempdir().unwrap();
        let program = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let answer = r#"printf '{"Username":"%s","Secret":"s"}' "$(cat)""#;
        let says = program("says", answer);
        let found = ask_program(&says, server("registry-1.docker.io"), HELPER).unwrap();
        assert_eq!(password(found), Some(("https://index.docker.io/v1/".into(), "s".into())));
        let found = ask_program(&says, server("h:5000"), HELPER).unwrap();
        assert_eq!(password(found), Some(("h:5000".into(), "s".into())));
        let lasting = program("lasting", &format!("{answer}; exec 1>&-; exec sleep 600"));
        assert!(ask_program(&lasting, "h", Duration::from_millis(300)).is_err());
    }

    #[test]
    fn a_helpers_name_is_no_path() {
        for name in ["../x", "a b", "", "a/b"] {
            assert!(ask_helper(name, "h").is_err(), "{name}");
        }
    }
}
