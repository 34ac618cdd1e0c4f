//! A CUDA device.

use std::sync::Arc;

use crate::{CallError, CudaError, Driver, driver::Context};

/// A device with its primary context retained. cudarc, `PyTorch` and the CUDA runtime use the same context in this
/// process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Device {
    context: Arc<Context>,
}

impl Device {
    /// Opens device `ordinal`, counted from 0, with the system's driver.
    ///
    /// # Errors
    ///
    /// [`CudaError::Probe`] where there is no driver or no such device, [`CudaError::Setup`] where the device's context
    /// cannot be opened.
    pub fn open(ordinal: u32) -> Result<Self, CudaError> {
        Self::of(&Driver::get()?, ordinal)
    }

    /// Opens device `ordinal`, counted from 0, with `driver`. The first use of a device in a process creates its
    /// context, which takes long.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::open`].
    pub fn of(driver: &Driver, ordinal: u32) -> Result<Self, CudaError> {
        Ok(Self { context: Arc::new(Context::open(driver, ordinal)?) })
    }

    /// Number of the device, counted from 0.
    #[must_use]
    pub fn ordinal(&self) -> u32 {
        self.context.ordinal()
    }

    /// Name of the device.
    ///
    /// # Errors
    ///
    /// The driver's error.
    pub fn name(&self) -> Result<String, CallError> {
        self.context.name()
    }

    /// Major and minor number of the compute capability: (9, 0) for a Hopper.
    ///
    /// # Errors
    ///
    /// The driver's error.
    pub fn compute_capability(&self) -> Result<(u32, u32), CallError> {
        self.context.compute_capability()
    }

    /// Free memory and total memory of the device, in bytes.
    ///
    /// # Errors
    ///
    /// The driver's error.
    pub fn memory(&self) -> Result<(u64, u64), CallError> {
        self.context.memory()
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }
}
