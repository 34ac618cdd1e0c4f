//! Selection of the files of a directory that are the model's weights.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use longshore_st_format::ShardIndex;

use super::{error::SourceError, walk::Entry};
use crate::io::has_suffix;

/// Beginnings of the names of a model's weight files: of transformers and MLX, and of diffusers.
pub(super) const STEMS: [&str; 2] = ["model", "diffusion_pytorch_model"];
pub(super) const SUFFIX: &str = ".safetensors";
const FOREIGN: [&str; 7] = [".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx"];

/// The weight files of a directory.
pub(super) enum Selection {
    /// The files that an index names.
    Indexed { name: String, index: ShardIndex },
    /// The files whose names are those of a model's weights, in byte order.
    Named(Vec<String>),
}

/// Chooses the weight files. An index decides if it lists any tensors; otherwise the names decide. A variant, such as
/// `fp16`, is chosen in the same way if there is no plain model. The index of a variant decides about plain files too, if
/// all files that it names are plain and there is no plain index.
pub(super) fn select(
    dir: &Path,
    entries: &[Entry],
    read_index: impl Fn(&Entry) -> Result<ShardIndex, SourceError>,
) -> Result<Selection, SourceError> {
    let top_level = || entries.iter().filter(|entry| entry.is_top_level());
    for stem in STEMS {
        let name = format!("{stem}{SUFFIX}.index.json");
        if let Some(entry) = top_level().find(|entry| entry.name == name) {
            let index = read_index(entry)?;
            if !index.is_empty() {
                return Ok(Selection::Indexed { name, index });
            }
        }
        let names = || top_level().map(|entry| &entry.name).filter(|name| name.starts_with(stem));
        let files: Vec<String> = names().filter(|name| has_suffix(name, SUFFIX)).cloned().collect();
        let (variants, plain): (Vec<_>, Vec<_>) = files.into_iter().partition(|name| variant_of(stem, name).is_some());
        let indexes = names().filter(|name| index_variant_of(stem, name).is_some());
        for name in indexes.clone().filter(|_| !plain.is_empty()) {
            let Some(entry) = top_level().find(|entry| entry.name == *name) else { continue };
            // One that cannot be read is left out with a warning, as it is not the index of these files.
            let Ok(index) = read_index(entry) else { continue };
            if !index.is_empty() && index.shards().all(|file| plain.iter().any(|name| name == file)) {
                return Ok(Selection::Indexed { name: name.clone(), index });
            }
        }
        let mut chosen = plain;
        if chosen.is_empty() {
            if let Some(variant) = one_variant(dir, stem, &variants, indexes.clone())? {
                for name in indexes.filter(|name| index_variant_of(stem, name) == Some(variant)) {
                    let Some(entry) = top_level().find(|entry| entry.name == *name) else { continue };
                    let index = read_index(entry)?;
                    if !index.is_empty() {
                        return Ok(Selection::Indexed { name: name.clone(), index });
                    }
                }
            }
            chosen = variants;
        }
        if !chosen.is_empty() {
            one_model(dir, stem, &chosen)?;
            return Ok(Selection::Named(chosen));
        }
    }

    Err(no_weights(dir, entries))
}

/// Whether a directory has files whose names are those of a model's weights.
pub(crate) fn has_weights(entries: &[Entry]) -> bool {
    let is_named = |name: &str| STEMS.iter().any(|stem| name.starts_with(stem)) && has_suffix(name, SUFFIX);
    entries.iter().any(|entry| entry.is_top_level() && is_named(&entry.name))
}

/// Whether a directory has safetensors files, whatever their names.
pub(crate) fn has_safetensors(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| entry.is_top_level() && has_suffix(&entry.name, SUFFIX))
}

/// Chooses the most helpful error for a directory without model weights.
pub(crate) fn no_weights(dir: &Path, entries: &[Entry]) -> SourceError {
    let names = || entries.iter().filter(|entry| entry.is_top_level() && entry.is_file()).map(|entry| &entry.name);
    let adapter = |name: &&String| name.starts_with("adapter_model.");
    if let Some(adapter) = names().find(adapter).filter(|_| names().any(|name| name == "adapter_config.json")) {
        return SourceError::Adapter { path: dir.join(adapter) };
    }
    let paths = |suffixes: &[&str]| -> Vec<PathBuf> {
        let wanted = |name: &&String| suffixes.iter().any(|suffix| has_suffix(name, suffix));
        names().filter(wanted).take(3).map(|name| dir.join(name)).collect()
    };
    SourceError::NoWeights { dir: dir.to_owned(), others: paths(&[SUFFIX]), foreign: paths(&FOREIGN).pop() }
}

/// The only variant of a model that is there in no plain one. `files` are weight files and `indexes` shard indexes of
/// variants. Two variants are an error. The files of variants beside a plain model are named among the directory's
/// left-out files.
fn one_variant<'n>(
    dir: &Path,
    stem: &str,
    files: &'n [String],
    indexes: impl Iterator<Item = &'n String>,
) -> Result<Option<&'n str>, SourceError> {
    let of_files = files.iter().filter_map(|name| Some((name, variant_of(stem, name)?)));
    let mut all = of_files.chain(indexes.filter_map(|name| Some((name, index_variant_of(stem, name)?))));
    let Some((first, variant)) = all.next() else { return Ok(None) };
    match all.find(|(_, other)| *other != variant) {
        None => Ok(Some(variant)),
        Some((second, _)) => Err(SourceError::Ambiguous { first: dir.join(first), second: dir.join(second) }),
    }
}

/// The variant in a file name: `fp16` in `model.fp16.safetensors`, in `model.fp16-00001-of-00002.safetensors`, and in
/// `model-00001-of-00002.fp16.safetensors`, as earlier versions of diffusers name it.
fn variant_of<'n>(stem: &str, name: &'n str) -> Option<&'n str> {
    let part = part_of(name);
    if let Some(Part { stem: found, variant: Some(variant), .. }) = part {
        return Some(variant).filter(|_| found == stem);
    }
    let of = part.map_or_else(|| name.strip_suffix(SUFFIX), |part| Some(part.stem))?;
    word(of.strip_prefix(stem)?.strip_prefix('.')?)
}

/// The variant in the name of a shard index: `bf16` in `model.safetensors.index.bf16.json`, as diffusers and transformers
/// name it, in `model.bf16.safetensors.index.json`, and in `model.safetensors.bf16.index.json`, as earlier versions of
/// diffusers do.
fn index_variant_of<'n>(stem: &str, name: &'n str) -> Option<&'n str> {
    let rest = name.strip_suffix(".json")?.strip_prefix(stem)?;
    let after = rest.strip_prefix(".safetensors.index.");
    let before = || rest.strip_suffix(".safetensors.index")?.strip_prefix('.');
    let between = || rest.strip_prefix(".safetensors.")?.strip_suffix(".index");
    word(after.or_else(before).or_else(between)?)
}

/// The text, if it can be the name of a variant.
fn word(text: &str) -> Option<&str> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (!text.is_empty() && text.bytes().all(is_word)).then_some(text)
}

/// Refuses names that cannot be those of one model: a whole model beside other files, two sets of numbered parts, or an
/// incomplete set.
fn one_model(dir: &Path, stem: &str, names: &[String]) -> Result<(), SourceError> {
    let whole = format!("{stem}{SUFFIX}");
    if let (true, Some(other)) = (names.contains(&whole), names.iter().find(|name| **name != whole)) {
        return Err(SourceError::Ambiguous { first: dir.join(whole), second: dir.join(other) });
    }
    let mut sets: BTreeMap<(&str, u32, Option<&str>), BTreeMap<u32, &String>> = BTreeMap::new();
    for name in names {
        if let Some(part) = part_of(name) {
            sets.entry((part.stem, part.total, part.variant)).or_default().insert(part.number, name);
        }
    }
    let mut firsts = sets.values().filter_map(|parts| parts.values().next()).map(|name| dir.join(name));
    let (first, second) = (firsts.next(), firsts.next());
    if let (Some(first), Some(second)) = (first, second) {
        return Err(SourceError::Ambiguous { first, second });
    }
    for ((stem, total, variant), parts) in sets {
        let missing = (1..=total).find(|number| !parts.contains_key(number));
        if let (Some(number), Some(found)) = (missing, parts.values().next()) {
            let variant = variant.map(|variant| format!(".{variant}")).unwrap_or_default();
            let missing = dir.join(format!("{stem}-{number:05}-of-{total:05}{variant}{SUFFIX}"));
            return Err(SourceError::MissingPart { missing, found: dir.join(found) });
        }
    }
    Ok(())
}

/// The name of one of several numbered files, such as `model-00001-of-00002.safetensors`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub stem: &'a str,
    /// Number of the part, from 1.
    pub number: u32,
    pub total: u32,
    /// Variant after the numbers, such as `fp16` in `model-00001-of-00002.fp16.safetensors`.
    pub variant: Option<&'a str>,
}

/// Parses the name of a numbered file. `None` if it is not numbered as transformers and diffusers number files.
pub(super) fn part_of(name: &str) -> Option<Part<'_>> {
    let (rest, total) = name.strip_suffix(SUFFIX)?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let (total, variant) = match total.split_once('.') {
        Some((total, variant)) => (total, Some(word(variant)?)),
        None => (total, None),
    };
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let five_digits = |text: &str| if digits(text) { text.parse().ok() } else { None };
    Some(Part { stem, number: five_digits(number)?, total: five_digits(total)?, variant })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_names() {
        assert_eq!(
            part_of("model.fp16-00002-of-00010.safetensors"),
            Some(Part { stem: "model.fp16", number: 2, total: 10, variant: None })
        );
        assert_eq!(
            part_of("model-00002-of-00010.fp16.safetensors"),
            Some(Part { stem: "model", number: 2, total: 10, variant: Some("fp16") })
        );
        for name in ["model.safetensors", "model-1-of-2.safetensors", "model-00001-of-00002.bin", "-of-.safetensors"] {
            assert_eq!(part_of(name), None, "{name}");
        }
    }

    #[test]
    fn variants() {
        for (name, variant) in [
            ("model.safetensors", None),
            ("model.fp16.safetensors", Some("fp16")),
            ("model.non_ema-00001-of-00002.safetensors", Some("non_ema")),
            ("model-00001-of-00002.safetensors", None),
            ("model..safetensors", None),
            ("model.a-b.safetensors", None),
            ("model_2.fp16.safetensors", None),
            ("model-00001-of-00002.fp16.safetensors", Some("fp16")),
            ("model_2-00001-of-00002.fp16.safetensors", None),
        ] {
            assert_eq!(variant_of("model", name), variant, "{name}");
        }
        for (name, variant) in [
            ("model.safetensors.index.json", None),
            ("model.safetensors.index.bf16.json", Some("bf16")),
            ("model.bf16.safetensors.index.json", Some("bf16")),
            ("model.safetensors.bf16.index.json", Some("bf16")),
            ("model.safetensors.index.a-b.json", None),
            ("model.safetensors.index..json", None),
            ("model_2.safetensors.index.bf16.json", None),
            ("model.bf16.safetensors", None),
        ] {
            assert_eq!(index_variant_of("model", name), variant, "{name}");
        }
        let choose = |files: &[&str], indexes: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
            let (files, indexes) = (owned(files), owned(indexes));
            let chosen = one_variant(Path::new("d"), "model", &files, indexes.iter());
            chosen.map(|variant| variant.map(str::to_owned)).map_err(drop)
        };
        let fp16 = "model.fp16.safetensors";
        assert_eq!(choose(&[], &[]), Ok(None));
        assert_eq!(choose(&[fp16], &["model.safetensors.index.fp16.json"]), Ok(Some("fp16".to_owned())));
        assert_eq!(choose(&["model.bf16.safetensors", fp16], &[]), Err(()));
        assert_eq!(choose(&[fp16], &["model.safetensors.index.bf16.json"]), Err(()));
    }

    #[test]
    fn sets_of_names() {
        let check = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            one_model(Path::new("d"), "model", &names)
        };
        assert!(check(&["model.safetensors"]).is_ok());
        assert!(check(&["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]).is_ok());
        assert!(check(&["model-a.safetensors", "model-b.safetensors"]).is_ok());
        assert!(matches!(check(&["model-a.safetensors", "model.safetensors"]), Err(SourceError::Ambiguous { .. })));
        assert!(matches!(
            check(&["model-00001-of-00001.safetensors", "model_b-00001-of-00001.safetensors"]),
            Err(SourceError::Ambiguous { .. })
        ));
        let error = check(&["model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"]);
        assert!(
            matches!(&error, Err(SourceError::MissingPart { missing, .. }) if missing.ends_with("model-00002-of-00003.safetensors"))
        );
    }
}
