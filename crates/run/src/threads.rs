//! Threads that a model is computed on.

use longshore_quant::matmul::Threads;

use crate::error::LoadError;

/// Starts the threads of a model: as many as are asked for, or one for each processor.
pub(crate) fn start(asked: Option<usize>) -> Result<Threads, LoadError> {
    if let Some(threads) = asked {
        return Threads::new(threads).map_err(|error| LoadError::Threads { threads, reason: error.to_string() });
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // A system that starts no more threads leaves the work to the caller.
    let started = Threads::new(threads).or_else(|_| Threads::new(1));
    started.map_err(|error| LoadError::Threads { threads, reason: error.to_string() })
}
