//! Tensors of ggml's blocks: in schemes of MLX where these hold them, else decoded.

use longshore_loader_cuda::LoadOptions;
use longshore_manifest::weights::{BlockForm, OpenOptions, plan::Selection};
use longshore_st_format::Dtype;

use crate::util::{Fixture, Given, driver, loader};

fn fixture() -> Fixture {
    let blobs = [
        vec![Given::blocks("a.weight", "ggml_mxfp4", (32, 17), &[4, 64])],
        vec![Given::blocks("b.weight", "q4_1", (32, 20), &[2, 32])],
        vec![Given::blocks("c.weight", "q6_k", (256, 210), &[40, 256])],
        vec![Given::int4("d.weight", &[33, 64])],
        vec![Given::plain("e.weight", Dtype::F32, &[65])],
    ];
    Fixture::new("demo:blocks", &blobs)
}

#[test]
fn blocks_arrive_in_schemes_or_decoded() {
    let fixture = fixture();
    let (control, driver) = driver();
    {
        let loader = loader(&driver);
        for verify in [false, true] {
            let options = LoadOptions { verify, ..Default::default() };
            let weights = loader.load(&fixture.store, &fixture.model, &Selection::default(), &options).unwrap();
            fixture.assert_same_as(&weights, &OpenOptions { blocks: BlockForm::Mlx, ..Default::default() });
            let codings: Vec<_> = weights.iter().map(|tensor| tensor.quantization().map(ToString::to_string)).collect();
            let coding = |name: &str| Some(name.to_owned());
            assert_eq!(codings, [coding("mxfp4"), coding("int4-g32"), None, coding("int4-g32"), None]);
            assert_eq!(weights.get("c.weight").unwrap().dtype(), Dtype::BF16);
            assert_eq!(weights.report().tensors, 5);
            assert_eq!(weights.report().verified_blobs, if verify { 5 } else { 0 });
            weights.release().unwrap();
            assert_eq!(control.counters().device, 0);
        }
        let options = LoadOptions { dtype: Some(Dtype::F16), ..Default::default() };
        let selection = Selection { globs: vec!["[ce]*".into()], ..Selection::default() };
        let weights = loader.load(&fixture.store, &fixture.model, &selection, &options).unwrap();
        assert!(weights.iter().all(|tensor| tensor.dtype() == Dtype::F16));
        let open = OpenOptions { selection, dtype: options.dtype, blocks: BlockForm::Mlx, ..Default::default() };
        fixture.assert_same_as(&weights, &open);
    }
    drop(driver);
    control.assert_clean();
}
