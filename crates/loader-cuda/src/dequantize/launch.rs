//! Computes launches from tensors: checked extents, grid and arguments.

use longshore_quant::{FloatType, Scheme};

use super::{DequantizeError, Kernel};

/// Bytes that a thread writes at a time.
const UNIT_BYTES: u64 = 16;
/// Threads per block. `kernels/dequantize.cu` has the same number.
const BLOCK: u32 = 256;
/// Units per block: two for each thread.
const UNITS_OF_BLOCK: u64 = 2 * BLOCK as u64;
/// Largest number of blocks of a grid, along its first and along its second axis.
const MOST_BLOCKS: u64 = (1 << 31) - 1;
const MOST_MATRICES: u32 = 65_535;

/// A tensor to decode: its extents `[matrices, rows, columns]`, row-major, its scheme and its types.
///
/// ```
/// use longshore_loader_cuda::dequantize::{Addresses, Dequantize};
/// use longshore_quant::{FloatType, Scheme};
///
/// let tensor = Dequantize::new(Scheme::INT4, FloatType::BF16, FloatType::BF16, 4096, 14336);
/// assert_eq!(tensor.part_bytes()?.output, 4096 * 14336 * 2);
/// let at = Addresses { weight: 0x1000_0000, scale: 0x2000_0000, bias: Some(0x3000_0000), global_scale: None, output: 0x4000_0000 };
/// let launch = tensor.launch(&at)?.expect("there is something to decode");
/// assert_eq!((launch.kernel.name(), launch.grid, launch.block), ("dequantize_int4_bf16_to_bf16", [14336, 1], 256));
/// # Ok::<(), longshore_loader_cuda::dequantize::DequantizeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dequantize {
    scheme: Scheme,
    source: FloatType,
    target: FloatType,
    matrices: u64,
    rows: u64,
    columns: u64,
}

/// Device addresses of a tensor's parts and of the output. All of them are arrays without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Packed codes in 32-bit words, at a multiple of 4 bytes, or of 8 where codes have 8 bits and the output 16.
    pub weight: u64,
    /// Scales, at a multiple of their size.
    pub scale: u64,
    /// Biases, at a multiple of their size. Only affine schemes have biases.
    pub bias: Option<u64>,
    /// Optional F32 number that multiplies the scales of nvfp4.
    pub global_scale: Option<GlobalScaleAddress>,
    /// The output, at a multiple of 16 bytes.
    pub output: u64,
}

/// Address of one or more global scales, a multiple of 4 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobalScaleAddress {
    /// One global scale for the whole tensor.
    One(u64),
    /// One global scale for each matrix, `[matrices, 1, 1]`.
    PerMatrix(u64),
}

/// Lengths of the parts in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartBytes {
    /// Length of the packed codes.
    pub weight: u64,
    /// Length of the scales.
    pub scale: u64,
    /// Length of the biases; 0 where the scheme has none.
    pub bias: u64,
    /// Length of the output.
    pub output: u64,
}

/// A kernel with its grid and arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Launch {
    /// The kernel.
    pub kernel: Kernel,
    /// Blocks along x and y; there is 1 along z.
    pub grid: [u32; 2],
    /// Threads per block, along x. The kernels use no dynamic shared memory.
    pub block: u32,
    /// Arguments of the kernel.
    pub arguments: Arguments,
}

/// Arguments of every kernel, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arguments {
    /// Address of the packed codes.
    pub weight: u64,
    /// Address of the scales.
    pub scale: u64,
    /// Address of the biases, or of one global scale per block along y, or 0.
    pub extra: u64,
    /// Address of the output.
    pub output: u64,
    /// Number of 16-byte units of output per block along y. The parts of these blocks follow each other without gaps.
    pub units: u64,
    /// Base-2 logarithm of the number of units per group.
    pub group_shift: u32,
}

impl Dequantize {
    /// Describes one matrix `[rows, columns]`. `source` is the type of an affine scheme's scales and biases; the other
    /// schemes ignore it.
    #[must_use]
    pub const fn new(scheme: Scheme, source: FloatType, target: FloatType, rows: u64, columns: u64) -> Self {
        Self { scheme, source, target, matrices: 1, rows, columns }
    }

    /// Describes a stack `[matrices, rows, columns]` of such matrices.
    #[must_use]
    pub const fn with_matrices(mut self, matrices: u64) -> Self {
        self.matrices = matrices;
        self
    }

    /// Kernel that decodes the tensor.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        Kernel::new(self.scheme, self.source, self.target)
    }

    /// Computes the lengths of the parts.
    ///
    /// # Errors
    ///
    /// [`DequantizeError::Columns`] where rows are not whole groups, [`DequantizeError::TooLarge`] where there are too
    /// many elements.
    pub fn part_bytes(&self) -> Result<PartBytes, DequantizeError> {
        let Self { scheme, columns, .. } = *self;
        let group_size = scheme.group_size();
        if !columns.is_multiple_of(u64::from(group_size)) {
            return Err(DequantizeError::Columns { scheme, group_size, columns });
        }
        let elements = self.elements()?;
        let output = elements.checked_mul(size(self.target)).ok_or(self.too_large())?;
        let of_scale = if scheme.is_affine() { size(self.source) } else { 1 };
        // Neither part is longer than the output: a code has at most 8 bits, and a group at least 16 elements.
        let weight = elements / 8 * u64::from(scheme.bits());
        let scale = elements / u64::from(group_size) * of_scale;
        Ok(PartBytes { weight, scale, bias: if scheme.has_bias() { scale } else { 0 }, output })
    }

    /// Computes the launch that decodes the tensor, or `None` where the tensor has no elements.
    ///
    /// # Errors
    ///
    /// Every [`DequantizeError`] except [`DequantizeError::Driver`].
    pub fn launch(&self, at: &Addresses) -> Result<Option<Launch>, DequantizeError> {
        let bytes = self.part_bytes()?;
        if bytes.output == 0 {
            return Ok(None);
        }
        self.check(&bytes, at)?;
        let (extra, matrices) = match at.global_scale {
            None => (at.bias.unwrap_or(0), 1),
            Some(GlobalScaleAddress::One(address)) => (address, 1),
            Some(GlobalScaleAddress::PerMatrix(address)) => (address, u32::try_from(self.matrices).unwrap_or(u32::MAX)),
        };
        if matrices > MOST_MATRICES {
            return Err(DequantizeError::Matrices { most: MOST_MATRICES, found: self.matrices });
        }
        // A matrix is whole groups, and the number of units per group is a power of two.
        let units = bytes.output / u64::from(matrices) / UNIT_BYTES;
        let blocks = Some(units.div_ceil(UNITS_OF_BLOCK)).filter(|blocks| *blocks <= MOST_BLOCKS);
        let blocks = blocks.and_then(|blocks| u32::try_from(blocks).ok()).ok_or(self.too_large())?;
        let units_of_group = u64::from(self.scheme.group_size()) * size(self.target) / UNIT_BYTES;
        Ok(Some(Launch {
            kernel: self.kernel(),
            grid: [blocks, matrices],
            block: BLOCK,
            arguments: Arguments {
                weight: at.weight,
                scale: at.scale,
                extra,
                output: at.output,
                units,
                group_shift: units_of_group.trailing_zeros(),
            },
        }))
    }

    /// Checks that the addresses are those of the scheme's parts, aligned, and that no part overlaps the output.
    fn check(&self, bytes: &PartBytes, at: &Addresses) -> Result<(), DequantizeError> {
        let scheme = self.scheme;
        let missing = |part| DequantizeError::MissingPart { part, scheme };
        let unexpected = |part| DequantizeError::UnexpectedPart { part, scheme };
        if at.bias.is_some() && !scheme.has_bias() {
            return Err(unexpected("bias"));
        }
        if at.global_scale.is_some() && scheme != Scheme::NVFP4 {
            return Err(unexpected("global scale"));
        }
        let bias = at.bias.or((!scheme.has_bias()).then_some(0)).ok_or(missing("bias"))?;
        let (global, global_bytes) = match at.global_scale {
            None => (0, 0),
            Some(GlobalScaleAddress::One(address)) => (address, 4),
            Some(GlobalScaleAddress::PerMatrix(address)) => (address, 4u64.saturating_mul(self.matrices)),
        };
        let of_weight = if scheme.bits() == 8 && size(self.target) == 2 { 8 } else { 4 };
        let of_scale = if scheme.is_affine() { size(self.source) } else { 1 };
        let parts = [
            ("weight", at.weight, bytes.weight, of_weight),
            ("scale", at.scale, bytes.scale, of_scale),
            ("bias", bias, bytes.bias, of_scale),
            ("global scale", global, global_bytes, 4),
        ];
        for (part, address, len, expected) in parts.into_iter().chain([("output", at.output, bytes.output, UNIT_BYTES)])
        {
            if address == 0 && len != 0 {
                return Err(missing(part));
            }
            if !address.is_multiple_of(expected) {
                return Err(DequantizeError::Misaligned { part, expected, address });
            }
        }
        let end = at.output.checked_add(bytes.output).ok_or(self.too_large())?;
        for (part, address, len, _) in parts {
            if len != 0 && address < end && at.output < address.checked_add(len).ok_or(self.too_large())? {
                return Err(DequantizeError::Overlap { part, address, output: at.output, bytes: bytes.output });
            }
        }
        Ok(())
    }

    fn elements(&self) -> Result<u64, DequantizeError> {
        let Self { matrices, rows, columns, .. } = *self;
        if [matrices, rows, columns].contains(&0) {
            return Ok(0);
        }
        matrices.checked_mul(rows).and_then(|rows| rows.checked_mul(columns)).ok_or(self.too_large())
    }

    fn too_large(&self) -> DequantizeError {
        DequantizeError::TooLarge { matrices: self.matrices, rows: self.rows, columns: self.columns }
    }
}

fn size(float: FloatType) -> u64 {
    match float {
        FloatType::F32 => 4,
        FloatType::F16 | FloatType::BF16 => 2,
    }
}
