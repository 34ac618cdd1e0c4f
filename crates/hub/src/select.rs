//! Which files of a repository are fetched. What is left out is said, and a choice between models is the user's.

use std::collections::{BTreeMap, BTreeSet};

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::{HubError, Listed, Listing};

/// Longest file beside the weights that is fetched, in bytes.
const MAX_COMPANION: u64 = 64 << 20;
/// Endings of weights of other programs, and of what no model needs to run.
const OTHERS: [&str; 34] = [
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".h5",
    ".msgpack",
    ".onnx",
    ".onnx_data",
    ".ot",
    ".tflite",
    ".mlmodel",
    ".mlpackage",
    ".npz",
    ".pdparams",
    ".pkl",
    ".pickle",
    ".tar",
    ".gz",
    ".zip",
    ".7z",
    ".png",
    ".jpg",
    ".jpeg",
    ".gif",
    ".webp",
    ".svg",
    ".mp4",
    ".mov",
    ".mp3",
    ".wav",
    ".flac",
    ".pdf",
    ".parquet",
    ".arrow",
];
/// Directories with the same weights in other forms.
const DIRECTORIES: [&str; 9] =
    ["original/", "onnx/", "openvino/", "coreml/", "tflite/", "flax/", "tensorflow/", "metal/", "consolidated/"];

/// Which files the user wants.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    include: Option<GlobSet>,
    exclude: Option<GlobSet>,
    /// The globs as they were given, for the key of a pull.
    texts: Vec<String>,
}

impl Selection {
    /// Makes a selection of globs. Without `include`, what a model of that kind usually needs is fetched.
    ///
    /// # Errors
    ///
    /// [`HubError::Glob`] if one of them cannot be understood.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, HubError> {
        let set = |globs: &[String]| -> Result<Option<GlobSet>, HubError> {
            let mut builder = GlobSetBuilder::new();
            for text in globs {
                let fail = |_| HubError::Glob { glob: text.chars().take(200).collect() };
                builder.add(Glob::new(text).map_err(fail)?);
            }
            let fail = |_| HubError::Glob { glob: globs.join(" ").chars().take(200).collect() };
            if globs.is_empty() { Ok(None) } else { builder.build().map(Some).map_err(fail) }
        };
        let texts = include.iter().map(|text| format!("+{text}")).chain(exclude.iter().map(|text| format!("-{text}")));
        Ok(Self { include: set(include)?, exclude: set(exclude)?, texts: texts.collect() })
    }

    pub(crate) fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The files to fetch.
    pub(crate) fn of<'l>(&self, listing: &'l Listing, reference: &str) -> Result<Chosen<'l>, HubError> {
        let chosen = self.include.is_some() || self.exclude.is_some();
        let wanted = |file: &&Listed| {
            let path = file.path.as_str();
            let is_included = match &self.include {
                // Files beside the weights come along with chosen weights.
                Some(include) => include.is_match(path) || is_small(file) && is_usual(path),
                None => is_usual(path),
            };
            is_included && self.exclude.as_ref().is_none_or(|exclude| !exclude.is_match(path))
        };
        let mut files: Vec<&Listed> = listing.files.iter().filter(wanted).collect();
        files.retain(|file| is_weights(file) || file.size <= MAX_COMPANION);
        let has_safetensors = files.iter().any(|file| has_suffix(file, ".safetensors"));
        let is_gguf = !has_safetensors && files.iter().any(|file| has_suffix(file, ".gguf"));
        if is_gguf {
            files = one_gguf(files, reference)?;
        } else {
            files.retain(|file| !has_suffix(file, ".gguf"));
            drop_twins(&mut files);
        }
        if !files.iter().any(|file| is_weights(file)) {
            return Err(HubError::NoWeights { reference: reference.to_owned(), chosen });
        }
        Ok(Chosen { files, is_gguf })
    }
}

/// The files to fetch.
pub(crate) struct Chosen<'l> {
    pub(crate) files: Vec<&'l Listed>,
    /// Whether the weights are GGUF files.
    pub(crate) is_gguf: bool,
}

pub(crate) fn has_suffix(file: &Listed, suffix: &str) -> bool {
    file.path.as_str().to_ascii_lowercase().ends_with(suffix)
}

pub(crate) fn is_weights(file: &Listed) -> bool {
    has_suffix(file, ".safetensors") || has_suffix(file, ".gguf")
}

fn is_small(file: &Listed) -> bool {
    !is_weights(file) && file.size <= MAX_COMPANION
}

pub(crate) fn is_usual(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let is_hidden = path.split('/').any(|part| part.starts_with('.'));
    let is_other =
        OTHERS.iter().any(|end| lower.ends_with(end)) || DIRECTORIES.iter().any(|dir| lower.starts_with(dir));
    let name = lower.rsplit('/').next().unwrap_or_default();
    let is_original = name.starts_with("consolidated") && name.ends_with(".safetensors");
    !is_hidden && !is_other && !is_original
}

/// Leaves out weights that are there in another variant: `fp16` and `non_ema` beside plain ones, and single files beside a pipeline.
fn drop_twins(files: &mut Vec<&Listed>) {
    let names: Vec<String> = files.iter().map(|file| file.path.as_str().to_owned()).collect();
    let stems: BTreeSet<String> = names.iter().map(|name| split_stem(name, ".safetensors")).collect();
    let has = |name: &str| names.iter().any(|other| other == name);
    let is_pipeline = has("model_index.json");
    let has_inner = names.iter().any(|name| name.contains('/') && name.ends_with(".safetensors"));
    files.retain(|file| {
        let path = file.path.as_str();
        if !has_suffix(file, ".safetensors") {
            return true;
        }
        if is_pipeline && has_inner && !path.contains('/') {
            return false;
        }
        ["fp16", "bf16", "fp32", "non_ema"].iter().all(|variant| {
            let plain = path.replacen(&format!(".{variant}"), "", 1);
            // The plain weights may lie in another number of shards.
            plain == path || !stems.contains(&split_stem(&plain, ".safetensors"))
        })
    });
}

/// The files of one GGUF model, with those beside it. Several are the user's choice.
fn one_gguf<'l>(files: Vec<&'l Listed>, reference: &str) -> Result<Vec<&'l Listed>, HubError> {
    let mut models: BTreeMap<String, Vec<&'l Listed>> = BTreeMap::new();
    for file in files.iter().filter(|file| has_suffix(file, ".gguf")) {
        let name = file.path.as_str().rsplit('/').next().unwrap_or_default();
        // The projector of a model's vision is no model.
        if !name.starts_with("mmproj") {
            models.entry(split_stem(file.path.as_str(), ".gguf")).or_default().push(file);
        }
    }
    if models.len() > 1 {
        let bytes = |files: &[&Listed]| files.iter().map(|file| file.size).sum::<u64>();
        let choices = models.iter().map(|(stem, files)| format!("{stem} ({} bytes)", bytes(files))).collect();
        return Err(HubError::Ambiguous { reference: reference.to_owned(), choices });
    }
    let model: Vec<&Listed> = models.into_values().flatten().collect();
    Ok(files.into_iter().filter(|file| !has_suffix(file, ".gguf") || model.contains(file)).collect())
}

/// The path without its ending and without the number of a split file.
fn split_stem(path: &str, suffix: &str) -> String {
    let stem = path.strip_suffix(suffix).unwrap_or(path);
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = stem.rsplitn(4, '-').collect();
    match parts[..] {
        [count, "of", number, stem] if digits(count) && digits(number) => stem.to_owned(),
        _ => stem.to_owned(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
mod tests {
    use longshore_manifest::RelativePath;

    use super::*;
    use crate::FileDigest;

    fn listing(paths: &[&str]) -> Listing {
        let file = |path: &&str| Listed {
            path: RelativePath::parse(path).unwrap(),
            size: 100,
            digest: FileDigest::Git("0".repeat(40)),
        };
        Listing { repository: "a/b".into(), commit: "0".repeat(40), files: paths.iter().map(file).collect() }
    }

    fn chosen(paths: &[&str], include: &[&str], exclude: &[&str]) -> Result<Vec<String>, HubError> {
        let own = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>();
        let selection = Selection::new(&own(include), &own(exclude)).unwrap();
        let listing = listing(paths);
        let chosen = selection.of(&listing, "hf:a/b@main")?;
        Ok(chosen.files.iter().map(|file| file.path.as_str().to_owned()).collect())
    }

    #[test]
    fn what_a_model_needs_is_fetched_once() {
        let paths = [
            ".gitattributes",
            "README.md",
            "config.json",
            "consolidated.safetensors",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "onnx/model.onnx",
            "original/x.safetensors",
            "pytorch_model.bin",
            "tokenizer.json",
            "photo.png",
        ];
        let expected = [
            "README.md",
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "tokenizer.json",
        ];
        assert_eq!(chosen(&paths, &[], &[]).unwrap(), expected);
        assert_eq!(chosen(&paths, &[], &["*.md"]).unwrap(), &expected[1..]);
        assert!(matches!(chosen(&paths, &["nothing"], &[]), Err(HubError::NoWeights { chosen: true, .. })));
    }

    #[test]
    fn a_pipeline_comes_in_its_plain_variant() {
        let paths = [
            "flux1-dev.safetensors",
            "model_index.json",
            "text_encoder/model.fp16.safetensors",
            "text_encoder/model.safetensors",
            "unet/diffusion_pytorch_model.non_ema.safetensors",
            "unet/diffusion_pytorch_model.safetensors",
            "vae/only.fp16.safetensors",
        ];
        let expected = [
            "model_index.json",
            "text_encoder/model.safetensors",
            "unet/diffusion_pytorch_model.safetensors",
            "vae/only.fp16.safetensors",
        ];
        assert_eq!(chosen(&paths, &[], &[]).unwrap(), expected);
    }

    #[test]
    fn a_variant_in_another_number_of_shards_is_a_twin() {
        let paths = [
            "model-00001-of-00003.safetensors",
            "model-00002-of-00003.safetensors",
            "model-00003-of-00003.safetensors",
            "model.fp16-00001-of-00002.safetensors",
            "model.fp16-00002-of-00002.safetensors",
            "other.fp16-00001-of-00001.safetensors",
            "whole-00001-of-00002.fp16.safetensors",
            "whole-00002-of-00002.fp16.safetensors",
            "whole.safetensors",
        ];
        let expected = [paths[0], paths[1], paths[2], paths[5], paths[8]];
        assert_eq!(chosen(&paths, &[], &[]).unwrap(), expected);
    }

    #[test]
    fn one_of_several_quantizations_has_to_be_meant() {
        let paths =
            ["README.md", "m-Q4_K_M.gguf", "m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf", "mmproj-m.gguf"];
        match chosen(&paths, &[], &[]) {
            Err(HubError::Ambiguous { choices, .. }) => {
                assert_eq!(choices, ["m-Q4_K_M (100 bytes)", "m-Q8_0 (200 bytes)"]);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(chosen(&paths, &["*Q8_0*"], &[]).unwrap(), ["README.md", paths[2], paths[3]]);
        assert_eq!(chosen(&paths[..2], &[], &[]).unwrap(), &paths[..2]);
    }

    #[test]
    fn a_pattern_that_is_none_is_named() {
        assert!(matches!(Selection::new(&["[".into()], &[]), Err(HubError::Glob { glob }) if glob == "["));
    }
}
