//! Encodes and decodes whole tensors on all threads of a rayon pool.
//!
//! Groups do not depend on each other, so a tensor is halved until the pieces are small. The groups may be those of
//! rows, or of the stacked rows of `[experts, out, in]`. The bytes are those of a single call, with any number of
//! threads.

use std::{error::Error as _, sync::OnceLock};

use crate::{
    DecodeError, Decoder, EncodeBuffers, EncodeError, EncodeStats, EncodedLen, Encoder, Importance, encode::Piece,
};

/// Groups that are not split further: some hundred microseconds of work. A multiple of the kernels' batches.
const GROUPS: usize = 4096;

/// Half of `groups`, rounded up to whole batches of eight.
fn middle(groups: usize) -> usize {
    groups.div_ceil(16) * 8
}

impl Encoder {
    /// Encodes on all threads of the current rayon pool, like [`encode`](Self::encode), or with an importance like
    /// [`encode_weighted`](Self::encode_weighted). Allocates nothing.
    ///
    /// # Errors
    ///
    /// The errors of these two functions. Nothing has been written then.
    pub fn encode_parallel(
        &self,
        src: &[u8],
        importance: Option<Importance<'_>>,
        out: EncodeBuffers<'_>,
    ) -> Result<EncodeStats, EncodeError> {
        let groups = self.check(src, importance, &out)?;
        let piece = Piece { src, importance, out };
        Ok(if has_pool() { encode(self, groups, piece) } else { self.run(piece) })
    }
}

/// Whether the caller is in a rayon pool or there is a global one, which is made if nobody has. Rayon panics where the system starts no
/// thread for it; then the caller does the work alone.
pub(crate) fn has_pool() -> bool {
    static GLOBAL: OnceLock<bool> = OnceLock::new();
    rayon::current_thread_index().is_some()
        || *GLOBAL.get_or_init(|| match rayon::ThreadPoolBuilder::new().build_global() {
            Ok(()) => true,
            // That it is there already has no cause.
            Err(error) => error.source().is_none(),
        })
}

fn encode(encoder: &Encoder, groups: usize, piece: Piece<'_>) -> EncodeStats {
    if groups <= GROUPS {
        return encoder.run(piece);
    }
    let at = middle(groups);
    let (head, tail) = piece.split_at(at, encoder);
    let (mut stats, rest) = rayon::join(|| encode(encoder, at, head), || encode(encoder, groups - at, tail));
    stats += rest;
    stats
}

impl Decoder {
    /// Decodes on all threads of the current rayon pool, like [`decode`](Self::decode). Allocates nothing.
    ///
    /// # Errors
    ///
    /// The errors of `decode`. Nothing has been written then.
    pub fn decode_parallel(&self, weight: &[u8], scale: &[u8], bias: &[u8], out: &mut [u8]) -> Result<(), DecodeError> {
        let groups = self.check(weight, scale, bias, out)?;
        if has_pool() {
            decode(&self.to_whole(out.len()), groups, [weight, scale, bias], out);
        } else {
            self.to_whole(out.len()).run(weight, scale, bias, out);
        }
        Ok(())
    }
}

fn decode(decoder: &Decoder, groups: usize, parts: [&[u8]; 3], out: &mut [u8]) {
    let [weight, scale, bias] = parts;
    if groups <= GROUPS {
        return decoder.run(weight, scale, bias, out);
    }
    let (at, group_out) = (middle(groups), out.len() / groups);
    let EncodedLen { weight: weight_len, scale: scale_len, bias: bias_len } = decoder.group_len();
    let (head_out, tail_out) = out.split_at_mut(at * group_out);
    let (weight, tail_weight) = weight.split_at(at * weight_len);
    let (scale, tail_scale) = scale.split_at(at * scale_len);
    let (bias, tail_bias) = bias.split_at(at * bias_len);
    rayon::join(
        || decode(decoder, at, [weight, scale, bias], head_out),
        || decode(decoder, groups - at, [tail_weight, tail_scale, tail_bias], tail_out),
    );
}
