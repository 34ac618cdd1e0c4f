//! Answer of a call that the kernel has stopped.

use std::{
    ffi::{c_char, c_int, c_void},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    calls::{Call, Count, On, call},
    class::Class,
    fault::Fault,
    log::Line,
    machine::{Stopped, number, system_call},
    path::{FullPath, HERE},
    setting::Setting,
};

static SETTING: OnceLock<Setting> = OnceLock::new();
static COUNTS: [AtomicU64; Class::ALL.len()] = [const { AtomicU64::new(0) }; Class::ALL.len()];

const SIGKILL: usize = 9;
const SIGSYS: c_int = 31;
/// The handler takes three arguments.
const SA_SIGINFO: c_int = 4;
/// A signal that comes while the handler runs, and whose handler makes a file call, is stopped as any other.
const SA_NODEFER: c_int = 0x4000_0000;
/// The kernel stopped a call because a filter said so.
const SYS_SECCOMP: c_int = 1;

#[repr(C)]
struct Action {
    handler: extern "C" fn(c_int, *const Information, *mut c_void),
    mask: [u64; 16],
    flags: c_int,
    restorer: usize,
}

/// The kernel's description of a call that it has stopped.
#[repr(C)]
struct Information {
    signal: c_int,
    error: c_int,
    code: c_int,
    address: usize,
    number: c_int,
    machine: u32,
}

unsafe extern "C" {
    fn sigaction(signal: c_int, action: *const Action, before: *mut Action) -> c_int;
}

/// Takes the calls that the filter is going to stop.
pub(crate) fn install(setting: Setting) -> Result<(), String> {
    let action = Action { handler: handle, mask: [0; 16], flags: SA_SIGINFO | SA_NODEFER, restorer: 0 };
    if SETTING.set(setting).is_err() {
        return Err("loaded twice".into());
    }
    // SAFETY: the handler has the arguments that its flags ask for.
    match unsafe { sigaction(SIGSYS, &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(format!("cannot handle SIGSYS: {}", std::io::Error::last_os_error())),
    }
}

extern "C" fn handle(_: c_int, information: *const Information, context: *mut c_void) {
    // SAFETY: the kernel gives it to every handler that takes three arguments.
    let information = unsafe { &*information };
    if information.code != SYS_SECCOMP {
        return;
    }
    // SAFETY: the kernel gives it, and this is its handler.
    let mut stopped = unsafe { Stopped::of(context) };
    let arguments = stopped.arguments();
    let number = information.number as usize;
    let answer = match (call(number), SETTING.get()) {
        (Some(call), Some(setting)) => carry_out(call, arguments, setting),
        // SAFETY: the program asked for it.
        _ => unsafe { system_call(number, arguments) },
    };
    stopped.answer(answer);
}

/// Makes the call, or lets it fail, and writes it down if it concerns the directory.
fn carry_out(call: &Call, arguments: [usize; 6], setting: &Setting) -> isize {
    let [one, other] = paths(call.on, arguments);
    if !one.is_under(&setting.under) && !other.is_under(&setting.under) {
        // SAFETY: the program asked for it.
        return unsafe { system_call(call.number, arguments) };
    }
    let count = COUNTS[call.class as usize].fetch_add(1, Ordering::Relaxed) + 1;
    let strikes = |nth, goes_on| count == nth || goes_on && count > nth;
    let fault = setting.strike.as_ref().filter(|strike| strike.class == call.class && strikes(strike.nth, strike.goes_on));
    let fault = fault.map(|strike| strike.fault);
    let write_down = |answer: isize| {
        let Some(log) = setting.log else { return };
        let mut line = Line::new();
        line.field(call.class.name().as_bytes());
        line.number(count as i64);
        line.field(call.name.as_bytes());
        line.number(answer as i64);
        line.field(fault.map_or("-", Fault::name).as_bytes());
        line.field(one.bytes());
        if !other.bytes().is_empty() {
            line.field(other.bytes());
        }
        line.write(log);
    };
    if fault == Some(Fault::Kill) {
        write_down(0);
        // SAFETY: nothing is left to be harmed.
        unsafe { system_call(number::KILL, [system_call(number::GETPID, [0; 6]) as usize, SIGKILL, 0, 0, 0, 0]) };
    }
    let answer = match fault {
        Some(fault) if fault.errno().is_some() => -(fault.errno().unwrap_or(0) as isize),
        Some(Fault::Short) => cut_short(call, arguments),
        _ if setting.skips_syncs && call.class == Class::Sync => 0,
        // SAFETY: the program asked for it.
        _ => unsafe { system_call(call.number, arguments) },
    };
    write_down(answer);
    answer
}

/// The paths that a call concerns: the second is empty where it concerns one.
fn paths(on: On, arguments: [usize; 6]) -> [FullPath; 2] {
    let file = |at: usize| FullPath::of_file(arguments[at] as i32);
    // SAFETY: the program gives a path to the kernel.
    let from = |directory: i32, at: usize| unsafe { FullPath::at(directory, arguments[at] as *const c_char) };
    let at = |at: usize| from(arguments[at] as i32, at + 1);
    match on {
        On::File(one) => [file(one), FullPath::none()],
        On::Files(one, other) => [file(one), file(other)],
        On::At(one) => [at(one), FullPath::none()],
        On::TwoAt(one, other) => [at(one), at(other)],
        On::Here(one) => [from(HERE, one), FullPath::none()],
        On::TwoHere(one, other) => [from(HERE, one), from(HERE, other)],
    }
}

/// A buffer of a call that takes several.
#[repr(C)]
#[derive(Clone, Copy)]
struct Buffer {
    start: usize,
    len: usize,
}

/// Makes the call for half of its bytes.
fn cut_short(call: &Call, mut arguments: [usize; 6]) -> isize {
    let mut buffers = [Buffer { start: 0, len: 0 }; 8];
    match call.count {
        Count::Nowhere => {}
        Count::Bytes(at) => arguments[at] = half(arguments[at]),
        Count::Buffers(at) => {
            let used = arguments[at + 1].min(buffers.len());
            for (index, buffer) in buffers[..used].iter_mut().enumerate() {
                // SAFETY: the program says that so many are there.
                *buffer = unsafe { *(arguments[at] as *const Buffer).add(index) };
            }
            let mut left = half(buffers.iter().map(|buffer| buffer.len).sum());
            for buffer in &mut buffers {
                buffer.len = buffer.len.min(left);
                left -= buffer.len;
            }
            arguments[at] = buffers.as_ptr() as usize;
            arguments[at + 1] = used;
        }
    }
    // SAFETY: the program asked for more than this.
    unsafe { system_call(call.number, arguments) }
}

fn half(count: usize) -> usize {
    count.div_ceil(2)
}
