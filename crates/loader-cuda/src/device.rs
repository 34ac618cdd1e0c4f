//! One device.

use std::sync::Arc;

use crate::{CallError, CudaError, Driver, driver::Context};

/// A device whose primary context is held: the one that cudarc, `PyTorch` and the CUDA runtime use in this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Device {
    context: Arc<Context>,
}

impl Device {
    /// Device `ordinal`, counted from 0, of the system's driver.
    ///
    /// # Errors
    ///
    /// [`CudaError::Probe`] where there is no driver or no such device, [`CudaError::Setup`] where its context cannot be had.
    pub fn open(ordinal: u32) -> Result<Self, CudaError> {
        Self::of(&Driver::get()?, ordinal)
    }

    /// Device `ordinal`, counted from 0, of `driver`. The first use of a device in a process makes its context, which takes long.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn of(driver: &Driver, ordinal: u32) -> Result<Self, CudaError> {
        Ok(Self { context: Arc::new(Context::open(driver, ordinal)?) })
    }

    /// The device's number, counted from 0.
    #[must_use]
    pub fn ordinal(&self) -> u32 {
        self.context.ordinal()
    }

    /// The device's name.
    ///
    /// # Errors
    ///
    /// What the driver answered.
    pub fn name(&self) -> Result<String, CallError> {
        self.context.name()
    }

    /// The major and minor number of what the device can do: (9, 0) for a Hopper.
    ///
    /// # Errors
    ///
    /// What the driver answered.
    pub fn compute_capability(&self) -> Result<(u32, u32), CallError> {
        self.context.compute_capability()
    }

    /// The device's free memory and all of its memory, in bytes.
    ///
    /// # Errors
    ///
    /// What the driver answered.
    pub fn memory(&self) -> Result<(u64, u64), CallError> {
        self.context.memory()
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }
}
