//! Finding the weights of a base that an adapter changes.

use std::{collections::HashMap, ops::Range};

use longshore_model::modules::without_wrappers;

use super::{
    error::AdapterError,
    format::Format,
    fused,
    read::{Adapter, Pair},
    shapes::{Factors, Stacked},
    update::{BaseTensor, Magnitude, ProductUpdate, Replacement, Updates, View},
};

impl Adapter {
    /// Finds the tensors of `base` that the adapter changes. `is_tied` says that the base uses one matrix as its embedding and
    /// its head.
    ///
    /// # Errors
    ///
    /// - [`AdapterError::Unused`]: a tensor belongs to nothing in the base;
    /// - [`AdapterError::Shape`], [`AdapterError::Extents`], [`AdapterError::Rank`], [`AdapterError::Vocabulary`]: a tensor does
    ///   not fit;
    /// - [`AdapterError::Heads`]: the adapter is one of llama.cpp, and its rows are not those of the heads that
    ///   [`Self::with_base`] was told of;
    /// - [`AdapterError::Tied`], [`AdapterError::Ambiguous`], [`AdapterError::Twice`], [`AdapterError::Magnitude`]: what it
    ///   would do is not clear.
    pub fn fit(&self, base: &[BaseTensor], is_tied: bool) -> Result<Updates, AdapterError> {
        let has_inputs_as_rows = base.iter().any(is_across);
        let (index, updates) = (Index::new(base), Updates::default());
        let mut fitting = Fitting { adapter: self, base, index, has_inputs_as_rows, updates };
        let mut unused = Vec::new();
        for pair in &self.pairs {
            if is_tied && is_embedding(&pair.module) {
                return Err(AdapterError::Tied { tensor: self.name(pair.a) });
            }
            if !fitting.pair(pair)? {
                unused.push(pair.a);
            }
        }
        for (name, tensor) in &self.whole {
            if is_tied && name.strip_suffix(".weight").is_some_and(is_embedding) {
                return Err(AdapterError::Tied { tensor: self.name(*tensor) });
            }
            if !fitting.whole(name, *tensor)? {
                unused.push(*tensor);
            }
        }
        if let Some(first) = unused.first() {
            return Err(AdapterError::Unused { tensor: self.name(*first), others: unused.len() - 1 });
        }
        let mut updates = fitting.updates;
        updates.products.sort_by_key(|update| (update.base, update.matrix, update.rows.start));
        let twice = updates.products.windows(2).find(|pair| {
            (pair[0].base, pair[0].matrix) == (pair[1].base, pair[1].matrix) && pair[1].rows.start < pair[0].rows.end
        });
        if let Some([first, second]) = twice {
            return Err(AdapterError::Twice {
                base: base[first.base].name.clone(),
                first: self.name(first.left.tensor),
                second: self.name(second.left.tensor),
            });
        }
        Ok(updates)
    }
}

/// Whether a module of this name is an embedding or a head that models tie.
fn is_embedding(module: &str) -> bool {
    let last = module.rsplit('.').next().unwrap_or(module);
    ["embed_tokens", "wte", "word_embeddings", "tok_embeddings", "lm_head"].contains(&last)
}

/// Whether a layer of this name is one that GPT-2 and its like have with the inputs as rows (`Conv1D`).
fn may_be_across(module: &str) -> bool {
    let last = module.rsplit('.').next().unwrap_or(module);
    ["c_attn", "c_proj", "c_fc", "q_attn"].contains(&last)
}

/// Whether a tensor tells that layers of such names have their inputs as rows: those that are never square have more outputs
/// than inputs.
fn is_across(tensor: &BaseTensor) -> bool {
    let module = tensor.name.strip_suffix(".weight").unwrap_or(&tensor.name);
    let is_wide = matches!(*tensor.shape, [rows, columns] if rows < columns);
    is_wide && [".c_attn", ".c_fc"].iter().any(|end| module.ends_with(end))
}

/// The tensors of a base by their modules.
struct Index<'b> {
    exact: HashMap<&'b str, usize>,
    bare: HashMap<String, Vec<usize>>,
}

impl<'b> Index<'b> {
    fn new(base: &'b [BaseTensor]) -> Self {
        let module = |tensor: &'b BaseTensor| tensor.name.strip_suffix(".weight").unwrap_or(&tensor.name);
        let exact = base.iter().enumerate().map(|(at, tensor)| (module(tensor), at)).collect();
        let mut by_path: HashMap<_, Vec<_>> = HashMap::new();
        for (at, tensor) in base.iter().enumerate() {
            by_path.entry(without_wrappers(module(tensor))).or_default().push(at);
        }
        Self { exact, bare: by_path }
    }

    /// The tensor of a module: under its own path, else under one that differs in wrappers alone and is the only one.
    fn find(&self, module: &str) -> Option<usize> {
        let only = || match self.bare.get(&without_wrappers(module))?.as_slice() {
            [only] => Some(*only),
            _ => None,
        };
        self.exact.get(module).copied().or_else(only)
    }
}

struct Fitting<'a> {
    adapter: &'a Adapter,
    base: &'a [BaseTensor],
    index: Index<'a>,
    /// Whether the layers that [`may_be_across`] names have their inputs as rows.
    has_inputs_as_rows: bool,
    updates: Updates,
}

/// Where factors go: rows of a matrix, and the part of the outputs.
struct Place {
    base: usize,
    matrix: u64,
    rows: Range<u64>,
    columns: u64,
    /// The first output of the factor that the rows get.
    output: u64,
}

impl Fitting<'_> {
    /// Fits a pair. Returns false if the base has nothing for it.
    fn pair(&mut self, pair: &Pair) -> Result<bool, AdapterError> {
        let stacks = self.stacks(pair);
        if !stacks.is_empty() {
            self.stack(pair, &stacks)?;
            return Ok(true);
        }
        if let Some(at) = self.index.find(&pair.module) {
            self.direct(pair, at)?;
            return Ok(true);
        }
        Ok(self.in_joined(pair)? || self.in_parts(pair)? || self.in_stack(pair)? || self.by_experts(pair)?)
    }

    /// The stacks of experts among the parameters of the pair's module.
    fn stacks(&self, pair: &Pair) -> Vec<usize> {
        let own = self.index.find(&pair.module).filter(|at| self.base[*at].shape.len() == 3);
        let prefix = format!("{}.", without_wrappers(&pair.module));
        let below = || {
            let is_below = |name: &str| {
                let rest = name.strip_prefix(&prefix).map(|rest| rest.strip_suffix(".weight").unwrap_or(rest));
                rest.is_some_and(|rest| !rest.contains('.'))
            };
            let stacks = self.base.iter().enumerate().filter(|(_, tensor)| tensor.shape.len() == 3);
            stacks.filter(|(_, tensor)| is_below(&without_wrappers(&tensor.name))).map(|(at, _)| at).collect()
        };
        own.map_or_else(below, |at| vec![at])
    }

    /// Fits a pair to the one of several stacks that has its shape.
    fn stack(&mut self, pair: &Pair, stacks: &[usize]) -> Result<(), AdapterError> {
        if let Some(at) = pair.magnitude {
            return Err(AdapterError::Magnitude { tensor: self.adapter.name(at), of: "stacked experts" });
        }
        let mut found: Option<(usize, Stacked, bool)> = None;
        for &at in stacks {
            let [experts, x, y] = *self.base[at].shape else { continue };
            let stacked = self.adapter.stacked(pair, experts)?;
            // PEFT takes the first extent of each matrix for the inputs, whatever it is.
            let ways = [(stacked.inputs, stacked.outputs) == (x, y), (stacked.outputs, stacked.inputs) == (x, y)];
            for is_flipped in [true, false].into_iter().zip(ways).filter_map(|(flipped, fits)| fits.then_some(flipped))
            {
                if let Some((first, ..)) = found {
                    let name = |at: usize| self.base[at].name.clone();
                    let tensor = self.adapter.name(pair.a);
                    return Err(AdapterError::Ambiguous { tensor, first: name(first), second: name(at) });
                }
                found = Some((at, stacked, is_flipped));
            }
        }
        let Some((base, stacked, is_flipped)) = found else {
            return Err(self.shape(pair.a, stacks[0], "factors whose products have the shape of one expert".into()));
        };
        // Patterns are those of parameters here: several belong to one module.
        let scale = self.adapter.settings.scale(&self.base[base].name, stacked.rank, &self.adapter.name(pair.a))?;
        for expert in 0..stacked.experts {
            let factors = self.adapter.of_expert(pair, stacked, expert);
            let (rows, columns) =
                if is_flipped { (stacked.inputs, stacked.outputs) } else { (stacked.outputs, stacked.inputs) };
            let place = Place { base, matrix: expert, rows: 0..rows, columns, output: 0 };
            self.add(pair, factors, place, is_flipped, scale);
        }
        Ok(())
    }

    /// Fits a pair to the tensor of its module.
    fn direct(&mut self, pair: &Pair, at: usize) -> Result<(), AdapterError> {
        let factors = self.adapter.factors(pair)?;
        let [rows, columns] = *self.base[at].shape else {
            return Err(self.shape(pair.a, at, "a matrix".into()));
        };
        let (inputs, outputs) = (factors.inputs.1, factors.outputs.1);
        let is_straight = (outputs, inputs) == (rows, columns);
        let is_across = (inputs, outputs) == (rows, columns);
        // mlx-lm turns these layers round, and PEFT says it of them in its document.
        let is_of_mlx = self.adapter.format() == Format::Mlx;
        let is_turned = is_of_mlx && self.has_inputs_as_rows && may_be_across(&pair.module);
        // In mlx-lm an embedding has the names of any other layer.
        let is_embedding =
            pair.is_embedding || is_of_mlx && !is_turned && is_across && (!is_straight || is_embedding(&pair.module));
        if is_embedding && let Some(at) = pair.magnitude {
            return Err(AdapterError::Magnitude { tensor: self.adapter.name(at), of: "an embedding" });
        }
        let is_flipped = is_embedding || is_turned || self.adapter.settings.is_fan_in_fan_out && is_across;
        if !is_flipped && !is_straight || is_flipped && !is_across {
            let (of_a, of_b) = if is_flipped { (rows, columns) } else { (columns, rows) };
            let (at_fault, expected) =
                if inputs == of_a { (pair.b, format!("{of_b} outputs")) } else { (pair.a, format!("{of_a} inputs")) };
            return Err(self.shape(at_fault, at, expected));
        }
        let scale = self.adapter.settings.scale(&pair.module, factors.rank, &self.adapter.name(pair.a))?;
        self.magnitude(pair, outputs)?;
        self.add(pair, factors, Place { base: at, matrix: 0, rows: 0..rows, columns, output: 0 }, is_flipped, scale);
        Ok(())
    }

    /// Fits a pair to some rows of a weight that joins its module with others.
    fn in_joined(&mut self, pair: &Pair) -> Result<bool, AdapterError> {
        let mut wholes = fused::wholes(&pair.module).filter_map(|(whole, place, count)| {
            let at = self.index.find(&whole)?;
            (self.base[at].shape.len() == 2).then_some((at, place, count))
        });
        let Some((at, place, count)) = wholes.next() else { return Ok(false) };
        drop(wholes);
        let [total, columns] = *self.base[at].shape else { return Ok(false) };
        self.part(pair, (at, 0), [total, columns], place, count)?;
        Ok(true)
    }

    /// Fits a pair to the part of a joined matrix.
    fn part(
        &mut self,
        pair: &Pair,
        (base, matrix): (usize, u64),
        [total, columns]: [u64; 2],
        place: usize,
        count: usize,
    ) -> Result<(), AdapterError> {
        let factors = self.adapter.factors(pair)?;
        if factors.inputs.1 != columns {
            return Err(self.shape(pair.a, base, format!("{columns} inputs")));
        }
        let Some(rows) = fused::rows(total, place, count, factors.outputs.1) else {
            return Err(self.shape(pair.b, base, format!("the outputs of part {} of {count} of its rows", place + 1)));
        };
        let scale = self.adapter.settings.scale(&pair.module, factors.rank, &self.adapter.name(pair.a))?;
        self.magnitude(pair, factors.outputs.1)?;
        self.add(pair, factors, Place { base, matrix, rows, columns, output: 0 }, false, scale);
        Ok(())
    }

    /// Fits a pair to several weights that its module joins.
    fn in_parts(&mut self, pair: &Pair) -> Result<bool, AdapterError> {
        let parts = fused::parts(&pair.module);
        let found: Vec<usize> = parts.iter().filter_map(|part| self.index.find(part)).collect();
        if found.is_empty() || found.len() != parts.len() {
            return Ok(false);
        }
        let factors = self.adapter.factors(pair)?;
        let scale = self.adapter.settings.scale(&pair.module, factors.rank, &self.adapter.name(pair.a))?;
        let mut output = 0_u64;
        for base in &found {
            let [rows, columns] = *self.base[*base].shape else {
                return Err(self.shape(pair.a, *base, "a matrix".into()));
            };
            if columns != factors.inputs.1 {
                return Err(self.shape(pair.a, *base, format!("{columns} inputs")));
            }
            let end = output.saturating_add(rows);
            if end <= factors.outputs.1 {
                self.add(pair, factors, Place { base: *base, matrix: 0, rows: 0..rows, columns, output }, false, scale);
            }
            output = end;
        }
        if output != factors.outputs.1 {
            return Err(self.shape(pair.b, found[0], format!("{output} outputs, of {} weights together", found.len())));
        }
        self.magnitude(pair, output)?;
        Ok(true)
    }

    /// Fits the pair of one expert to a stack of all experts.
    fn in_stack(&mut self, pair: &Pair) -> Result<bool, AdapterError> {
        let Some((before, after)) = pair.module.split_once(".experts.") else { return Ok(false) };
        let Some((number, rest)) = after.split_once('.') else { return Ok(false) };
        let Ok(matrix) = number.parse::<u64>() else { return Ok(false) };
        let stack = format!("{before}.experts.{rest}");
        let alone = self.index.find(&stack).map(|at| (at, 0, 1));
        let joined =
            || fused::wholes(&stack).find_map(|(whole, place, count)| Some((self.index.find(&whole)?, place, count)));
        let Some((at, place, count)) = alone.or_else(joined) else { return Ok(false) };
        let [experts, total, columns] = *self.base[at].shape else { return Ok(false) };
        if matrix >= experts || self.base[at].is_transposed {
            return Ok(false);
        }
        if count > 1 {
            self.part(pair, (at, matrix), [total, columns], place, count)?;
            return Ok(true);
        }
        let factors = self.adapter.factors(pair)?;
        if (factors.outputs.1, factors.inputs.1) != (total, columns) {
            return Err(self.shape(pair.b, at, format!("{total} outputs and {columns} inputs")));
        }
        let scale = self.adapter.settings.scale(&pair.module, factors.rank, &self.adapter.name(pair.a))?;
        self.magnitude(pair, total)?;
        self.add(pair, factors, Place { base: at, matrix, rows: 0..total, columns, output: 0 }, false, scale);
        Ok(true)
    }

    /// Fits the pair of a stack to the experts of a base that has each by itself.
    fn by_experts(&mut self, pair: &Pair) -> Result<bool, AdapterError> {
        let Some((before, last)) = pair.module.rsplit_once('.') else { return Ok(false) };
        let before = before.replace("switch_mlp", "experts");
        let experts: Vec<usize> =
            (0_u64..).map_while(|expert| self.index.find(&format!("{before}.{expert}.{last}"))).collect();
        let Some(first) = experts.first().copied() else { return Ok(false) };
        if let Some(at) = pair.magnitude {
            return Err(AdapterError::Magnitude { tensor: self.adapter.name(at), of: "stacked experts" });
        }
        let stacked = self.adapter.stacked(pair, experts.len() as u64)?;
        let scale = self.adapter.settings.scale(&pair.module, stacked.rank, &self.adapter.name(pair.a))?;
        for (expert, base) in (0..).zip(experts) {
            let [rows, columns] = *self.base[base].shape else {
                return Err(self.shape(pair.a, base, "a matrix".into()));
            };
            if (stacked.outputs, stacked.inputs) != (rows, columns) {
                return Err(self.shape(pair.b, first, format!("{rows} outputs and {columns} inputs for each expert")));
            }
            let factors = self.adapter.of_expert(pair, stacked, expert);
            self.add(pair, factors, Place { base, matrix: 0, rows: 0..rows, columns, output: 0 }, false, scale);
        }
        Ok(true)
    }

    /// Fits a tensor that replaces another. Returns false if the base has none of its name.
    fn whole(&mut self, name: &str, tensor: usize) -> Result<bool, AdapterError> {
        let Some(base) = self.index.find(name.strip_suffix(".weight").unwrap_or(name)) else { return Ok(false) };
        let (found, expected) = (&self.adapter.tensors[tensor].shape, &self.base[base].shape);
        if found != expected {
            let module = name.strip_suffix(".weight").unwrap_or(name);
            return Err(match (found.as_slice(), expected.as_slice()) {
                ([rows, columns], [of_base, of_columns]) if columns == of_columns && is_embedding(module) => {
                    let (tensor, base) = (self.adapter.name(tensor), self.base[base].name.clone());
                    AdapterError::Vocabulary { tensor, found: *rows, base, expected: *of_base }
                }
                _ => self.shape(tensor, base, format!("{expected:?}")),
            });
        }
        self.updates.replacements.push(Replacement { base, tensor });
        Ok(true)
    }

    /// Checks the number of magnitudes.
    fn magnitude(&self, pair: &Pair, outputs: u64) -> Result<(), AdapterError> {
        let Some(at) = pair.magnitude else { return Ok(()) };
        let found = &self.adapter.tensors[at].shape;
        if found.iter().copied().try_fold(1, u64::checked_mul) == Some(outputs) {
            return Ok(());
        }
        let expected = "one magnitude for each output";
        Err(AdapterError::Extents { tensor: self.adapter.name(at), found: found.clone(), expected })
    }

    fn add(&mut self, pair: &Pair, factors: Factors, place: Place, is_flipped: bool, scale: f32) {
        let Place { base, matrix, rows, columns, output } = place;
        let Factors { rank, inputs: (inputs, _), outputs: (outputs, _) } = factors;
        // Where rows alternate, the outputs begin with a head.
        let outputs = View { start: outputs.start + output * outputs.along, ..outputs };
        let (left, right) = if is_flipped { (inputs, outputs) } else { (outputs, inputs) };
        let magnitude = pair.magnitude.map(|tensor| Magnitude { tensor, start: output, is_of_columns: is_flipped });
        self.updates.products.push(ProductUpdate { base, matrix, rows, columns, left, right, rank, scale, magnitude });
    }

    fn shape(&self, tensor: usize, base: usize, expected: String) -> AdapterError {
        AdapterError::Shape {
            tensor: self.adapter.name(tensor),
            found: self.adapter.tensors[tensor].shape.clone(),
            expected,
            base: self.base[base].name.clone(),
            of_base: self.base[base].shape.clone(),
        }
    }
}
