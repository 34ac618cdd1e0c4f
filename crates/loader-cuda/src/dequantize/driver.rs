//! Launches by the driver.

use std::{
    ffi::c_void,
    ptr,
    sync::{Mutex, PoisonError},
};

use cudarc::driver::sys;

use super::{Addresses, Arguments, Dequantize, DequantizeError, Kernel, Launch, kernel::MODULES};
use crate::{CallError, Device, driver::Module};

/// Dequantizes on one device, in its primary context. Modules are loaded when they are first needed, which takes some time, and kept.
///
/// It may be used from any number of threads.
#[derive(Debug)]
pub struct Dequantizer {
    device: Device,
    modules: Mutex<[Option<Module>; MODULES]>,
}

impl Dequantizer {
    /// A dequantizer for `device`. Calls nothing yet.
    #[must_use]
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone(), modules: Mutex::new([const { None }; MODULES]) }
    }

    /// Loads what `tensor` needs, so that its first launch does not have to.
    ///
    /// # Errors
    ///
    /// [`DequantizeError::Columns`] and [`DequantizeError::TooLarge`] as for [`Dequantize::part_bytes`], [`DequantizeError::Driver`] where the
    /// driver refuses, as it does for devices before compute capability 8.0.
    pub fn prepare(&self, tensor: &Dequantize) -> Result<(), DequantizeError> {
        tensor.part_bytes()?;
        self.with_module(tensor.kernel(), |_| Ok(()))
    }

    /// Decodes `tensor` on `stream`, and returns as soon as that is queued.
    ///
    /// # Errors
    ///
    /// Those of [`Dequantize::launch`] before anything is launched; [`DequantizeError::Driver`] where the driver refuses.
    ///
    /// # Safety
    ///
    /// `stream` is a stream of the device's primary context. The addresses are those of memory that the device can access, of at least the
    /// [lengths](Dequantize::part_bytes) that the tensor has. Until the stream is done, nobody frees them, writes the parts, or uses the
    /// output elsewhere.
    #[expect(unsafe_code, reason = "addresses in device memory cannot be checked")]
    pub unsafe fn launch(
        &self,
        stream: sys::CUstream,
        tensor: &Dequantize,
        at: &Addresses,
    ) -> Result<(), DequantizeError> {
        let Some(Launch { kernel, grid, block, mut arguments }) = tensor.launch(at)? else { return Ok(()) };
        let Arguments { weight, scale, extra, output, units, group_shift } = &mut arguments;
        let mut parameters: [*mut c_void; 6] = [
            ptr::from_mut(weight).cast(),
            ptr::from_mut(scale).cast(),
            ptr::from_mut(extra).cast(),
            ptr::from_mut(output).cast(),
            ptr::from_mut(units).cast(),
            ptr::from_mut(group_shift).cast(),
        ];
        self.with_module(kernel, |module| {
            let function = module.function(kernel.c_name())?;
            // SAFETY: every kernel has parameters of these types, and the launch was made for this one; the caller vouches for the stream
            // and the addresses. The module stays loaded as long as `self` lives, and the driver unloads none that a kernel runs of.
            unsafe { function.launch(grid, block, &mut parameters, stream) }
        })
    }

    /// Does something with the module of a kernel, which is loaded if need be.
    fn with_module<T>(
        &self,
        kernel: Kernel,
        work: impl FnOnce(&Module) -> Result<T, CallError>,
    ) -> Result<T, DequantizeError> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = &mut modules[kernel.module()];
        let module = match slot {
            Some(module) => Ok(module),
            None => Module::load(self.device.context(), kernel.ptx()).map(|module| slot.insert(module)),
        };
        module
            .and_then(|module| work(module))
            .map_err(|source| DequantizeError::Driver { kernel: kernel.name(), source })
    }
}
