//! Vectors captured from MLX.

use longshore_quant::{FloatType, GlobalScale, Scheme};
use longshore_st_format::SafeTensors;

use super::{Case, Global, Run, assert_same};

/// The vectors are part of the program, because it also runs on machines without this source tree.
const VECTORS: &[u8] = include_bytes!("../../../../quant/tests/quant/vectors/decode_cpu.safetensors");

/// Decodes the vectors captured from MLX, and compares the results with MLX's. Returns the number of tensors.
pub(crate) fn golden_cases(run: &mut impl Run) -> usize {
    let set = SafeTensors::new(VECTORS).expect("the vectors are safetensors");
    let part = |stem: &str, name: &str| set.tensor(&format!("{stem}.{name}")).map_or(vec![], |view| view.data.to_vec());
    let mut checked = 0;
    for expected in set.iter() {
        let Some(stem) = expected.name.strip_suffix(".dequant") else { continue };
        // A stem has parts, as in `bf16.nvfp4.b4.g16.gs1`.
        let words: Vec<&str> = stem.split('.').collect();
        let number = |word: &str| word[1..].parse::<u32>().expect("a width and a group are numbers");
        let (bits, group) = (number(words[2]), number(words[3]));
        let name = if words[1] == "affine" { format!("int{bits}") } else { words[1].to_owned() };
        let scheme = Scheme::from_metadata(&name, group).expect("the vectors are of schemes that exist");
        let source = words[0].to_uppercase().parse().expect("names begin with a float type");
        let target: FloatType = expected.dtype.name().parse().expect("outputs are floats");
        let groups = expected.data.len() / target.size() / usize::try_from(group).expect("it is small");
        let global = words.get(4).map_or(Global::None, |name| {
            let bytes = set.tensor(name).expect("global scales lie beside").data;
            let max_abs = f32::from_le_bytes(bytes.try_into().expect("it is one float"));
            Global::One(GlobalScale::from_max_abs(max_abs).expect("it is usable").multiplier())
        });
        let case = Case {
            weight: part(stem, "weight"),
            scale: part(stem, "scales"),
            bias: part(stem, "biases"),
            global,
            ..Case::groups(scheme, source, target, groups)
        };
        assert_same(&case, &run.run(&case), expected.data);
        checked += 1;
    }
    checked
}
