//! Checks that the loaded tensors are the stored ones.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use longshore_fake_cuda_driver::Behaviour;
use longshore_loader_cuda::LoadOptions;
use longshore_manifest::{
    Progress,
    document::Role,
    weights::{
        OpenOptions, Weights,
        plan::{Selection, Shard},
    },
};
use longshore_st_format::Dtype;

use crate::util::{Fixture, Given, add, driver, loader, model};

#[test]
fn every_tensor_arrives_whole_and_nothing_stays() {
    let fixture = model();
    let (control, driver) = driver();
    {
        let loader = loader(&driver);
        for verify in [false, true] {
            let options = LoadOptions { verify, ..Default::default() };
            let weights = loader.load(&fixture.store, &fixture.model, &Selection::default(), &options).unwrap();
            fixture.assert_same(&weights);
            assert_eq!(control.counters().device, 1, "one arena");
            let report = weights.report();
            assert_eq!((report.verified_blobs, report.partly_read_blobs), (if verify { report.blobs } else { 0 }, 0));
            assert_eq!(report.read_bytes, report.bytes);
            weights.release().unwrap();
            assert_eq!(control.counters().device, 0);
        }
    }
    drop(driver);
    control.assert_clean();
}

#[test]
fn the_ring_and_the_streams_are_made_once() {
    let fixture = model();
    let (control, driver) = driver();
    let loader = loader(&driver);
    let made = ["cuMemHostAlloc", "cuStreamCreate", "cuEventCreate"].map(|function| control.calls(function));
    for _ in 0..3 {
        let weights = loader.load(&fixture.store, &fixture.model, &Selection::default(), &LoadOptions::default());
        weights.unwrap().release().unwrap();
    }
    let after = ["cuMemHostAlloc", "cuStreamCreate", "cuEventCreate"].map(|function| control.calls(function));
    // Each load creates one event, to wait for.
    assert_eq!(after, [made[0], made[1], made[2] + 3]);
    assert_eq!(control.calls("cuMemAlloc_v2"), 3);
}

#[test]
fn small_tensors_share_copies() {
    let blobs: Vec<_> = (0..200).map(|at| vec![Given::plain(&format!("norm.{at:03}"), Dtype::BF16, &[16])]).collect();
    let fixture = Fixture::new("demo:norms", &blobs);
    let (control, driver) = driver();
    let loader = loader(&driver);
    let weights = loader.load(&fixture.store, &fixture.model, &Selection::default(), &LoadOptions::default()).unwrap();
    fixture.assert_same(&weights);
    // The tensors have 256 bytes each, with padding, and share slots of 4 KiB.
    assert_eq!(control.counters().copies, 13);
    // There is one wait per copy: before its slot is reused, or at the end.
    assert_eq!(control.calls("cuEventSynchronize"), 13);
    assert_eq!(control.calls("cuStreamSynchronize"), 200, "one for each read back by this test");
}

#[test]
fn a_part_of_a_model_costs_its_own_bytes() {
    let fixture = model();
    let (_control, driver) = driver();
    let loader = loader(&driver);
    let host = Weights::open(&fixture.store, &fixture.model, &OpenOptions::default()).unwrap();
    let selection = Selection {
        globs: vec!["model.layers.1.mlp.experts.*".into()],
        experts: Some(vec![3, 1]),
        ..Selection::default()
    };
    let options = LoadOptions { verify: true, ..Default::default() };
    let weights = loader.load(&fixture.store, &fixture.model, &selection, &options).unwrap();
    assert_eq!(
        weights.names().collect::<Vec<_>>(),
        ["model.layers.1.mlp.experts.up_proj.bias", "model.layers.1.mlp.experts.up_proj.weight"]
    );
    for found in weights.iter() {
        let stored = host.get(found.name()).unwrap();
        for role in [Role::Weight, Role::Scale, Role::Bias] {
            let Some(stored) = stored.companion(role) else { continue };
            let expert = stored.data.len() / 4;
            let expected = [&stored.data[3 * expert..], &stored.data[expert..2 * expert]].concat();
            assert_eq!(found.companion(role).unwrap().to_host().unwrap(), expected);
        }
    }
    let report = weights.report();
    assert_eq!((report.verified_blobs, report.partly_read_blobs), (0, 1));
    assert_eq!(report.read_bytes, weights.bytes());

    let selection = Selection {
        names: vec!["model.layers.0.q_proj.weight".into()],
        shards: vec![("*".into(), Shard::columns(1, 2))],
        ..Selection::default()
    };
    let weights = loader.load(&fixture.store, &fixture.model, &selection, &LoadOptions::default()).unwrap();
    let stored = host.get("model.layers.0.q_proj.weight").unwrap().weight();
    let expected: Vec<_> = stored.data.chunks_exact(32).flat_map(|row| &row[16..]).copied().collect();
    let found = weights.iter().next().unwrap();
    assert_eq!(found.weight().to_host().unwrap(), expected);
    assert_eq!((found.shape().dims(), found.weight().shape.dims()), (&[33, 32][..], &[33, 4][..]));
    assert_eq!((weights.group_size(), weights.quantization().unwrap().to_string()), (Some(32), "int4-g32".to_owned()));
}

#[test]
fn only_plain_floats_are_cast() {
    let fixture = model();
    let (_control, driver) = driver();
    let loader = loader(&driver);
    let options = LoadOptions { dtype: Some(Dtype::F32), ..Default::default() };
    let weights = loader.load(&fixture.store, &fixture.model, &Selection::default(), &options).unwrap();
    let host = Weights::open(&fixture.store, &fixture.model, &OpenOptions::default()).unwrap();
    for (stored, found) in host.iter().zip(weights.iter()) {
        let (stored, found) = (stored.weight(), found.weight());
        let bytes = found.to_host().unwrap();
        if stored.dtype == Dtype::BF16 {
            let widened: Vec<_> = stored.data.chunks_exact(2).flat_map(|value| [0, 0, value[0], value[1]]).collect();
            // A signalling NaN becomes a quiet one.
            let quiet = |bytes: &[u8]| {
                bytes
                    .chunks_exact(4)
                    .map(|v| f32::from_le_bytes(v.try_into().unwrap()))
                    .map(|v| if v.is_nan() { None } else { Some(v.to_bits()) })
                    .collect::<Vec<_>>()
            };
            assert_eq!(quiet(&bytes), quiet(&widened));
            assert_eq!(found.dtype, Dtype::F32);
        } else {
            assert_eq!((found.dtype, &bytes[..]), (stored.dtype, stored.data));
        }
    }
    assert_eq!(weights.get("model.norm.weight").unwrap().dtype(), Dtype::F32);
    assert_eq!(weights.get("model.embed_tokens.weight").unwrap().dtype(), Dtype::F32);
    assert_eq!(weights.get("model.layers.0.q_proj.weight").unwrap().dtype(), Dtype::BF16, "it is quantized");
}

#[test]
fn what_is_on_the_device_is_shared() {
    let blobs = |rows| {
        vec![vec![Given::plain("head.weight", Dtype::BF16, &[rows, 64])], vec![Given::int4("body.weight", &[64, 64])]]
    };
    let fixture = Fixture::new("demo:base", &blobs(8));
    let tuned = add(&fixture.store, "demo:tuned", &blobs(8), 7);
    let (control, driver) = driver();
    {
        let loader = loader(&driver);
        let load = |model, options: &LoadOptions<'_>| {
            loader.load(&fixture.store, model, &Selection::default(), options).unwrap()
        };
        let base = load(&fixture.model, &LoadOptions::default());
        let second = load(&tuned, &LoadOptions::default());
        let body = base.get("body.weight").unwrap();
        assert_eq!(second.get("body.weight").unwrap().weight().address(), body.weight().address());
        let shared = body.weight().len() + 2 * body.companion(Role::Scale).unwrap().len();
        assert_eq!(second.report().reused_bytes, shared as u64);
        assert_eq!(second.report().read_bytes, 8 * 64 * 2);
        assert_ne!(
            second.get("head.weight").unwrap().weight().to_host().unwrap(),
            base.get("head.weight").unwrap().weight().to_host().unwrap()
        );

        // All tensors are on the device already, so nothing is read and nothing is allocated.
        let allocations = control.counters().allocations;
        let again = load(&tuned, &LoadOptions::default());
        assert_eq!((again.report().read_bytes, again.report().reused_bytes), (0, again.bytes()));
        assert_eq!(control.counters().allocations, allocations);

        // Converted tensors are other bytes, so they are not shared.
        let options = LoadOptions { dtype: Some(Dtype::F32), ..Default::default() };
        assert_eq!(load(&tuned, &options).report().reused_bytes, shared as u64);
        let options = LoadOptions { reuse: false, ..options };
        assert_eq!(load(&tuned, &options).report().reused_bytes, 0);

        // Shared tensors stay until the last owner has released them.
        let bytes = body.weight().to_host().unwrap();
        base.release().unwrap();
        drop(again);
        assert_eq!(second.get("body.weight").unwrap().weight().to_host().unwrap(), bytes);
        drop(second);
        assert_eq!(control.counters().device, 0);
        assert_eq!(load(&tuned, &LoadOptions::default()).report().reused_bytes, 0);
    }
    drop(driver);
    control.assert_clean();
}

#[test]
fn loads_at_the_same_time_share_as_loads_one_after_another() {
    let fixture = model();
    let (control, driver) = driver();
    {
        let loader = loader(&driver);
        let start = Barrier::new(4);
        let load = || {
            start.wait();
            loader.load(&fixture.store, &fixture.model, &Selection::default(), &LoadOptions::default()).unwrap()
        };
        let weights: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(control.counters().allocations, 1);
        let reused: u64 = weights.iter().map(|weights| weights.report().reused_bytes).sum();
        assert_eq!(reused, 3 * weights[0].bytes());
        fixture.assert_same(&weights[3]);
    }
    control.assert_clean();
}

#[test]
fn components_keep_their_names_apart() {
    let given = |component| Given::plain("norm.weight", Dtype::BF16, &[8]).of(component);
    let fixture = Fixture::new("demo:pipeline", &[vec![given("text_encoder")], vec![given("vae")]]);
    let (_control, driver) = driver();
    let loader = loader(&driver);
    let weights = loader.load(&fixture.store, &fixture.model, &Selection::default(), &LoadOptions::default()).unwrap();
    fixture.assert_same(&weights);
    let vae = weights.component("vae").unwrap();
    assert_eq!(vae.get("norm.weight").unwrap().component(), Some("vae"));
    assert_eq!((vae.name(), vae.iter().count()), ("vae", 1));
    assert!(weights.component("unet").is_none());
    assert!(vae.get("other").is_none() && !weights.contains("other") && weights.contains("norm.weight"));

    let selection = Selection { component: Some("vae".into()), ..Selection::default() };
    let weights = loader.load(&fixture.store, &fixture.model, &selection, &LoadOptions::default()).unwrap();
    assert_eq!(weights.len(), 1);
}

#[test]
fn progress_reaches_the_end() {
    #[derive(Default)]
    struct Count(AtomicU64, AtomicU64);
    impl Progress for Count {
        fn begin(&self, _: &'static str, total: u64) {
            self.0.store(total, Ordering::Relaxed);
        }
        fn advance(&self, bytes: u64) {
            self.1.fetch_add(bytes, Ordering::Relaxed);
        }
    }
    let fixture = model();
    let (_control, driver) = driver();
    let count = Count::default();
    let options = LoadOptions { progress: &count, ..Default::default() };
    let loader = loader(&driver);
    let weights = loader.load(&fixture.store, &fixture.model, &Selection::default(), &options).unwrap();
    let (total, done) = (count.0.into_inner(), count.1.into_inner());
    assert_eq!(total, weights.report().arena_bytes);
    assert!(done <= total && done >= weights.bytes(), "{done} of {total}");
}

#[test]
fn the_link_is_measured_without_a_trace() {
    let fixture = model();
    let (control, driver) = driver();
    control.behave(&Behaviour { deferred: true, ..Behaviour::default() });
    {
        let loader = loader(&driver);
        let load = |measure_link| {
            let options = LoadOptions { measure_link, ..Default::default() };
            loader.load(&fixture.store, &fixture.model, &Selection::default(), &options).unwrap()
        };
        let first = load(false);
        assert_eq!(first.report().link, None);
        // All is shared: nothing is copied but what measures.
        let copied = control.counters().copied;
        let second = load(true);
        assert!(matches!(second.report().link, Some(Ok(1..))), "{:?}", second.report().link);
        assert!(control.counters().copied - copied >= 64 << 20);
        assert_eq!(second.report().reused_bytes, second.bytes());
        // That of the tensors, which is as it was.
        assert_eq!(control.counters().device, 1);
        fixture.assert_same(&first);
    }
    drop(driver);
    control.assert_clean();
}

#[test]
fn a_link_that_cannot_be_measured_leaves_the_load() {
    let fixture = model();
    let (control, driver) = driver();
    {
        let loader = loader(&driver);
        let options = LoadOptions { measure_link: true, reuse: false, ..Default::default() };
        for (function, nth) in [("cuMemGetInfo_v2", 1), ("cuMemAlloc_v2", 2), ("cuMemcpyHtoDAsync_v2", 200)] {
            control.behave(&Behaviour { fault: Some((function, nth, 700)), ..Behaviour::default() });
            let weights = loader.load(&fixture.store, &fixture.model, &Selection::default(), &options).unwrap();
            let Some(Err(error)) = &weights.report().link else { panic!("{function}: {:?}", weights.report()) };
            assert_eq!((error.call, error.code), (function, 700));
            fixture.assert_same(&weights);
            assert_eq!(control.counters().device, 1);
        }
    }
    drop(driver);
    control.assert_clean();
}
