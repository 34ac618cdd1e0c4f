//! All blobs of a model in memory.

use super::map::{BlobBytes, Dir, MapError, Opened, Wanted};
use crate::parallel;

/// So many blobs are opened by several threads. Fewer take less time than waking them.
const MANY: usize = 128;
/// The most bytes of small blobs that are read into memory that they share.
const SHARED: usize = 64 << 20;

/// Maps these files of `dir`, in their order; small ones are read once the process has `many_maps`. Many are opened on
/// all threads of the rayon pool, since each may wait for a disk or a server. An error comes with the number of its blob, the first that
/// has one.
pub(super) fn hold_all(dir: &Dir, files: &[Wanted], many_maps: usize) -> Result<Vec<BlobBytes>, (usize, MapError)> {
    let open = |wanted: &Wanted| BlobBytes::open(dir, wanted, many_maps);
    let run = if files.len() < MANY { MANY } else { MANY / 4 };
    let mut held: Vec<Option<BlobBytes>> = Vec::with_capacity(files.len());
    let mut small: Vec<(usize, usize)> = Vec::new();
    for (at, opened) in parallel::map(files, run, open).into_iter().enumerate() {
        match opened.map_err(|error| (at, error))? {
            Opened::Mapped(bytes) => held.push(Some(bytes)),
            Opened::Small(len) => {
                held.push(None);
                small.push((at, len));
            }
        }
    }
    for group in groups(&small) {
        let blobs: Vec<_> = group.iter().map(|&(at, len)| (&files[at], len)).collect();
        let read = BlobBytes::read(dir, &blobs).map_err(|(which, error)| (group[which].0, error))?;
        for (bytes, (at, _)) in read.into_iter().zip(group) {
            held[*at] = Some(bytes);
        }
    }
    Ok(held.into_iter().map(|bytes| bytes.expect("each was mapped, or read in a group")).collect())
}

/// Cuts blobs, each with its length in bytes, into groups of at most [`SHARED`] bytes.
fn groups(blobs: &[(usize, usize)]) -> impl Iterator<Item = &[(usize, usize)]> {
    let mut bytes = blobs.first().map_or(0, |(_, first)| *first);
    blobs.chunk_by(move |_, &(_, next)| {
        let fits = bytes + next <= SHARED;
        bytes = if fits { bytes + next } else { next };
        fits
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Blobs `0` to `n`, of as many bytes as the list says.
    fn files(sizes: &[usize]) -> (tempfile::TempDir, Dir, Vec<Wanted>) {
        let dir = tempfile::tempdir().expect("there is room");
        let names: Vec<_> = (0..sizes.len()).map(|at| Wanted { path: at.to_string().into(), checked: None }).collect();
        for (at, (wanted, size)) in names.iter().zip(sizes).enumerate() {
            fs::write(dir.path().join(&wanted.path), vec![u8::try_from(at % 251).expect("it fits"); *size])
                .expect("there is room");
        }
        let handle = Dir::open(dir.path().to_owned()).expect("it is there");
        (dir, handle, names)
    }

    #[test]
    fn small_blobs_are_read_once_there_are_many_maps_and_large_ones_are_mapped() {
        let sizes = [10, 0, 63, 64, 65, 1 << 20, (1 << 20) - 1, 3];
        let (_files, dir, names) = files(&sizes);
        // Other tests of this process map blobs too, so that a count of 0 is the only one that is known to be reached.
        for (many, is_read) in [(0, true), (usize::MAX, false)] {
            let held = hold_all(&dir, &names, many).expect("all are there");
            for (at, (bytes, size)) in held.iter().zip(sizes).enumerate() {
                assert_eq!(**bytes, vec![u8::try_from(at).expect("there are few"); size]);
                assert_eq!(bytes.is_read(), is_read && size < 1 << 20, "{at}");
                assert_eq!(bytes.as_ptr().addr() % 64, 0);
            }
        }
    }

    #[test]
    fn an_error_is_that_of_its_blob() {
        let (files, dir, names) = files(&[1; 300]);
        fs::remove_file(files.path().join("280")).expect("it is there");
        fs::remove_file(files.path().join("250")).expect("it is there");
        for many in [0, usize::MAX] {
            let (at, error) = hold_all(&dir, &names, many).expect_err("two are missing");
            assert_eq!((at, error.path), (250, files.path().join("250")));
        }
    }

    #[test]
    fn groups_are_of_at_most_so_many_bytes() {
        let sizes = |blobs: &[(usize, usize)]| -> Vec<usize> { groups(blobs).map(<[_]>::len).collect() };
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[(0, SHARED), (1, 1), (2, SHARED - 1), (3, 1), (4, 0)]), [1, 2, 2]);
    }
}
