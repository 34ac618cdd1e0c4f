//! Device memory, and pinned host memory that the device reads by itself.

use std::{ffi::c_void, fmt, ptr, sync::Arc};

use cudarc::driver::sys;

use super::{CallError, Context, Stream};

/// Device memory, freed when it is dropped.
pub(crate) struct DeviceMemory {
    context: Arc<Context>,
    address: sys::CUdeviceptr,
    len: usize,
}

impl DeviceMemory {
    /// Allocates `len` uninitialized bytes; `len` must be more than 0. It uses `cuMemAlloc` and no pool, so the memory
    /// can be exported to another process.
    pub(crate) fn new(context: &Arc<Context>, len: usize) -> Result<Self, CallError> {
        let _entered = context.enter()?;
        let driver = context.driver();
        let mut address = 0;
        // SAFETY: the pointer refers to one address, and a context is current.
        let code = unsafe { (driver.functions().memory_alloc)(&raw mut address, len) };
        driver.check("cuMemAlloc_v2", code)?;
        Ok(Self { context: Arc::clone(context), address, len })
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    pub(crate) fn address(&self) -> sys::CUdeviceptr {
        self.address
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Address of the bytes `at .. at + len`.
    pub(super) fn part(&self, at: usize, len: usize) -> sys::CUdeviceptr {
        assert!(at.checked_add(len).is_some_and(|end| end <= self.len), "BUG: a copy outside the device memory");
        self.address + at as u64
    }

    /// Copies the bytes from `at` on to the host, and waits for this copy and for all work that was queued before it.
    pub(crate) fn read(&self, at: usize, out: &mut [u8], stream: &Stream) -> Result<(), CallError> {
        let from = self.part(at, out.len());
        let _entered = self.context.enter()?;
        let driver = self.context.driver();
        if !out.is_empty() {
            // SAFETY: `out` is writable and outlives the copy, which is waited for below. The source was checked to be
            // in bounds.
            let code = unsafe {
                (driver.functions().copy_to_host)(out.as_mut_ptr().cast::<c_void>(), from, out.len(), stream.handle())
            };
            // Whether or not the call failed, nothing may write to `out` after this function returns.
            let queued = driver.check("cuMemcpyDtoHAsync_v2", code);
            return stream.finish().and(queued);
        }
        Ok(())
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        let driver = self.context.driver();
        self.context.release(|| {
            // SAFETY: the memory was allocated by `new` and is freed once. The driver waits for copies into it.
            let code = unsafe { (driver.functions().memory_free)(self.address) };
            driver.check("cuMemFree_v2", code)
        });
    }
}

impl fmt::Debug for DeviceMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceMemory").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Page-locked host memory, which the device reads at full speed and without the processor.
pub(crate) struct PinnedMemory {
    context: Arc<Context>,
    address: *mut u8,
    len: usize,
}

// SAFETY: the value is plain memory and not tied to a thread.
unsafe impl Send for PinnedMemory {}
// SAFETY: a shared reference exposes only the address.
unsafe impl Sync for PinnedMemory {}

impl PinnedMemory {
    /// Allocates `len` zero bytes at a page boundary; `len` must be more than 0.
    ///
    /// The memory is not write-combined, because hashing reads the staged bytes again.
    pub(crate) fn new(context: &Arc<Context>, len: usize) -> Result<Self, CallError> {
        let _entered = context.enter()?;
        let driver = context.driver();
        let mut address = ptr::null_mut();
        // SAFETY: the pointer refers to one address, and a context is current.
        let code = unsafe { (driver.functions().host_alloc)(&raw mut address, len, sys::CU_MEMHOSTALLOC_PORTABLE) };
        driver.check("cuMemHostAlloc", code)?;
        let address = address.cast::<u8>();
        // SAFETY: the driver has allocated `len` bytes. Writing them also makes every page resident and initialized.
        unsafe { address.write_bytes(0, len) };
        Ok(Self { context: Arc::clone(context), address, len })
    }

    /// Slice of the bytes `at .. at + len`.
    ///
    /// # Safety
    ///
    /// While the slice lives, nothing else may use these bytes: no other slice, and no copy of the device.
    #[expect(clippy::mut_from_ref, reason = "the caller sees to it that parts do not overlap")]
    pub(super) unsafe fn part(&self, at: usize, len: usize) -> &mut [u8] {
        assert!(at.checked_add(len).is_some_and(|end| end <= self.len), "BUG: a part outside the pinned memory");
        // SAFETY: the offset is in bounds, as checked above.
        let start = unsafe { self.address.add(at) };
        // SAFETY: the memory is initialized and lives as long as `self`. The caller vouches for exclusive use.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }
}

impl Drop for PinnedMemory {
    fn drop(&mut self) {
        let driver = self.context.driver();
        self.context.release(|| {
            // SAFETY: the memory was allocated by `new` and is freed once. Its users have waited for their copies.
            let code = unsafe { (driver.functions().host_free)(self.address.cast::<c_void>()) };
            driver.check("cuMemFreeHost", code)
        });
    }
}

impl fmt::Debug for PinnedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedMemory").field("len", &self.len).finish_non_exhaustive()
    }
}
