//! Copies a stored tensor into a candle tensor: `cargo run -- STORE NAME TENSOR`. candle owns each of its tensors, so
//! it gets a copy.

use std::error::Error;

use candle_core::{
    CudaDevice, CudaStorage, Storage, Tensor,
    cuda_backend::{CudaDType, cudarc::driver::DeviceRepr},
    op::BackpropOp,
};
use half::{bf16, f16};
use longshore_loader_cuda::{CudaArray, CudaWeights, LoadOptions};
use longshore_manifest::{Store, weights::plan::Selection};
use longshore_st_format::Dtype;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [store, name, tensor] = &args[..] else { return Err("expected STORE NAME TENSOR".into()) };
    let store = Store::open(store)?;
    let selection = Selection { names: vec![tensor.clone()], ..Selection::default() };
    let weights = CudaWeights::load(&store, &store.model(&name.parse()?)?, 0, &selection, &LoadOptions::default())?;
    let array = weights.get(tensor).ok_or("there is no such tensor")?.weight();
    let device = CudaDevice::new_with_stream(0)?;
    let tensor = match array.dtype {
        Dtype::BF16 => to_candle::<bf16>(&array, &device)?,
        Dtype::F16 => to_candle::<f16>(&array, &device)?,
        Dtype::F32 => to_candle::<f32>(&array, &device)?,
        Dtype::U32 => to_candle::<u32>(&array, &device)?,
        Dtype::U8 => to_candle::<u8>(&array, &device)?,
        other => return Err(format!("candle has no tensors of {other} here").into()),
    };
    println!("{tensor}");
    Ok(())
}

fn to_candle<T: CudaDType + DeviceRepr>(array: &CudaArray<'_>, device: &CudaDevice) -> Result<Tensor, Box<dyn Error>> {
    let stream = device.cuda_stream();
    let copy = array.to_cuda_slice(&stream)?;
    // SAFETY: the memory belongs to this stream's device, its owner has given it up, and it holds this number of
    // elements.
    let typed = unsafe { stream.upgrade_device_ptr::<T>(copy.leak(), array.len() / size_of::<T>()) };
    let storage: CudaStorage = T::wrap_cuda_slice(typed, device.clone());
    let dims: Vec<usize> = array.shape.dims().iter().map(|dim| usize::try_from(*dim)).collect::<Result<_, _>>()?;
    Ok(Tensor::from_storage(Storage::Cuda(storage), dims, BackpropOp::none(), false))
}
