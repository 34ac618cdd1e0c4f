//! Credentials, and the hosts that may see them.

use std::fmt;

use crate::{Call, Origin, Secret, TransferError, Url};

/// Sends a call without credentials and returns its body. An authority asks for tokens through it.
pub type Ask<'a> = dyn Fn(&Call<'_>) -> Result<Vec<u8>, TransferError> + 'a;

/// Credentials of one party.
pub trait Authority: Send + Sync + fmt::Debug {
    /// Whether the credentials are for this host. They are shown to no other.
    fn is_for(&self, origin: &Origin) -> bool;

    /// The value of `Authorization` to send; `None` to send none.
    fn credentials(&self) -> Option<Secret>;

    /// Whether a login was given. What a host hands out to everybody is none.
    fn has_login(&self) -> bool {
        self.credentials().is_some()
    }

    /// Called when `url` answered 401 to a request with `shown`. Returns whether there are now other credentials to try.
    ///
    /// # Errors
    ///
    /// [`TransferError`] if there are credentials that cannot or must not be used.
    fn renew(
        &self,
        url: &Url,
        challenges: &[String],
        shown: Option<&Secret>,
        ask: &Ask<'_>,
    ) -> Result<bool, TransferError>;
}

/// No credentials.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

impl Authority for Anonymous {
    fn is_for(&self, _origin: &Origin) -> bool {
        false
    }

    fn credentials(&self) -> Option<Secret> {
        None
    }

    fn renew(&self, _: &Url, _: &[String], _: Option<&Secret>, _: &Ask<'_>) -> Result<bool, TransferError> {
        Ok(false)
    }
}

/// One token for one host, sent with every request to it.
#[derive(Debug, Clone)]
pub struct FixedToken {
    origin: Origin,
    value: Secret,
}

impl FixedToken {
    /// Makes the authority of `token` at `origin`.
    #[must_use]
    pub fn new(origin: Origin, token: &Secret) -> Self {
        Self { origin, value: Secret::new(format!("Bearer {}", token.reveal())) }
    }
}

impl Authority for FixedToken {
    fn is_for(&self, origin: &Origin) -> bool {
        *origin == self.origin
    }

    fn credentials(&self) -> Option<Secret> {
        Some(self.value.clone())
    }

    fn renew(&self, _: &Url, _: &[String], _: Option<&Secret>, _: &Ask<'_>) -> Result<bool, TransferError> {
        Ok(false)
    }
}
