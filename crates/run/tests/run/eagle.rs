//! EAGLE-3 heads: their logits, and answers with their help.

use std::{collections::BTreeMap, fs, path::Path};

use longshore_packer::{ImportOptions, Plan, PlanOptions, Source as Import, quant::policy::Policy, st_format::Limits};
use longshore_run::{
    Eagle, LoadError, LoadOptions, Model, RunError, Speculation, argmax,
    manifest::{
        Silent, Store,
        st_format::{Dtype, Layout, Shape},
        weights::Source,
    },
};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::checkpoint::{Case, values};

/// A recorded head.
#[derive(Debug, Clone, Deserialize)]
struct Head {
    target: Value,
    target_tensors: BTreeMap<String, Vec<u64>>,
    #[serde(rename = "head")]
    config: Value,
    tensors: BTreeMap<String, Vec<u64>>,
    offsets: Vec<i64>,
    tokens: Vec<u32>,
    /// Logits after each pair of tokens.
    logits: Vec<Vec<f32>>,
}

/// Changes of a head's values: the name of a tensor, and what takes their place.
type Change<'c> = &'c dyn Fn(&str, Vec<f32>) -> Vec<f32>;

impl Head {
    fn named(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/heads");
        let bytes = fs::read(folder.join(format!("{name}.json"))).expect("it is recorded");
        serde_json::from_slice(&bytes).expect("it is a head")
    }

    fn write_target(&self, folder: &Path, change: Change<'_>) {
        let values = |name: &str| change(name, values(name, &self.target_tensors[name]));
        write(folder, &self.target, &self.target_tensors, &[], &values);
    }

    fn write_head(&self, folder: &Path, change: Change<'_>) {
        let values = |name: &str| change(name, values(&format!("draft.{name}"), &self.tensors[name]));
        write(folder, &self.config, &self.tensors, &self.offsets, &values);
    }

    /// Stores the head beside its target, with weights in `scheme` if one is given, and opens both.
    fn open(&self, scheme: Option<&str>, [of_target, of_head]: [Change<'_>; 2]) -> (TempDir, Model) {
        let home = tempfile::tempdir().expect("there is room");
        let [target, head] = ["target", "head"].map(|name| home.path().join(name));
        self.write_target(&target, of_target);
        self.write_head(&head, of_head);
        let open = |path: &Path| Import::open(path, &Limits::default()).expect("it is a checkpoint");
        let both = open(&target).with_draft(open(&head)).expect("the maps are right");
        let scheme = scheme.map(|scheme| scheme.parse().expect("it is a scheme"));
        let policy = Policy::named("uniform").expect("it is a policy");
        let options = PlanOptions { scheme, policy, ..PlanOptions::default() };
        let store = Store::open(home.path().join("store")).expect("there is room");
        let name = "m".parse().expect("it is a name");
        let plan = Plan::new(both, &options).expect("it can be planned");
        plan.import(&store, &name, &ImportOptions::default(), &Silent).expect("there is room");
        let source = Source::of_model(&store, &store.model(&name).expect("it is stored")).expect("it has a table");
        (home, Model::open(source, LoadOptions::default()).expect("it can be run"))
    }
}

/// Writes a checkpoint, with a map of offsets if there are any.
fn write(
    folder: &Path,
    config: &Value,
    tensors: &BTreeMap<String, Vec<u64>>,
    offsets: &[i64],
    values: &dyn Fn(&str) -> Vec<f32>,
) {
    fs::create_dir_all(folder).expect("there is room");
    fs::write(folder.join("config.json"), config.to_string()).expect("there is room");
    let map = (!offsets.is_empty()).then(|| ("d2t", Dtype::I64, Shape::from(vec![offsets.len() as u64])));
    let floats = tensors.iter().map(|(name, shape)| (name.as_str(), Dtype::F32, Shape::from(shape.clone())));
    let layout = Layout::new(&BTreeMap::default(), floats.chain(map)).expect("the shapes are small");
    let mut bytes = layout.header().to_vec();
    for part in layout.parts() {
        if part.name == "d2t" {
            bytes.extend(offsets.iter().flat_map(|offset| offset.to_le_bytes()));
        } else {
            bytes.extend(values(part.name).iter().flat_map(|value| value.to_le_bytes()));
        }
    }
    fs::write(folder.join("model.safetensors"), bytes).expect("there is room");
}

const AS_IT_IS: [Change<'static>; 2] = [&|_, values| values, &|_, values| values];

#[test]
fn logits_are_those_of_another_program() {
    for name in ["plain", "stated"] {
        let case = Head::named(name);
        let (_home, model) = case.open(None, AS_IT_IS);
        let head = Eagle::open(&model).expect("it has one");
        assert_eq!((head.vocabulary(), head.token(3), head.token(20)), (20, Some(9), None));
        let found = head.logits(&case.tokens).expect("the tokens are fine");
        let expected: Vec<f32> = case.logits.concat();
        assert_eq!(found.len(), expected.len(), "{name}");
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!((found - expected).abs() < 1e-4, "{name}, logit {at}: {found}, expected {expected}");
        }
        // The head is no part of the model.
        assert!(model.notes().iter().all(|note| !note.contains("no use")), "{:?}", model.notes());
    }
}

/// The tokens that the model alone chooses.
fn alone(model: &Model, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut session = model.session();
    let mut tokens = vec![argmax(session.extend(prompt).expect("the tokens are fine"))];
    while tokens.len() < count {
        let last = [tokens[tokens.len() - 1]];
        tokens.push(argmax(session.extend(&last).expect("the token is fine")));
    }
    tokens
}

/// The tokens that the model chooses with the help of its head, and the counts of what was accepted and proposed.
fn helped(model: &Model, prompt: &[u32], count: usize, length: usize) -> (Vec<u32>, (usize, usize)) {
    let head = Eagle::open(model).expect("it has one");
    let mut speculation = Speculation::new(model.session(), &head, length).expect("it is the model's own");
    let mut tokens = vec![speculation.prompt(prompt).expect("the tokens are fine")];
    while tokens.len() < count {
        tokens.extend(speculation.step().expect("there is room"));
    }
    tokens.truncate(count);
    (tokens, speculation.acceptance())
}

#[test]
fn a_head_changes_no_token() {
    for (name, scheme) in [("plain", None), ("stated", None), ("plain", Some("int8-g32"))] {
        let case = Head::named(name);
        let (_home, model) = case.open(scheme, AS_IT_IS);
        for prompt in [&case.tokens[..], &case.tokens[..1], &case.tokens[3..7]] {
            let expected = alone(&model, prompt, 40);
            for length in [0, 1, 3, 8] {
                let (found, (accepted, proposed)) = helped(&model, prompt, 40, length);
                assert_eq!(found, expected, "{name}, {length} at a time");
                assert!(accepted <= proposed && (length == 0) == (proposed == 0), "{name}: {accepted} of {proposed}");
            }
        }
    }
}

#[test]
fn a_head_that_foresees_the_model_is_accepted() {
    let case = Head::named("plain");
    // The target's layers add nothing, and its head is its embedding: it repeats the last token for ever.
    let embedding = values("model.embed_tokens.weight", &[64, 32]);
    let adds_nothing = |name: &str| name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
    let of_target = |name: &str, values: Vec<f32>| match name {
        "lm_head.weight" => embedding.clone(),
        _ if adds_nothing(name) => vec![0.0; values.len()],
        _ => values,
    };
    // The head copies the first of the states, which is the embedding, and looks for the nearest of its own tokens.
    let of_head = |name: &str, values: Vec<f32>| match name {
        "fc.weight" => (0..32 * 96).map(|at| if at / 96 == at % 96 { 1.0 } else { 0.0 }).collect(),
        "lm_head.weight" => (0..20).flat_map(|token| embedding[3 * token * 32..][..32].to_vec()).collect(),
        _ if adds_nothing(name) => vec![0.0; values.len()],
        _ => values,
    };
    let (_home, model) = case.open(None, [&of_target, &of_head]);
    let expected = alone(&model, &[7, 9], 21);
    assert_eq!(expected, [9; 21]);
    let (found, acceptance) = helped(&model, &[7, 9], 21, 4);
    assert_eq!((found, acceptance), (expected, (16, 16)), "four passes of four proposals and one token more");
}

#[test]
fn a_conversation_that_is_cut_goes_on() {
    let case = Head::named("plain");
    let (_home, model) = case.open(None, AS_IT_IS);
    let head = Eagle::open(&model).expect("it has one");
    let mut speculation = Speculation::new(model.session(), &head, 3).expect("it is the model's own");
    speculation.prompt(&case.tokens).expect("the tokens are fine");
    for _ in 0..4 {
        speculation.step().expect("there is room");
    }
    for len in [7, 1, 0] {
        speculation.truncate(len);
        let first = speculation.prompt(&[5, 6, 7]).expect("the tokens are fine");
        let found = [vec![first], speculation.step().expect("there is room")].concat();
        let whole = [&case.tokens[..len], &[5, 6, 7]].concat();
        assert_eq!(found, alone(&model, &whole, found.len()), "{len}");
        // The next cut is of the first tokens again.
        speculation.truncate(0);
        speculation.prompt(&case.tokens).expect("the tokens are fine");
    }
}

/// A stored llama with a layer behind its own that predicts one token more, in types of 2 bytes.
fn with_mtp() -> (TempDir, Model) {
    let case = Case::named("llama");
    let home = tempfile::tempdir().expect("there is room");
    let hidden = case.tensors["model.norm.weight"][0];
    let mut tensors: BTreeMap<String, (Dtype, Vec<u64>)> =
        case.tensors.iter().map(|(name, shape)| (name.clone(), (Dtype::F32, shape.clone()))).collect();
    let prefix = "model.mtp_layers.0.";
    for (name, shape) in &case.tensors {
        if let Some(rest) = name.strip_prefix("model.layers.0.") {
            tensors.insert(format!("{prefix}{rest}"), (Dtype::BF16, shape.clone()));
        }
    }
    for (name, shape) in [
        ("enorm", vec![hidden]),
        ("hnorm", vec![hidden]),
        ("shared_head.norm", vec![hidden]),
        ("eh_proj", vec![hidden, 2 * hidden]),
    ] {
        tensors.insert(format!("{prefix}{name}.weight"), (Dtype::BF16, shape));
    }
    let parts = tensors.iter().map(|(name, (dtype, shape))| (name.as_str(), *dtype, Shape::from(shape.clone())));
    let layout = Layout::new(&BTreeMap::default(), parts).expect("the shapes are small");
    let mut bytes = layout.header().to_vec();
    for part in layout.parts() {
        let (dtype, shape) = &tensors[part.name];
        let values = values(part.name, shape);
        let of = |value: &f32| value.to_le_bytes()[if *dtype == Dtype::F32 { 0 } else { 2 }..].to_vec();
        bytes.extend(values.iter().flat_map(of));
    }
    let folder = home.path().join("model");
    fs::create_dir_all(&folder).expect("there is room");
    fs::write(folder.join("config.json"), case.config.to_string()).expect("there is room");
    fs::write(folder.join("model.safetensors"), bytes).expect("there is room");
    let store = Store::open(home.path().join("store")).expect("there is room");
    let source = Import::open(&folder, &Limits::default()).expect("it is a checkpoint");
    let plan = Plan::new(source, &PlanOptions::default()).expect("it can be planned");
    let name = "m".parse().expect("it is a name");
    plan.import(&store, &name, &ImportOptions::default(), &Silent).expect("there is room");
    let source = Source::of_model(&store, &store.model(&name).expect("it is stored")).expect("it has a table");
    (home, Model::open(source, LoadOptions::default()).expect("it can be run"))
}

/// A head is no part of what the model computes: its bits are not counted.
#[test]
fn bits_per_weight_are_those_of_the_model_alone() {
    let (_home, model) = with_mtp();
    assert!((model.bits_per_weight() - 32.0).abs() < 1e-12, "{}", model.bits_per_weight());
}

#[test]
fn what_is_no_head_of_the_model() {
    let (_folder, model) = Case::named("llama").open(LoadOptions::default());
    let error = Eagle::open(&model).expect_err("it has none");
    assert!(matches!(&error, LoadError::Head { found: None, .. }), "{error}");
    assert!(error.to_string().contains("has no EAGLE-3 head"), "{error}");

    let case = Head::named("plain");
    let (_home, own) = case.open(None, AS_IT_IS);
    let head = Eagle::open(&own).expect("it has one");
    let error = Speculation::new(model.session(), &head, 3).expect_err("it is another model");
    assert!(matches!(error, RunError::Head { .. }), "{error}");

    let (_home, model) = with_mtp();
    let error = Eagle::open(&model).expect_err("it has one of another kind");
    assert!(matches!(&error, LoadError::Head { found: Some(found), .. } if found == "MTP"), "{error}");
    assert!(error.to_string().contains("which alone can be run: its draft head is MTP"), "{error}");

    // A tensor that the forward pass has no place for.
    let mut more = case.clone();
    more.tensors.insert("midlayer.self_attn.q_norm.weight".into(), vec![12]);
    let (_home, model) = more.open(None, AS_IT_IS);
    let error = Eagle::open(&model).expect_err("it is not known").to_string();
    assert!(error.contains("a draft head with \"draft.midlayer.self_attn.q_norm.weight\""), "{error}");

    // Six layers have no three that differ among the usual ones.
    let mut few = case;
    few.target["num_hidden_layers"] = 6.into();
    few.target_tensors.retain(|name, _| !name.contains("layers.6.") && !name.contains("layers.7."));
    let (_home, model) = few.open(None, AS_IT_IS);
    let error = Eagle::open(&model).expect_err("it reads too few").to_string();
    assert!(error.contains("three that differ"), "{error}");
}
