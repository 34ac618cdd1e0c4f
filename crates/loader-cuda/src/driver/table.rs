//! Table of the driver's functions that this crate calls, resolved once.

use std::ffi::{c_char, c_int, c_uint, c_void};

use cudarc::driver::sys;
use libloading::Library;

/// Declares the table. Each line has a field, the driver's symbol, and the types of the function's arguments.
///
/// Every function returns a `CUresult`, which is read as a plain integer. A driver newer than the bindings may return a
/// code that their enumeration lacks, and such a value of a Rust enumeration would be undefined behaviour.
macro_rules! functions {
    ($($field:ident = $symbol:literal ($($argument:ty),* $(,)?);)*) => {
        /// The resolved functions. Copying a function pointer is sound because the library is never unloaded.
        pub(crate) struct Functions {
            $(pub(crate) $field: unsafe extern "C" fn($($argument),*) -> c_int,)*
        }

        /// Symbols that a driver must have.
        pub(crate) const SYMBOLS: &[&str] = &[$($symbol),*];

        impl Functions {
            /// Looks all symbols up. The error is the first missing symbol.
            pub(super) fn resolve(library: &Library) -> Result<Self, &'static str> {
                Ok(Self {
                    $($field: {
                        // SAFETY: the type is that of this symbol in NVIDIA's driver API. Its signatures never change:
                        // a new signature gets a new suffix.
                        let symbol = unsafe {
                            library.get::<unsafe extern "C" fn($($argument),*) -> c_int>(concat!($symbol, "\0").as_bytes())
                        };
                        *symbol.map_err(|_| $symbol)?
                    },)*
                })
            }
        }
    };
}

functions! {
    init = "cuInit" (c_uint);
    driver_version = "cuDriverGetVersion" (*mut c_int);
    error_name = "cuGetErrorName" (c_int, *mut *const c_char);
    device_count = "cuDeviceGetCount" (*mut c_int);
    device = "cuDeviceGet" (*mut sys::CUdevice, c_int);
    device_name = "cuDeviceGetName" (*mut c_char, c_int, sys::CUdevice);
    device_attribute = "cuDeviceGetAttribute" (*mut c_int, c_int, sys::CUdevice);
    context_retain = "cuDevicePrimaryCtxRetain" (*mut sys::CUcontext, sys::CUdevice);
    context_release = "cuDevicePrimaryCtxRelease_v2" (sys::CUdevice);
    context_current = "cuCtxGetCurrent" (*mut sys::CUcontext);
    context_set_current = "cuCtxSetCurrent" (sys::CUcontext);
    context_synchronize = "cuCtxSynchronize" ();
    memory_info = "cuMemGetInfo_v2" (*mut usize, *mut usize);
    memory_alloc = "cuMemAlloc_v2" (*mut sys::CUdeviceptr, usize);
    memory_free = "cuMemFree_v2" (sys::CUdeviceptr);
    host_alloc = "cuMemHostAlloc" (*mut *mut c_void, usize, c_uint);
    host_free = "cuMemFreeHost" (*mut c_void);
    copy_to_device = "cuMemcpyHtoDAsync_v2" (sys::CUdeviceptr, *const c_void, usize, sys::CUstream);
    copy_to_host = "cuMemcpyDtoHAsync_v2" (*mut c_void, sys::CUdeviceptr, usize, sys::CUstream);
    stream_create = "cuStreamCreate" (*mut sys::CUstream, c_uint);
    stream_destroy = "cuStreamDestroy_v2" (sys::CUstream);
    stream_synchronize = "cuStreamSynchronize" (sys::CUstream);
    event_create = "cuEventCreate" (*mut sys::CUevent, c_uint);
    event_destroy = "cuEventDestroy_v2" (sys::CUevent);
    event_record = "cuEventRecord" (sys::CUevent, sys::CUstream);
    event_synchronize = "cuEventSynchronize" (sys::CUevent);
    module_load = "cuModuleLoadData" (*mut sys::CUmodule, *const c_void);
    module_function = "cuModuleGetFunction" (*mut sys::CUfunction, sys::CUmodule, *const c_char);
    module_unload = "cuModuleUnload" (sys::CUmodule);
    launch_kernel = "cuLaunchKernel" (
        sys::CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, sys::CUstream, *mut *mut c_void, *mut *mut c_void
    );
}
