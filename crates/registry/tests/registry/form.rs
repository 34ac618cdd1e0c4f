//! The wire form of models of published sizes, from tables of names and lengths.

use longshore_manifest::{Descriptor, Digest, Manifest, store::Added};
use longshore_registry::{LayerKind, WireLayout};

/// A model of blobs with these names and sizes.
fn model(blobs: impl IntoIterator<Item = (String, u64)>) -> Manifest {
    let added = |name: &str, size| Added::new(Digest::of(name.as_bytes()), size);
    let layers = blobs.into_iter().map(|(name, size)| Descriptor::tensor(name.clone(), added(&name, size))).collect();
    Manifest::new(Descriptor::config(added("config", 100_000)), layers)
}

/// Bytes of a matrix in int4 with groups of 64: 4.5 bits a value.
fn int4(rows: u64, columns: u64) -> u64 {
    rows * columns * 9 / 16 + 4096
}

fn norm(width: u64) -> u64 {
    2 * width + 4096
}

fn qwen3_30b_a3b() -> Manifest {
    let mut blobs =
        vec![("model.embed_tokens.weight".into(), int4(151_936, 2048)), ("lm_head.weight".into(), int4(151_936, 2048))];
    for layer in 0..48 {
        let p = format!("model.layers.{layer}");
        blobs.extend([
            (format!("{p}.self_attn.q_proj.weight"), int4(4096, 2048)),
            (format!("{p}.self_attn.k_proj.weight"), int4(512, 2048)),
            (format!("{p}.self_attn.v_proj.weight"), int4(512, 2048)),
            (format!("{p}.self_attn.o_proj.weight"), int4(2048, 4096)),
            (format!("{p}.self_attn.q_norm.weight"), norm(128)),
            (format!("{p}.self_attn.k_norm.weight"), norm(128)),
            (format!("{p}.input_layernorm.weight"), norm(2048)),
            (format!("{p}.post_attention_layernorm.weight"), norm(2048)),
            (format!("{p}.mlp.gate.weight"), 128 * 2048 * 2),
            (format!("{p}.mlp.experts"), 128 * 3 * int4(768, 2048)),
        ]);
    }
    model(blobs)
}

fn deepseek_v3() -> Manifest {
    let mut blobs =
        vec![("model.embed_tokens.weight".into(), int4(129_280, 7168)), ("lm_head.weight".into(), int4(129_280, 7168))];
    for layer in 0..62 {
        let p = format!("model.layers.{layer}");
        blobs.extend([
            (format!("{p}.self_attn.q_a_proj.weight"), int4(1536, 7168)),
            (format!("{p}.self_attn.q_b_proj.weight"), int4(24_576, 1536)),
            (format!("{p}.self_attn.kv_a_proj_with_mqa.weight"), int4(576, 7168)),
            (format!("{p}.self_attn.kv_b_proj.weight"), int4(32_768, 512)),
            (format!("{p}.self_attn.o_proj.weight"), int4(7168, 16_384)),
            (format!("{p}.self_attn.q_a_layernorm.weight"), norm(1536)),
            (format!("{p}.self_attn.kv_a_layernorm.weight"), norm(512)),
            (format!("{p}.input_layernorm.weight"), norm(7168)),
            (format!("{p}.post_attention_layernorm.weight"), norm(7168)),
        ]);
        if layer < 3 {
            blobs
                .extend(["gate", "up", "down"].map(|part| (format!("{p}.mlp.{part}_proj.weight"), int4(18_432, 7168))));
        } else {
            blobs.push((format!("{p}.mlp.gate.weight"), 256 * 7168 * 2));
            blobs.push((format!("{p}.mlp.experts"), 256 * 3 * int4(2048, 7168)));
            blobs.extend(
                ["gate", "up", "down"]
                    .map(|part| (format!("{p}.mlp.shared_experts.{part}_proj.weight"), int4(2048, 7168))),
            );
        }
    }
    model(blobs)
}

fn llama(layers: u64, width: u64, hidden: u64, kv: u64) -> Manifest {
    let mut blobs = vec![
        ("model.embed_tokens.weight".into(), int4(128_256, width)),
        ("lm_head.weight".into(), int4(128_256, width)),
    ];
    for layer in 0..layers {
        let p = format!("model.layers.{layer}");
        blobs.extend([
            (format!("{p}.self_attn.q_proj.weight"), int4(width, width)),
            (format!("{p}.self_attn.k_proj.weight"), int4(kv, width)),
            (format!("{p}.self_attn.v_proj.weight"), int4(kv, width)),
            (format!("{p}.self_attn.o_proj.weight"), int4(width, width)),
            (format!("{p}.mlp.gate_proj.weight"), int4(hidden, width)),
            (format!("{p}.mlp.up_proj.weight"), int4(hidden, width)),
            (format!("{p}.mlp.down_proj.weight"), int4(width, hidden)),
            (format!("{p}.input_layernorm.weight"), norm(width)),
            (format!("{p}.post_attention_layernorm.weight"), norm(width)),
        ]);
    }
    model(blobs)
}

/// Checks what holds for every layout: each byte of each blob once, in order, and no layer longer than a part.
fn check(layout: &WireLayout) {
    let mut at = vec![0; layout.blobs.len()];
    for layer in &layout.layers {
        assert!(layer.size > 0 && layer.size <= layout.part_size);
        assert_eq!(layer.size, layer.pieces.iter().map(|piece| piece.len).sum::<u64>());
        for piece in &layer.pieces {
            assert_eq!(piece.offset, at[piece.blob]);
            at[piece.blob] += piece.len;
        }
        assert!(layer.kind != LayerKind::Blob || layer.pieces.len() == 1);
    }
    assert_eq!(at, layout.blobs.iter().map(|blob| blob.size).collect::<Vec<_>>());
}

#[test]
fn large_models_have_few_layers() {
    let models = [
        ("Qwen3-30B-A3B", qwen3_30b_a3b(), 512, 240, 20),
        ("DeepSeek-V3", deepseek_v3(), 2048, 390, 20),
        ("Llama-3-70B", llama(80, 8192, 28_672, 1024), 512, 340, 300),
        ("Llama-3.1-405B", llama(126, 16_384, 53_248, 1024), 1024, 390, 600),
    ];
    // `share` is the largest part of the bytes that is packed, in thousandths.
    for (what, manifest, part, most, share) in models {
        let layout = WireLayout::new(&manifest);
        check(&layout);
        let packed: u64 = layout.layers.iter().filter(|layer| layer.pieces.len() > 1).map(|layer| layer.size).sum();
        let whole = layout.layers.iter().filter(|layer| layer.kind == LayerKind::Blob).count();
        let shown = format!(
            "{what}: {} layers, {whole} whole, {packed} of {} packed, parts of {}",
            layout.layers.len(),
            layout.bytes(),
            layout.part_size
        );
        assert!(layout.layers.len() < most && layout.layers.len() < 400, "{shown}");
        assert_eq!(layout.part_size, part << 20, "{shown}");
        assert!(packed * 1000 < layout.bytes() * share, "{shown}");
        // The manifest in the registry: less than 200 bytes for each layer.
        assert!(layout.layers.len() * 200 < 4 << 20, "{shown}");
        assert_eq!(WireLayout::new(&manifest), layout);
    }
}

#[test]
fn any_number_of_decoder_layers_fits() {
    for layers in [0, 1, 2, 381, 382, 383, 1000, 5000] {
        let blobs =
            (0..layers).flat_map(|layer| (0..3).map(move |part| (format!("h.{layer}.{part}.w"), (2 << 20) + part)));
        let layout = WireLayout::new(&model(blobs));
        check(&layout);
        assert!(layout.layers.len() <= 390, "{layers}: {}", layout.layers.len());
    }
}

#[test]
fn huge_blobs_are_cut() {
    let layout = WireLayout::new(&model([("a".into(), (512 << 20) * 3 + 1), ("b".into(), 5)]));
    check(&layout);
    let sizes: Vec<u64> = layout.layers.iter().map(|layer| layer.size).collect();
    assert_eq!(sizes, [512 << 20, 512 << 20, 512 << 20, 1, 100_005]);
    assert!(layout.layers[..4].iter().all(|layer| layer.kind == LayerKind::Part));
    assert_eq!(layout.layers[4].kind, LayerKind::Pack);
    // The whole of it has no room in eight layers of 512 MiB.
    let layout = WireLayout::new(&model([("a".into(), 10 << 30)]));
    check(&layout);
    assert_eq!(layout.part_size, 2 << 30);
}

#[test]
fn a_blob_that_two_tensors_share_travels_once() {
    let mut manifest = model([("model.layers.0.a".into(), 10), ("model.layers.1.a".into(), 10)]);
    let digest = manifest.layers[0].digest;
    manifest.layers[1].digest = digest;
    let layout = WireLayout::new(&manifest);
    check(&layout);
    assert_eq!(layout.blobs.len(), 2);
}
