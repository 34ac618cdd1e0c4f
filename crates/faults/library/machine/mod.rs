//! Figures that differ from machine to machine.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::*;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;

unsafe extern "C" {
    fn faults_system_call(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> isize;
    static faults_system_call_made: u8;
}

/// Makes a call that is not stopped. The answer is what the kernel says: below zero where it is an error.
///
/// # Safety
///
/// Rules of the kernel for the arguments of this call.
pub(crate) unsafe fn system_call(number: usize, [a, b, c, d, e, f]: [usize; 6]) -> isize {
    // SAFETY: the caller's word.
    unsafe { faults_system_call(number, a, b, c, d, e, f) }
}

/// Where the instruction ends that makes these calls.
pub(crate) fn made() -> usize {
    &raw const faults_system_call_made as usize
}
