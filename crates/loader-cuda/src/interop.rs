//! Copies arrays for libraries that use cudarc, such as candle.

#![expect(unsafe_code, reason = "a copy between addresses in device memory")]

use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaStream, DevicePtrMut, DriverError, result};

use crate::CudaArray;

impl CudaArray<'_> {
    /// Copies the bytes into memory that cudarc owns, on `stream` and in its order, for libraries such as candle that
    /// own each of their tensors. `stream` must belong to the array's device.
    ///
    /// # Errors
    ///
    /// The driver's error.
    ///
    /// # Panics
    ///
    /// Panics if `stream` belongs to another device.
    pub fn to_cuda_slice(&self, stream: &Arc<CudaStream>) -> Result<CudaSlice<u8>, DriverError> {
        assert_eq!(stream.context().ordinal(), self.ordinal() as usize, "the stream is of another device");
        // SAFETY: every byte is written below, unless the array has none.
        let mut copy = unsafe { stream.alloc::<u8>(self.len().max(1)) }?;
        if !self.is_empty() {
            let (to, _guard) = copy.device_ptr_mut(stream);
            // SAFETY: the target has the same number of bytes. The weights keep the memory of the source, and the copy
            // is waited for before their borrow ends.
            let queued = unsafe { result::memcpy_dtod_async(to, self.address(), self.len(), stream.cu_stream()) };
            // The error may stem from earlier work, with the copy queued all the same.
            stream.synchronize().and(queued)?;
        }
        Ok(copy)
    }
}
