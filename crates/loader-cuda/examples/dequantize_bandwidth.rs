//! Measures the bandwidth of the kernels, beside a copy within the device. Prints CSV.
//!
//! ```text
//! cargo run --release -p longshore-loader-cuda --example dequantize_bandwidth [DEVICE]
//! ```
//!
//! There is a line per scheme and type: bytes read and written, the best rate of several rounds, and its ratio to a
//! copy that reads and writes the same number of bytes in the same process. The tensor has 235 million weights and is
//! larger than any cache. Before the timing, a part of each output is compared with the values that `longshore-quant`
//! decodes.
#![expect(clippy::print_stdout, reason = "it is a program")]

#[cfg(not(any(target_os = "linux", windows)))]
fn main() {
    println!("there is no CUDA for this system");
}

#[cfg(any(target_os = "linux", windows))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    bandwidth::main()
}

#[cfg(any(target_os = "linux", windows))]
mod bandwidth {
    use std::{error::Error, sync::Arc};

    use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, result, sys};
    use longshore_loader_cuda::{
        Device, Driver,
        dequantize::{Addresses, Dequantize, Dequantizer, PartBytes},
    };
    use longshore_quant::{Decoder, FloatType, Scheme};

    const ROWS: u64 = 28_672;
    const COLUMNS: u64 = 8192;
    const ROUNDS: usize = 8;
    const LAUNCHES: u16 = 10;

    pub(crate) fn main() -> Result<(), Box<dyn Error>> {
        // cudarc panics where there is no driver, so the driver is opened here first.
        Driver::get()?;
        let ordinal = std::env::args().nth(1).map_or(Ok(0), |ordinal| ordinal.parse())?;
        let context = CudaContext::new(ordinal)?;
        let stream = context.new_stream()?;
        // cudarc's context and this crate's context are the same primary context.
        let dequantizer = Dequantizer::new(&Device::open(u32::try_from(ordinal)?)?);
        println!("device,scheme,source,target,bytes,gb_per_s,copy_gb_per_s,ratio");
        let device = context.name()?;
        let schemes =
            ["int2", "int3", "int4", "int4-g32", "int4-g128", "int5", "int6", "int8", "nvfp4", "mxfp4", "mxfp8"];
        for name in schemes {
            let scheme: Scheme = name.parse()?;
            for (source, target) in [
                (FloatType::BF16, FloatType::BF16),
                (FloatType::F16, FloatType::F16),
                (FloatType::F32, FloatType::BF16),
                (FloatType::BF16, FloatType::F32),
            ] {
                let (bytes, kernel) = measure(&stream, &dequantizer, scheme, source, target)?;
                let copy = measure_copy(&stream, bytes / 2)?;
                let ratio = kernel / copy;
                println!("{device},{name},{source},{target},{bytes},{kernel:.1},{copy:.1},{ratio:.3}");
            }
        }
        Ok(())
    }

    /// Returns the bytes that a launch moves, and the best rate in 10^9 bytes per second.
    #[expect(unsafe_code, reason = "addresses in device memory")]
    fn measure(
        stream: &Arc<CudaStream>,
        dequantizer: &Dequantizer,
        scheme: Scheme,
        source: FloatType,
        target: FloatType,
    ) -> Result<(u64, f64), Box<dyn Error>> {
        let tensor = Dequantize::new(scheme, source, target, ROWS, COLUMNS);
        let PartBytes { weight, scale, bias, output, .. } = tensor.part_bytes()?;
        // The scale is 2^-7 as a power of two, and 256 as E4M3. An infinite scale would make NaN of zeros.
        let of_scale = (!scheme.is_affine()).then_some(0x78);
        let (host, device) = [(weight, None), (scale, of_scale), (bias, None)]
            .into_iter()
            .map(|(len, byte)| upload(stream, usize::try_from(len)?, byte))
            .collect::<Result<(Vec<_>, Vec<_>), Box<dyn Error>>>()?;
        let out = stream.alloc_zeros::<u8>(usize::try_from(output)?)?;
        let at = |slice: &CudaSlice<u8>| slice.device_ptr(stream).0;
        let addresses = Addresses {
            weight: at(&device[0]),
            scale: at(&device[1]),
            bias: scheme.has_bias().then(|| at(&device[2])),
            global_scale: None,
            output: at(&out),
        };
        // SAFETY: the stream belongs to the context. The buffers have the tensor's lengths, and live until the stream
        // has been waited for.
        let launch = || unsafe { dequantizer.launch(stream.cu_stream(), &tensor, &addresses) };
        launch()?;
        compare(&stream.clone_dtoh(&out)?, &host, scheme, source, target)?;
        let bytes = weight + scale + bias + output;
        let rate = best_rate(stream, bytes, || launch().map_err(Into::into))?;
        Ok((bytes, rate))
    }

    /// Creates random bytes, or `len` times the same byte, here and on the device.
    fn upload(
        stream: &Arc<CudaStream>,
        len: usize,
        byte: Option<u8>,
    ) -> Result<(Vec<u8>, CudaSlice<u8>), Box<dyn Error>> {
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let mut bytes = vec![0; len.next_multiple_of(8).max(8)];
        for bytes in bytes.as_chunks_mut::<8>().0 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // No exponent has the highest bit set, so no number is NaN, for which results may differ.
            *bytes = byte.map_or((state & 0xBFBF_BFBF_BFBF_BFBF).to_le_bytes(), |byte| [byte; 8]);
        }
        bytes.truncate(len);
        let device = stream.clone_htod(if bytes.is_empty() { &[0][..] } else { &bytes })?;
        Ok((bytes, device))
    }

    /// Compares the first and the last row with the results of the decoder.
    fn compare(
        found: &[u8],
        parts: &[Vec<u8>],
        scheme: Scheme,
        source: FloatType,
        target: FloatType,
    ) -> Result<(), Box<dyn Error>> {
        let rows = usize::try_from(ROWS)?;
        let mut expected = vec![0; found.len() / rows];
        for row in [0, rows - 1] {
            let of = |bytes: &[u8]| bytes[row * (bytes.len() / rows)..][..bytes.len() / rows].to_vec();
            let [weight, scale, bias] = [of(&parts[0]), of(&parts[1]), of(&parts[2])];
            Decoder::new(scheme, source, target).decode(&weight, &scale, &bias, &mut expected)?;
            if expected != of(found) {
                return Err(format!("{scheme} of {source} to {target}: row {row} differs").into());
            }
        }
        Ok(())
    }

    /// Returns the best rate of copies of `len` bytes. Each reads and writes `len` bytes.
    #[expect(unsafe_code, reason = "addresses in device memory")]
    fn measure_copy(stream: &Arc<CudaStream>, len: u64) -> Result<f64, Box<dyn Error>> {
        let len = usize::try_from(len)?;
        let (from, to) = (stream.alloc_zeros::<u8>(len)?, stream.alloc_zeros::<u8>(len)?);
        let (from, to) = (from.device_ptr(stream).0, to.device_ptr(stream).0);
        best_rate(stream, 2 * u64::try_from(len)?, || {
            // SAFETY: both are allocations of that length, and live until the stream has been waited for.
            Ok(unsafe { result::memcpy_dtod_async(to, from, len, stream.cu_stream()) }?)
        })
    }

    /// Returns the best rate of several rounds of launches that move `bytes` each, in 10^9 bytes per second.
    fn best_rate(
        stream: &Arc<CudaStream>,
        bytes: u64,
        launch: impl Fn() -> Result<(), Box<dyn Error>>,
    ) -> Result<f64, Box<dyn Error>> {
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
            let start = stream.record_event(flags)?;
            for _ in 0..LAUNCHES {
                launch()?;
            }
            let end = stream.record_event(flags)?;
            stream.synchronize()?;
            best = best.min(f64::from(start.elapsed_ms(&end)?) / 1e3 / f64::from(LAUNCHES));
        }
        #[expect(clippy::cast_precision_loss, reason = "a length is far below 2^53")]
        let bytes = bytes as f64;
        Ok(bytes / best / 1e9)
    }
}
