//! Draft heads: EAGLE-3 beside a target, and MTP layers inside a checkpoint.

use std::collections::BTreeMap;

use longshore_manifest::document::{DraftHead, HeadRole};
use longshore_packer::{Plan, Source, SourceError};
use longshore_st_format::Dtype;

use crate::{
    stores::{import_as, is_clean, read, store},
    support::{Dir, chain, open, options, plan},
};

/// Hidden sizes of the target and of the head, and tokens of each.
const HIDDEN: [u64; 2] = [8, 6];
const TOKENS: [u64; 2] = [10, 4];
/// The head's tokens are 0, 2, 3 and 9 of the target.
const OFFSETS: [i64; 4] = [0, 1, 1, 6];

/// A tensor as a test writes it.
type Tensors = BTreeMap<String, (Dtype, Vec<u64>, Vec<u8>)>;

fn float(shape: &[u64]) -> (Dtype, Vec<u64>, Vec<u8>) {
    let count = usize::try_from(shape.iter().product::<u64>()).expect("it is small");
    (Dtype::F32, shape.to_vec(), 1.0_f32.to_le_bytes().repeat(count))
}

fn write(config: &str, tensors: &Tensors) -> Dir {
    let dir = Dir::new();
    dir.file("config.json", config);
    let parts = tensors.iter().map(|(name, (dtype, shape, bytes))| (&**name, *dtype, &**shape, &**bytes));
    dir.bytes("model.safetensors", &parts.collect::<Vec<_>>());
    dir
}

fn target() -> Dir {
    let config =
        r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "vocab_size": 10, "num_hidden_layers": 1}"#;
    let tensors = [("model.embed_tokens.weight", float(&[TOKENS[0], HIDDEN[0]])), ("model.norm.weight", float(&[8]))];
    write(config, &tensors.map(|(name, tensor)| (name.to_owned(), tensor)).into())
}

fn d2t(offsets: &[i64]) -> (Dtype, Vec<u64>, Vec<u8>) {
    (Dtype::I64, vec![offsets.len() as u64], offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect())
}

fn t2d(tokens: &[u64]) -> (Dtype, Vec<u64>, Vec<u8>) {
    let marks = (0..TOKENS[0]).map(|token| u8::from(tokens.contains(&token)));
    (Dtype::Bool, vec![TOKENS[0]], marks.collect())
}

/// The tensors of a head, whose layer is called `layer`.
fn head(layer: &str) -> Tensors {
    let ([target, hidden], [all, tokens]) = (HIDDEN, TOKENS);
    let mut tensors: Tensors = [
        ("fc.weight", float(&[hidden, 3 * target])),
        ("norm.weight", float(&[hidden])),
        ("lm_head.weight", float(&[tokens, hidden])),
        ("embed_tokens.weight", float(&[all, hidden])),
        ("d2t", d2t(&OFFSETS)),
        ("t2d", t2d(&[0, 2, 3, 9])),
    ]
    .map(|(name, tensor)| (name.to_owned(), tensor))
    .into();
    for (name, shape) in [
        ("hidden_norm", &[hidden][..]),
        ("input_layernorm", &[hidden]),
        ("post_attention_layernorm", &[hidden]),
        ("self_attn.q_proj", &[8, 2 * hidden]),
        ("self_attn.k_proj", &[4, 2 * hidden]),
        ("self_attn.v_proj", &[4, 2 * hidden]),
        ("self_attn.o_proj", &[hidden, 8]),
        ("mlp.gate_proj", &[12, hidden]),
        ("mlp.up_proj", &[12, hidden]),
        ("mlp.down_proj", &[hidden, 12]),
    ] {
        tensors.insert(format!("{layer}.{name}.weight"), float(shape));
    }
    tensors
}

const HEAD_CONFIG: &str = r#"{"architectures": ["LlamaForCausalLMEagle3"], "hidden_size": 6, "draft_vocab_size": 4}"#;

fn beside(draft: &Dir) -> Result<Source, SourceError> {
    target().open().expect("it is a model").with_draft(draft.open().expect("it is a model"))
}

/// The error of storing a head with these tensors.
fn refusal(tensors: &Tensors) -> String {
    refusal_of(HEAD_CONFIG, tensors)
}

fn refusal_of(config: &str, tensors: &Tensors) -> String {
    match beside(&write(config, tensors)) {
        Err(error) => chain(&error),
        Ok(source) => chain(&Plan::new(source, &options("none", "default")).expect_err("it does not fit")),
    }
}

#[test]
fn an_eagle_head_is_stored_with_its_role() {
    for layer in ["midlayer", "layers.0", "model.midlayer", "model.layers.0"] {
        let (target, draft, place) = (target(), write(HEAD_CONFIG, &head(layer)), Dir::new());
        let source = target.open().expect("it is a model").with_draft(draft.open().expect("it is a model"));
        let source = source.expect("the maps are right");
        let planned = plan(&source, "none", "default");
        assert_eq!(planned.heads, [DraftHead::new(HeadRole::Eagle3, "draft.")], "{layer}");
        assert!(planned.notes.iter().any(|note| note.contains("EAGLE-3")), "{:?}", planned.notes);
        let store = store(&place);
        import_as(&store, "m", &source, "none");
        is_clean(&store);
        let stored = read(&store, "m");
        let table = stored.config.longshore.as_ref().expect("it was imported");
        assert_eq!(table.heads, planned.heads);
        assert_eq!(stored.config.draft.as_ref().expect("it has one").architecture, "LlamaForCausalLMEagle3");
        // From one store to another.
        let again = open(&store.manifest_path(&"m".parse().expect("it is a name"))).expect("it is stored");
        assert_eq!(plan(&again, "none", "default").heads, planned.heads);
    }
}

#[test]
fn an_ordinary_draft_has_no_role() {
    let draft = Dir::model(&[("model.layers.0.mlp.up_proj.weight", &[32, 64]), ("model.norm.weight", &[64])]);
    let source = beside(&draft).expect("they fit");
    assert_eq!(plan(&source, "none", "default").heads, []);
}

#[test]
fn every_tensor_of_an_eagle_head_is_missed() {
    let optional = ["embed_tokens.weight", "t2d"];
    for missing in head("midlayer").keys().filter(|name| !optional.contains(&name.as_str())) {
        let mut tensors = head("midlayer");
        tensors.remove(missing);
        let error = refusal(&tensors);
        let module = missing.strip_suffix(".weight").unwrap_or(missing);
        assert!(error.contains("incomplete: it lacks") && error.contains(module), "{missing}: {error}");
    }
    // Without an embedding of its own, the head reads the target's, which is wider.
    let mut tensors = head("midlayer");
    tensors.remove("embed_tokens.weight");
    assert!(refusal(&tensors).contains(r#"it lacks "embed_tokens.weight""#), "{}", refusal(&tensors));
}

#[test]
fn an_eagle_head_is_known_by_what_the_versions_before_do_not_have() {
    const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 8}"#;
    let target = HIDDEN[0];
    let earlier = |columns: u64| -> Tensors {
        let tensors = [
            ("fc.weight", float(&[target, columns])),
            ("embed_tokens.weight", float(&[TOKENS[0], target])),
            ("layers.0.self_attn.q_proj.weight", float(&[target, target])),
        ];
        tensors.map(|(name, tensor)| (name.to_owned(), tensor)).into()
    };
    let error = refusal_of(CONFIG, &earlier(2 * target));
    assert!(error.contains("is an EAGLE-1 or EAGLE-2 head (fc has 16 inputs"), "{error}");
    let error = refusal_of(CONFIG, &earlier(3 * target));
    assert!(error.contains("the EAGLE-3 head is incomplete"), "{error}");
    // A projection of another width shows nothing.
    let other = beside(&write(CONFIG, &earlier(5 * target + 1))).expect("it is a draft");
    assert_eq!(plan(&other, "none", "default").heads, []);
}

/// The head reads states of the model that it was trained with.
#[test]
fn an_eagle_head_is_not_for_a_rotated_model() {
    let place = Dir::new();
    let store = store(&place);
    import_as(&store, "m", &target().open().expect("it is a model").rotated(1).expect("it can be rotated"), "none");
    let stored = open(&store.manifest_path(&"m".parse().expect("it is a name"))).expect("it is stored");
    let head = write(HEAD_CONFIG, &head("midlayer"));
    let both = stored.with_draft(head.open().expect("it is a model")).expect("the maps are right");
    let error = Plan::new(both, &options("none", "default")).expect_err("its states are others");
    assert!(chain(&error).contains("the residual stream of this one is rotated"), "{}", chain(&error));
    assert!(error.hint().is_some_and(|hint| hint.contains("without --rotate")), "{:?}", error.hint());
}

/// Names of tensors are text of a file.
#[test]
fn names_that_are_missing_are_quoted() {
    let prefix = "a\nb.layers.1.";
    let tensors = [(format!("{prefix}enorm.weight"), vec![8])];
    let found = mtp_warning(&tensors);
    assert!(found.contains(r#""a\nb.layers.1.hnorm""#) && !found.contains('\n'), "{found}");
}

#[test]
fn every_width_of_an_eagle_head_is_checked() {
    for (name, (dtype, shape, _)) in head("layers.0") {
        // The rows of these are the head's own to choose.
        let rows_are_free = ["q_proj", "k_proj", "gate_proj", "lm_head"].iter().any(|end| name.contains(end));
        for axis in (0..shape.len()).filter(|axis| !(rows_are_free && *axis == 0)) {
            if dtype != Dtype::F32 {
                continue;
            }
            let mut wrong = shape.clone();
            wrong[axis] += 1;
            let mut tensors = head("layers.0");
            tensors.insert(name.clone(), float(&wrong));
            let error = refusal(&tensors);
            // The configuration tells of some first.
            let is_told = error.contains("has shape") && error.contains("expected [") || error.contains("contradicts");
            assert!(is_told, "{name} {axis}: {error}");
        }
    }
    let mut tensors = head("layers.0");
    tensors.insert("lm_head.weight".into(), float(&[5, HIDDEN[1]]));
    assert!(refusal(&tensors).contains("\"d2t\" of the EAGLE-3 head has shape [4], expected [5]"));
}

#[test]
fn maps_between_vocabularies_are_checked() {
    for (name, map, words) in [
        ("d2t", d2t(&[0, 1, 1, 7]), "token 3 with the offset 7 stands for no token of the target, expected one of 10"),
        ("d2t", d2t(&[0, 1, 0, 6]), "tokens 1 and 2 both stand for token 2"),
        ("d2t", d2t(&[-1, 1, 1, 6]), "token 0 with the offset -1"),
        ("d2t", float(&[4]), "it is F32, expected I64"),
        ("t2d", t2d(&[0, 2, 3, 8]), "it does not mark token 9"),
        ("t2d", t2d(&[0, 2, 3]), "it marks 3 tokens, expected the 4 of d2t"),
    ] {
        let mut tensors = head("midlayer");
        tensors.insert(name.into(), map);
        let error = refusal(&tensors);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn medusa_is_refused_by_its_name() {
    let heads = [("medusa_head.0.0.linear.weight".to_owned(), float(&[8, 8]))].into();
    let named = [("0.0.linear.weight".to_owned(), float(&[8, 8]))].into();
    for draft in [
        write(r#"{"architectures": ["X"]}"#, &heads),
        write(r#"{"architectures": ["MedusaModel"], "model_type": "medusa"}"#, &named),
    ] {
        let error = chain(&beside(&draft).expect_err("it is refused"));
        assert!(error.contains("a set of Medusa heads: expected an EAGLE-3 head"), "{error}");
    }
}

/// The names and shapes of an MTP head in each of its forms.
fn mtp(form: &str) -> Vec<(String, Vec<u64>)> {
    let (prefix, layer, own): (_, _, &[(&str, &[u64])]) = match form {
        "mtp_layers" => (
            "model.mtp_layers.0.",
            "model.mtp_layers.0.",
            &[
                ("token_layernorm", &[8][..]),
                ("hidden_layernorm", &[8]),
                ("input_proj", &[8, 16]),
                ("final_layernorm", &[8]),
            ],
        ),
        "mtp" => (
            "mtp.",
            "mtp.layers.0.",
            &[("pre_fc_norm_embedding", &[8][..]), ("pre_fc_norm_hidden", &[8]), ("fc", &[8, 16]), ("norm", &[8])],
        ),
        _ => (
            "model.layers.1.",
            "model.layers.1.",
            &[("enorm", &[8][..]), ("hnorm", &[8]), ("eh_proj", &[8, 16]), ("shared_head.norm", &[8])],
        ),
    };
    let inside: [(&str, &[u64]); 9] = [
        ("input_layernorm", &[8]),
        ("post_attention_layernorm", &[8]),
        ("self_attn.q_proj", &[8, 8]),
        ("self_attn.k_proj", &[4, 8]),
        ("self_attn.v_proj", &[4, 8]),
        ("self_attn.o_proj", &[8, 8]),
        ("mlp.gate_proj", &[12, 8]),
        ("mlp.up_proj", &[12, 8]),
        ("mlp.down_proj", &[8, 12]),
    ];
    let own = own.iter().map(|(name, shape)| (format!("{prefix}{name}.weight"), shape.to_vec()));
    own.chain(inside.iter().map(|(name, shape)| (format!("{layer}{name}.weight"), shape.to_vec()))).collect()
}

/// A checkpoint of one layer with further tensors.
fn with(tensors: &[(String, Vec<u64>)]) -> Source {
    let dir = target();
    let all: Vec<(&str, &[u64])> = tensors.iter().map(|(name, shape)| (&**name, &**shape)).collect();
    let mut all = all;
    all.push(("model.embed_tokens.weight", &[10, 8]));
    all.push(("model.norm.weight", &[8]));
    dir.weights("model.safetensors", &all);
    dir.open().expect("it is a model")
}

/// The warning of an MTP head that is not as expected, which the rest of the checkpoint is stored with.
fn mtp_warning(tensors: &[(String, Vec<u64>)]) -> String {
    let planned = plan(&with(tensors), "none", "default");
    assert_eq!(planned.heads, []);
    let mut warnings = planned.warnings.iter().filter(|warning| warning.contains("MTP"));
    let warning = warnings.next().expect("it is said").clone();
    assert!(warning.ends_with("it is stored without its role") && warnings.next().is_none(), "{warning}");
    warning
}

#[test]
fn mtp_layers_are_stored_with_their_role() {
    for (form, prefix) in [("layers", "model.layers.1."), ("mtp_layers", "model.mtp_layers.0."), ("mtp", "mtp.")] {
        let mut tensors = mtp(form);
        assert_eq!(plan(&with(&tensors), "none", "default").heads, [DraftHead::new(HeadRole::Mtp, prefix)], "{form}");
        // Copies of the target's own may be there.
        tensors.push((format!("{prefix}embed_tokens.weight"), vec![10, 8]));
        assert_eq!(plan(&with(&tensors), "int4", "uniform").heads.len(), 1, "{form}");
    }
    assert_eq!(plan(&with(&[]), "none", "default").heads, []);
    // Beside an EAGLE-3 head, both are said.
    let both = with(&mtp("mtp")).with_draft(write(HEAD_CONFIG, &head("midlayer")).open().expect("it is a model"));
    let notes = plan(&both.expect("the maps are right"), "none", "default").notes;
    assert!(["MTP", "EAGLE-3"].iter().all(|kind| notes.iter().any(|note| note.contains(kind))), "{notes:?}");
    // A norm of one of the decoder's own layers is none of these.
    let own = [("model.layers.0.enorm.weight".to_owned(), vec![8])];
    assert_eq!(plan(&with(&own), "none", "default").heads, []);
}

#[test]
fn every_tensor_of_an_mtp_head_is_missed() {
    for form in ["layers", "mtp_layers", "mtp"] {
        for at in 0..mtp(form).len() {
            let mut tensors = mtp(form);
            let (missing, _) = tensors.remove(at);
            let error = mtp_warning(&tensors);
            let module = missing.strip_suffix(".weight").expect("it is a weight");
            assert!(error.contains("the MTP head is incomplete") && error.contains(module), "{missing}: {error}");
        }
    }
}

#[test]
fn an_mtp_head_has_the_targets_widths() {
    for form in ["layers", "mtp_layers", "mtp"] {
        for at in 0..4 {
            let mut tensors = mtp(form);
            *tensors[at].1.last_mut().expect("it has one") += 1;
            let error = mtp_warning(&tensors);
            assert!(error.contains("of the MTP head has shape") && error.contains("expected [8"), "{form}: {error}");
        }
    }
    let mut tensors = mtp("layers");
    tensors.push(("model.layers.1.shared_head.head.weight".into(), vec![9, 8]));
    assert!(mtp_warning(&tensors).contains("expected [10, 8]"), "{}", mtp_warning(&tensors));
}
