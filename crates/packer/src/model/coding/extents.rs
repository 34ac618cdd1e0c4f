//! The length of a weight's rows, by other evidence than its own codes and scales.
//!
//! The words and scales of a row give only the product of bits and group size. The tensors beside a weight and the sizes
//! in the configuration tell which of the factors is right.

use longshore_model::{ModelConfig, modules::without_wrappers};
use longshore_quant::Scheme;

use super::{
    error::CodingError,
    files::{Files, Found},
};

/// Bits and group sizes of affine schemes.
const BITS: [u8; 6] = [2, 3, 4, 5, 6, 8];
const GROUPS: [u32; 3] = [32, 64, 128];

const INTO_FEED_FORWARD: [&str; 6] = ["gate_proj", "up_proj", "gate_up_proj", "w1", "w3", "fc1"];
const OUT_OF_FEED_FORWARD: [&str; 3] = ["down_proj", "w2", "fc2"];
/// Modules with experts, whose `gate` or `router` reads the residual stream.
const ROUTING: [&str; 6] = ["mlp", "block_sparse_moe", "feed_forward", "moe", "ffn", "mixer"];
/// Modules with states instead of attention, whose `in_proj` reads the residual stream.
const STATES: [&str; 5] = ["linear_attn", "mixer", "mamba", "conv", "short_conv"];
/// Architectures whose attention reads more than the residual stream.
const WIDE_ATTENTION: [&str; 2] = ["eagle", "zamba"];

/// The lengths that the rows of a weight may have.
#[derive(Default)]
pub(super) struct Extents {
    known: Vec<Known>,
    /// Other lengths that the configuration allows. No weight is refused for the sake of one of them.
    possible: Vec<u64>,
}

/// A length that rows should have.
pub(super) struct Known {
    pub(super) columns: u64,
    /// Why, such as `hidden_size is 128`.
    pub(super) reason: String,
}

impl Extents {
    /// Finds the lengths that the rows of the weight of `module` may have. There are none if nothing tells.
    pub(super) fn of(files: &Files<'_>, module: &str) -> Self {
        let (parent, name) = module.rsplit_once('.').unwrap_or(("", module));
        let block = parent.rsplit('.').next().unwrap_or_default();
        let bare = without_wrappers(module);
        let is_language =
            ["layers.", "backbone.", "lm_head", "embed_tokens"].iter().any(|start| bare.starts_with(start));
        let beside = Beside { files, parent, config: files.config.filter(|_| is_language) };
        match name {
            _ if INTO_FEED_FORWARD.contains(&name) => beside.rows(&OUT_OF_FEED_FORWARD).or(|| beside.hidden()),
            _ if OUT_OF_FEED_FORWARD.contains(&name) => {
                beside.rows(&INTO_FEED_FORWARD).or(|| beside.intermediate(parent.contains("shared_expert")))
            }
            "q_proj" | "k_proj" | "v_proj" | "qkv_proj" if !has_wide_attention(files) => {
                let hidden = beside.hidden();
                if hidden.known.is_empty() { hidden } else { hidden.and(beside.rows(&["o_proj"])) }
            }
            "out_proj" if block == "linear_attn" => beside.linear_output(),
            "o_proj" | "out_proj" if block.contains("att") && !has_wide_attention(files) => beside.attention_output(),
            "gate" | "router" if ROUTING.contains(&block) => beside.hidden(),
            _ if name.starts_with("in_proj") && STATES.contains(&block) => beside.hidden(),
            "lm_head" | "embed_tokens" | "shared_expert_gate" => beside.hidden(),
            _ => Self::default(),
        }
    }

    /// Whether rows may have `columns` columns.
    pub(super) fn allow(&self, columns: u64) -> bool {
        self.known.is_empty() || self.names(columns).is_some() || self.possible.contains(&columns)
    }

    /// Returns what says that rows have `columns` columns.
    pub(super) fn names(&self, columns: u64) -> Option<&Known> {
        self.known.iter().find(|known| known.columns == columns)
    }

    fn add(&mut self, what: &str, columns: Option<u64>) {
        self.known.extend(columns.map(|columns| Known { columns, reason: format!("{what} is {columns}") }));
    }

    fn or(self, others: impl FnOnce() -> Self) -> Self {
        if self.known.is_empty() { others() } else { self }
    }

    fn and(mut self, other: Self) -> Self {
        self.known.extend(other.known);
        self.possible.extend(other.possible);
        self
    }
}

/// The modules beside a module, and the configuration if it describes them.
struct Beside<'f, 's> {
    files: &'f Files<'s>,
    parent: &'f str,
    config: Option<&'s ModelConfig>,
}

impl Beside<'_, '_> {
    /// The rows of the modules called `names`.
    fn rows(&self, names: &[&str]) -> Extents {
        let found = names.iter().filter_map(|name| {
            let module = self.called(name);
            let rows = rows(self.files, &module)?;
            // Of a joint matrix, each of the two has half the rows.
            let share = if *name == "gate_up_proj" { 2 } else { 1 };
            Some(Known { columns: rows / share, reason: format!("{module:?} has {rows} rows") })
        });
        Extents { known: found.collect(), possible: Vec::new() }
    }

    fn called(&self, name: &str) -> String {
        if self.parent.is_empty() { name.to_owned() } else { format!("{}.{name}", self.parent) }
    }

    fn hidden(&self) -> Extents {
        let Some(config) = self.config else { return Extents::default() };
        let mut found = Extents { possible: config.widths.hidden.clone(), ..Extents::default() };
        found.add("hidden_size", config.hidden_size);
        found
    }

    fn intermediate(&self, is_shared: bool) -> Extents {
        let Some(config) = self.config else { return Extents::default() };
        let mut found = Extents { possible: config.widths.feed_forward.clone(), ..Extents::default() };
        let of_expert = config.expert_intermediate_size;
        if let (true, Some(experts), Some(size)) = (is_shared, config.shared_experts, of_expert) {
            found.add(&format!("moe_intermediate_size of {experts} shared experts"), experts.checked_mul(size));
        } else {
            found.add("intermediate_size", config.intermediate_size);
            found.add("moe_intermediate_size", of_expert);
        }
        found
    }

    /// What attention passes on: as much as it has queries, unless values have another length.
    fn attention_output(&self) -> Extents {
        let widths = self.config.map(|config| &config.widths);
        let mut found = Extents::default();
        if let Some(widths) = widths {
            found.possible.clone_from(&widths.attention);
            found.add("num_attention_heads times the size of a head", widths.attention_output);
        }
        let (queries, values) = (rows(self.files, &self.called("q_proj")), rows(self.files, &self.called("v_proj")));
        // Of latent attention, queries are longer than values, which no module beside tells.
        let (Some(queries), Some(values)) = (queries, values) else { return found };
        if values > queries {
            return found.and(self.rows(&["v_proj"]));
        }
        // Queries may come with as many gates.
        let is_stated = |width: u64| found.possible.contains(&width);
        let (is_whole, is_half) = (is_stated(queries), queries.is_multiple_of(2) && is_stated(queries / 2));
        if !is_whole && !is_half {
            found.possible.push(queries / 2);
        }
        if is_whole || !is_half { found.and(self.rows(&["q_proj"])) } else { found }
    }

    fn linear_output(&self) -> Extents {
        let mut found = self.rows(&["in_proj_z"]);
        if let Some(config) = self.config {
            found.possible.clone_from(&config.widths.attention);
            found.add("linear_num_value_heads times linear_value_head_dim", config.widths.linear_output);
        }
        found
    }
}

impl Found<'_, '_> {
    /// Refuses a shape that differs from the one that a tensor beside the weight states. Returns whether there is one.
    pub(super) fn has_stated_shape(
        &self,
        packing: &'static str,
        module: &str,
        outer: &[u64],
        columns: u64,
    ) -> Result<bool, CodingError> {
        let name = format!("{module}.weight_shape");
        let stated = self.files.find(&name).and_then(|at| self.files.stated_shapes.get(&at));
        let Some(stated) = stated else { return Ok(false) };
        let dims: Vec<u64> = outer.iter().copied().chain([columns]).collect();
        let is_equal = |(stated, dim): (&i64, &u64)| u64::try_from(*stated).is_ok_and(|stated| stated == *dim);
        if stated.len() == dims.len() && stated.iter().zip(&dims).all(is_equal) {
            return Ok(true);
        }
        let problem =
            format!("its words have the shape {dims:?} by the numbers of config.json, but {name:?} is {stated:?}");
        Err(self.problem(packing, problem))
    }

    /// Refuses a row of `columns` codes of a scheme if other tensors or the configuration's sizes say that rows are
    /// longer or shorter, and another scheme would have as many bits in a row and give that length.
    pub(super) fn agrees(
        &self,
        packing: &'static str,
        module: &str,
        scheme: Scheme,
        [columns, groups]: [u64; 2],
    ) -> Result<(), CodingError> {
        let extents = Extents::of(self.files, module);
        if extents.allow(columns) {
            return Ok(());
        }
        let (bits, group) = (scheme.bits(), scheme.group_size());
        let per_group = u64::from(bits) * u64::from(group);
        let other = affine(per_group).find_map(|other| {
            let columns = groups.checked_mul(u64::from(other.group_size()))?;
            Some((other, extents.names(columns)?))
        });
        let Some((other, known)) = other else { return Ok(()) };
        let problem = format!(
            "{}, which makes {columns} columns of its words, but {}, as {} bits in groups of {} would make",
            self.numbers(module, bits.into(), group),
            known.reason,
            other.bits(),
            other.group_size()
        );
        Err(self.problem(packing, problem))
    }
}

/// Returns the affine schemes whose groups take `bits` bits.
pub(super) fn affine(bits: u64) -> impl Iterator<Item = Scheme> {
    let all = BITS.into_iter().flat_map(|bits| GROUPS.into_iter().map(move |group| (bits, group)));
    all.filter(move |(each, group)| u64::from(*each) * u64::from(*group) == bits)
        .filter_map(|(bits, group)| Scheme::affine(bits, group).ok())
}

/// Returns the rows of a module's weight, which no packing along the columns changes. AWQ and GPTQ store the weight
/// transposed, and their scales have a column for each of its rows.
fn rows(files: &Files<'_>, module: &str) -> Option<u64> {
    let named = |suffix: &str| files.named(&format!("{module}{suffix}"));
    if let Some(weight) = named(".weight").or_else(|| named(".weight_packed")) {
        return match weight.shape.dims() {
            [.., rows, _] => Some(*rows),
            _ => None,
        };
    }
    named(".qweight").and_then(|_| named(".scales")?.shape.dims().last().copied())
}

fn has_wide_attention(files: &Files<'_>) -> bool {
    let names = files.config.into_iter().flat_map(|config| config.architecture.iter().chain(&config.model_type));
    names.map(|name| name.to_lowercase()).any(|name| WIDE_ATTENTION.iter().any(|wide| name.contains(wide)))
}
