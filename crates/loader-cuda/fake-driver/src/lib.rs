//! A CUDA driver without a device, for tests, and for measuring what a load does beside the device.
//!
//! The build script compiles several libraries named `libcuda.so.1` from `library/driver.rs`: a complete one, and some
//! that are unusable in one way each. A test opens a library by its [path](library), or runs a program with its
//! [directory] on the search path. [`Control`] sets the behaviour of the complete driver and reads its counters.
//!
//! A process has one such driver, and its counters are shared. [`Control::take`] lets one test at a time use it.
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

/// Variants of the driver's library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// A complete driver with two devices.
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

/// Directory that holds the variant's library.
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

/// Path of the variant's library. The library exists on Linux only.
#[must_use]
pub fn library(variant: Variant) -> PathBuf {
    directory(variant).join("libcuda.so.1")
}

/// Writes the library of the complete driver into a directory, for a program that runs on other machines than the one
/// that built it, and returns its path.
///
/// # Errors
///
/// The error of the write. The library exists on Linux only.
pub fn write_whole(directory: &Path) -> io::Result<PathBuf> {
    #[cfg(target_os = "linux")]
    const WHOLE: Option<&[u8]> = Some(include_bytes!(concat!(env!("OUT_DIR"), "/whole/libcuda.so.1")));
    #[cfg(not(target_os = "linux"))]
    const WHOLE: Option<&[u8]> = None;
    let path = directory.join("libcuda.so.1");
    fs::write(&path, WHOLE.ok_or(io::ErrorKind::Unsupported)?)?;
    Ok(path)
}

/// Counters of the driver.
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
    /// Actions that would have hurt a real device: use of memory that was freed or never allocated, or a double free.
    pub hazards: u64,
    /// Copies that have run, to a device or on a device.
    pub copies: u64,
    /// Bytes of these copies.
    pub copied: u64,
    /// Allocations on devices since the last reset, freed or not.
    pub allocations: u64,
    /// Bytes of allocations on devices that are not freed.
    pub used: u64,
}

/// Behaviour of the driver.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// The memory of each device, in bytes.
    pub capacity: usize,
    /// With `true`, queued work runs only when something waits for it.
    pub deferred: bool,
    /// With `true`, devices have no memory behind their addresses: a copy to one costs nothing and is only counted.
    pub hollow: bool,
    /// Fault to inject: a function, the number of the call to it, counted from 1, and the code that this call returns
    /// in place of 0.
    pub fault: Option<(&'static str, u64, i32)>,
}

impl Default for Behaviour {
    /// 1 GiB per device, immediate execution, no fault.
    fn default() -> Self {
        Self { capacity: 1 << 30, deferred: false, hollow: false, fault: None }
    }
}

/// Control over the complete driver, held by one test at a time.
#[derive(Debug)]
pub struct Control {
    library: ManuallyDrop<Library>,
    _turn: MutexGuard<'static, ()>,
}

impl Control {
    /// Waits until no other test holds the driver, and resets the driver.
    ///
    /// # Panics
    ///
    /// Panics if the library cannot be opened.
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

    /// Resets the counters of calls, copies, allocations and hazards, and sets the behaviour from here on.
    pub fn behave(&self, behaviour: &Behaviour) {
        type Behave = unsafe extern "C" fn(usize, bool, bool, *const c_char, u64, c_int);
        let (function, nth, code) = behaviour.fault.unwrap_or(("", 0, 0));
        let name = CString::new(function).expect("a function's name has no zero byte");
        let name = if behaviour.fault.is_some() { name.as_ptr() } else { ptr::null() };
        // SAFETY: `library/driver.rs` defines the function with this type.
        let behave = unsafe { self.library.get::<Behave>(b"fake_behave\0") }.expect("the library has it");
        // SAFETY: the text lives until the end of this function.
        unsafe { behave(behaviour.capacity, behaviour.deferred, behaviour.hollow, name, nth, code) };
    }

    /// Reads the counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        // SAFETY: `library/driver.rs` defines the function with this type, and the structure with the same fields.
        let read = unsafe { self.library.get::<unsafe extern "C" fn(*mut Counters)>(b"fake_counters\0") };
        let read = read.expect("the library has it");
        // SAFETY: the pointer refers to one value.
        unsafe { read(&raw mut counters) };
        counters
    }

    /// Number of calls of `function` since the last reset.
    #[must_use]
    pub fn calls(&self, function: &str) -> u64 {
        let name = CString::new(function).expect("a function's name has no zero byte");
        // SAFETY: `library/driver.rs` defines the function with this type.
        let calls = unsafe { self.library.get::<unsafe extern "C" fn(*const c_char) -> u64>(b"fake_calls\0") };
        let calls = calls.expect("the library has it");
        // SAFETY: the text lives until the end of this function.
        unsafe { calls(name.as_ptr()) }
    }

    /// Asserts that nothing is left allocated, and that no action would have hurt a real device.
    ///
    /// # Panics
    ///
    /// Panics if something is left, or if there was a hazard.
    pub fn assert_clean(&self) {
        let Counters { contexts, device, host, streams, events, modules, hazards, .. } = self.counters();
        let left = [contexts, device, host, streams, events, modules, hazards];
        assert_eq!(left, [0; 7], "contexts, device, host, streams, events, modules, hazards");
    }
}
