//! Choice of the files of a directory that hold the weights, as an import chooses them.

use std::{collections::BTreeMap, path::Path};

use super::SourceError;

/// Beginnings of the names of a model's weight files: of transformers and MLX, and of diffusers.
const STEMS: [&str; 2] = ["model", "diffusion_pytorch_model"];
const SUFFIX: &str = ".safetensors";
/// Endings of weights in formats that are not read here.
const FOREIGN: [&str; 8] = [".bin", ".gguf", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx"];

/// Names of the indexes that may decide, the usual ones first.
pub(super) fn indexes(names: &[String]) -> Vec<&String> {
    let usual = STEMS.map(|stem| format!("{stem}{SUFFIX}.index.json"));
    let is_index = |name: &&String| name.ends_with(".safetensors.index.json");
    let mut found: Vec<_> = names.iter().filter(is_index).collect();
    found.sort_by_key(|name| usual.iter().position(|usual| usual == *name).unwrap_or(usual.len()));
    // Beside plain weights, another index is about other files.
    let has_plain = STEMS.iter().any(|stem| !plain(stem, names).is_empty());
    found.retain(|name| !has_plain || usual.contains(name));
    found
}

/// Names of the weight files of a directory without an index, in byte order.
pub(super) fn files(dir: &Path, names: &[String]) -> Result<Vec<String>, SourceError> {
    for stem in STEMS {
        let mut chosen = plain(stem, names);
        if chosen.is_empty() {
            chosen = names.iter().filter(|name| name.starts_with(stem) && name.ends_with(SUFFIX)).cloned().collect();
        }
        if !chosen.is_empty() {
            whole_sets(dir, &chosen)?;
            return Ok(chosen);
        }
    }
    let all: Vec<_> = names.iter().filter(|name| name.ends_with(SUFFIX)).cloned().collect();
    if all.is_empty() {
        let foreign = names.iter().find(|name| FOREIGN.iter().any(|end| name.ends_with(end)));
        return Err(SourceError::NoWeights { path: dir.into(), found: foreign.map(|name| dir.join(name)) });
    }
    Ok(all)
}

/// Weight files of a stem that are no variant, such as `fp16`.
fn plain(stem: &str, names: &[String]) -> Vec<String> {
    let of_stem = names.iter().filter(|name| name.starts_with(stem) && name.ends_with(SUFFIX));
    of_stem.filter(|name| !is_variant(stem, name)).cloned().collect()
}

/// Whether a name is that of a variant: `model.fp16.safetensors`, `model.fp16-00001-of-00002.safetensors`.
fn is_variant(stem: &str, name: &str) -> bool {
    let of = number_of(name).map_or_else(|| name.strip_suffix(SUFFIX), |(stem, ..)| Some(stem));
    let word = of.and_then(|of| of.strip_prefix(stem)?.strip_prefix('.'));
    word.is_some_and(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
}

/// Refuses sets of numbered files that are not whole.
fn whole_sets(dir: &Path, names: &[String]) -> Result<(), SourceError> {
    let mut sets: BTreeMap<(&str, u32), BTreeMap<u32, &String>> = BTreeMap::new();
    for name in names {
        if let Some((stem, number, total)) = number_of(name) {
            sets.entry((stem, total)).or_default().insert(number, name);
        }
    }
    for ((stem, total), parts) in sets {
        let missing = (1..=total).find(|number| !parts.contains_key(number));
        if let (Some(number), Some(found)) = (missing, parts.values().next()) {
            let missing = dir.join(format!("{stem}-{number:05}-of-{total:05}{SUFFIX}"));
            return Err(SourceError::MissingShard { missing, by: dir.join(found) });
        }
    }
    Ok(())
}

/// The stem, number and total of a name such as `model-00001-of-00002.safetensors`.
fn number_of(name: &str) -> Option<(&str, u32, u32)> {
    let (rest, total) = name.strip_suffix(SUFFIX)?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let parse = |text: &str| if digits(text) { text.parse().ok() } else { None };
    Some((stem, parse(number)?, parse(total)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> Option<Vec<String>> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        files(Path::new("d"), &names).ok()
    }

    #[test]
    fn the_usual_index_comes_first_and_others_are_not_about_plain_files() {
        let of = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            indexes(&names).into_iter().cloned().collect::<Vec<_>>()
        };
        let (usual, other) = ("model.safetensors.index.json", "consolidated.safetensors.index.json");
        assert_eq!(of(&[other, usual]), [usual, other]);
        assert_eq!(of(&[other, usual, "model-00001-of-00001.safetensors"]), [usual]);
        assert_eq!(of(&[other, "model.safetensors"]), [""; 0]);
        assert_eq!(of(&["model.fp16.safetensors.index.json"]).len(), 1);
    }

    #[test]
    fn names_choose_the_plain_model() {
        assert_eq!(chosen(&["model.fp16.safetensors", "model.safetensors"]), Some(vec!["model.safetensors".into()]));
        assert_eq!(chosen(&["model.fp16.safetensors"]), Some(vec!["model.fp16.safetensors".into()]));
        assert_eq!(chosen(&["consolidated.safetensors", "model.safetensors"]).map(|found| found.len()), Some(1));
        assert_eq!(chosen(&["a.safetensors", "b.safetensors"]).map(|found| found.len()), Some(2));
        assert_eq!(chosen(&["model-00001-of-00002.safetensors"]), None);
        assert_eq!(chosen(&["pytorch_model.bin"]), None);
    }
}
