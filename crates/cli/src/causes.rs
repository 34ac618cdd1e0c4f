//! Causes of errors: the machine or the input.

use std::{error::Error, io, sync::Arc};

/// Whether a cause is an error of input or output of such a kind.
pub(crate) fn is_kind(cause: &(dyn Error + 'static), test: impl Fn(io::ErrorKind) -> bool) -> bool {
    let own = cause.downcast_ref::<io::Error>();
    // Several who wait for one read share its error.
    let shared = cause.downcast_ref::<Arc<io::Error>>().map(|error| &**error);
    own.or(shared).is_some_and(|error| test(error.kind()))
}

/// Whether an error or one of its causes says that the machine failed.
pub(crate) fn is_of_machine(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.any(|cause| is_kind(cause, |kind| !is_about_input(kind)))
}

/// Whether an error of this kind says something about a file that was given, rather than about the machine.
pub(crate) fn is_about_input(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        kind,
        Kind::NotFound
            | Kind::InvalidData
            | Kind::InvalidInput
            | Kind::UnexpectedEof
            | Kind::NotADirectory
            | Kind::IsADirectory
            | Kind::InvalidFilename
    ) || is_circle(kind)
}

/// Whether links lead in a circle. That kind has no stable name.
fn is_circle(kind: io::ErrorKind) -> bool {
    let number = if cfg!(target_os = "linux") { 40 } else { 62 };
    cfg!(unix) && kind == io::Error::from_raw_os_error(number).kind()
}
