//! Loads modules of kernels, and queues launches.

use std::{
    ffi::{CStr, c_void},
    ptr,
    sync::Arc,
};

use cudarc::driver::sys;

use super::{CallError, Context};

/// A module of kernels that the driver has compiled for the device.
pub(crate) struct Module {
    context: Arc<Context>,
    handle: sys::CUmodule,
}

/// One kernel of a module. The module stays loaded while the kernel is used.
#[derive(Clone, Copy)]
pub(crate) struct Function<'m> {
    module: &'m Module,
    handle: sys::CUfunction,
}

// SAFETY: the driver's functions may be called with a module from any thread.
unsafe impl Send for Module {}
// SAFETY: as for `Send`.
unsafe impl Sync for Module {}

impl Module {
    /// Loads `ptx`, which the driver compiles for the device. This takes some time.
    pub(crate) fn load(context: &Arc<Context>, ptx: &CStr) -> Result<Self, CallError> {
        let _entered = context.enter()?;
        let driver = context.driver();
        let mut handle = ptr::null_mut();
        // SAFETY: the pointer refers to one handle, a context is current, and the text ends with a zero.
        let code = unsafe { (driver.functions().module_load)(&raw mut handle, ptx.as_ptr().cast::<c_void>()) };
        driver.check("cuModuleLoadData", code)?;
        Ok(Self { context: Arc::clone(context), handle })
    }

    /// Looks a kernel up by name.
    pub(crate) fn function(&self, name: &CStr) -> Result<Function<'_>, CallError> {
        let _entered = self.context.enter()?;
        let driver = self.context.driver();
        let mut handle = ptr::null_mut();
        // SAFETY: the pointer refers to one handle, the module is loaded, and the name ends with a zero.
        let code = unsafe { (driver.functions().module_function)(&raw mut handle, self.handle, name.as_ptr()) };
        driver.check("cuModuleGetFunction", code)?;
        Ok(Function { module: self, handle })
    }
}

impl Function<'_> {
    /// Queues a launch of `grid` blocks of `block` threads.
    ///
    /// # Safety
    ///
    /// `stream` must belong to the module's context. The parameters must be pointers to values of the kernel's
    /// parameter types, in order. The memory that these values refer to must exist, and nobody else may use it, until
    /// the stream has finished.
    pub(crate) unsafe fn launch(
        &self,
        [x, y]: [u32; 2],
        block: u32,
        parameters: &mut [*mut c_void],
        stream: sys::CUstream,
    ) -> Result<(), CallError> {
        let context = &self.module.context;
        let _entered = context.enter()?;
        let driver = context.driver();
        // SAFETY: the driver copies the parameters before it returns. The caller vouches for everything else.
        let code = unsafe {
            (driver.functions().launch_kernel)(
                self.handle,
                x,
                y,
                1,
                block,
                1,
                1,
                0,
                stream,
                parameters.as_mut_ptr(),
                ptr::null_mut(),
            )
        };
        driver.check("cuLaunchKernel", code)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        let driver = self.context.driver();
        self.context.release(|| {
            // SAFETY: the module was loaded by `load` and is unloaded once.
            let code = unsafe { (driver.functions().module_unload)(self.handle) };
            driver.check("cuModuleUnload", code)
        });
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module").finish_non_exhaustive()
    }
}
