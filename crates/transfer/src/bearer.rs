//! Credentials of a registry: by its challenge a password with every request, or a token that is had for it and renewed.

use std::sync::{Mutex, PoisonError};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::{
    Ask, Authority, Call, Login, Method, Origin, Payload, Secret, TransferError, Url,
    challenge::{self, Challenge},
};

/// Hosts whose tokens come from another host. A password goes to no other realm than these and the registry's own host.
const REALMS: [(&str, &str); 4] = [
    ("registry-1.docker.io", "auth.docker.io"),
    ("index.docker.io", "auth.docker.io"),
    ("docker.io", "auth.docker.io"),
    ("registry.gitlab.com", "gitlab.com"),
];

/// The authority of one registry, for one set of scopes.
///
/// It shows nothing before the registry asks. A password goes only through TLS or to this machine, and to another host than the registry's
/// only where that is known to be its own.
#[derive(Debug)]
pub struct RegistryTokens {
    origin: Origin,
    scopes: Vec<String>,
    login: Option<Login>,
    shown: Mutex<Option<Secret>>,
    /// Held while a token is asked for, so that many threads ask once.
    renewing: Mutex<()>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

impl RegistryTokens {
    /// Makes the authority of the registry at `origin`, for scopes such as `repository:me/model:pull,push`.
    #[must_use]
    pub fn new(origin: Origin, scopes: Vec<String>, login: Option<Login>) -> Self {
        Self { origin, scopes, login, shown: Mutex::default(), renewing: Mutex::default() }
    }

    fn exposed(&self, problem: String) -> TransferError {
        TransferError::Exposed { host: self.origin.to_string(), problem }
    }

    fn basic(user: &str, password: &Secret) -> Secret {
        Secret::new(format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.reveal()))))
    }

    /// Asks the realm for a token.
    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        asked: Option<&str>,
        ask: &Ask<'_>,
    ) -> Result<Secret, TransferError> {
        let realm: Url = realm.parse()?;
        let mut scopes: Vec<&str> = self.scopes.iter().map(String::as_str).collect();
        if scopes.is_empty() {
            scopes.extend(asked);
        }
        if self.login.is_some() {
            self.check_realm(realm.origin())?;
        }
        let body = if let Some(Login::Identity(token)) = &self.login {
            let mut fields = vec![("grant_type", "refresh_token"), ("client_id", "longshore")];
            let scope = scopes.join(" ");
            fields.extend([("refresh_token", token.reveal()), ("scope", &scope)]);
            fields.extend(service.map(|service| ("service", service)));
            let fields = fields.iter().map(|(name, value)| format!("{name}={}", crate::encode(value, false)));
            let form = fields.collect::<Vec<_>>().join("&");
            let mut call = Call::new(Method::Post, &realm);
            call.headers.push(("Content-Type", "application/x-www-form-urlencoded"));
            call.payload = Payload::Bytes(form.as_bytes());
            ask(&call).map_err(|error| self.refused(error))?
        } else {
            let mut address = realm.clone();
            if let Some(service) = service {
                address = address.with_query("service", service);
            }
            for scope in scopes {
                address = address.with_query("scope", scope);
            }
            let basic = match &self.login {
                Some(Login::Password { user, password }) => Some(Self::basic(user, password)),
                _ => None,
            };
            let mut call = Call::get(&address);
            if let Some(basic) = &basic {
                call.headers.push(("Authorization", basic.reveal()));
            }
            ask(&call).map_err(|error| self.refused(error))?
        };
        let refused = || TransferError::Login { problem: format!("{realm} answers without a token"), source: None };
        let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|_| refused())?;
        let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty()).ok_or_else(refused)?;
        Ok(Secret::new(format!("Bearer {token}")))
    }

    /// An error of the realm, which was asked with the login if there is one.
    fn refused(&self, error: TransferError) -> TransferError {
        match error {
            TransferError::Unauthorized { url, message, code, .. } => {
                TransferError::Unauthorized { url, given: self.login.is_some(), message, code }
            }
            error => error,
        }
    }

    fn check_realm(&self, realm: &Origin) -> Result<(), TransferError> {
        let known = REALMS.iter().any(|(registry, host)| *registry == self.origin.host && *host == realm.host);
        if realm.host != self.origin.host && !known {
            return Err(self.exposed(format!("it wants the password to go to {}", realm.authority())));
        }
        if realm.is_private() {
            Ok(())
        } else {
            Err(self.exposed(format!("it wants the password to go to {realm}, which is not https")))
        }
    }
}

impl Authority for RegistryTokens {
    fn is_for(&self, origin: &Origin) -> bool {
        *origin == self.origin
    }

    fn credentials(&self) -> Option<Secret> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn has_login(&self) -> bool {
        self.login.is_some()
    }

    fn renew(
        &self,
        _url: &Url,
        challenges: &[String],
        shown: Option<&Secret>,
        ask: &Ask<'_>,
    ) -> Result<bool, TransferError> {
        let _renewing = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread has renewed what this one showed.
        if self.credentials().as_ref() != shown {
            return Ok(true);
        }
        let challenges = challenge::parse(challenges);
        let is_bearer = |challenge: &&Challenge| matches!(challenge, Challenge::Bearer { .. });
        let fresh = match (challenges.iter().find(is_bearer), challenges.first(), &self.login) {
            (Some(Challenge::Bearer { realm, service, scope }), ..) => {
                self.token(realm, service.as_deref(), scope.as_deref(), ask)?
            }
            (_, Some(Challenge::Basic), Some(Login::Password { user, password })) => {
                if !self.origin.is_private() {
                    return Err(self.exposed("the address is not https".to_owned()));
                }
                Self::basic(user, password)
            }
            _ => return Ok(false),
        };
        let mut known = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        // The same password again would be refused again.
        let is_new = known.as_ref() != Some(&fresh);
        *known = Some(fresh);
        Ok(is_new)
    }
}
