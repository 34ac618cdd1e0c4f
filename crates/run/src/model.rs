//! Models: opened weights, and how they are run.

use longshore_experts::{CacheStats, TraceHeader};
use longshore_manifest::{document::Facts, weights::Source};
use longshore_quant::matmul::{Multiplier, Threads};

use crate::{
    decoder::{Cache, Decoder},
    encoder,
    error::LoadError,
    expert_memory::ExpertMemory,
    experts::{self, Reach},
    memory,
    options::LoadOptions,
    spec::{self, Family, Spec, Stated},
    threads,
    weights::{Bound, Tensors},
};

/// A model that can be run.
#[derive(Debug)]
pub struct Model {
    source: Source,
    tensors: Tensors,
    spec: Spec,
    options: LoadOptions,
    multiplier: Multiplier,
    threads: Threads,
    reach: Reach,
    max_sequence: usize,
    notes: Vec<String>,
}

impl Model {
    /// Opens a model. Its weights are mapped, so that this reads headers and small tensors only.
    ///
    /// # Errors
    ///
    /// [`LoadError`]: an architecture that cannot be run, a fact or a tensor that is missing or does not fit, and what is
    /// wrong with the files.
    pub fn open(source: Source, options: LoadOptions) -> Result<Self, LoadError> {
        let mut notes = source.notes().to_vec();
        let facts = source.table().facts.clone();
        if encoder::is_encoder(&facts) {
            let name = source.name().to_owned();
            return Err(LoadError::Kind { name, expected: "a decoder", found: "an encoder, which gives no tokens" });
        }
        let family = family(&facts, &options, &mut notes)?;
        let stated = source.companion("config.json")?.map(|config| Stated::of(&config)).unwrap_or_default();
        let mut tensors = Tensors::open(&source, &options)?;
        if family.turned {
            tensors.turn(facts.hidden_size)?;
        }
        let factors = tensors.small("rope_freqs.weight");
        let spec = spec::decoder(&facts, family, stated, factors, options.max_sequence)?;
        if spec.norm.adds_one {
            tensors.add_one_to_norms();
        }
        let reach = {
            let bound = Bound::new(&spec, &tensors)?;
            Reach::open(&source, (&spec, &bound), &tensors, &options, &mut notes)?
        };
        tensors.check_updates()?;
        let unused = tensors.unused();
        if let Some(first) = unused.first() {
            let what = format!("{} tensors that {} has no use for, such as {first:?}", unused.len(), family.names[0]);
            if options.treat_as.is_some() {
                return Err(LoadError::Unsupported { what });
            }
            notes.push(format!("the model has {what}"));
        }
        if let Some(adapter) = &options.adapter {
            notes.push(format!("the adapter {} adds to {} layers", adapter.name(), tensors.updated()));
        }
        let context = facts.context_length.map_or(spec.context, |length| usize::try_from(length).unwrap_or(usize::MAX));
        let threads = threads::start(options.threads)?;
        check_asked(&facts, &spec, &options, &mut notes)?;
        let max_sequence = max_sequence(&spec, context, &options, &mut notes);
        let multiplier = Multiplier::new(options.precision);
        Ok(Self { source, tensors, spec, options, multiplier, threads, reach, max_sequence, notes })
    }

    /// Name of the model.
    #[must_use]
    pub fn name(&self) -> &str {
        self.source.name()
    }

    /// Where the weights come from, with the companion files.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Facts about the model.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.source.table().facts
    }

    /// Number of tokens of the vocabulary, and of the logits of a token.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.spec.vocabulary
    }

    /// Longest sequence of a session, in tokens.
    #[must_use]
    pub fn max_sequence(&self) -> usize {
        self.max_sequence
    }

    /// Bytes that one token takes in the cache of keys and values.
    #[must_use]
    pub fn cache_bytes_per_token(&self) -> usize {
        Cache::bytes_per_token(&self.spec, self.options.kv)
    }

    /// Bytes of all tensors, with their scales and biases.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        self.tensors.bytes()
    }

    /// Bits per parameter: eight times the bytes of all parts of tensors, over the number of their elements. Draft heads are not
    /// counted, since what the model computes does not depend on them.
    #[must_use]
    pub fn bits_per_weight(&self) -> f64 {
        let table = self.source.table();
        let is_own = |name: &str| !table.heads.iter().any(|head| head.has(name));
        let entries = || table.tensors().map(|(_, entry)| entry).filter(|entry| is_own(&entry.name));
        let bytes: u64 = entries().flat_map(|entry| &entry.parts).map(|part| part.length).sum();
        let elements: u64 = entries().filter_map(|entry| entry.shape.elements()).sum();
        8.0 * bytes as f64 / elements.max(1) as f64
    }

    /// Notes for the user: how the weights were read, what bounds a sequence, what nobody has checked.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How the experts come into memory: what was asked for, or what [`ExpertMemory::Auto`] has chosen.
    #[must_use]
    pub fn expert_memory(&self) -> ExpertMemory {
        self.reach.kind()
    }

    /// Counts of the slots that hold experts so far. `None` where there are no slots.
    #[must_use]
    pub fn expert_stats(&self) -> Option<CacheStats> {
        self.reach.stats()
    }

    /// The first line of a trace of this model's routing. `None` for a model without experts.
    #[must_use]
    pub fn trace_header(&self) -> Option<TraceHeader> {
        experts::trace_header(&self.spec)
    }

    /// Options with which the model was opened.
    #[must_use]
    pub fn options(&self) -> &LoadOptions {
        &self.options
    }

    pub(crate) fn spec(&self) -> &Spec {
        &self.spec
    }

    pub(crate) fn bind(&self) -> Bound<'_> {
        Bound::new(&self.spec, &self.tensors).expect("opening has bound the same tensors")
    }

    pub(crate) fn decoder<'d, 'w>(&'d self, bound: &'d Bound<'w>) -> Decoder<'d, 'w> {
        let Self { spec, multiplier, threads, reach, .. } = self;
        Decoder { spec, bound, multiplier: *multiplier, threads, reach }
    }

    pub(crate) fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    pub(crate) fn multiplier(&self) -> Multiplier {
        self.multiplier
    }

    /// The threads, for work apart from products.
    pub(crate) fn threads(&self) -> &Threads {
        &self.threads
    }

    /// Runs `work`, whose products the model's threads compute.
    pub(crate) fn install<T>(&self, work: impl FnOnce() -> T) -> T {
        self.threads.install(work)
    }
}

/// Names of the families that can be run.
pub fn families() -> impl Iterator<Item = &'static str> {
    spec::FAMILIES.iter().map(|family| family.names[0])
}

fn family(facts: &Facts, options: &LoadOptions, notes: &mut Vec<String>) -> Result<&'static Family, LoadError> {
    let names: Vec<&str> = [&facts.architecture, &facts.model_type].into_iter().flatten().map(String::as_str).collect();
    let refuse = |architecture: &str| LoadError::Architecture {
        architecture: architecture.to_owned(),
        because: String::new(),
        supported: families().map(str::to_owned).collect(),
    };
    let asked = options.treat_as.as_deref().map(|other| spec::find(other).ok_or_else(|| refuse(other))).transpose()?;
    let vouched = names.iter().find_map(|name| options.architectures.get(*name));
    let vouched = vouched.map(|other| spec::find(other).ok_or_else(|| refuse(other))).transpose()?;
    let known = names.iter().find_map(|name| Some((*name, spec::find(name)?)));
    let name = names.first().copied();
    let (family, is_checked) = match (vouched, known, asked) {
        (Some(family), ..) => (family, true),
        (None, Some((found, family)), _) => (family, Some(found) == name),
        (None, None, Some(family)) => (family, false),
        (None, None, None) => return Err(name.map_or(LoadError::NoArchitecture, refuse)),
    };
    if !is_checked {
        let found = name.unwrap_or("a model of unknown architecture");
        notes.push(format!("{found} is run as {}: nobody has checked that it is one", family.names[0]));
    }
    if let Some(asked) = asked.filter(|asked| asked.names != family.names) {
        let (found, asked) = (family.names[0], asked.names[0]);
        notes.push(format!("the model is run as {found}, which it says it is, not as {asked}, which was asked for"));
    }
    Ok(family)
}

/// Tells of a longest sequence that is beyond what the model states, and refuses it where the rotation would have to change or
/// positions would be missing.
fn check_asked(facts: &Facts, spec: &Spec, options: &LoadOptions, notes: &mut Vec<String>) -> Result<(), LoadError> {
    let Some(asked) = options.max_sequence else { return Ok(()) };
    if let Some(positions) = spec.positions.filter(|positions| asked > *positions) {
        return Err(LoadError::Unsupported { what: format!("{positions} positions, and {asked} were asked for") });
    }
    let Some(stated) = facts.context_length else { return Ok(()) };
    if asked as u64 <= stated {
        return Ok(());
    }
    if facts.rope.as_ref().is_some_and(|rope| rope.kind.as_deref() == Some("dynamic")) {
        let what = format!("a context of {stated} tokens that is stretched as it grows, and {asked} were asked for");
        return Err(LoadError::Unsupported { what });
    }
    notes.push(format!("a sequence may have {asked} tokens, and the model was made for {stated}: beyond, it may fail"));
    Ok(())
}

/// Longest sequence: what was asked for, or the model's context as far as the free memory holds it.
fn max_sequence(spec: &Spec, stated: usize, options: &LoadOptions, notes: &mut Vec<String>) -> usize {
    if let Some(asked) = options.max_sequence {
        return asked;
    }
    let per_token = Cache::bytes_per_token(spec, options.kv).max(1);
    if spec.context < stated {
        notes.push(format!(
            "a sequence has at most {} of the model's {stated} tokens: ask for more, and the frequencies of long contexts hold",
            spec.context
        ));
    }
    // Half of the memory is left to activations, and to others.
    let fits =
        memory::available().map_or(usize::MAX, |free| usize::try_from(free / 2).unwrap_or(usize::MAX) / per_token);
    if fits < spec.context {
        notes.push(format!(
            "a sequence has at most {fits} of the model's {} tokens, which fit the free memory",
            spec.context
        ));
    }
    spec.context.min(fits.max(1))
}
