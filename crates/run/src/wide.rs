//! Arithmetic in the widest vectors of the processor. Only the instructions change: the order of sums, and so every bit, stays.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "a function with the instructions of a processor is called only where it has them")
)]

/// Work that is compiled for each set of instructions: `run`, and what it calls, is to be inlined always.
///
/// A closure would not do: compilers may call one closure from all sets, and then it has the instructions of none.
pub(crate) trait Work {
    /// Result of the work.
    type Output;

    /// Does the work.
    fn run(self) -> Self::Output;
}

/// Does some work with the widest vectors that this processor has.
pub(crate) fn wide<W: Work>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            // SAFETY: the processor has these instructions.
            return unsafe { avx512(work) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has these instructions.
            return unsafe { avx2(work) };
        }
    }
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512<W: Work>(work: W) -> W::Output {
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<W: Work>(work: W) -> W::Output {
    work.run()
}
