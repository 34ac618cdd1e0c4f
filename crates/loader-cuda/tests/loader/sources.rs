//! Tests of plain files, of shares, and of conversion.

use std::{collections::BTreeMap, fs};

use longshore_loader_cuda::{CudaError, LoadOptions};
use longshore_manifest::{
    document::Role,
    weights::{
        OpenOptions, Source, Weights,
        plan::{LoadPlanError, Selection, TensorParallel},
    },
};
use longshore_st_format::{Dtype, Shape, fixtures};
use tempfile::TempDir;

use crate::util::{Fixture, Given, driver, loader, model};

fn directory() -> TempDir {
    let dir = TempDir::new().unwrap();
    let tensor = |name: &str, dtype, dims: &[u64]| (name.to_owned(), dtype, Shape::from(dims.to_vec()));
    let tensors = [
        tensor("a.q_proj.weight", Dtype::BF16, &[64, 64]),
        tensor("a.down_proj.weight", Dtype::BF16, &[32, 128]),
        tensor("b.weight", Dtype::F32, &[33]),
        tensor("ids", Dtype::I64, &[3]),
    ];
    fixtures::write_file(dir.path().join("model.safetensors"), &BTreeMap::new(), &tensors).unwrap();
    dir
}

#[test]
fn a_directory_and_its_shares_have_the_bytes_of_the_hosts() {
    let dir = directory();
    let (control, driver) = driver();
    {
        let (loader, source) = (loader(&driver), Source::open(dir.path()).unwrap());
        let share = |rank| Selection { tensor_parallel: Some(TensorParallel { rank, of: 4 }), ..Selection::default() };
        for selection in [Selection::default(), share(0), share(3)] {
            let weights = loader.load_source(&source, &selection, &LoadOptions::default()).unwrap();
            let options = OpenOptions { selection, ..OpenOptions::default() };
            let host = Weights::open_source(&source, &options).unwrap();
            assert_eq!((weights.len(), weights.bytes()), (host.len(), host.bytes()));
            for (expected, found) in host.iter().zip(weights.iter()) {
                assert_eq!((expected.name(), expected.shape()), (found.name(), found.shape()));
                assert_eq!(expected.weight().data, found.weight().to_host().unwrap());
            }
        }
        let error = loader.load_source(&source, &share(4), &LoadOptions::default()).unwrap_err();
        assert!(matches!(error, CudaError::Plan(LoadPlanError::Rank { .. })), "{error}");
        let options = LoadOptions { verify: true, ..LoadOptions::default() };
        let error = loader.load_source(&source, &Selection::default(), &options).unwrap_err();
        assert!(matches!(error, CudaError::NotStored { .. }), "{error}");
    }
    control.assert_clean();
}

#[test]
fn a_file_that_has_changed_is_refused() {
    let dir = directory();
    let source = Source::open(dir.path()).unwrap();
    let other = directory();
    fs::copy(other.path().join("model.safetensors"), dir.path().join("new")).unwrap();
    fs::rename(dir.path().join("new"), dir.path().join("model.safetensors")).unwrap();
    let (control, driver) = driver();
    {
        let error = loader(&driver).load_source(&source, &Selection::default(), &LoadOptions::default()).unwrap_err();
        assert!(matches!(error, CudaError::Changed { .. }), "{error}");
        assert_eq!(control.counters().device, 0);
    }
    control.assert_clean();
}

#[test]
fn floats_are_converted_as_on_the_host() {
    let dir = directory();
    let (control, driver) = driver();
    {
        let (loader, source) = (loader(&driver), Source::open(dir.path()).unwrap());
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            let options = LoadOptions { dtype: Some(dtype), decode: true, ..LoadOptions::default() };
            let weights = loader.load_source(&source, &Selection::default(), &options).unwrap();
            let options = OpenOptions { dtype: Some(dtype), decode: true, ..OpenOptions::default() };
            let host = Weights::open_source(&source, &options).unwrap();
            for (expected, found) in host.iter().zip(weights.iter()) {
                assert_eq!((expected.name(), expected.dtype()), (found.name(), found.dtype()));
                assert_eq!(expected.weight().data, found.weight().to_host().unwrap());
            }
        }
    }
    control.assert_clean();
}

#[test]
fn codes_are_decoded_on_the_device() {
    let fixture = model();
    let (control, driver) = driver();
    {
        let loader = loader(&driver);
        let options = LoadOptions { dtype: Some(Dtype::BF16), decode: true, ..LoadOptions::default() };
        let weights = loader.load(&fixture.store, &fixture.model, &Selection::default(), &options).unwrap();
        let host = OpenOptions { dtype: Some(Dtype::BF16), decode: true, ..OpenOptions::default() };
        let host = Weights::open(&fixture.store, &fixture.model, &host).unwrap();
        assert_eq!((weights.len(), weights.bytes()), (host.len(), host.bytes()));
        assert_eq!(weights.quantization(), None);
        let plain = Weights::open(&fixture.store, &fixture.model, &OpenOptions::default()).unwrap();
        for (expected, found) in host.iter().zip(weights.iter()) {
            assert_eq!((expected.name(), expected.dtype()), (found.name(), found.dtype()));
            assert_eq!(expected.shape(), found.shape());
            assert!(found.companion(Role::Scale).is_none());
            let bytes = found.weight().to_host().unwrap();
            if plain.get(found.name()).unwrap().quantization().is_some() {
                // The driver cannot run kernels; it fills the memory that they would write.
                assert!(bytes.len() == expected.weight().data.len() && bytes.iter().all(|byte| *byte == 0x3F));
            } else {
                assert_eq!(bytes, expected.weight().data);
            }
        }
        // The codes are gone: there is the memory of the plain tensors and of the values.
        assert_eq!(control.counters().device, 2);
        weights.release().unwrap();
        assert_eq!(control.counters().device, 0);
    }
    control.assert_clean();
}

#[test]
fn what_cannot_be_converted_is_named() {
    let fixture = Fixture::new("demo:odd", &[vec![Given::plain("odd", Dtype::F8E4M3, &[4])]]);
    let (control, driver) = driver();
    {
        let loader = loader(&driver);
        let options = LoadOptions { dtype: Some(Dtype::F32), ..LoadOptions::default() };
        let error = loader.load(&fixture.store, &fixture.model, &Selection::default(), &options).unwrap_err();
        assert!(matches!(&error, CudaError::Plan(LoadPlanError::Convert { tensor, .. }) if tensor == "odd"), "{error}");
        assert!(loader.load(&fixture.store, &fixture.model, &Selection::default(), &LoadOptions::default()).is_ok());
    }
    control.assert_clean();
}
