//! The driver's functions, on host memory.
//!
//! The driver is strict, so that tests find errors that a real device would only sometimes punish:
//! - a call without a current context fails;
//! - copies are checked against live allocations, and queued copies against allocations that are freed meanwhile;
//! - in deferred mode a queued copy runs only when something waits for it, and then copies the source's bytes of that
//!   time;
//! - memory is full of rubbish before it is written and after it is freed;
//! - a call that frees or queues something does so even where a fault is injected, because the real driver reports
//!   errors of earlier work from such calls.
#![allow(non_snake_case, clippy::all, missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    ffi::{c_char, c_int, c_uint, c_void},
    sync::{Mutex, MutexGuard},
};

const INVALID_VALUE: c_int = 1;
const OUT_OF_MEMORY: c_int = 2;
const STUB_LIBRARY: c_int = 34;
const NO_DEVICE: c_int = 100;
const INVALID_DEVICE: c_int = 101;
const INVALID_CONTEXT: c_int = 201;
const INVALID_HANDLE: c_int = 400;

const DEVICES: c_int = 2;
/// Handle of each device's primary context.
const CONTEXT: usize = 0xC0DE;

#[derive(Default)]
struct State {
    retained: usize,
    /// Live allocations of the devices and of the host, by address, with their sizes.
    device: BTreeMap<usize, usize>,
    host: BTreeMap<usize, usize>,
    /// Waiting work of each stream, oldest first.
    streams: HashMap<usize, VecDeque<Work>>,
    /// Number of records of each event that have not been reached.
    events: HashMap<usize, u64>,
    modules: HashSet<usize>,
    next_handle: usize,
    capacity: usize,
    used: usize,
    deferred: bool,
    /// With `true`, devices have no memory behind their addresses.
    hollow: bool,
    /// Injected fault: the function, the number of the call to it, and the code that this call returns.
    fault: Option<(String, u64, c_int)>,
    calls: HashMap<&'static str, u64>,
    /// Actions that would have hurt a real device.
    hazards: u64,
    copies: u64,
    copied: u64,
    allocations: u64,
}

enum Work {
    Copy { to: usize, from: usize, len: usize },
    Record { event: usize },
    Wait { event: usize },
    /// A kernel that fills its output.
    Fill { at: usize, len: usize },
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(0) };
    /// Contexts that were current before each push.
    static STACK: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

struct Locked(MutexGuard<'static, Option<State>>);

impl std::ops::Deref for Locked {
    type Target = State;
    fn deref(&self) -> &State {
        self.0.as_ref().unwrap()
    }
}

impl std::ops::DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut State {
        self.0.as_mut().unwrap()
    }
}

fn state() -> Locked {
    let mut state = STATE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    state.get_or_insert_with(|| State {
        next_handle: 0x1000,
        capacity: std::env::var("FAKE_CUDA_MEMORY").ok().and_then(|text| text.parse().ok()).unwrap_or(1 << 30),
        deferred: std::env::var_os("FAKE_CUDA_DEFERRED").is_some(),
        ..State::default()
    });
    Locked(state)
}

impl State {
    /// Counts a call. Returns the code of the injected fault if it is due, else 0.
    fn call(&mut self, name: &'static str) -> c_int {
        let count = self.calls.entry(name).or_default();
        *count += 1;
        match &self.fault {
            Some((function, nth, code)) if function == name && nth == count => *code,
            _ => 0,
        }
    }

    fn handle(&mut self) -> usize {
        self.next_handle += 16;
        self.next_handle
    }

    fn run(&mut self, work: Work) {
        match work {
            Work::Copy { to, from, len } => {
                self.copies += 1;
                self.copied += len as u64;
                if !(self.is_live(to, len) && self.is_live(from, len)) {
                    self.hazards += 1;
                    return;
                }
                if !self.hollow {
                    unsafe { std::ptr::copy(from as *const u8, to as *mut u8, len) };
                }
            }
            Work::Record { event } => {
                if let Some(pending) = self.events.get_mut(&event) {
                    *pending = pending.saturating_sub(1);
                }
            }
            Work::Wait { event } => self.reach(event),
            Work::Fill { at, len } => {
                if !self.is_live(at, len) {
                    self.hazards += 1;
                    return;
                }
                unsafe { (at as *mut u8).write_bytes(0x3F, len) };
            }
        }
    }

    /// Returns true where the bytes lie in a single live allocation, of a device or of pinned memory.
    fn is_live(&self, address: usize, len: usize) -> bool {
        let within = |map: &BTreeMap<usize, usize>| {
            map.range(..=address).next_back().is_some_and(|(start, size)| address + len <= start + size)
        };
        within(&self.device) || within(&self.host)
    }

    fn submit(&mut self, stream: usize, work: Work) -> c_int {
        if !self.streams.contains_key(&stream) {
            self.hazards += 1;
            return INVALID_HANDLE;
        }
        if self.deferred {
            self.streams.get_mut(&stream).unwrap().push_back(work);
        } else {
            self.run(work);
        }
        0
    }

    fn step(&mut self, stream: usize) -> bool {
        match self.streams.get_mut(&stream).and_then(VecDeque::pop_front) {
            Some(work) => {
                self.run(work);
                true
            }
            None => false,
        }
    }

    fn drain(&mut self, stream: usize) {
        while self.step(stream) {}
    }

    fn drain_all(&mut self) {
        let streams: Vec<_> = self.streams.keys().copied().collect();
        streams.into_iter().for_each(|stream| self.drain(stream));
    }

    /// Runs the work before the last record of the event, and no more.
    fn reach(&mut self, event: usize) {
        let is_record = |work: &Work| matches!(work, Work::Record { event: other } if *other == event);
        let found = self.streams.iter().find(|(_, queue)| queue.iter().any(is_record)).map(|(stream, _)| *stream);
        if let Some(stream) = found {
            while self.events.get(&event).is_some_and(|pending| *pending > 0) && self.step(stream) {}
        }
    }

    /// Returns true where queued work still uses these bytes.
    fn is_in_use(&self, address: usize, size: usize) -> bool {
        let touches = |start: usize, len: usize| start < address + size && address < start + len;
        self.streams.values().flatten().any(|work| match work {
            Work::Copy { to, from, len } => touches(*to, *len) || touches(*from, *len),
            Work::Fill { at, len } => touches(*at, *len),
            _ => false,
        })
    }

    /// Memory of no content that means anything. What nobody touches takes no memory of the host.
    fn allocate(&mut self, size: usize) -> usize {
        let layout = layout(size);
        let address = unsafe { std::alloc::alloc(layout) };
        assert!(!address.is_null(), "the host has no memory left");
        if !self.hollow {
            unsafe { address.write_bytes(0xDB, size) };
        }
        address as usize
    }

    fn free(&mut self, address: usize, size: usize) {
        if self.is_in_use(address, size) {
            self.hazards += 1;
            self.drain_all();
        }
        if !self.hollow {
            unsafe { (address as *mut u8).write_bytes(0xDD, size) };
        }
        unsafe { std::alloc::dealloc(address as *mut u8, layout(size)) };
    }
}

fn layout(size: usize) -> std::alloc::Layout {
    std::alloc::Layout::from_size_align(size, 4096).unwrap()
}

/// Starts a call: counts it, checks the context where one is required, and returns from the function with an injected
/// fault.
macro_rules! begin {
    ($name:literal) => {{
        let mut state = state();
        let fault = state.call($name);
        if fault != 0 {
            return fault;
        }
        state
    }};
    ($name:literal, current) => {{
        let state = begin!($name);
        if CURRENT.get() == 0 {
            return INVALID_CONTEXT;
        }
        state
    }};
    // A fault is returned after the work.
    ($name:literal, does) => {{
        let mut state = state();
        let fault = state.call($name);
        if CURRENT.get() == 0 {
            return INVALID_CONTEXT;
        }
        (state, fault)
    }};
}

/// Returns the first of two codes that is an error.
fn either(first: c_int, second: c_int) -> c_int {
    if first == 0 { second } else { first }
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> c_int {
    let _state = begin!("cuInit");
    if cfg!(stub) { STUB_LIBRARY } else { 0 }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> c_int {
    let _state = begin!("cuDriverGetVersion");
    unsafe { *version = if cfg!(old) { 11_040 } else { 13_000 } };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(code: c_int, name: *mut *const c_char) -> c_int {
    let text = match code {
        0 => c"CUDA_SUCCESS",
        1 => c"CUDA_ERROR_INVALID_VALUE",
        2 => c"CUDA_ERROR_OUT_OF_MEMORY",
        34 => c"CUDA_ERROR_STUB_LIBRARY",
        100 => c"CUDA_ERROR_NO_DEVICE",
        201 => c"CUDA_ERROR_INVALID_CONTEXT",
        400 => c"CUDA_ERROR_INVALID_HANDLE",
        700 => c"CUDA_ERROR_ILLEGAL_ADDRESS",
        999 => c"CUDA_ERROR_UNKNOWN",
        _ => {
            unsafe { *name = std::ptr::null() };
            return INVALID_VALUE;
        }
    };
    unsafe { *name = text.as_ptr() };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> c_int {
    let _state = begin!("cuDeviceGetCount");
    unsafe { *count = if cfg!(without_device) { 0 } else { DEVICES } };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> c_int {
    let _state = begin!("cuDeviceGet");
    if !(0..DEVICES).contains(&ordinal) {
        return if cfg!(without_device) { NO_DEVICE } else { INVALID_DEVICE };
    }
    unsafe { *device = ordinal };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, room: c_int, _device: c_int) -> c_int {
    let _state = begin!("cuDeviceGetName");
    for (at, byte) in b"Fake device\0".iter().take(room as usize).enumerate() {
        unsafe { *name.add(at) = *byte as c_char };
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, _device: c_int) -> c_int {
    let _state = begin!("cuDeviceGetAttribute");
    // The attributes 75 and 76 are the compute capability, here 9.0. There is no memory pool (115).
    unsafe { *value = i32::from(attribute != 76 && attribute != 115) * if attribute == 75 { 9 } else { 1 } };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut *mut c_void, device: c_int) -> c_int {
    let mut state = begin!("cuDevicePrimaryCtxRetain");
    state.retained += 1;
    unsafe { *context = (CONTEXT + device as usize) as *mut c_void };
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(_device: c_int) -> c_int {
    let mut state = state();
    let fault = state.call("cuDevicePrimaryCtxRelease_v2");
    match state.retained.checked_sub(1) {
        Some(retained) => state.retained = retained,
        None => state.hazards += 1,
    }
    fault
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetCurrent(context: *mut *mut c_void) -> c_int {
    let _state = begin!("cuCtxGetCurrent");
    unsafe { *context = CURRENT.get() as *mut c_void };
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: *mut c_void) -> c_int {
    let _state = begin!("cuCtxSetCurrent");
    CURRENT.set(context as usize);
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> c_int {
    begin!("cuCtxSynchronize", current).drain_all();
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, whole: *mut usize) -> c_int {
    let state = begin!("cuMemGetInfo_v2", current);
    unsafe { *free = state.capacity - state.used };
    unsafe { *whole = state.capacity };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, size: usize) -> c_int {
    let mut state = begin!("cuMemAlloc_v2", current);
    if size == 0 {
        return INVALID_VALUE;
    }
    if size > state.capacity - state.used {
        return OUT_OF_MEMORY;
    }
    let found = state.allocate(size);
    state.used += size;
    state.allocations += 1;
    state.device.insert(found, size);
    unsafe { *address = found as u64 };
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> c_int {
    let (mut state, fault) = begin!("cuMemFree_v2", does);
    let Some(size) = state.device.remove(&(address as usize)) else {
        state.hazards += 1;
        return INVALID_VALUE;
    };
    state.used -= size;
    state.free(address as usize, size);
    fault
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostAlloc(address: *mut *mut c_void, size: usize, _flags: c_uint) -> c_int {
    let mut state = begin!("cuMemHostAlloc", current);
    if size == 0 {
        return INVALID_VALUE;
    }
    let found = state.allocate(size);
    state.host.insert(found, size);
    unsafe { *address = found as *mut c_void };
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(address: *mut c_void) -> c_int {
    let (mut state, fault) = begin!("cuMemFreeHost", does);
    let Some(size) = state.host.remove(&(address as usize)) else {
        state.hazards += 1;
        return INVALID_VALUE;
    };
    state.free(address as usize, size);
    fault
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, len: usize, stream: *mut c_void) -> c_int {
    let (mut state, fault) = begin!("cuMemcpyHtoDAsync_v2", does);
    if !state.is_live(to as usize, len) || !state.is_live(from as usize, len) {
        state.hazards += 1;
        return INVALID_VALUE;
    }
    either(state.submit(stream as usize, Work::Copy { to: to as usize, from: from as usize, len }), fault)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, len: usize, stream: *mut c_void) -> c_int {
    let mut state = begin!("cuMemcpyDtoDAsync_v2", current);
    if !state.is_live(to as usize, len) || !state.is_live(from as usize, len) {
        state.hazards += 1;
        return INVALID_VALUE;
    }
    state.submit(stream as usize, Work::Copy { to: to as usize, from: from as usize, len })
}

/// Copies to memory that is not pinned, so the copy is done when the call returns, as with the real driver.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, len: usize, stream: *mut c_void) -> c_int {
    let mut state = begin!("cuMemcpyDtoHAsync_v2", current);
    if !state.is_live(from as usize, len) {
        state.hazards += 1;
        return INVALID_VALUE;
    }
    state.drain(stream as usize);
    unsafe { std::ptr::copy(from as *const u8, to.cast::<u8>(), len) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreate(stream: *mut *mut c_void, _flags: c_uint) -> c_int {
    let mut state = begin!("cuStreamCreate", current);
    let handle = state.handle();
    state.streams.insert(handle, VecDeque::new());
    unsafe { *stream = handle as *mut c_void };
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(stream: *mut c_void) -> c_int {
    let (mut state, fault) = begin!("cuStreamDestroy_v2", does);
    state.drain(stream as usize);
    if state.streams.remove(&(stream as usize)).is_none() {
        state.hazards += 1;
    }
    fault
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(stream: *mut c_void) -> c_int {
    begin!("cuStreamSynchronize", current).drain(stream as usize);
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(stream: *mut c_void, event: *mut c_void, _flags: c_uint) -> c_int {
    begin!("cuStreamWaitEvent", current).submit(stream as usize, Work::Wait { event: event as usize })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventCreate(event: *mut *mut c_void, _flags: c_uint) -> c_int {
    let mut state = begin!("cuEventCreate", current);
    let handle = state.handle();
    state.events.insert(handle, 0);
    unsafe { *event = handle as *mut c_void };
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(event: *mut c_void) -> c_int {
    let (mut state, fault) = begin!("cuEventDestroy_v2", does);
    if state.events.remove(&(event as usize)).is_none() {
        state.hazards += 1;
    }
    fault
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: *mut c_void, stream: *mut c_void) -> c_int {
    let (mut state, fault) = begin!("cuEventRecord", does);
    match state.events.get_mut(&(event as usize)) {
        Some(pending) => *pending += 1,
        None => return INVALID_HANDLE,
    }
    either(state.submit(stream as usize, Work::Record { event: event as usize }), fault)
}

#[cfg(not(without_event))]
#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(event: *mut c_void) -> c_int {
    begin!("cuEventSynchronize", current).reach(event as usize);
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxPushCurrent_v2(context: *mut c_void) -> c_int {
    let _state = begin!("cuCtxPushCurrent_v2");
    STACK.with_borrow_mut(|stack| stack.push(CURRENT.replace(context as usize)));
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxPopCurrent_v2(context: *mut *mut c_void) -> c_int {
    let _state = begin!("cuCtxPopCurrent_v2");
    let Some(below) = STACK.with_borrow_mut(Vec::pop) else { return INVALID_CONTEXT };
    unsafe { *context = CURRENT.replace(below) as *mut c_void };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(module: *mut *mut c_void, image: *const c_void) -> c_int {
    let mut state = begin!("cuModuleLoadData", current);
    let text = unsafe { std::ffi::CStr::from_ptr(image.cast()) };
    if !text.to_bytes().windows(8).any(|window| window == b".version") {
        return INVALID_VALUE;
    }
    let handle = state.handle();
    state.modules.insert(handle);
    unsafe { *module = handle as *mut c_void };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(
    function: *mut *mut c_void,
    module: *mut c_void,
    _name: *const c_char,
) -> c_int {
    let state = begin!("cuModuleGetFunction", current);
    if !state.modules.contains(&(module as usize)) {
        return INVALID_HANDLE;
    }
    unsafe { *function = module };
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(module: *mut c_void) -> c_int {
    let (mut state, fault) = begin!("cuModuleUnload", does);
    if !state.modules.remove(&(module as usize)) {
        state.hazards += 1;
    }
    fault
}

/// Runs no kernel. All dequantize kernels have the same arguments: the fourth is the address of the output, and the
/// fifth the number of its 16-byte units in each block along y. The call fills the output with one byte.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernel(
    _function: *mut c_void,
    _grid_x: c_uint,
    grid_y: c_uint,
    _grid_z: c_uint,
    _block_x: c_uint,
    _block_y: c_uint,
    _block_z: c_uint,
    _shared: c_uint,
    stream: *mut c_void,
    arguments: *mut *mut c_void,
    _extra: *mut *mut c_void,
) -> c_int {
    let (mut state, fault) = begin!("cuLaunchKernel", does);
    let argument = |index| unsafe { *(*arguments.add(index)).cast::<u64>() };
    let (at, len) = (argument(3) as usize, argument(4) as usize * 16 * grid_y as usize);
    if [argument(0), argument(1)].iter().any(|part| !state.is_live(*part as usize, 1)) || !state.is_live(at, len) {
        state.hazards += 1;
        return INVALID_VALUE;
    }
    either(state.submit(stream as usize, Work::Fill { at, len }), fault)
}

/// Counters that tests read through the crate's `Control`.
#[repr(C)]
pub struct Counters {
    contexts: u64,
    device: u64,
    host: u64,
    streams: u64,
    events: u64,
    modules: u64,
    hazards: u64,
    copies: u64,
    copied: u64,
    allocations: u64,
    used: u64,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fake_counters(counters: *mut Counters) {
    let state = state();
    let found = Counters {
        contexts: state.retained as u64,
        device: state.device.len() as u64,
        host: state.host.len() as u64,
        streams: state.streams.len() as u64,
        events: state.events.len() as u64,
        modules: state.modules.len() as u64,
        hazards: state.hazards,
        copies: state.copies,
        copied: state.copied,
        allocations: state.allocations,
        used: state.used as u64,
    };
    unsafe { counters.write(found) };
}

/// Resets the counts of calls, copies and hazards, and sets the behaviour from here on.
#[unsafe(no_mangle)]
unsafe extern "C" fn fake_behave(
    capacity: usize,
    deferred: bool,
    hollow: bool,
    function: *const c_char,
    nth: u64,
    code: c_int,
) {
    let mut state = state();
    state.calls.clear();
    (state.hazards, state.copies, state.copied, state.allocations) = (0, 0, 0, 0);
    if !deferred {
        state.drain_all();
    }
    (state.capacity, state.deferred, state.hollow) = (capacity, deferred, hollow);
    state.fault = (!function.is_null()).then(|| {
        let function = unsafe { std::ffi::CStr::from_ptr(function) };
        (function.to_string_lossy().into_owned(), nth, code)
    });
}

/// Number of calls of `function`.
#[unsafe(no_mangle)]
unsafe extern "C" fn fake_calls(function: *const c_char) -> u64 {
    let name = unsafe { std::ffi::CStr::from_ptr(function) };
    let state = state();
    state.calls.iter().find(|(found, _)| name.to_bytes() == found.as_bytes()).map_or(0, |(_, count)| *count)
}
