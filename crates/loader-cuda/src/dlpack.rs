//! Exports arrays as `DLPack` capsules, which `PyTorch`, `JAX`, `CuPy` and others import without a copy.
//!
//! The structures are those of version 1.1 of the [specification](https://dmlc.github.io/dlpack/latest/c_api.html).

#![expect(unsafe_code, reason = "a capsule is a C structure that frees itself")]

use std::{ffi::c_void, fmt, ptr, sync::Arc};

use longshore_st_format::Dtype;

use crate::{CudaArray, load::Arena};

/// `kDLCUDA`, the device type of CUDA.
const CUDA: i32 = 2;
/// Bit of [`ManagedTensorVersioned::flags`] that forbids writes to the array.
const READ_ONLY: u64 = 1;

/// `DLDevice`: the device that holds the memory.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DlDevice {
    /// Kind of device: 2 for CUDA.
    pub device_type: i32,
    /// Number of the device, counted from 0.
    pub device_id: i32,
}

/// `DLDataType`: the type of the elements.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DlDataType {
    /// Kind of number.
    pub code: u8,
    /// Bits per number.
    pub bits: u8,
    /// Numbers per element; always 1.
    pub lanes: u16,
}

/// `DLTensor`: an array.
#[repr(C)]
#[derive(Debug)]
pub struct DlTensor {
    /// Device address of the memory.
    pub data: *mut c_void,
    /// Device that holds the memory.
    pub device: DlDevice,
    /// Number of axes.
    pub ndim: i32,
    /// Type of the elements.
    pub dtype: DlDataType,
    /// Extents, `ndim` of them.
    pub shape: *mut i64,
    /// Distances between neighbours along each axis, in elements, `ndim` of them.
    pub strides: *mut i64,
    /// Start of the array, in bytes from `data`.
    pub byte_offset: u64,
}

/// `DLManagedTensor`: an array and the function that releases it. Python's capsules named `dltensor` point to this
/// structure.
#[repr(C)]
#[derive(Debug)]
pub struct ManagedTensor {
    /// The array.
    pub dl_tensor: DlTensor,
    /// Data of the owner.
    pub manager_ctx: *mut c_void,
    /// Releases the array. The consumer calls it exactly once.
    pub deleter: Option<unsafe extern "C" fn(*mut Self)>,
}

/// `DLPackVersion`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DlPackVersion {
    /// Major version. Structures of another major version have another layout.
    pub major: u32,
    /// Minor version. A higher minor version adds types.
    pub minor: u32,
}

/// `DLManagedTensorVersioned`: an array with flags. Python's capsules named `dltensor_versioned` point to this
/// structure.
#[repr(C)]
#[derive(Debug)]
pub struct ManagedTensorVersioned {
    /// Version of the structures.
    pub version: DlPackVersion,
    /// Data of the owner.
    pub manager_ctx: *mut c_void,
    /// Releases the array. The consumer calls it exactly once.
    pub deleter: Option<unsafe extern "C" fn(*mut Self)>,
    /// Flags. Bit 0 forbids writes to the array.
    pub flags: u64,
    /// The array.
    pub dl_tensor: DlTensor,
}

/// A capsule that has not been handed to a consumer. It keeps the array's memory alive, and releases it when it is
/// dropped.
///
/// The array is shared with the weights, so consumers must not write to it.
#[derive(Debug)]
pub struct Capsule<T: Managed> {
    owned: ptr::NonNull<T>,
}

// SAFETY: the capsule owns an `Arc` and plain numbers.
unsafe impl<T: Managed> Send for Capsule<T> {}

/// One of the two managed structures of `DLPack`.
pub trait Managed: sealed::Sealed {}

impl Managed for ManagedTensor {}
impl Managed for ManagedTensorVersioned {}

mod sealed {
    use super::{DlTensor, ManagedTensor, ManagedTensorVersioned};

    pub trait Sealed: Sized {
        fn new(tensor: DlTensor, context: *mut std::ffi::c_void) -> Self;
        fn context(&self) -> *mut std::ffi::c_void;
    }

    impl Sealed for ManagedTensor {
        fn new(dl_tensor: DlTensor, manager_ctx: *mut std::ffi::c_void) -> Self {
            Self { dl_tensor, manager_ctx, deleter: Some(super::delete::<Self>) }
        }
        fn context(&self) -> *mut std::ffi::c_void {
            self.manager_ctx
        }
    }

    impl Sealed for ManagedTensorVersioned {
        fn new(dl_tensor: DlTensor, manager_ctx: *mut std::ffi::c_void) -> Self {
            let version = super::DlPackVersion { major: 1, minor: 1 };
            Self { version, manager_ctx, deleter: Some(super::delete::<Self>), flags: super::READ_ONLY, dl_tensor }
        }
        fn context(&self) -> *mut std::ffi::c_void {
            self.manager_ctx
        }
    }
}

/// Objects that a capsule keeps alive.
struct Kept {
    _arena: Option<Arc<Arena>>,
    /// Extents, followed by the strides.
    numbers: Box<[i64]>,
}

/// Error from exporting an array whose element type `DLPack` does not have, or whose elements are not whole bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("DLPack has no arrays of {dtype}")]
#[non_exhaustive]
pub struct NoDlPackType {
    /// Element type of the array.
    pub dtype: Dtype,
}

impl CudaArray<'_> {
    /// Exports the array as a `DLManagedTensor`, which every library supports.
    ///
    /// # Errors
    ///
    /// [`NoDlPackType`] for elements narrower than a byte.
    pub fn to_dlpack(&self) -> Result<Capsule<ManagedTensor>, NoDlPackType> {
        self.capsule()
    }

    /// Exports the array as a `DLManagedTensorVersioned`, which also forbids writes.
    ///
    /// # Errors
    ///
    /// [`NoDlPackType`] for elements narrower than a byte.
    pub fn to_dlpack_versioned(&self) -> Result<Capsule<ManagedTensorVersioned>, NoDlPackType> {
        self.capsule()
    }

    fn capsule<T: Managed>(&self) -> Result<Capsule<T>, NoDlPackType> {
        let no_type = NoDlPackType { dtype: self.dtype };
        let dtype = data_type(self.dtype).ok_or(no_type)?;
        let extents = self.shape.dims().iter().map(|dim| i64::try_from(*dim)).collect::<Result<Vec<_>, _>>();
        // An extent beyond `i64` means more bytes than a device has, unless the array is empty.
        let extents = extents.map_err(|_| no_type)?;
        let mut strides = vec![1_i64; extents.len()];
        for axis in (1..extents.len()).rev() {
            strides[axis - 1] = strides[axis].saturating_mul(extents[axis].max(1));
        }
        let rank = extents.len();
        let numbers = extents.into_iter().chain(strides).collect();
        let mut kept = Box::new(Kept { _arena: self.arena().cloned(), numbers });
        let start = kept.numbers.as_mut_ptr();
        let tensor = DlTensor {
            data: ptr::without_provenance_mut(
                usize::try_from(self.address()).expect("devices share the address space"),
            ),
            device: DlDevice {
                device_type: CUDA,
                device_id: i32::try_from(self.ordinal()).expect("the driver counts devices so"),
            },
            ndim: i32::try_from(rank).map_err(|_| no_type)?,
            dtype,
            shape: start,
            // SAFETY: the allocation has twice as many numbers as axes.
            strides: unsafe { start.add(rank) },
            byte_offset: 0,
        };
        let managed = Box::new(T::new(tensor, Box::into_raw(kept).cast::<c_void>()));
        Ok(Capsule { owned: ptr::NonNull::from(Box::leak(managed)) })
    }
}

impl<T: Managed> Capsule<T> {
    /// Hands the structure to a consumer, who must call its `deleter` exactly once. The memory stays until then.
    #[must_use = "what is not deleted is never freed"]
    pub fn into_raw(self) -> *mut T {
        let owned = self.owned.as_ptr();
        std::mem::forget(self);
        owned
    }

    /// Pointer to the structure, for inspection.
    #[must_use]
    pub fn as_ptr(&self) -> *const T {
        self.owned.as_ptr()
    }
}

impl<T: Managed> Drop for Capsule<T> {
    fn drop(&mut self) {
        // SAFETY: the structure was created here, and was not handed to a consumer.
        unsafe { delete(self.owned.as_ptr()) };
    }
}

/// Frees a structure and the objects that it keeps alive.
///
/// # Safety
///
/// `managed` must come from [`CudaArray::capsule`], and must not be used again.
unsafe extern "C" fn delete<T: Managed>(managed: *mut T) {
    if managed.is_null() {
        return;
    }
    // SAFETY: `managed` is the box that was leaked on creation.
    let managed = unsafe { Box::from_raw(managed) };
    // SAFETY: `context` is the second box that was leaked on creation.
    drop(unsafe { Box::from_raw(managed.context().cast::<Kept>()) });
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("numbers", &self.numbers).finish_non_exhaustive()
    }
}

/// Converts an element type to that of the specification, or returns `None` where it has none.
fn data_type(dtype: Dtype) -> Option<DlDataType> {
    let (code, bits) = match dtype {
        Dtype::I8 => (0, 8),
        Dtype::I16 => (0, 16),
        Dtype::I32 => (0, 32),
        Dtype::I64 => (0, 64),
        Dtype::U8 => (1, 8),
        Dtype::U16 => (1, 16),
        Dtype::U32 => (1, 32),
        Dtype::U64 => (1, 64),
        Dtype::F16 => (2, 16),
        Dtype::F32 => (2, 32),
        Dtype::F64 => (2, 64),
        Dtype::BF16 => (4, 16),
        Dtype::C64 => (5, 64),
        Dtype::Bool => (6, 8),
        Dtype::F8E4M3 => (10, 8),
        Dtype::F8E4M3Fnuz => (11, 8),
        Dtype::F8E5M2 => (12, 8),
        Dtype::F8E5M2Fnuz => (13, 8),
        Dtype::F8E8M0 => (14, 8),
        _ => return None,
    };
    Some(DlDataType { code, bits, lanes: 1 })
}
