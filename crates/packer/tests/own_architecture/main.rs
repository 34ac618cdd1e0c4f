//! A program's own architecture reaches whatever opens and imports a model. The table is that of the process, so these
//! tests are a process of their own.

use std::{collections::BTreeMap, fs, path::Path, sync::Once};

use longshore_manifest::{
    ModelName, Silent, Store,
    document::expert_groups,
    weights::{OpenOptions, Source as Opened, Weights, plan::Selection},
};
use longshore_model::{
    architecture::{Architecture, Architectures},
    experts::ExpertName,
};
use longshore_packer::{ImportOptions, Plan, PlanOptions, Source};
use longshore_st_format::{Dtype, Limits, Shape, fixtures};

const CONFIG: &str = r#"{"architectures": ["TideForCausalLM"], "tide_width": 64, "tide_mates": 2}"#;

/// Registers an architecture that calls its experts mates, and states their number under names of its own.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut table = Architectures::built_in();
        let tide = Architecture::new(["TideForCausalLM"]).with_runtime("tide-engine");
        table.register(tide.with_experts(mates).with_facts(|reader, facts| {
            facts.hidden_size = reader.number("hidden_size", &["tide_width"]);
            facts.experts = reader.number("experts", &["tide_mates"]);
        }));
        table.install().expect("nothing has read a configuration before");
    });
}

/// Parses `<group>.mates.<index>.<rest>`.
fn mates(name: &str) -> ExpertName<'_> {
    let found = name.find(".mates.").and_then(|at| {
        let group = &name[..at + ".mates".len()];
        let (index, rest) = name[group.len() + 1..].split_once('.')?;
        Some(ExpertName::Single { group, index, rest })
    });
    found.unwrap_or_else(|| if name.contains(".mates.") { ExpertName::Other } else { ExpertName::parse(name) })
}

fn checkpoint(dir: &Path) {
    fs::write(dir.join("config.json"), CONFIG).expect("the directory is ours");
    let tensors: Vec<_> = ["model.embed_tokens.weight", "layers.0.mates.0.up.weight", "layers.0.mates.1.up.weight"]
        .map(|name| (name.to_owned(), Dtype::BF16, Shape::new([32, 64])))
        .into();
    fixtures::write_file(dir.join("model.safetensors"), &BTreeMap::new(), &tensors).expect("the directory is ours");
}

#[test]
fn directories_are_read_by_the_programs_table() {
    install();
    let dir = tempfile::tempdir().expect("the system has room for temporary files");
    checkpoint(dir.path());
    let source = Opened::open_dir(dir.path()).expect("the checkpoint is whole");
    let facts = &source.table().facts;
    assert_eq!((facts.hidden_size, facts.experts), (Some(64), Some(2)));

    let selection = Selection { experts: Some(vec![1]), ..Selection::default() };
    let options = OpenOptions { selection, ..OpenOptions::default() };
    let weights = Weights::open_source(&source, &options).expect("there is an expert 1");
    let names: Vec<_> = weights.names().collect();
    assert_eq!(names, ["layers.0.mates.1.up.weight", "model.embed_tokens.weight"]);
}

#[test]
fn imports_stack_the_experts_that_the_programs_table_names() {
    install();
    let dir = tempfile::tempdir().expect("the system has room for temporary files");
    checkpoint(dir.path());
    let store = Store::open(dir.path().join("store")).expect("the directory is ours");
    let source = Source::open(dir.path(), &Limits::default()).expect("the checkpoint is whole");
    let plan = Plan::new(source, &PlanOptions::default()).expect("it can be planned");
    let name: ModelName = "tide".parse().expect("it is a name");
    plan.import(&store, &name, &ImportOptions::default(), &Silent).expect("there is room");
    let model = store.model(&name).expect("it was imported");
    let source = Opened::of_model(&store, &model).expect("its table is there");
    let table = source.table();
    assert_eq!(table.facts.experts, Some(2));
    let groups: Vec<_> = expert_groups(table).iter().map(|group| (group.name.clone(), group.experts)).collect();
    assert_eq!(groups, [("layers.0.mates".to_owned(), 2)]);
    let warnings = &plan.warnings;
    assert!(warnings.iter().all(|warning| !warning.contains("TideForCausalLM")), "{warnings:?}");
}

#[test]
fn a_table_in_use_is_not_replaced() {
    install();
    assert!(Architectures::known().find("tide").is_some());
    assert!(Architectures::built_in().install().is_err());
}
