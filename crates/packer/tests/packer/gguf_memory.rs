//! Memory of imports and exports of GGUF files is bounded, however large a tensor is.

use std::{fs, path::Path};

use longshore_gguf::{Dims, GgmlType, Layout, Metadata, Writer};
use longshore_manifest::Store;
use longshore_packer::{ExportFormat, ExportOptions, Plan, PlanOptions, export};
use longshore_quant::ggml;

use crate::{
    gguf_mlx::mlx,
    memory::{BOUND, MIB, Peak, alone},
    stores::{name, read, threads},
    support::{Dir, open, options},
};

#[test]
fn large_blocks_need_little() {
    alone(concat!(module_path!(), "::large_blocks_need_little"), measure, write);
}

/// Writes a file of a llama: queries of `Q4_0`, whose rows change places, an embedding of `Q6_K` and a head of floats.
fn write(dir: &Dir) {
    let mut metadata = Metadata::new();
    let mut number = |key: &str, value: u32| metadata.push(key, value).expect("it is new");
    number("llama.block_count", 1);
    number("llama.context_length", 128);
    number("llama.embedding_length", 8192);
    number("llama.attention.head_count", 64);
    metadata.push("general.architecture", "llama").expect("it is new");
    let tensors = [
        ("token_embd.weight", GgmlType::Q6K, [12288, 8192]),
        ("blk.0.attn_q.weight", GgmlType::Q4_0, [16384, 8192]),
        ("output.weight", GgmlType::F32, [2560, 8192]),
    ];
    let planned = tensors.map(|(name, kind, shape)| (name, kind, Dims::from_shape(&shape).expect("it is small")));
    let layout = Layout::new(metadata, planned).expect("names differ");
    let file = fs::File::create(dir.join("x.gguf")).expect("the directory is ours");
    let mut writer = Writer::new(file, layout).expect("there is room");
    let some = vec![0x11; 1 << 20];
    while let Some(tensor) = writer.current() {
        let mut left = usize::try_from(tensor.byte_len()).expect("it is below 4 GiB");
        assert!(left as u64 > 64 * MIB);
        while left > 0 {
            let len = left.min(some.len());
            writer.write(&some[..len]).expect("there is room");
            left -= len;
        }
    }
    writer.finish().expect("everything was written");
}

fn measure(dir: &Path) {
    let store = Store::open(dir.join("store")).expect("the directory is ours");
    let source = open(&dir.join("x.gguf")).expect("it is a model");
    let again = PlanOptions { requantize: true, ..options("int4", "uniform") };
    let types = [None, Some(ggml::GgmlType::Q8_0)];
    for (what, plan, types) in
        [("raw", PlanOptions::default(), &types[..]), ("mlx", mlx(), &types[1..]), ("int4", again, &types[1..])]
    {
        let plan = Plan::new(source.clone(), &plan).expect("it can be planned");
        let peak = Peak::new();
        plan.import(&store, &name("m"), &threads(2), &peak).expect("it can be imported");
        assert!(peak.above() < BOUND, "{} bytes to import {what}", peak.above());
        for asked in types {
            let options = ExportOptions {
                format: ExportFormat::Gguf,
                gguf_type: *asked,
                threads: std::num::NonZero::new(2),
                ..ExportOptions::default()
            };
            let (peak, out) = (Peak::new(), dir.join("out"));
            export(&store, &read(&store, "m"), &out, &options, &peak).expect("it can be exported");
            assert!(peak.above() < BOUND, "{} bytes to export {what} as {asked:?}", peak.above());
            fs::remove_dir_all(out).expect("it is ours");
        }
    }
}
