//! Launches by the driver.

use std::{
    ffi::{CStr, c_void},
    ptr,
    sync::{Mutex, PoisonError},
};

use cudarc::driver::sys;

use super::{Addresses, Arguments, Dequantize, DequantizeError, Kernel, Launch, kernel::MODULES};

/// Dequantizes in one context. Modules are loaded when they are first needed, which takes some time, and kept.
///
/// Of the driver it calls [`SYMBOLS`](Self::SYMBOLS) and nothing else. It may be used from any number of threads.
#[derive(Debug)]
pub struct Dequantizer {
    context: Handle<sys::CUcontext>,
    modules: Mutex<[Option<Handle<sys::CUmodule>>; MODULES]>,
}

/// A handle of the driver's.
#[derive(Clone, Copy, Debug)]
struct Handle<T>(T);

// SAFETY: a handle is a name, which only the driver follows, and the driver lets every thread use a context and its modules.
#[expect(unsafe_code, reason = "handles of the driver are raw pointers")]
unsafe impl Send for Handle<sys::CUcontext> {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "handles of the driver are raw pointers")]
unsafe impl Sync for Handle<sys::CUcontext> {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "handles of the driver are raw pointers")]
unsafe impl Send for Handle<sys::CUmodule> {}

impl Dequantizer {
    /// The functions of the driver that are called, and have to be there.
    pub const SYMBOLS: [&CStr; 6] = [
        c"cuCtxPushCurrent_v2",
        c"cuCtxPopCurrent_v2",
        c"cuModuleLoadData",
        c"cuModuleGetFunction",
        c"cuModuleUnload",
        c"cuLaunchKernel",
    ];

    /// A dequantizer for `context`. Calls nothing yet.
    ///
    /// # Safety
    ///
    /// The driver has been found with all of [`SYMBOLS`](Self::SYMBOLS) and has been initialized. `context` is one of its contexts and
    /// outlives the dequantizer.
    #[expect(unsafe_code, reason = "a raw context cannot be checked")]
    #[must_use]
    pub unsafe fn new(context: sys::CUcontext) -> Self {
        Self { context: Handle(context), modules: Mutex::new([None; MODULES]) }
    }

    /// Loads what `tensor` needs, so that its first launch does not have to.
    ///
    /// # Errors
    ///
    /// [`DequantizeError::Columns`] and [`DequantizeError::TooLarge`] as for [`Dequantize::part_bytes`], [`DequantizeError::Driver`] where the
    /// driver refuses, as it does for devices before compute capability 8.0 and drivers before CUDA 12.1.
    pub fn prepare(&self, tensor: &Dequantize) -> Result<(), DequantizeError> {
        tensor.part_bytes()?;
        let kernel = tensor.kernel();
        self.in_context(kernel, || self.function(kernel).map(drop))
    }

    /// Decodes `tensor` on `stream`, and returns as soon as that is queued.
    ///
    /// # Errors
    ///
    /// Those of [`Dequantize::launch`] before anything is launched; [`DequantizeError::Driver`] where the driver refuses.
    ///
    /// # Safety
    ///
    /// `stream` is a stream of the context. The addresses are those of memory that its device can access, of at least the
    /// [lengths](Dequantize::part_bytes) that the tensor has. Until the stream is done, nobody frees them, writes the parts, or uses the
    /// output elsewhere.
    #[expect(unsafe_code, reason = "addresses in device memory cannot be checked")]
    pub unsafe fn launch(
        &self,
        stream: sys::CUstream,
        tensor: &Dequantize,
        at: &Addresses,
    ) -> Result<(), DequantizeError> {
        let Some(launch) = tensor.launch(at)? else { return Ok(()) };
        self.in_context(launch.kernel, || {
            let function = self.function(launch.kernel)?;
            // SAFETY: the caller vouches for the stream and the addresses, the launch was made for its kernel.
            unsafe { queue(function, stream, &launch) }
        })
    }

    /// Runs `work` with the context current in this thread.
    #[expect(unsafe_code, reason = "calls of the driver")]
    fn in_context<T>(
        &self,
        kernel: Kernel,
        work: impl FnOnce() -> Result<T, DequantizeError>,
    ) -> Result<T, DequantizeError> {
        // SAFETY: whoever made `self` vouches for the context.
        let pushed = unsafe { sys::cuCtxPushCurrent_v2(self.context.0) };
        answer("cuCtxPushCurrent", kernel, pushed)?;
        let result = work();
        let mut popped = ptr::null_mut();
        // SAFETY: `popped` is writable; the top of the stack is what was pushed.
        let answered = unsafe { sys::cuCtxPopCurrent_v2(&raw mut popped) };
        result.and_then(|result| answer("cuCtxPopCurrent", kernel, answered).map(|()| result))
    }

    /// The function of a kernel, its module loaded if need be. The context is current.
    #[expect(unsafe_code, reason = "calls of the driver")]
    fn function(&self, kernel: Kernel) -> Result<sys::CUfunction, DequantizeError> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = &mut modules[kernel.module()];
        let module = if let Some(Handle(module)) = *slot {
            module
        } else {
            let mut module = ptr::null_mut();
            // SAFETY: `module` is writable and the PTX ends with NUL.
            let loaded = unsafe { sys::cuModuleLoadData(&raw mut module, kernel.ptx().as_ptr().cast()) };
            answer("cuModuleLoadData", kernel, loaded)?;
            *slot = Some(Handle(module));
            module
        };
        let mut function = ptr::null_mut();
        // SAFETY: `function` is writable, the module is loaded and stays so, and the name ends with NUL.
        let found = unsafe { sys::cuModuleGetFunction(&raw mut function, module, kernel.c_name().as_ptr()) };
        answer("cuModuleGetFunction", kernel, found)?;
        Ok(function)
    }
}

/// Unloads the modules. What the driver has to say against that nobody can be told.
impl Drop for Dequantizer {
    #[expect(unsafe_code, reason = "calls of the driver")]
    fn drop(&mut self) {
        let modules = *self.modules.get_mut().unwrap_or_else(PoisonError::into_inner);
        if modules.iter().all(Option::is_none) {
            return;
        }
        // SAFETY: whoever made `self` vouches for the context.
        let pushed = unsafe { sys::cuCtxPushCurrent_v2(self.context.0) };
        if pushed != sys::CUresult::CUDA_SUCCESS {
            return;
        }
        for Handle(module) in modules.into_iter().flatten() {
            // SAFETY: it was loaded in this context and nothing else unloads it.
            let _ = unsafe { sys::cuModuleUnload(module) };
        }
        let mut popped = ptr::null_mut();
        // SAFETY: `popped` is writable; the top of the stack is what was pushed.
        let _ = unsafe { sys::cuCtxPopCurrent_v2(&raw mut popped) };
    }
}

/// Queues a launch.
///
/// # Safety
///
/// `function` is the kernel of `launch` in the current context, `stream` a stream of it, and the addresses are usable until it is done.
#[expect(unsafe_code, reason = "calls of the driver")]
unsafe fn queue(function: sys::CUfunction, stream: sys::CUstream, launch: &Launch) -> Result<(), DequantizeError> {
    let Launch { kernel, grid: [x, y], block, mut arguments } = *launch;
    let Arguments { weight, scale, extra, output, units, group_shift } = &mut arguments;
    let mut parameters: [*mut c_void; 6] = [
        ptr::from_mut(weight).cast(),
        ptr::from_mut(scale).cast(),
        ptr::from_mut(extra).cast(),
        ptr::from_mut(output).cast(),
        ptr::from_mut(units).cast(),
        ptr::from_mut(group_shift).cast(),
    ];
    // SAFETY: the driver copies the parameters, which are of the types that every kernel has, before it returns; the caller vouches for
    // the rest.
    let launched = unsafe {
        sys::cuLaunchKernel(function, x, y, 1, block, 1, 1, 0, stream, parameters.as_mut_ptr(), ptr::null_mut())
    };
    answer("cuLaunchKernel", kernel, launched)
}

/// An answer of the driver as a result.
fn answer(call: &'static str, kernel: Kernel, code: sys::CUresult) -> Result<(), DequantizeError> {
    if code == sys::CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    Err(DequantizeError::Driver { call, kernel: kernel.name(), code: code as u32, name: format!("{code:?}") })
}
