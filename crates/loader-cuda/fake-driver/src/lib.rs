//! A CUDA driver without a device, for tests, and for measuring what a load does beside the device.
//!
//! Libraries named `libcuda.so.1`, one whole and some that are of no use in one way each, are built from `library/driver.rs`. A test opens one by its
//! [path](library), or runs a program with its [directory] on the search path. [`Control`] says how the whole one behaves and
//! what it has counted.
//!
//! There is one driver in a process, and what it counts is everybody's: [`Control::take`] lets one test at a time use it.
#![expect(unsafe_code, reason = "the library is called through its C interface")]

use std::{
    ffi::{CString, c_char, c_int},
    fs, io,
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    ptr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use libloading::Library;

/// A way to be a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// A driver with two devices.
    Whole,
    /// A driver without `cuEventSynchronize`.
    NoEvent,
    /// The driver of CUDA 11.4.
    Old,
    /// The library that toolkits ship for linking.
    Stub,
    /// A driver without a device.
    NoDevice,
}

/// The directory of the variant's library.
#[must_use]
pub fn directory(variant: Variant) -> PathBuf {
    let name = match variant {
        Variant::Whole => "whole",
        Variant::NoEvent => "no-event",
        Variant::Old => "old",
        Variant::Stub => "stub",
        Variant::NoDevice => "no-device",
    };
    Path::new(env!("OUT_DIR")).join(name)
}

/// The variant's library. It is there on Linux only.
#[must_use]
pub fn library(variant: Variant) -> PathBuf {
    directory(variant).join("libcuda.so.1")
}

/// Writes the whole driver's library into a directory, for a program that runs on other machines than the one that built it. Its path.
///
/// # Errors
///
/// What writing answers. It is there on Linux only.
pub fn write_whole(directory: &Path) -> io::Result<PathBuf> {
    #[cfg(target_os = "linux")]
    const WHOLE: Option<&[u8]> = Some(include_bytes!(concat!(env!("OUT_DIR"), "/whole/libcuda.so.1")));
    #[cfg(not(target_os = "linux"))]
    const WHOLE: Option<&[u8]> = None;
    let path = directory.join("libcuda.so.1");
    fs::write(&path, WHOLE.ok_or(io::ErrorKind::Unsupported)?)?;
    Ok(path)
}

/// What the driver has counted.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Primary contexts that are retained.
    pub contexts: u64,
    /// Allocations on devices that are not freed.
    pub device: u64,
    /// Pinned allocations that are not freed.
    pub host: u64,
    /// Streams that are not destroyed.
    pub streams: u64,
    /// Events that are not destroyed.
    pub events: u64,
    /// Modules that are not unloaded.
    pub modules: u64,
    /// What would have hurt a real device: work on memory that is freed or was never there, something freed twice.
    pub hazards: u64,
    /// Copies that have run, to a device or on one.
    pub copies: u64,
    /// The bytes of those.
    pub copied: u64,
    /// Allocations on devices that were made.
    pub allocations: u64,
    /// The bytes of allocations on devices that are not freed.
    pub used: u64,
}

/// How the driver is to behave.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// The memory of each device, in bytes.
    pub capacity: usize,
    /// Whether queued work runs only when something waits for it.
    pub deferred: bool,
    /// Whether devices have no memory behind their addresses, so that a copy to one costs nothing and is only counted.
    pub hollow: bool,
    /// A function, which of its calls, counted from 1, and the code that it answers instead of 0.
    pub fault: Option<(&'static str, u64, i32)>,
}

impl Default for Behaviour {
    /// 1 GiB, at once, without a fault.
    fn default() -> Self {
        Self { capacity: 1 << 30, deferred: false, hollow: false, fault: None }
    }
}

/// The whole driver, for one test at a time.
#[derive(Debug)]
pub struct Control {
    library: ManuallyDrop<Library>,
    _turn: MutexGuard<'static, ()>,
}

impl Control {
    /// Waits for the test before, if there is one, and sets everything back.
    ///
    /// # Panics
    ///
    /// If the library cannot be opened.
    #[must_use]
    pub fn take() -> Self {
        Self::of(&library(Variant::Whole))
    }

    /// As [`Self::take`], of the whole driver where somebody [wrote](write_whole) it.
    ///
    /// # Panics
    ///
    /// If the library cannot be opened.
    #[must_use]
    pub fn of(library: &Path) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the library has no initialisers.
        let library = unsafe { Library::new(library) }.expect("it is the library that the build script made");
        let control = Self { library: ManuallyDrop::new(library), _turn: turn };
        control.behave(&Behaviour::default());
        control
    }

    /// Starts the counts of calls, copies, allocations and hazards anew, and behaves so from here on.
    pub fn behave(&self, behaviour: &Behaviour) {
        type Behave = unsafe extern "C" fn(usize, bool, bool, *const c_char, u64, c_int);
        let (function, nth, code) = behaviour.fault.unwrap_or(("", 0, 0));
        let name = CString::new(function).expect("a function's name has no zero byte");
        let name = if behaviour.fault.is_some() { name.as_ptr() } else { ptr::null() };
        // SAFETY: `library/driver.rs` defines it so.
        let behave = unsafe { self.library.get::<Behave>(b"fake_behave\0") }.expect("the library has it");
        // SAFETY: the text lives until the end of this function.
        unsafe { behave(behaviour.capacity, behaviour.deferred, behaviour.hollow, name, nth, code) };
    }

    /// What the driver has counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        // SAFETY: `library/driver.rs` defines it so, with the same fields.
        let read = unsafe { self.library.get::<unsafe extern "C" fn(*mut Counters)>(b"fake_counters\0") };
        let read = read.expect("the library has it");
        // SAFETY: the pointer is to one value.
        unsafe { read(&raw mut counters) };
        counters
    }

    /// How often `function` was called.
    #[must_use]
    pub fn calls(&self, function: &str) -> u64 {
        let name = CString::new(function).expect("a function's name has no zero byte");
        // SAFETY: `library/driver.rs` defines it so.
        let calls = unsafe { self.library.get::<unsafe extern "C" fn(*const c_char) -> u64>(b"fake_calls\0") };
        let calls = calls.expect("the library has it");
        // SAFETY: the text lives until the end of this function.
        unsafe { calls(name.as_ptr()) }
    }

    /// Asserts that nothing is left and that nothing would have hurt a device.
    ///
    /// # Panics
    ///
    /// If something is left, or was done wrong.
    pub fn assert_clean(&self) {
        let Counters { contexts, device, host, streams, events, modules, hazards, .. } = self.counters();
        let left = [contexts, device, host, streams, events, modules, hazards];
        assert_eq!(left, [0; 7], "contexts, device, host, streams, events, modules, hazards");
    }
}
