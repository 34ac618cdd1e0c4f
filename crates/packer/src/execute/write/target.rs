//! The destination of one tensor in the blob that is being written.

use longshore_manifest::{
    Progress,
    document::{Loss, Role},
};
use longshore_quant::EncodeStats;

use crate::{
    execute::{
        error::ImportError,
        options::ImportOptions,
        read::shards::ShardFiles,
        sink::SinkBlob,
        spare::{Spare, Taken},
    },
    plan::planned::{PlannedBlob, PlannedTensor},
};

/// Size in bytes from which spare threads help with a tensor. A smaller one is done in less time than they take to start.
const LARGE: u64 = 4 << 20;

/// One tensor to write: its source, its plan and its blob.
pub(super) struct Target<'a, 's> {
    pub(super) files: &'a ShardFiles<'a>,
    pub(super) options: &'a ImportOptions,
    pub(super) progress: &'a dyn Progress,
    /// Whether to stop. Called before every chunk.
    pub(super) stop: &'a (dyn Fn() -> bool + Sync),
    /// Threads that may help.
    pub(super) spare: &'s Spare,
    pub(super) blob: &'a PlannedBlob,
    pub(super) tensor: &'a PlannedTensor,
    pub(super) sink: &'a mut (dyn SinkBlob + 's),
    /// The thread that hashes the blob, if it is not the one that writes it.
    pub(super) hashing: &'a mut Option<Taken<'s>>,
}

/// Statistics of writing one tensor.
#[derive(Debug, Clone, Default)]
pub(super) struct Noticed {
    pub(super) stats: EncodeStats,
    pub(super) loss: Option<Loss>,
    /// Number of codes of the source that were NaN by mistake and were replaced by the largest number.
    pub(super) mended: u64,
    /// Whether the codes were chosen by Hessians.
    pub(super) by_hessians: bool,
}

impl<'s> Target<'_, 's> {
    /// The threads that may help with the tensor.
    pub(super) fn helpers(&self) -> Option<&'s Spare> {
        (self.tensor.plain_len() >= LARGE).then_some(self.spare)
    }

    /// Has a spare thread hash the blob, if there is one. For bytes that are written in the order of the blob.
    pub(super) fn hash_aside(&mut self) {
        if self.hashing.is_none() {
            *self.hashing = self.helpers().and_then(Spare::take).filter(|_| self.sink.hash_aside());
        }
    }

    /// The offset of a part from the start of the blob, in bytes.
    pub(super) fn start(&self, role: Role) -> u64 {
        self.blob.part(self.tensor, role).range.start
    }

    /// Writes bytes at an offset from the start of the blob.
    pub(super) fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), ImportError> {
        Ok(self.sink.write_at(offset, bytes)?)
    }

    /// Returns an error if the import was cancelled.
    pub(super) fn check(&self) -> Result<(), ImportError> {
        if (self.stop)() { Err(ImportError::Cancelled) } else { Ok(()) }
    }
}
