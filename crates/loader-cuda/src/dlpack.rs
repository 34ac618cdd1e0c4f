//! Arrays as `DLPack` capsules, which `PyTorch`, `JAX`, `CuPy` and others take without a copy.
//!
//! The structures are those of version 1.1 of the [specification](https://dmlc.github.io/dlpack/latest/c_api.html).

#![expect(unsafe_code, reason = "a capsule is a C structure that frees itself")]

use std::{ffi::c_void, fmt, ptr, sync::Arc};

use longshore_st_format::Dtype;

use crate::{CudaArray, load::Arena};

/// `kDLCUDA`.
const CUDA: i32 = 2;
/// Bit of [`ManagedTensorVersioned::flags`]: who takes the array must not write to it.
const READ_ONLY: u64 = 1;

/// `DLDevice`: where memory is.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DlDevice {
    /// The kind of device: 2 for CUDA.
    pub device_type: i32,
    /// The number of the device, counted from 0.
    pub device_id: i32,
}

/// `DLDataType`: the type of elements.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DlDataType {
    /// The kind of number.
    pub code: u8,
    /// Bits of one.
    pub bits: u8,
    /// Numbers to an element; 1.
    pub lanes: u16,
}

/// `DLTensor`: an array.
#[repr(C)]
#[derive(Debug)]
pub struct DlTensor {
    /// The address of the memory in the device.
    pub data: *mut c_void,
    /// The device.
    pub device: DlDevice,
    /// The number of axes.
    pub ndim: i32,
    /// The type of the elements.
    pub dtype: DlDataType,
    /// The extents, `ndim` of them.
    pub shape: *mut i64,
    /// The distances between neighbours along each axis, in elements, `ndim` of them.
    pub strides: *mut i64,
    /// Where the array starts, in bytes from `data`.
    pub byte_offset: u64,
}

/// `DLManagedTensor`: an array and how to let it go. What Python calls a capsule named `dltensor` points to one.
#[repr(C)]
#[derive(Debug)]
pub struct ManagedTensor {
    /// The array.
    pub dl_tensor: DlTensor,
    /// The owner's own.
    pub manager_ctx: *mut c_void,
    /// Lets the array go; called once, by whoever took it.
    pub deleter: Option<unsafe extern "C" fn(*mut Self)>,
}

/// `DLPackVersion`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DlPackVersion {
    /// Structures of another major version differ.
    pub major: u32,
    /// Later minor versions add types.
    pub minor: u32,
}

/// `DLManagedTensorVersioned`: an array with flags. What Python calls a capsule named `dltensor_versioned` points to one.
#[repr(C)]
#[derive(Debug)]
pub struct ManagedTensorVersioned {
    /// The version of the structures.
    pub version: DlPackVersion,
    /// The owner's own.
    pub manager_ctx: *mut c_void,
    /// Lets the array go; called once, by whoever took it.
    pub deleter: Option<unsafe extern "C" fn(*mut Self)>,
    /// Bit 0: not to be written to.
    pub flags: u64,
    /// The array.
    pub dl_tensor: DlTensor,
}

/// A capsule that nobody has taken yet: it keeps the array's memory, and lets it go when it is dropped.
///
/// The array is shared with the weights and must not be written to.
#[derive(Debug)]
pub struct Capsule<T: Managed> {
    owned: ptr::NonNull<T>,
}

// SAFETY: what it owns is an `Arc` and plain numbers.
unsafe impl<T: Managed> Send for Capsule<T> {}

/// One of the two structures.
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

/// What a capsule keeps alive.
struct Kept {
    _arena: Option<Arc<Arena>>,
    /// The extents, then the strides.
    numbers: Box<[i64]>,
}

/// A type of elements that `DLPack` has no name for, or an array of elements that are no whole bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("DLPack has no arrays of {dtype}")]
#[non_exhaustive]
pub struct NoDlPackType {
    /// The type.
    pub dtype: Dtype,
}

impl CudaArray<'_> {
    /// The array as a `DLManagedTensor`, which every library knows.
    ///
    /// # Errors
    ///
    /// [`NoDlPackType`] for elements narrower than a byte.
    pub fn to_dlpack(&self) -> Result<Capsule<ManagedTensor>, NoDlPackType> {
        self.capsule()
    }

    /// The array as a `DLManagedTensorVersioned`, which also says that it must not be written to.
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
        // More elements than an i64 counts are more bytes than a device has, but for arrays without any.
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
            // SAFETY: there are twice as many numbers as axes.
            strides: unsafe { start.add(rank) },
            byte_offset: 0,
        };
        let managed = Box::new(T::new(tensor, Box::into_raw(kept).cast::<c_void>()));
        Ok(Capsule { owned: ptr::NonNull::from(Box::leak(managed)) })
    }
}

impl<T: Managed> Capsule<T> {
    /// Gives the structure away. Whoever takes it calls its `deleter` once; until then the memory stays.
    #[must_use = "what is not deleted is never freed"]
    pub fn into_raw(self) -> *mut T {
        let owned = self.owned.as_ptr();
        std::mem::forget(self);
        owned
    }

    /// The structure, to look at.
    #[must_use]
    pub fn as_ptr(&self) -> *const T {
        self.owned.as_ptr()
    }
}

impl<T: Managed> Drop for Capsule<T> {
    fn drop(&mut self) {
        // SAFETY: the structure was made here, and was not given away.
        unsafe { delete(self.owned.as_ptr()) };
    }
}

/// Frees a structure and what it keeps.
///
/// # Safety
///
/// `managed` was made by [`CudaArray::capsule`] and is not used again.
unsafe extern "C" fn delete<T: Managed>(managed: *mut T) {
    if managed.is_null() {
        return;
    }
    // SAFETY: it is the box that was leaked.
    let managed = unsafe { Box::from_raw(managed) };
    // SAFETY: the same of what it keeps.
    drop(unsafe { Box::from_raw(managed.context().cast::<Kept>()) });
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("numbers", &self.numbers).finish_non_exhaustive()
    }
}

/// The specification's name for a type of elements.
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
