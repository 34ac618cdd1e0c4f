//! Arrays in the hands of libraries that use cudarc, such as candle.

#![expect(unsafe_code, reason = "a copy between addresses in device memory")]

use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaStream, DevicePtrMut, DriverError, result};

use crate::CudaArray;

impl CudaArray<'_> {
    /// A copy of the bytes that cudarc owns, made on `stream` and in its order: for libraries that own each of their tensors, as candle
    /// does. `stream` has to be of the device that the array is on.
    ///
    /// # Errors
    ///
    /// What the driver answered.
    ///
    /// # Panics
    ///
    /// If `stream` is of another device.
    pub fn to_cuda_slice(&self, stream: &Arc<CudaStream>) -> Result<CudaSlice<u8>, DriverError> {
        assert_eq!(stream.context().ordinal(), self.ordinal() as usize, "the stream is of another device");
        // SAFETY: every byte is written below, or there is none.
        let mut copy = unsafe { stream.alloc::<u8>(self.len().max(1)) }?;
        if !self.is_empty() {
            let (to, _guard) = copy.device_ptr_mut(stream);
            // SAFETY: the target has as many bytes; the source is in memory that the weights keep, and the copy is waited for before
            // their borrow ends.
            let queued = unsafe { result::memcpy_dtod_async(to, self.address(), self.len(), stream.cu_stream()) };
            // An error may be that of earlier work, and the copy queued all the same.
            stream.synchronize().and(queued)?;
        }
        Ok(copy)
    }
}
