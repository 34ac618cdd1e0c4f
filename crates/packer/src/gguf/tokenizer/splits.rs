//! The table of splits: how a text is cut into pieces before byte-level BPE merges bytes within each piece.
//!
//! A GGUF file has only the name of the split (`tokenizer.ggml.pre`), a `tokenizer.json` has its regular expressions.
//! The names are those that llama.cpp reads. The expressions are those of the models' own tokenizers where they are
//! known, else those that llama.cpp uses.

/// One way to split texts, and how llama.cpp treats the tokenizers that have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Split {
    /// Names in GGUF files. The first stands for the split where a file is written.
    pub(crate) names: &'static [&'static str],
    /// Expressions, applied in order. Each cuts the pieces of the one before it: matches and the texts between matches
    /// become pieces.
    pub(crate) steps: &'static [&'static str],
    /// Other expressions that cut the same pieces.
    pub(crate) spellings: &'static [&'static [&'static str]],
    /// Whether a piece that is a token is not merged from bytes.
    pub(crate) ignores_merges: bool,
    /// Whether a text begins with the token before texts where no key says so.
    pub(crate) adds_bos: bool,
    /// Whether spaces before punctuation are removed when tokens become text.
    pub(crate) cleans_spaces: bool,
}

/// The expression of GPT-2, which `tokenizer.json` states as a byte-level step with `use_regex`.
pub(crate) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const GPT2_CPP: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
/// One digit.
pub(crate) const DIGIT: &str = r"\p{N}";
/// A run of digits.
pub(crate) const DIGITS: &str = r"\p{N}+";
const DIGITS_3: &str = r"\p{N}{1,3}";
/// A run of punctuation, which `tokenizer.json` states as a step of its own.
pub(crate) const PUNCTUATION: &str = r"[\p{P}\$\+<=>\^~\|`]+";
const PUNCTUATION_CPP: &str = r"[\p{P}\$\+<=>\^~\|]+";

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3_CPP: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2_CPP: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35_CPP: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const JAIS2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}";
const CJK: &str = "[一-龥\u{3040}-ゟ゠-ヿ]+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
/// Latin, Greek, Cyrillic and some more letters, each by its number, since editors compose some of them.
const DEEPSEEK_LETTERS: &str = "\\s?[A-Za-z\u{b5}\u{c0}-\u{d6}\u{d8}-\u{f6}\u{f8}-\u{1ba}\u{1bc}-\u{1bf}\u{1c4}-\u{293}\u{295}-\u{2af}\
    \u{370}-\u{373}\u{376}\u{377}\u{37b}-\u{37d}\u{37f}\u{386}\u{388}-\u{38a}\u{38c}\u{38e}-\u{3a1}\u{3a3}-\
    \u{3f5}\u{3f7}-\u{481}\u{48a}-\u{52f}\u{531}-\u{556}\u{10a0}-\u{10c5}\u{13a0}-\u{13f5}\u{13f8}-\u{13fd}\
    \u{1c90}-\u{1cba}\u{1cbd}-\u{1cbf}\u{1d00}-\u{1d2b}\u{1d6b}-\u{1d77}\u{1d79}-\u{1d9a}\u{1e00}-\u{1f15}\
    \u{1f18}-\u{1f1d}\u{1f20}-\u{1f45}\u{1f48}-\u{1f4d}\u{1f50}-\u{1f57}\u{1f59}\u{1f5b}\u{1f5d}\u{1f5f}-\
    \u{1f7d}\u{1f80}-\u{1fb4}\u{1fb6}-\u{1fbc}\u{1fbe}\u{1fc2}-\u{1fc4}\u{1fc6}-\u{1fcc}\u{1fd0}-\u{1fd3}\
    \u{1fd6}-\u{1fdb}\u{1fe0}-\u{1fec}\u{1ff2}-\u{1ff4}\u{1ff6}-\u{1ffc}\u{2102}\u{2107}\u{210a}-\u{2113}\
    \u{2115}\u{2119}-\u{211d}\u{2124}\u{2126}\u{2128}\u{212a}-\u{212d}\u{212f}-\u{2134}\u{2139}\u{213c}-\
    \u{213f}\u{2145}-\u{2149}\u{214e}\u{2183}\u{2184}\u{2c00}-\u{2c7b}\u{2c7e}-\u{2ce4}\u{2ceb}-\u{2cee}\
    \u{2cf2}\u{2cf3}\u{a640}-\u{a66d}\u{a680}-\u{a69b}\u{a722}-\u{a76f}\u{a771}-\u{a787}\u{a78b}-\u{a78e}\
    \u{ab70}-\u{abbf}\u{fb00}-\u{fb06}\u{fb13}-\u{fb17}\u{ff21}-\u{ff3a}\u{ff41}-\u{ff5a}\u{10400}-\u{1044f}\
    \u{104b0}-\u{104d3}\u{104d8}-\u{104fb}\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}\u{1e900}-\
    \u{1e943}]+";
const DEEPSEEK_MARKS: &str = "\\s?[!-/:-~！-／：-～‘-‟\u{3000}-。]+";
const DEEPSEEK_CJK: &str = "[一-龥ࠀ-一가-\u{d7ff}]+";
const BLOOM: &str = " ?[^(\\s|.,!?…。，、।۔،)]+";
const BAILING: &str =
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
const SEED: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const UFAKZEKA: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const EXAONE_MOE: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+";
const MINICPM5: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const SPARK: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"##;

const fn plain(names: &'static [&'static str], steps: &'static [&'static str]) -> Split {
    Split { names, steps, spellings: &[], ignores_merges: false, adds_bos: false, cleans_spaces: true }
}

impl Split {
    const fn spelt(mut self, spellings: &'static [&'static [&'static str]]) -> Self {
        self.spellings = spellings;
        self
    }

    const fn ignoring_merges(mut self) -> Self {
        self.ignores_merges = true;
        self
    }

    const fn adding_bos(mut self) -> Self {
        self.adds_bos = true;
        self
    }

    const fn keeping_spaces(mut self) -> Self {
        self.cleans_spaces = false;
        self
    }

    /// The split with a name in a GGUF file.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        SPLITS.iter().find(|split| split.names.contains(&name))
    }

    /// The split with these expressions. Several tokenizers have the same; one that is like the tokenizer in how it
    /// merges is preferred.
    pub(crate) fn with_steps(steps: &[&str], ignores_merges: bool) -> Option<&'static Self> {
        // Some files have the characters in place of their escapes.
        let escaped = |step: &&str| step.replace('\r', r"\r").replace('\n', r"\n");
        let wanted: Vec<String> = steps.iter().map(escaped).collect();
        let is_wanted = |steps: &[&str]| steps.iter().map(escaped).eq(wanted.iter().cloned());
        let has = |split: &&Self| is_wanted(split.steps) || split.spellings.iter().any(|steps| is_wanted(steps));
        let alike = |split: &&Self| has(split) && split.ignores_merges == ignores_merges;
        SPLITS.iter().find(alike)
    }
}

/// Every split that is known. Splits that differ only in flags are rows of their own, the most common first.
pub(crate) const SPLITS: &[Split] = &[
    plain(
        &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
        &[LLAMA3],
    )
    .spelt(&[&[LLAMA3_CPP]])
    .ignoring_merges()
    .adding_bos(),
    plain(&["glm4", "glm5"], &[LLAMA3]).spelt(&[&[LLAMA3_CPP]]).ignoring_merges(),
    plain(&["dbrx", "smaug-bpe", "chatglm-bpe"], &[LLAMA3]).spelt(&[&[LLAMA3_CPP]]),
    plain(&["qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "hunyuan", "solar-open", "grok-2"], &[QWEN2])
        .spelt(&[&[QWEN2_CPP]])
        .keeping_spaces(),
    plain(&["stablelm2"], &[QWEN2]).spelt(&[&[QWEN2_CPP]]),
    plain(&["qwen35"], &[QWEN35]).spelt(&[&[QWEN35_CPP]]).keeping_spaces(),
    plain(
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "jina-es",
            "jina-de",
            "gigachat",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v2-code",
            "jina-v1-en",
            "roberta-bpe",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "exaone4",
        ],
        &[GPT2],
    )
    .spelt(&[&[GPT2_CPP]]),
    plain(&["trillion", "granite-docling"], &[GPT2]).spelt(&[&[GPT2_CPP]]).keeping_spaces(),
    plain(&["smollm", "command-r"], &[DIGIT, GPT2]).spelt(&[&[DIGIT, GPT2_CPP]]).keeping_spaces(),
    plain(&["starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2"], &[DIGIT, GPT2])
        .spelt(&[&[DIGIT, GPT2_CPP]]),
    plain(&["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], &[DIGITS_3, CJK, DEEPSEEK3]).keeping_spaces(),
    plain(&["spark2_5"], &[DIGITS_3, CJK, SPARK, DIGIT]).keeping_spaces(),
    plain(&["deepseek-llm"], &["[\r\n]", DEEPSEEK_LETTERS, DEEPSEEK_MARKS, r"\s+$", DEEPSEEK_CJK, DIGIT])
        .spelt(&[&["[\r\n]", DEEPSEEK_LETTERS, DEEPSEEK_MARKS, r"\s+$", DEEPSEEK_CJK, DIGITS]])
        .keeping_spaces(),
    plain(&["deepseek-coder"], &["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_CJK, DIGIT]).keeping_spaces(),
    plain(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[GPT4O]).keeping_spaces(),
    plain(&["granite-embed-multi-97m"], &[GPT4O]).ignoring_merges().keeping_spaces(),
    plain(&["tiny_aya", "cohere2moe"], &[r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O]).keeping_spaces(),
    plain(&["tekken"], &[TEKKEN]).ignoring_merges().adding_bos().keeping_spaces(),
    plain(&["falcon"], &[PUNCTUATION, GPT2, "[0-9][0-9][0-9]"]).spelt(&[&[PUNCTUATION, GPT2_CPP, "[0-9][0-9][0-9]"]]),
    plain(&["bloom", "gpt3-finnish"], &[BLOOM]),
    plain(&["poro-chat"], &[BLOOM]).keeping_spaces(),
    plain(&["viking"], &[BLOOM, DIGIT]).keeping_spaces(),
    plain(&["jais-2"], &[JAIS2]),
    plain(&["bailingmoe", "bailingmoe2", "llada-moe"], &[BAILING]).keeping_spaces(),
    plain(&["seed-coder"], &[SEED]).keeping_spaces(),
    plain(&["ufakzeka"], &[UFAKZEKA]).keeping_spaces(),
    plain(&["exaone-moe"], &[EXAONE_MOE]).keeping_spaces(),
    plain(&["minicpm5"], &[DIGITS_3, MINICPM5]).ignoring_merges(),
    plain(&["laguna"], &["[^\\n]+|[\\n]+", QWEN2]).keeping_spaces(),
    plain(&["superbpe"], &[DIGITS, r"(?=(\d{3})+(?!\d))"]).keeping_spaces(),
    // What llama.cpp does for a file that was converted before there were names.
    plain(&["default"], &[PUNCTUATION_CPP, GPT2, DIGITS, "[0-9][0-9][0-9]"]),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_stand_for_one_split() {
        let names: Vec<_> = SPLITS.iter().flat_map(|split| split.names).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        assert!(names.len() > 70, "{}", names.len());
        assert_eq!(Split::named("kimi-k2"), None);
    }

    #[test]
    fn the_table_is_read_backwards() {
        for split in SPLITS {
            for steps in split.spellings.iter().chain([&split.steps]) {
                let found = Split::with_steps(steps, split.ignores_merges).expect("it is in the table");
                assert_eq!((found.steps, found.ignores_merges), (split.steps, split.ignores_merges));
            }
        }
        let name = |steps: &[&str], ignores| Split::with_steps(steps, ignores).map(|split| split.names[0]);
        assert_eq!(name(&[LLAMA3], true), Some("llama-bpe"));
        assert_eq!(name(&[LLAMA3], false), Some("dbrx"));
        assert_eq!(name(&[QWEN2], false), Some("qwen2"));
        assert_eq!(name(&[DIGIT, GPT2], false), Some("smollm"));
        assert_eq!(name(&[&QWEN2.replace(r"\r", "\r").replace(r"\n", "\n")], false), Some("qwen2"));
        assert_eq!(name(&["[a-z]+"], false), None);
        assert_eq!(name(&[], false), None);
    }
}
