//! Tests of tensors that are handed to other libraries.
#![expect(unsafe_code, reason = "whoever takes a capsule follows its pointers")]

use longshore_fake_cuda_driver::Behaviour;
use longshore_loader_cuda::{
    CudaWeights, DecodeError, LoadOptions, cudarc::driver::CudaContext, dequantize::DequantizeError,
    dlpack::NoDlPackType,
};
use longshore_manifest::{document::Role, weights::plan::Selection};
use longshore_quant::FloatType;
use longshore_st_format::Dtype;

use crate::util::{Fixture, Given, driver, loader, model};

fn load(loader: &longshore_loader_cuda::Loader, fixture: &Fixture) -> CudaWeights {
    loader.load(&fixture.store, &fixture.model, &Selection::default(), &LoadOptions::default()).unwrap()
}

#[test]
fn a_capsule_keeps_the_memory() {
    let fixture = model();
    let (control, driver) = driver();
    {
        let weights = load(&loader(&driver), &fixture);
        let codes = weights.get("model.layers.0.mlp.experts.up_proj.weight").unwrap();
        let (address, bytes) = (codes.weight().address(), codes.weight().to_host().unwrap());
        let capsule = codes.weight().to_dlpack().unwrap();
        let scales = codes.companion(Role::Scale).unwrap().to_dlpack_versioned().unwrap();
        let taken = capsule.into_raw();
        drop(weights);
        assert_eq!(control.counters().device, 1);
        // SAFETY: the structure exists until its deleter is called.
        let tensor = unsafe { &(*taken).dl_tensor };
        assert_eq!((tensor.data as u64, tensor.byte_offset, tensor.ndim), (address, 0, 3));
        assert_eq!((tensor.device.device_type, tensor.device.device_id), (2, 0));
        assert_eq!((tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes), (1, 32, 1));
        // SAFETY: there is one number for each of the three axes.
        let shape = unsafe { std::slice::from_raw_parts(tensor.shape, 3) };
        // SAFETY: there is one number for each of the three axes.
        let strides = unsafe { std::slice::from_raw_parts(tensor.strides, 3) };
        assert_eq!((shape, strides), (&[4, 32, 8][..], &[256, 8, 1][..]));
        // SAFETY: the memory of this device is host memory.
        let found = unsafe { std::slice::from_raw_parts(tensor.data.cast::<u8>(), bytes.len()) };
        assert_eq!(found, bytes);
        // SAFETY: the structure exists until its deleter is called.
        let deleter = unsafe { (*taken).deleter }.unwrap();
        // SAFETY: the deleter is called once.
        unsafe { deleter(taken) };
        assert_eq!(control.counters().device, 1, "the other capsule is there");
        // SAFETY: the capsule has not been handed to a consumer.
        let versioned = unsafe { &*scales.as_ptr() };
        assert_eq!((versioned.version.major, versioned.flags, versioned.dl_tensor.dtype.code), (1, 1, 4));
        drop(scales);
        assert_eq!(control.counters().device, 0);
    }
    drop(driver);
    control.assert_clean();
}

#[test]
fn capsules_of_odd_arrays() {
    let fixture = Fixture::new(
        "demo:odd",
        &[
            vec![Given::plain("scalar", Dtype::F32, &[])],
            vec![Given::plain("empty", Dtype::F8E4M3, &[0, 4])],
            vec![Given::plain("narrow", Dtype::F4, &[2, 4])],
        ],
    );
    let (_control, driver) = driver();
    let weights = load(&loader(&driver), &fixture);
    let capsule = weights.get("scalar").unwrap().weight().to_dlpack().unwrap();
    // SAFETY: the capsule is alive.
    assert_eq!(unsafe { &(*capsule.as_ptr()).dl_tensor }.ndim, 0);
    let capsule = weights.get("empty").unwrap().weight().to_dlpack().unwrap();
    // SAFETY: the capsule is alive.
    let tensor = unsafe { &(*capsule.as_ptr()).dl_tensor };
    assert_eq!((tensor.ndim, tensor.dtype.code), (2, 10));
    let error = weights.get("narrow").unwrap().weight().to_dlpack().unwrap_err();
    assert!(matches!(error, NoDlPackType { dtype: Dtype::F4, .. }), "{error}");
}

#[test]
fn handles_are_there_to_wait_for() {
    let fixture = model();
    let (_control, driver) = driver();
    let weights = load(&loader(&driver), &fixture);
    assert!(!weights.stream().is_null() && !weights.event().is_null());
    assert!(weights.get("model.empty").unwrap().weight().to_host().unwrap().is_empty());
}

#[test]
fn tensors_are_decoded_where_they_lie() {
    let fixture = model();
    let (control, driver) = driver();
    {
        let weights = load(&loader(&driver), &fixture);
        control.behave(&Behaviour { deferred: true, ..Behaviour::default() });
        let floats = weights.dequantize(FloatType::BF16).unwrap();
        assert_eq!(floats.iter().len(), 6);
        assert_eq!(control.calls("cuLaunchKernel"), 6);
        assert_eq!(control.calls("cuModuleLoadData"), 1, "all are int4");
        let experts = floats.get("model.layers.2.mlp.experts.up_proj.weight").unwrap();
        assert_eq!((experts.dtype(), experts.shape().dims()), (Dtype::BF16, &[4, 32, 64][..]));
        assert_eq!(experts.address() % 256, 0);
        drop(weights);
        // The driver cannot run kernels; it fills the memory that they would write.
        for float in floats.iter() {
            let bytes = float.to_host().unwrap();
            let elements: u64 = float.shape().dims().iter().product();
            assert_eq!(bytes.len() as u64, 2 * elements);
            assert!(bytes.iter().all(|byte| *byte == 0x3F));
        }
        assert_eq!(floats.bytes(), 3 * 2 * (33 * 64 + 4 * 32 * 64));
    }
    control.assert_clean();
}

#[test]
fn an_answer_that_no_release_knows_is_an_error() {
    let fixture = model();
    let (control, driver) = driver();
    {
        let weights = load(&loader(&driver), &fixture);
        control.behave(&Behaviour { fault: Some(("cuLaunchKernel", 1, 99_999)), ..Behaviour::default() });
        let error = weights.dequantize(FloatType::F32).unwrap_err();
        let DecodeError::Launch { tensor, source: DequantizeError::Driver { source, .. } } = &error else {
            panic!("{error}")
        };
        assert_eq!(tensor, "model.layers.0.mlp.experts.up_proj.weight");
        assert_eq!(source.to_string(), "cuLaunchKernel answered an unknown code (99999)");
    }
    control.assert_clean();
}

#[test]
fn an_array_of_no_byte_is_nowhere() {
    let fixture = model();
    let (_control, driver) = driver();
    let weights = load(&loader(&driver), &fixture);
    assert_eq!(weights.get("model.empty").unwrap().weight().address(), 0);
}

#[test]
fn cudarc_gets_a_copy_of_its_own() {
    let fixture = model();
    let (control, driver) = driver();
    {
        let weights = load(&loader(&driver), &fixture);
        // The driver was opened by its path above. cudarc finds it by the name inside the library.
        let context = CudaContext::new(0).unwrap();
        let stream = context.new_stream().unwrap();
        let array = weights.get("model.embed_tokens.weight").unwrap().weight();
        let copy = array.to_cuda_slice(&stream).unwrap();
        assert_eq!(stream.clone_dtoh(&copy).unwrap(), array.to_host().unwrap());
        assert_eq!(weights.get("model.empty").unwrap().weight().to_cuda_slice(&stream).unwrap().len(), 1);
        drop(weights);
        assert_eq!(control.counters().device, 1, "the copy is there");
    }
    control.assert_clean();
}

#[test]
fn decoding_that_fails_leaves_nothing_behind() {
    let fixture = model();
    let (control, driver) = driver();
    {
        let weights = load(&loader(&driver), &fixture);
        for function in
            ["cuMemAlloc_v2", "cuModuleLoadData", "cuModuleGetFunction", "cuLaunchKernel", "cuStreamSynchronize"]
        {
            control.behave(&Behaviour { deferred: true, fault: Some((function, 1, 700)), ..Behaviour::default() });
            weights.dequantize(FloatType::F32).unwrap_err();
            assert_eq!(control.counters().device, 1, "{function}: the weights");
            assert_eq!(control.counters().hazards, 0, "{function}");
        }
        let plain = weights.get("model.norm.weight").unwrap();
        assert_eq!(plain.dequantize(FloatType::F32).unwrap().iter().len(), 0);
        let tensor = weights.get("model.layers.0.q_proj.weight").unwrap();
        assert_eq!(tensor.dequantize(FloatType::F32).unwrap().bytes(), 33 * 64 * 4);
    }
    control.assert_clean();
}
