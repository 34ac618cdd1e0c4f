//! Properties that hold for every name and for every text.

use longshore_quant::{
    Scheme,
    policy::{Policy, Query},
};
use proptest::{prelude::*, sample::select};

use super::named;

/// Names of a model's tensors, without the prefix of the language model.
const NAMES: &[&str] = &[
    "embed_tokens.weight",
    "embeddings.weight",
    "norm.weight",
    "layers.{}.input_layernorm.weight",
    "layers.{}.self_attn.q_proj.weight",
    "layers.{}.self_attn.k_proj.weight",
    "layers.{}.self_attn.v_proj.weight",
    "layers.{}.self_attn.o_proj.weight",
    "layers.{}.self_attn.g_proj.weight",
    "layers.{}.self_attn.gate_proj.weight",
    "layers.{}.self_attn.k_proj.bias",
    "layers.{}.self_attn.q_a_proj.weight",
    "layers.{}.self_attn.kv_b_proj.weight",
    "layers.{}.linear_attn.in_proj_ba.weight",
    "layers.{}.mlp.gate.weight",
    "layers.{}.mlp.gate_proj.weight",
    "layers.{}.mlp.down_proj.weight",
    "layers.{}.mlp.experts.gate_up_proj",
    "layers.{}.mlp.experts.down_proj.weight",
    "layers.{}.mlp.experts.3.down_proj.weight",
    "layers.{}.mlp.shared_expert.down_proj.weight",
    "layers.{}.mlp.shared_experts.down_proj.weight",
    "layers.{}.mlp.switch_mlp.down_proj.weight",
    "layers.{}.block_sparse_moe.gate.weight",
    "layers.{}.block_sparse_moe.experts.w2.weight",
    "layers.{}.block_sparse_moe.output_linear.weight",
    "layers.{}.feed_forward.router.weight",
    "layers.{}.router.proj.weight",
    "layers.{}.mixer.k_proj.weight",
    "layers.{}.mixer.out_proj.weight",
    "layers.{}.mixer.experts.down_proj.weight",
    "layers.{}.mixer.conv1d.weight",
    "layers.{}.norm1.linear.weight",
    "layers.{}.img_mod.1.weight",
    "layers.{}.attn.c_attn.weight",
    "layers.{}.attn.to_v.weight",
    "layers.{}.attn.add_k_proj.weight",
    "layers.{}.attention.self.key.weight",
    "layers.{}.ff.net.2.weight",
    "layers.{}.layer.1.DenseReluDense.wo.weight",
];

const PREFIXES: &[&str] = &[
    "model.",
    "model.language_model.",
    "language_model.model.",
    "language_model.",
    "backbone.",
    "model.language_model.backbone.",
];

const ARCHITECTURES: &[&str] = &[
    "GPT2LMHeadModel",
    "LlamaForCausalLM",
    "Qwen3NextForCausalLM",
    "Gemma4ForConditionalGeneration",
    "Cohere2MoeForCausalLM",
    "LagunaForCausalLM",
    "MuseGlimmerForConditionalGeneration",
    "NemotronHForCausalLM",
];

fn schemes() -> impl Strategy<Value = Scheme> {
    select(Scheme::all().collect::<Vec<_>>())
}

fn shapes() -> impl Strategy<Value = Vec<u64>> {
    let dims = select(vec![0, 1, 3, 16, 48, 64, 96, 128, 1024, 1440, 4096, u64::MAX]);
    prop::collection::vec(dims, 0..5)
}

/// Pieces of text. Random sequences of them are often policies, or nearly so.
const PIECES: &[&str] = &[
    "[[rule]]\n",
    "[role.a]\n",
    "[model.b]\n",
    "[cadence.c]\n",
    "action = 'keep'\n",
    "action = 'int8'\n",
    "fallback = ['eight-bit', 'request', 'keep']\n",
    "name = '*a*b*'\n",
    "not_name = ['*', '**']\n",
    "role = 'a'\n",
    "model = ['b']\n",
    "architecture = '*'\n",
    "cadence = 'c'\n",
    "first = 'n/8'\n",
    "last = '7n/8'\n",
    "middle_end = 'n/2-4'\n",
    "every = 18446744073709551615\n",
    "at = 0\n",
    "layers = 1\n",
    "or_stacked = true\n",
    "rank = [2, 3]\n",
    "elements_below = 5\n",
    "bits_below = 0x10\n",
    "layer = 3\n",
    "dense = false\n",
    "min_elements = 1\n",
    "request = 'int3'\n",
    "family = 'float'\n",
    "= ",
    "\n",
    "'",
    "\"",
    "[",
    "]",
    "{",
    "}",
    "\u{feff}",
    "é",
    "\0",
    "1979-05-27",
    "inf",
    "-0",
    ",",
    "#",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn prefixes_do_not_matter(
        name in select(NAMES.to_vec()),
        layer in 0u64..60,
        prefix in select(PREFIXES.to_vec()),
        architecture in select(ARCHITECTURES.to_vec()),
        policy in select(Policy::names().to_vec()),
        shape in shapes(),
        scheme in schemes(),
        experts in select(vec![None, Some(8), Some(128)]),
        layers in select(vec![None, Some(30), Some(40), Some(52)]),
        (stacked, draft) in (any::<bool>(), any::<bool>()),
    ) {
        let bare = name.replace("{}", &layer.to_string());
        let prefixed = format!("{prefix}{bare}");
        let policy = named(policy);
        let of = |name: &str| {
            let query = Query { stacked, draft, architecture: Some(architecture), ..Query::new(name, &shape) };
            policy.decide(&Query { layers, experts, ..query }, Some(scheme))
        };
        prop_assert_eq!(of(&bare), of(&prefixed), "{} {}", prefixed, architecture);
    }

    #[test]
    fn guards_hold_in_every_policy(
        name in "[a-z.]{0,20}",
        policy in select(Policy::names().to_vec()),
        shape in shapes(),
        scheme in schemes(),
        stacked in any::<bool>(),
        architecture in select(ARCHITECTURES.to_vec()),
    ) {
        let of = |name: &str| {
            let query = Query { stacked, architecture: Some(architecture), ..Query::new(name, &shape) };
            named(policy).decide(&query, Some(scheme)).scheme
        };
        prop_assert_eq!(of(&format!("{name}bias")), None);
        let name = format!("{name}.weight");
        if let Some(chosen) = of(&name) {
            prop_assert!(shape.len() >= 2);
            prop_assert!(!shape.contains(&0));
            prop_assert!(shape.last().expect("it has two").is_multiple_of(u64::from(chosen.group_size())));
            let elements = shape.iter().fold(1, |count: u64, &dim| count.saturating_mul(dim));
            prop_assert!(policy == "uniform" || elements >= 1024);
        }
    }

    #[test]
    fn no_text_panics(text in prop::collection::vec(select(PIECES.to_vec()), 0..30), name in "[a-zA-Z0-9._*]{0,40}", shape in shapes(), scheme in schemes()) {
        if let Ok(policy) = Policy::parse(&text.concat(), "mine") {
            let query = Query { layers: Some(7), architecture: Some("b"), ..Query::new(&name, &shape) };
            let _ = policy.decide(&query, Some(scheme));
        }
    }

    #[test]
    fn no_characters_panic(text in any::<String>()) {
        let _ = Policy::parse(&text, "mine").map_err(|error| error.to_string());
    }

    /// A built-in policy with one changed character parses, or gives an error.
    #[test]
    fn no_edit_panics(policy in select(Policy::names().to_vec()), at in any::<prop::sample::Index>(), new in any::<char>(), scheme in schemes()) {
        let mut text: Vec<char> = named(policy).source().chars().collect();
        let at = at.index(text.len());
        text[at] = new;
        let text: String = text.into_iter().collect();
        match Policy::parse(&text, "mine") {
            Ok(policy) => {
                let _ = policy.decide(&Query::new("model.layers.1.mlp.down_proj.weight", &[64, 64]), Some(scheme));
            }
            Err(error) => prop_assert!(error.line >= 1 && error.column >= 1),
        }
    }
}
