//! The filter that stops file calls.

use std::ffi::c_int;

use crate::{
    calls::CALLS,
    machine::{AUDIT, made, number, system_call},
};

/// An instruction of the kernel's filters.
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    if_so: u8,
    if_not: u8,
    value: u32,
}

#[repr(C)]
struct Program {
    len: u16,
    instructions: *const Instruction,
}

/// Loads a word of what the kernel says about a call, from so many bytes on.
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

const NUMBER: u32 = 0;
const MACHINE: u32 = 4;
/// Where the call came from: the lower half of the address, and 4 bytes on the upper.
const ADDRESS: u32 = 8;
/// The lower half of the fifth argument: the file of an `mmap`.
const FIFTH: u32 = 48;

const ALLOW: u32 = 0x7FFF_0000;
const TRAP: u32 = 0x0003_0000;

const PR_SET_NO_NEW_PRIVS: usize = 38;
const SECCOMP_SET_MODE_FILTER: usize = 1;

/// From here on the kernel stops the calls that [`CALLS`] lists, but for those that come from [`system_call`], in this thread and in all
/// that it starts.
pub(crate) fn install() -> Result<(), String> {
    let filter = filter();
    let program = Program { len: filter.len() as u16, instructions: filter.as_ptr() };
    // SAFETY: it takes a right away, and touches no memory.
    let unprivileged = unsafe { system_call(number::PRCTL, [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0]) };
    let arguments = [SECCOMP_SET_MODE_FILTER, 0, &raw const program as usize, 0, 0, 0];
    // SAFETY: the program is as long as it says.
    let installed = unsafe { system_call(number::SECCOMP, arguments) };
    match unprivileged.min(installed) {
        0 => Ok(()),
        error => {
            let error = std::io::Error::from_raw_os_error(-error as c_int);
            Err(format!("cannot install a filter for calls: {error}"))
        }
    }
}

fn filter() -> Vec<Instruction> {
    let address = made() as u64;
    let load = |value| Instruction { code: LOAD, if_so: 0, if_not: 0, value };
    let answer = |value| Instruction { code: RETURN, if_so: 0, if_not: 0, value };
    let jump = |value, if_so: usize, if_not: usize| Instruction {
        code: JUMP_IF_EQUAL,
        if_so: if_so as u8,
        if_not: if_not as u8,
        value,
    };
    let trapped: Vec<_> = CALLS.iter().filter(|call| call.number != number::MMAP).collect();
    let mut filter = vec![
        load(MACHINE),
        jump(AUDIT, 1, 0),
        answer(ALLOW),
        load(ADDRESS),
        jump(address as u32, 0, 3),
        load(ADDRESS + 4),
        jump((address >> 32) as u32, 0, 1),
        answer(ALLOW),
        load(NUMBER),
    ];
    // To the trap, past what follows: the rest of this list, and five instructions.
    filter.extend(trapped.iter().enumerate().map(|(at, call)| jump(call.number as u32, trapped.len() - at - 1 + 4, 0)));
    filter.extend([
        jump(number::MMAP as u32, 0, 2),
        load(FIFTH),
        // Memory that is no file.
        jump(u32::MAX, 0, 1),
        answer(ALLOW),
        answer(TRAP),
    ]);
    filter
}
