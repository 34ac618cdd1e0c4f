//! The layout: a function of the manifest alone.

use std::cmp::Reverse;

use longshore_manifest::{Digest, Manifest};

use super::group::{Groups, MAX_GROUPS};

/// Smallest blob that may be a layer of its own, in bytes.
const WHOLE: u64 = 1 << 20;
/// Longest layer where the model allows it, in bytes.
const PART: u64 = 512 << 20;
/// Most layers of the blobs that belong to no decoder layer.
const OTHERS: u64 = 8;

/// Which blobs lie in which layers.
///
/// Equal manifests have equal layouts on every machine, so a second push of a model finds every layer there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireLayout {
    /// The model's blobs, each once, in the order of the manifest, the config first.
    pub blobs: Vec<WireBlob>,
    /// The layers, without that of the manifest itself.
    pub layers: Vec<WireLayer>,
    /// Longest layer, in bytes.
    pub part_size: u64,
}

/// A blob of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireBlob {
    /// Digest of its bytes.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
}

/// Kind of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// One blob.
    Blob,
    /// Blobs that follow each other.
    Pack,
    /// A part of a blob, or of blobs that follow each other.
    Part,
}

/// A layer: pieces of blobs, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireLayer {
    /// What it is.
    pub kind: LayerKind,
    /// What it holds.
    pub pieces: Vec<Piece>,
    /// Length in bytes.
    pub size: u64,
}

/// A piece of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The blob, as an index of [`WireLayout::blobs`].
    pub blob: usize,
    /// Its first byte.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

impl WireLayout {
    /// Lays out a model.
    #[must_use]
    pub fn new(manifest: &Manifest) -> Self {
        let Groups { blobs, groups } = Groups::of(manifest);
        let names: Vec<&str> = blobs.iter().map(|blob| blob.name.as_deref().unwrap_or_default()).collect();
        let blobs: Vec<WireBlob> = blobs.iter().map(|blob| WireBlob { digest: blob.digest, size: blob.size }).collect();
        let decoder_layers = groups.len() - 1;
        let budget = (MAX_GROUPS / decoder_layers.max(1)) as u64;
        let budget_of = |group: usize| if group == decoder_layers { OTHERS } else { budget };
        let mut part_size = PART;
        let wholes = loop {
            let wholes: Option<Vec<Vec<usize>>> = groups
                .iter()
                .enumerate()
                .map(|(at, group)| wholes(group, &blobs, &names, part_size, budget_of(at)))
                .collect();
            match wholes {
                Some(wholes) => break wholes,
                None => part_size = part_size.saturating_mul(2),
            }
        };
        let mut layers = Vec::new();
        for (group, wholes) in groups.iter().zip(&wholes) {
            let mut packed = Vec::new();
            for &blob in group.iter().filter(|blob| blobs[**blob].size > 0) {
                let piece = Piece { blob, offset: 0, len: blobs[blob].size };
                if wholes.contains(&blob) {
                    cut(&[piece], part_size, LayerKind::Blob, &mut layers);
                } else {
                    packed.push(piece);
                }
            }
            cut(&packed, part_size, LayerKind::Pack, &mut layers);
        }
        Self { blobs, layers, part_size }
    }

    /// Length of all layers in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size))
    }
}

/// Chooses the blobs of a group that are layers of their own: the largest, equal ones by their names, as many as the budget has room for. `None`
/// if even a pack of all has too many parts.
fn wholes(group: &[usize], blobs: &[WireBlob], names: &[&str], part_size: u64, budget: u64) -> Option<Vec<usize>> {
    let mut large: Vec<usize> = group.iter().copied().filter(|blob| blobs[*blob].size >= WHOLE).collect();
    large.sort_by_key(|&blob| (Reverse(blobs[blob].size), names[blob], blob));
    let total = group.iter().fold(0_u64, |sum, blob| sum.saturating_add(blobs[*blob].size));
    (0..=large.len()).rev().find_map(|count| {
        let chosen = &large[..count];
        let (parts, bytes) = chosen.iter().fold((0_u64, 0_u64), |(parts, bytes), blob| {
            (parts + blobs[*blob].size.div_ceil(part_size), bytes.saturating_add(blobs[*blob].size))
        });
        (parts + (total - bytes).div_ceil(part_size) <= budget).then(|| chosen.to_vec())
    })
}

/// Adds the layers of pieces that follow each other. If they are longer than a layer may be, they are cut at multiples of that length.
fn cut(pieces: &[Piece], part_size: u64, kind: LayerKind, layers: &mut Vec<WireLayer>) {
    let total = pieces.iter().fold(0_u64, |sum, piece| sum.saturating_add(piece.len));
    if total == 0 {
        return;
    }
    let kind = if total > part_size { LayerKind::Part } else { kind };
    let mut layer = WireLayer { kind, pieces: Vec::new(), size: 0 };
    for piece in pieces {
        let mut piece = *piece;
        while piece.len > 0 {
            let len = piece.len.min(part_size - layer.size);
            layer.pieces.push(Piece { len, ..piece });
            layer.size += len;
            piece = Piece { offset: piece.offset + len, len: piece.len - len, ..piece };
            if layer.size == part_size {
                layers.push(std::mem::replace(&mut layer, WireLayer { kind, pieces: Vec::new(), size: 0 }));
            }
        }
    }
    if layer.size > 0 {
        layers.push(layer);
    }
}
