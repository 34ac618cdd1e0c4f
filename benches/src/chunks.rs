//! Content-defined chunking, to measure how much it would save.
//!
//! The parameters are those of Hugging Face's Xet: a cut is expected every 64 KiB, and a chunk has at least 8 and at
//! most 128 KiB.

use std::io::{self, Read};

use longshore_manifest::Digest;

const LEAST: usize = 8 << 10;
const MOST: usize = 128 << 10;
/// Mask of the sixteen upper bits of the hash, which depend on all of the last 64 bytes.
const MASK: u64 = 0xffff << 48;
/// Number of bytes that the hash depends on: each step shifts it by one bit.
const WINDOW: usize = 64;
/// Bytes that are read at a time; they make many chunks.
const PIECE: usize = 16 << 20;

/// Cuts a file into chunks at positions that a rolling hash of the last 64 bytes determines. Returns the digest and the
/// length of each chunk, in order.
///
/// # Errors
///
/// Any error from reading the file.
pub fn chunks(mut file: impl Read) -> io::Result<Vec<(Digest, usize)>> {
    let gear = gear();
    let mut found = Vec::new();
    let mut held = Vec::new();
    loop {
        let before = held.len();
        file.by_ref().take(PIECE as u64).read_to_end(&mut held)?;
        let ended = held.len() == before;
        let mut start = 0;
        // The rest of a piece may continue in the next piece, unless it is a chunk of the largest size.
        while held.len() - start >= MOST || (ended && start < held.len()) {
            let len = cut(&held[start..], &gear);
            found.push((Digest::of(&held[start..start + len]), len));
            start += len;
        }
        held.drain(..start);
        if ended {
            return Ok(found);
        }
    }
}

/// Returns the length of the first chunk.
fn cut(bytes: &[u8], gear: &[u64; 256]) -> usize {
    let most = bytes.len().min(MOST);
    let mut hash = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(most).skip(LEAST - WINDOW) {
        hash = (hash << 1).wrapping_add(gear[usize::from(*byte)]);
        if at + 1 >= LEAST && hash & MASK == 0 {
            return at + 1;
        }
    }
    most
}

/// Computes a random number for each byte value with `SplitMix64`. The numbers are the same on every machine.
fn gear() -> [u64; 256] {
    let mut state = 0_u64;
    std::array::from_fn(|_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1_u64;
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state.to_le_bytes()[7]
            })
            .collect()
    }

    #[test]
    fn chunks_cover_the_file_within_the_limits() {
        let bytes = noise(3 * PIECE / 2);
        let found = chunks(&bytes[..]).expect("memory can be read");
        assert_eq!(found.iter().map(|(_, len)| len).sum::<usize>(), bytes.len());
        assert!(found[..found.len() - 1].iter().all(|(_, len)| (LEAST..=MOST).contains(len)));
        let mean = bytes.len() / found.len();
        assert!((48 << 10..80 << 10).contains(&mean), "a mean of {mean} bytes");
    }

    #[test]
    fn an_insertion_changes_few_chunks() {
        let bytes = noise(4 << 20);
        let mut longer = bytes.clone();
        longer.insert(1000, 7);
        let before: HashSet<_> = chunks(&bytes[..]).expect("memory can be read").into_iter().collect();
        let after = chunks(&longer[..]).expect("memory can be read");
        let new = after.iter().filter(|chunk| !before.contains(chunk)).count();
        assert!(new <= 2, "{new} of {} chunks are new", after.len());
    }
}
