//! Decodes loaded quantized tensors on the device.

use longshore_manifest::document::Role;
use longshore_quant::{FloatType, Scheme};
use longshore_st_format::{Dtype, Shape};

use crate::{
    CallError, CudaTensor, CudaWeights, Loader,
    dequantize::{Addresses, Dequantize, DequantizeError, Dequantizer, GlobalScaleAddress},
    driver::DeviceMemory,
    load::{ALIGNMENT, index},
};

/// Decoded tensors in device memory of their own. The weights that they were decoded from may be dropped.
#[derive(Debug)]
pub struct CudaFloats {
    loader: Loader,
    memory: Option<DeviceMemory>,
    dtype: Dtype,
    tensors: Vec<Decoded>,
}

/// One decoded tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Decoded {
    name: String,
    component: Option<String>,
    shape: Shape,
    at: usize,
    len: usize,
}

/// One decoded array in device memory.
#[derive(Debug, Clone, Copy)]
pub struct CudaFloat<'f> {
    floats: &'f CudaFloats,
    decoded: &'f Decoded,
}

/// Error from decoding tensors on the device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// No kernel decodes the encoding of the tensor.
    #[error("tensor {tensor:?} is coded as {found}, for which there is no kernel")]
    Scheme {
        /// Name of the tensor.
        tensor: String,
        /// Encoding of the tensor.
        found: String,
    },
    /// The device cannot allocate the memory for the decoded tensors.
    #[error("cannot allocate {bytes} bytes for the decoded tensors")]
    Allocate {
        /// Requested size in bytes.
        bytes: u64,
        /// The driver's error.
        source: CallError,
    },
    /// A kernel cannot be launched.
    #[error("cannot decode tensor {tensor:?}")]
    Launch {
        /// Name of the tensor.
        tensor: String,
        /// Reason why the launch is impossible.
        source: DequantizeError,
    },
    /// The kernels failed on the device.
    #[error("decoding failed on the device")]
    Run {
        /// The driver's error.
        source: CallError,
    },
}

impl CudaWeights {
    /// Decodes every quantized tensor to `target` on the device, into one allocation. The bits are those of
    /// [`longshore_quant::Decoder`]. Plain tensors are left out.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]. Nothing stays allocated then.
    pub fn dequantize(&self, target: FloatType) -> Result<CudaFloats, DecodeError> {
        decode(self.loader(), self.iter().filter(|tensor| tensor.quantization().is_some()), target)
    }
}

impl CudaTensor<'_> {
    /// Decodes the tensor to `target` on the device. The result is empty where the tensor is plain.
    ///
    /// # Errors
    ///
    /// The errors of [`CudaWeights::dequantize`].
    pub fn dequantize(&self, target: FloatType) -> Result<CudaFloats, DecodeError> {
        decode(self.loader(), self.quantization().map(|_| *self).into_iter(), target)
    }
}

impl CudaFloats {
    /// Looks a tensor up by name. Where several components have it, returns that of the first component.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<CudaFloat<'_>> {
        self.iter().find(|float| float.name() == name)
    }

    /// Iterates over the tensors, sorted by name and then by component.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = CudaFloat<'_>> {
        self.tensors.iter().map(|decoded| CudaFloat { floats: self, decoded })
    }

    /// Total bytes of all tensors.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(|decoded| decoded.len as u64).sum()
    }
}

impl<'f> CudaFloat<'f> {
    /// Name of the tensor, without a component's prefix.
    #[must_use]
    pub fn name(&self) -> &'f str {
        &self.decoded.name
    }

    /// Pipeline component that the tensor belongs to.
    #[must_use]
    pub fn component(&self) -> Option<&'f str> {
        self.decoded.component.as_deref()
    }

    /// Type of the elements.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.floats.dtype
    }

    /// Shape of the tensor.
    #[must_use]
    pub fn shape(&self) -> &'f Shape {
        &self.decoded.shape
    }

    /// Device address of the first byte, a multiple of 256; 0 where the array has no bytes.
    #[must_use]
    pub fn address(&self) -> u64 {
        let memory = self.floats.memory.as_ref().filter(|_| self.decoded.len > 0);
        memory.map_or(0, |memory| memory.address() + self.decoded.at as u64)
    }

    /// Copies the bytes to the host.
    ///
    /// # Errors
    ///
    /// The driver's error.
    pub fn to_host(&self) -> Result<Vec<u8>, CallError> {
        let mut out = vec![0; self.decoded.len];
        if let Some(memory) = &self.floats.memory {
            memory.read(self.decoded.at, &mut out, self.floats.loader.stream())?;
        }
        Ok(out)
    }
}

fn decode<'w>(
    loader: &Loader,
    tensors: impl Iterator<Item = CudaTensor<'w>>,
    target: FloatType,
) -> Result<CudaFloats, DecodeError> {
    let mut jobs = Vec::new();
    let mut end = 0_u64;
    for tensor in tensors {
        let job = job(&tensor, target)?;
        let fail = |source| DecodeError::Launch { tensor: tensor.name().to_owned(), source };
        let len = job.part_bytes().map_err(fail)?.output;
        let at = end.next_multiple_of(ALIGNMENT);
        // The output is at most 16 times as long as the codes on the device, so the sum cannot overflow.
        end = at + len;
        jobs.push((tensor, job, at, len));
    }
    let mut memory = None;
    if end > 0 {
        let dequantizer = loader.dequantizer();
        let len = usize::try_from(end).unwrap_or(usize::MAX);
        let allocated = DeviceMemory::new(loader.device().context(), len);
        let allocated = allocated.map_err(|source| DecodeError::Allocate { bytes: end, source })?;
        let launched = jobs.iter().try_for_each(|(tensor, job, at, _)| {
            let launched = launch(loader, dequantizer, tensor, job, allocated.address() + at);
            launched.map_err(|source| DecodeError::Launch { tensor: tensor.name().to_owned(), source })
        });
        // Whether or not a launch failed, no kernel runs after this wait, so codes and output may be freed.
        let ran = loader.stream().finish().map_err(|source| DecodeError::Run { source });
        launched.and(ran)?;
        memory = Some(allocated);
    }
    let decoded = jobs.into_iter().map(|(tensor, _, at, len)| Decoded {
        name: tensor.name().to_owned(),
        component: tensor.component().map(ToOwned::to_owned),
        shape: tensor.shape().clone(),
        at: index(at),
        len: index(len),
    });
    let dtype = dtype(target);
    Ok(CudaFloats { loader: loader.clone(), memory, dtype, tensors: decoded.collect() })
}

/// The memory of decoded tensors, with the place and the length of each.
type Decodings = (Option<DeviceMemory>, Vec<(usize, usize)>);

/// Decodes tensors into one allocation. Returns it with the place and the length of each.
pub(crate) fn decoded_places(
    loader: &Loader,
    tensors: &[CudaTensor<'_>],
    target: FloatType,
) -> Result<Decodings, DecodeError> {
    let CudaFloats { memory, tensors, .. } = decode(loader, tensors.iter().copied(), target)?;
    Ok((memory, tensors.into_iter().map(|tensor| (tensor.at, tensor.len)).collect()))
}

/// Describes the tensor as matrices to decode.
fn job(tensor: &CudaTensor<'_>, target: FloatType) -> Result<Dequantize, DecodeError> {
    let code = tensor.quantization().expect("only quantized tensors are decoded");
    let no_kernel = || DecodeError::Scheme { tensor: tensor.name().to_owned(), found: code.to_string() };
    let scheme: Scheme = code.to_string().parse().map_err(|_| no_kernel())?;
    if scheme.group_size() != code.group_size {
        return Err(no_kernel());
    }
    let source = match tensor.dtype() {
        Dtype::F16 => FloatType::F16,
        Dtype::BF16 => FloatType::BF16,
        _ => FloatType::F32,
    };
    let [stack @ .., rows, columns] = tensor.shape().dims() else { return Err(no_kernel()) };
    let matrices = stack.iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim)).ok_or_else(no_kernel)?;
    Ok(Dequantize::new(scheme, source, target, *rows, *columns).with_matrices(matrices))
}

#[expect(unsafe_code, reason = "addresses in device memory")]
fn launch(
    loader: &Loader,
    dequantizer: &Dequantizer,
    tensor: &CudaTensor<'_>,
    job: &Dequantize,
    output: u64,
) -> Result<(), DequantizeError> {
    let address = |role| tensor.companion(role).map(|part| part.address());
    let global_scale = tensor.companion(Role::GlobalScale).map(|part| match part.shape.dims() {
        [_, 1, 1] if part.len() > 4 => GlobalScaleAddress::PerMatrix(part.address()),
        _ => GlobalScaleAddress::One(part.address()),
    });
    let at = Addresses {
        weight: tensor.weight().address(),
        scale: address(Role::Scale).unwrap_or_default(),
        bias: address(Role::Bias),
        global_scale,
        output,
    };
    // SAFETY: the stream belongs to the dequantizer's context. The weights keep the memory of the parts. The parts are
    // as long as their shapes require: the table's check and the plan derived the shapes from the tensor's. The output
    // was allocated for this tensor. The caller waits for the stream before any of these can be freed.
    unsafe { dequantizer.launch(loader.stream().handle(), job, &at) }
}

fn dtype(float: FloatType) -> Dtype {
    match float {
        FloatType::F32 => Dtype::F32,
        FloatType::F16 => Dtype::F16,
        FloatType::BF16 => Dtype::BF16,
    }
}
