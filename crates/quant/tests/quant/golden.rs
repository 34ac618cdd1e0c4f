//! Compares with vectors captured from MLX, to the bit but for the payload and sign of a NaN.
//!
//! A part of each set lies beside this file. The whole sets are checked on machines that have them. The set `metal` is
//! not a capture: it is from an emulation of the Metal kernels, written from their source.

use std::{fs, path::Path};

use longshore_quant::{Decoder, Encoder, FloatType, GlobalScale, Profile, Scheme};
use longshore_st_format::{SafeTensors, TensorView};

use crate::support::{self, floats};

type Vectors = SafeTensors<Vec<u8>>;

fn read(path: &Path) -> Vectors {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    SafeTensors::new(bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn ours(name: &str) -> Vectors {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quant/vectors").join(name))
}

/// Reads a whole set, where the machine has it.
fn whole(name: &str) -> Option<Vectors> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/quant_golden").join(name);
    path.exists().then(|| read(&path))
}

/// A parsed key such as `bf16.nvfp4.b4.g16.gs1.weight`.
struct Key<'a> {
    float: &'a str,
    /// The key without its last part.
    stem: &'a str,
    scheme: Scheme,
    global: Option<&'a str>,
}

impl<'a> Key<'a> {
    fn parse(key: &'a str) -> Option<Self> {
        let (stem, _) = key.rsplit_once('.')?;
        let mut parts = stem.split('.');
        let (float, mode) = (parts.next()?, parts.next()?);
        let bits: u8 = parts.next()?.strip_prefix('b')?.parse().ok()?;
        let group: u32 = parts.next()?.strip_prefix('g')?.parse().ok()?;
        let scheme = match mode {
            "affine" => Scheme::affine(bits, group).ok()?,
            other => Scheme::from_metadata(other, group).expect("the sets hold schemes that exist"),
        };
        Some(Self { float, stem, scheme, global: parts.next() })
    }

    fn float(&self) -> FloatType {
        self.float.to_uppercase().parse().expect("keys begin with a float type")
    }

    fn global(&self, set: &Vectors) -> Option<GlobalScale> {
        self.global.map(|name| {
            let value = floats(FloatType::F32, tensor(set, name).data)[0];
            GlobalScale::from_max_abs(value).expect("the sets hold usable scales")
        })
    }
}

fn tensor<'a>(set: &'a Vectors, name: &str) -> TensorView<'a> {
    set.tensor(name).unwrap_or_else(|| panic!("the set lacks {name}"))
}

/// Compares floats bit for bit; all NaN are equal.
fn assert_same_floats(float: FloatType, what: &str, found: &[u8], expected: &[u8]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.chunks_exact(float.size()).zip(expected.chunks_exact(float.size())).enumerate() {
        let (x, y) = (floats(float, a)[0], floats(float, b)[0]);
        assert!(a == b || x.is_nan() && y.is_nan(), "{what}, element {i}: {x:e}, expected {y:e}");
    }
}

fn assert_same_bytes(set: &Vectors, what: &str, found: &[u8], expected: &[u8]) {
    if found == expected {
        return;
    }
    let at = found.iter().zip(expected).position(|(a, b)| a != b).expect("they differ somewhere");
    let names = set.header().metadata().get("rows").cloned().unwrap_or_default();
    let row = at * names.split(',').count() / found.len();
    let count = found.iter().zip(expected).filter(|(a, b)| a != b).count();
    panic!(
        "{what}: {count} bytes differ, the first at {at}: {:#04x}, expected {:#04x}, in row {row}, {}",
        found[at],
        expected[at],
        names.split(',').nth(row).unwrap_or_default()
    );
}

/// Encodes the inputs of a set and compares all parts. Returns the number of tensors.
fn encodes_as(set: &Vectors, profile: Profile) -> usize {
    let mut checked = 0;
    for key in set.iter().map(|view| view.name).filter(|name| name.ends_with(".weight")) {
        let Some(key) = Key::parse(key) else { continue };
        let mut encoder = Encoder::new(key.scheme, key.float(), profile);
        if let Some(global) = key.global(set) {
            encoder = encoder.with_global_scale(global);
        }
        let input = tensor(set, &format!("{}.input", key.float));
        let found = support::encode(&encoder, input.data);
        let part = |name: &str| tensor(set, &format!("{}.{name}", key.stem)).data;
        if key.scheme.is_affine() {
            assert_same_floats(key.float(), &format!("{}.scales", key.stem), &found.scale, part("scales"));
            assert_same_floats(key.float(), &format!("{}.biases", key.stem), &found.bias, part("biases"));
        } else {
            assert_same_bytes(set, &format!("{}.scales", key.stem), &found.scale, part("scales"));
            assert!(found.bias.is_empty());
        }
        assert_same_bytes(set, &format!("{}.weight", key.stem), &found.weight, part("weight"));
        checked += 1;
    }
    checked
}

/// Decodes the parts in one set and compares them with the floats in another. Returns the number of tensors.
fn decodes_as(parts: &Vectors, floats: &Vectors) -> usize {
    let mut checked = 0;
    for expected in floats.iter().filter(|view| view.name.ends_with(".dequant")) {
        let Some(key) = Key::parse(expected.name) else { continue };
        // Under a global scale MLX returns F32, whatever type is requested.
        let output = expected.dtype.name().parse().expect("the sets hold floats");
        let mut decoder = Decoder::new(key.scheme, key.float(), output);
        if let Some(global) = key.global(parts) {
            decoder = decoder.with_global_scale(global.multiplier());
        }
        let part = |name: &str| parts.tensor(&format!("{}.{name}", key.stem)).map_or(&[][..], |view| view.data);
        let mut out = vec![0xA5; expected.data.len()];
        support::decode_with(&decoder, [part("weight"), part("scales"), part("biases")], &mut out);
        assert_same_floats(output, key.stem, &out, expected.data);
        checked += 1;
    }
    checked
}

#[test]
fn affine_is_what_mlx_gives_on_a_cpu() {
    assert_eq!(encodes_as(&ours("affine_cpu.safetensors"), Profile::Mlx), 14);
}

#[test]
fn block_formats_are_what_mlx_gives_on_a_cpu() {
    assert_eq!(encodes_as(&ours("block_cpu.safetensors"), Profile::Mlx), 15);
}

#[test]
fn everything_is_what_the_metal_kernels_say() {
    assert_eq!(encodes_as(&ours("metal.safetensors"), Profile::MlxMetal), 18);
}

#[test]
fn decodes_to_what_mlx_gives_on_a_cpu() {
    let set = ours("decode_cpu.safetensors");
    assert_eq!(decodes_as(&set, &set), 11);
}

#[test]
fn the_whole_sets() {
    let Some(cpu) = whole("golden_cpu.safetensors") else { return };
    // Three types of 18 affine schemes, mxfp4, mxfp8, and nvfp4 without and with three global scales.
    assert_eq!(encodes_as(&cpu, Profile::Mlx), 3 * (18 + 6));
    let dequantized = whole("golden_dequant_cpu.safetensors").expect("the sets lie together");
    assert_eq!(decodes_as(&cpu, &dequantized), 6 + 6);
    let metal = whole("golden_metal.safetensors").expect("the sets lie together");
    assert_eq!(encodes_as(&metal, Profile::MlxMetal), 8 + 6 + 6);
}
