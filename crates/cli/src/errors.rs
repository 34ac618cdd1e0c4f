//! Errors at the terminal: one line, hints, an exit status.

use std::io;

use longshore_loader_cuda::CudaError;
use longshore_manifest::{
    store::{GcError, VerifyError},
    weights::CorruptError,
};
use longshore_packer::{ExportError, ImportError, RepairError};

use crate::{
    advice::{Advice, FAILED, NO},
    causes::{is_about_input, is_kind},
    hints, printer, signals,
};

/// Prints an error of a command and chooses the exit status.
pub(crate) fn report(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| is_kind(cause, |kind| kind == io::ErrorKind::BrokenPipe)) {
        // Whoever reads our output has seen enough.
        return 0;
    }
    printer::error(&text(error.as_ref()), &hints::of(error));
    code(error)
}

/// An error and its causes.
pub(crate) fn text(error: &(dyn std::error::Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        let part = error.to_string();
        // Some causes repeat the words of the error above them.
        if parts.last().is_none_or(|above| !above.ends_with(&part)) {
            parts.push(part);
        }
        cause = error.source();
    }
    parts.join(": ")
}

fn code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(advice) = cause.downcast_ref::<Advice>() {
            return advice.code();
        }
        let cancelled = matches!(cause.downcast_ref(), Some(ImportError::Cancelled))
            || matches!(cause.downcast_ref(), Some(ExportError::Cancelled { .. }))
            || matches!(cause.downcast_ref(), Some(VerifyError::Cancelled))
            || matches!(cause.downcast_ref(), Some(RepairError::Cancelled))
            || matches!(cause.downcast_ref(), Some(CorruptError::Cancelled))
            || matches!(cause.downcast_ref(), Some(GcError::Cancelled))
            || matches!(cause.downcast_ref(), Some(CudaError::Cancelled));
        #[cfg(feature = "net")]
        let cancelled = cancelled || net::is_stopped(cause);
        if cancelled {
            return signals::status();
        }
        #[cfg(feature = "net")]
        if let Some(code) = net::code(cause) {
            return code;
        }
        let failed = matches!(cause.downcast_ref(), Some(ImportError::Space { .. }))
            || is_kind(cause, |kind| !is_about_input(kind));
        if failed {
            return FAILED;
        }
    }
    NO
}

/// Errors of the verbs that reach other machines.
#[cfg(feature = "net")]
mod net {
    use std::error::Error;

    use longshore_hub::HubError;
    use longshore_registry::RegistryError;
    use longshore_transfer::TransferError;

    use super::{FAILED, NO};

    pub(super) fn is_stopped(cause: &(dyn Error + 'static)) -> bool {
        matches!(cause.downcast_ref(), Some(HubError::Cancelled))
            || matches!(cause.downcast_ref(), Some(RegistryError::Cancelled))
            || matches!(cause.downcast_ref(), Some(TransferError::Cancelled))
    }

    /// The exit status of a failed transfer: the connection and a host in trouble are the machine's, an answer is an answer.
    pub(super) fn code(cause: &(dyn Error + 'static)) -> Option<u8> {
        let is_space = matches!(cause.downcast_ref(), Some(HubError::Space { .. }))
            || matches!(cause.downcast_ref(), Some(RegistryError::Space { .. }));
        if is_space {
            return Some(FAILED);
        }
        let transfer = match (cause.downcast_ref(), cause.downcast_ref()) {
            (Some(RegistryError::Transfer(error)), _) | (_, Some(HubError::Transfer(error))) => Some(error),
            _ => cause.downcast_ref(),
        };
        Some(match transfer? {
            TransferError::Transport { .. } | TransferError::Login { .. } | TransferError::Receiver(_) => FAILED,
            TransferError::Status { status, .. } if *status >= 500 || *status == 429 => FAILED,
            _ => NO,
        })
    }
}
