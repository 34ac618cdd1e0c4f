//! Access to the first device, if there is one.

use std::{env, sync::Arc};

use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, result};
use longshore_loader_cuda::{
    Driver,
    dequantize::{Addresses, Dequantize, Dequantizer, GlobalScaleAddress},
};
use longshore_quant::{Decoder, FloatType, Scheme};

use crate::cases::{Case, Global, Run};

/// Environment variable that requires a device.
const REQUIRED: &str = "LONGSHORE_TEST_DEVICE";

/// Length of the guard behind an output, which no kernel may write.
const GUARD: usize = 256;
const UNTOUCHED: u8 = 0xA5;

pub(crate) struct Device {
    dequantizer: Dequantizer,
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
}

impl Device {
    #[expect(clippy::print_stderr, reason = "a test that checks nothing says so")]
    pub(crate) fn open() -> Option<Self> {
        match Self::try_open() {
            Ok(device) => Some(device),
            Err(reason) => {
                assert!(env::var_os(REQUIRED).is_none_or(|value| value != "1"), "{REQUIRED} is set and {reason}");
                eprintln!("skipped: {reason}");
                None
            }
        }
    }

    fn try_open() -> Result<Self, String> {
        // cudarc panics where there is no driver, so the driver is opened here first.
        Driver::get().map_err(|error| error.to_string())?;
        let context = CudaContext::new(0).map_err(|error| format!("there is no CUDA device: {error:?}"))?;
        let stream = context.new_stream().expect("a stream is made");
        // cudarc's context and this crate's context are the same primary context.
        let device =
            longshore_loader_cuda::Device::open(0).map_err(|error| format!("there is no CUDA device: {error}"))?;
        let dequantizer = Dequantizer::new(&device);
        Ok(Self { dequantizer, stream, context })
    }

    fn upload(&self, bytes: &[u8]) -> CudaSlice<u8> {
        // Uploads one byte in place of an empty slice, because an allocation must not be empty.
        self.stream.clone_htod(if bytes.is_empty() { &[0][..] } else { bytes }).expect("the device has room")
    }

    fn address(&self, slice: &CudaSlice<u8>) -> u64 {
        slice.device_ptr(&self.stream).0
    }

    /// Launches the decoding, and waits for it.
    #[expect(unsafe_code, reason = "addresses in device memory")]
    fn launch(&self, tensor: &Dequantize, at: &Addresses) {
        // SAFETY: the stream belongs to the context. The callers' buffers are as long as the tensor's parts, and live
        // until the stream has finished, which is waited for here.
        unsafe { self.dequantizer.launch(self.stream.cu_stream(), tensor, at) }.expect("the kernel is launched");
        self.context.synchronize().expect("the kernel runs");
    }

    /// Decodes codes of all ones at both ends of 2^32 + 8,192 elements, with zeros between them. Skips a device without
    /// room for that.
    #[expect(clippy::print_stderr, reason = "a test that checks nothing says so")]
    pub(crate) fn check_ends_of_a_large_tensor(&mut self) {
        let scheme = Scheme::affine(2, 128).expect("it exists");
        let (rows, columns) = ((1 << 19) + 1, 8192);
        let tensor = Dequantize::new(scheme, FloatType::BF16, FloatType::BF16, rows, columns);
        let bytes = tensor.part_bytes().expect("it fits");
        let len = |bytes| usize::try_from(bytes).expect("it fits in memory");
        self.context.bind_to_thread().expect("the context is usable");
        let (free, _) = result::mem_get_info().expect("the driver counts memory");
        if free < len(bytes.output) * 3 / 2 {
            eprintln!("skipped: the device has {free} bytes left");
            return;
        }
        let row = len(bytes.weight / rows);
        let mut weight = vec![0; len(bytes.weight)];
        weight[..row].fill(0xFF);
        let end = weight.len() - row;
        weight[end..].fill(0xFF);
        // The numbers 1.0 and 0.0 in bf16.
        let scale = [0x80, 0x3F].repeat(len(bytes.scale / 2));
        let (weight, scale) = (self.upload(&weight), self.upload(&scale));
        let bias = self.stream.alloc_zeros::<u8>(len(bytes.bias)).expect("the device has room");
        let output = self.stream.alloc_zeros::<u8>(len(bytes.output)).expect("the device has room");
        self.launch(
            &tensor,
            &Addresses {
                weight: self.address(&weight),
                scale: self.address(&scale),
                bias: Some(self.address(&bias)),
                global_scale: None,
                output: self.address(&output),
            },
        );
        let found = self.stream.clone_dtoh(&output).expect("the output is read");
        let row = len(bytes.output / rows);
        let mut expected = vec![0; row];
        let (codes, scales) = (vec![0xFF; row / 8], [0x80, 0x3F].repeat(row / 2 / 128));
        Decoder::new(scheme, FloatType::BF16, FloatType::BF16)
            .decode(&codes, &scales, &vec![0; scales.len()], &mut expected)
            .expect("the parts fit");
        assert!(found[..row] == expected[..] && found[found.len() - row..] == expected[..]);
        assert!(found[row..found.len() - row].iter().all(|byte| *byte == 0));
    }
}

impl Run for Device {
    fn run(&mut self, case: &Case) -> Vec<u8> {
        let [weight, scale, bias] = [&case.weight, &case.scale, &case.bias].map(|part| self.upload(part));
        let global = case.global_bytes().map(|bytes| self.upload(&bytes));
        let output = self.upload(&vec![UNTOUCHED; case.output_bytes() + GUARD]);
        self.stream.synchronize().expect("the parts arrive");
        let global = global.as_ref().map(|global| self.address(global));
        let at = Addresses {
            weight: self.address(&weight),
            scale: self.address(&scale),
            bias: case.scheme.has_bias().then(|| self.address(&bias)),
            global_scale: global.map(|address| match case.global {
                Global::PerMatrix(_) => GlobalScaleAddress::PerMatrix(address),
                Global::None | Global::One(_) => GlobalScaleAddress::One(address),
            }),
            output: self.address(&output),
        };
        self.launch(&case.tensor(), &at);
        let mut found = self.stream.clone_dtoh(&output).expect("the output is read");
        self.stream.synchronize().expect("the output arrives");
        let guard = found.split_off(case.output_bytes());
        assert!(guard.iter().all(|byte| *byte == UNTOUCHED), "{:?} writes behind its output", case.tensor());
        found
    }
}
