//! Launches kernels through the driver.

use std::{
    ffi::c_void,
    ptr,
    sync::{Mutex, PoisonError},
};

use cudarc::driver::sys;

use super::{Addresses, Arguments, Dequantize, DequantizeError, Kernel, Launch, kernel::MODULES};
use crate::{CallError, Device, driver::Module};

/// Dequantizes tensors on one device, in its primary context. A module is loaded on its first use, which takes some
/// time, and then kept.
///
/// A dequantizer may be used from any number of threads.
#[derive(Debug)]
pub struct Dequantizer {
    device: Device,
    modules: Mutex<[Option<Module>; MODULES]>,
}

impl Dequantizer {
    /// Creates a dequantizer for `device`, without calling the driver.
    #[must_use]
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone(), modules: Mutex::new([const { None }; MODULES]) }
    }

    /// Loads the module for `tensor`, so that the first launch does not have to load it.
    ///
    /// # Errors
    ///
    /// [`DequantizeError::Columns`] and [`DequantizeError::TooLarge`] as for [`Dequantize::part_bytes`];
    /// [`DequantizeError::Driver`] where the driver refuses the module, as it does for devices below compute capability
    /// 8.0.
    pub fn prepare(&self, tensor: &Dequantize) -> Result<(), DequantizeError> {
        tensor.part_bytes()?;
        self.with_module(tensor.kernel(), |_| Ok(()))
    }

    /// Queues the decoding of `tensor` on `stream`, and returns without waiting for it.
    ///
    /// # Errors
    ///
    /// The errors of [`Dequantize::launch`], before anything is launched; [`DequantizeError::Driver`] where the driver
    /// refuses a call.
    ///
    /// # Safety
    ///
    /// `stream` must belong to the device's primary context. The addresses must be those of memory that the device can
    /// access, with at least the tensor's [lengths](Dequantize::part_bytes). Until the stream has finished, nobody may
    /// free this memory, write the parts, or use the output elsewhere.
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
            // SAFETY: every kernel has parameters of these types, and the launch was computed for this kernel. The
            // caller vouches for the stream and the addresses. The module stays loaded as long as `self` lives, and the
            // driver unloads no module of a running kernel.
            unsafe { function.launch(grid, block, &mut parameters, stream) }
        })
    }

    /// Calls `work` with the module of a kernel, after loading the module if necessary.
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
