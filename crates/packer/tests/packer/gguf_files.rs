//! Files that an import makes of the metadata of a GGUF file.

use std::{collections::BTreeMap, fs};

use longshore_gguf::{Dims, GgmlType, Layout, Metadata, MetadataError, Writer};
use longshore_packer::{ExportFormat, ExportOptions, Source, longshore_model::ModelConfig};
use tokenizers::Tokenizer;

use crate::{
    stores::{export_to, files, import_as, read, store},
    support::{Dir, open},
};

/// Letters that stand for the bytes of ASCII in byte-level BPE, which keeps those that can be seen.
const LETTERS: [&str; 6] = ["a", "b", "c", "1", "Ġ", "Ċ"];

fn keys(fill: impl FnOnce(&mut Metadata) -> Result<(), MetadataError>) -> Metadata {
    let mut metadata = Metadata::new();
    fill(&mut metadata).expect("the keys are given once");
    metadata
}

fn llama(metadata: &mut Metadata) -> Result<(), MetadataError> {
    metadata.push("general.architecture", "llama")?;
    metadata.push("llama.block_count", 1_u32)?;
    metadata.push("llama.context_length", 128_u32)?;
    metadata.push("llama.embedding_length", 32_u32)?;
    metadata.push("llama.attention.head_count", 2_u32)?;
    metadata.push("llama.attention.layer_norm_rms_epsilon", 1e-6_f32)
}

fn byte_level(pre: &str) -> Metadata {
    keys(|metadata| {
        llama(metadata)?;
        metadata.push("tokenizer.ggml.model", "gpt2")?;
        metadata.push("tokenizer.ggml.pre", pre)?;
        metadata.push_array("tokenizer.ggml.tokens", LETTERS.into_iter().chain(["ab", "Ġab", "<s>", "</s>"]))?;
        metadata.push_array("tokenizer.ggml.token_type", [1, 1, 1, 1, 1, 1, 1, 1, 3, 3])?;
        metadata.push_array("tokenizer.ggml.merges", ["a b", "Ġ ab"])?;
        metadata.push("tokenizer.ggml.bos_token_id", 8_u32)?;
        metadata.push("tokenizer.ggml.eos_token_id", 9_u32)?;
        metadata.push("tokenizer.ggml.add_bos_token", true)?;
        metadata.push("tokenizer.chat_template", "{{ messages }}\n")?;
        metadata.push("tokenizer.chat_template.tool_use", "{{ tools }}")?;
        metadata.push("tokenizer.chat_template.../x", "{{ no }}")
    })
}

/// A directory with a file that has this metadata and a tensor.
fn directory(metadata: Metadata) -> Dir {
    let dims = Dims::from_shape(&[2]).expect("it is small");
    let layout = Layout::new(metadata, [("token_embd.weight", GgmlType::F32, dims)]).expect("it is one tensor");
    let mut writer = Writer::new(Vec::new(), layout).expect("a Vec takes it");
    writer.write(&[0; 8]).expect("it is planned");
    let dir = Dir::new();
    dir.file("x.gguf", writer.finish().expect("everything was written"));
    dir
}

/// The companion files that an import of the source stores.
fn stored(source: &Source) -> BTreeMap<String, Vec<u8>> {
    let place = Dir::new();
    let store = store(&place);
    import_as(&store, "m", source, "none");
    let model = read(&store, "m");
    let read = |digest| fs::read(store.blob_path(digest)).expect("it is stored");
    model.manifest.files().map(|(name, layer)| (name.to_string(), read(&layer.digest))).collect()
}

fn tokenizer(metadata: Metadata) -> Tokenizer {
    let files = stored(&directory(metadata).open().expect("it is whole"));
    Tokenizer::from_bytes(&files["tokenizer.json"]).expect("tokenizers loads it")
}

fn ids(tokenizer: &Tokenizer, text: &str, special: bool) -> Vec<u32> {
    tokenizer.encode(text, special).expect("it can be encoded").get_ids().to_vec()
}

#[test]
fn files_are_made_and_marked() {
    let dir = directory(byte_level("gpt-2"));
    let source = dir.open().expect("it is whole");
    assert!(source.warnings.iter().any(|note| note.contains("\"../x\"")), "{:?}", source.warnings);
    let place = Dir::new();
    let first = store(&place);
    import_as(&first, "m", &source, "none");
    let derived = [
        "additional_chat_templates/tool_use.jinja",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    let table = first.table(&read(&first, "m")).expect("it was imported");
    assert_eq!(table.import.derived, derived);
    assert_eq!(table.facts.architecture.as_deref(), Some("llama"));
    assert_eq!(table.facts.model_type.as_deref(), Some("llama"));
    assert_eq!((table.facts.tokens.bos, table.facts.tokens.eos.as_slice()), (Some(8), &[9][..]));
    assert_eq!(table.facts.tied_embeddings, Some(true));

    let found = stored(&source);
    assert_eq!(found["chat_template.jinja"], b"{{ messages }}\n");
    let config = ModelConfig::parse(&found["config.json"]).expect("it is a configuration");
    assert_eq!(config.architecture.as_deref(), Some("LlamaForCausalLM"));
    assert_eq!((config.hidden_size, config.heads, config.vocabulary), (Some(32), Some(2), Some(10)));

    // The file comes back alone, and a copy knows what was made.
    let options = ExportOptions { format: ExportFormat::Gguf, ..ExportOptions::default() };
    export_to(&first, "m", &place.join("out"), &options);
    assert_eq!(files(&place.join("out")).keys().collect::<Vec<_>>(), ["model.gguf"]);
    let copied = open(&first.manifest_path(&"m".parse().expect("it is a name"))).expect("it is whole");
    assert_eq!(copied.derived().collect::<Vec<_>>(), derived);
    assert_eq!(copied.architecture(), Some("llama"));
}

#[test]
fn a_file_beside_the_weights_stands_before_one_that_is_made() {
    let dir = directory(byte_level("gpt-2"));
    dir.file("tokenizer.json", "{}");
    dir.file("config.json", "{}");
    let source = dir.open().expect("it is whole");
    assert!(source.derived().all(|name| name != "tokenizer.json" && name != "config.json"));
    assert_eq!(stored(&source)["tokenizer.json"], b"{}");
}

#[test]
fn a_split_without_a_known_name_is_said() {
    let source = directory(byte_level("of-tomorrow")).open().expect("it is whole");
    assert!(source.derived().all(|name| !name.starts_with("tokenizer")));
    let said = |note: &String| note.contains("tokenizer.json is not rebuilt") && note.contains("\"of-tomorrow\"");
    assert!(source.warnings.iter().any(said), "{:?}", source.warnings);
}

#[test]
fn byte_level_bpe_is_loaded() {
    let loaded = tokenizer(byte_level("gpt-2"));
    assert_eq!(ids(&loaded, "ab ab\nba", false), [6, 7, 5, 1, 0]);
    assert_eq!(ids(&loaded, "ab</s>1", true), [8, 6, 9, 3]);
    assert_eq!(loaded.decode(&[6, 7, 5], false).expect("they are tokens"), "ab ab\n");
    // Every split that is known is one that can be loaded.
    for pre in [
        "llama-bpe",
        "qwen2",
        "smollm",
        "deepseek-llm",
        "deepseek-v3",
        "gpt-4o",
        "tekken",
        "falcon",
        "bloom",
        "bailingmoe",
    ] {
        assert_eq!(ids(&tokenizer(byte_level(pre)), "ab", false), [6], "{pre}");
    }
}

#[test]
fn sentencepiece_is_loaded() {
    let tokens = ["<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", "▁", "a", "b", "▁a", "ab", "▁ab", "<x>"];
    let metadata = |space: bool| {
        keys(|metadata| {
            llama(metadata)?;
            metadata.push("tokenizer.ggml.model", "llama")?;
            metadata.push_array("tokenizer.ggml.tokens", tokens)?;
            metadata.push_array("tokenizer.ggml.token_type", [2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 1, 4])?;
            let scores = [0.0_f32, 0.0, 0.0, 0.0, 0.0, -3.0, -4.0, -5.0, -1.0, -0.0, -2.0, 0.0];
            metadata.push_array("tokenizer.ggml.scores", scores)?;
            metadata.push("tokenizer.ggml.add_space_prefix", space)
        })
    };
    // The token with the highest score is made first: `ab`, and not `▁a`.
    let loaded = tokenizer(metadata(true));
    assert_eq!(ids(&loaded, "ab ab", false), [10, 10]);
    assert_eq!(ids(&loaded, "a<x>é", true), [1, 8, 11, 5, 3, 4]);
    assert_eq!(loaded.decode(&[10, 5, 3, 4], false).expect("they are tokens"), "ab é");
    let loaded = tokenizer(metadata(false));
    assert_eq!(ids(&loaded, "ab ab", false), [9, 10]);
    assert_eq!(loaded.decode(&[9, 10], false).expect("they are tokens"), "ab ab");
}

#[test]
fn unigram_and_wordpiece_are_loaded() {
    let unigram = keys(|metadata| {
        llama(metadata)?;
        metadata.push("tokenizer.ggml.model", "t5")?;
        metadata.push_array("tokenizer.ggml.tokens", ["<pad>", "</s>", "<unk>", "▁", "a", "b", "▁ab", "▁a"])?;
        metadata.push_array("tokenizer.ggml.token_type", [3, 3, 2, 1, 1, 1, 1, 1])?;
        let scores = [0.0_f32, 0.0, 0.0, -2.0, -2.0, -2.0, -3.5, -1.0];
        metadata.push_array("tokenizer.ggml.scores", scores)?;
        metadata.push("tokenizer.ggml.add_space_prefix", true)?;
        metadata.push("tokenizer.ggml.remove_extra_whitespaces", true)
    });
    // `▁a` and `b` are more probable together than `▁ab` alone.
    assert_eq!(ids(&tokenizer(unigram), "ab   a", true), [7, 5, 7, 1]);

    let wordpiece = keys(|metadata| {
        llama(metadata)?;
        metadata.push("tokenizer.ggml.model", "bert")?;
        metadata.push_array("tokenizer.ggml.tokens", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁a", "b", "▁b"])?;
        metadata.push_array("tokenizer.ggml.token_type", [3, 3, 3, 3, 1, 1, 1])?;
        metadata.push("tokenizer.ggml.unknown_token_id", 1_u32)?;
        metadata.push("tokenizer.ggml.cls_token_id", 2_u32)?;
        metadata.push("tokenizer.ggml.seperator_token_id", 3_u32)
    });
    assert_eq!(ids(&tokenizer(wordpiece), "Ab b x", true), [2, 4, 5, 6, 1, 3]);
}

#[test]
fn damaged_tokenizers_are_said_and_stop_nothing() {
    type Fill = fn(&mut Metadata) -> Result<(), MetadataError>;
    let cases: [(&str, Fill); 5] = [
        ("is another token too", |metadata| metadata.push_array("tokenizer.ggml.tokens", ["a", "a"])),
        ("it has no tokens", |_| Ok(())),
        ("types for 1 of them", |metadata| {
            metadata.push_array("tokenizer.ggml.tokens", ["a", "b"])?;
            metadata.push_array("tokenizer.ggml.token_type", [1])
        }),
        ("it has no scores", |metadata| metadata.push_array("tokenizer.ggml.tokens", ["a", "b"])),
        ("no finite number", |metadata| {
            metadata.push_array("tokenizer.ggml.tokens", ["a"])?;
            metadata.push_array("tokenizer.ggml.scores", [f32::NAN])
        }),
    ];
    for (expected, fill) in cases {
        let metadata = keys(|metadata| {
            llama(metadata)?;
            metadata.push("tokenizer.ggml.model", "llama")?;
            fill(metadata)
        });
        let source = directory(metadata).open().expect("it is whole");
        assert!(source.warnings.iter().any(|note| note.contains(expected)), "{expected}: {:?}", source.warnings);
        assert_eq!(source.derived().collect::<Vec<_>>(), ["config.json"]);
    }
}
