//! Options of loading a model.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
};

use longshore_manifest::{st_format::Dtype, weights::Source};
use longshore_quant::matmul::Precision;

use crate::expert_memory::ExpertMemory;

/// Type of the numbers in the cache of keys and values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum KvType {
    /// 32 bits: keys and values as they were computed.
    #[default]
    F32,
    /// 16 bits: half the memory, and keys and values rounded to 11 bits.
    F16,
}

/// Options of loading a model. Later versions may add fields: `..Default::default()` fills them in.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Error that products with quantized weights may have.
    pub precision: Precision,
    /// Type of the cached keys and values.
    pub kv: KvType,
    /// Longest sequence of a session, in tokens. `None` for the model's context, or what fits the free memory.
    pub max_sequence: Option<usize>,
    /// Number of threads, with the caller. `None` for one for each processor.
    pub threads: Option<usize>,
    /// Largest number of tokens that pass through a layer together, which bounds the memory of activations.
    pub batch: usize,
    /// Type to which plain matrices are converted: F32, F16 or BF16. They lie in memory of their own then.
    pub dtype: Option<Dtype>,
    /// Whether weights are mapped. Otherwise they are read into memory first.
    pub mapped: bool,
    /// How the experts of a mixture come into memory.
    pub experts: ExpertMemory,
    /// Family as which a model is run whose own is unknown.
    pub treat_as: Option<String>,
    /// Architectures that the program vouches for, each with the family as which it is run. Their facts are those of
    /// [`longshore_model::architecture::Architectures`], to which a program can add its own as well.
    pub architectures: BTreeMap<String, String>,
    /// Adapter that is applied beside the weights, which stay as they are: an opened attachment, whose files PEFT, mlx-lm or
    /// llama.cpp wrote.
    pub adapter: Option<Source>,
    /// Flag that ends what every session of the model does, once it is set, with [`RunError::Cancelled`](crate::RunError::Cancelled).
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            precision: Precision::Exact,
            kv: KvType::F32,
            max_sequence: None,
            threads: None,
            batch: 512,
            dtype: None,
            mapped: true,
            experts: ExpertMemory::Auto,
            treat_as: None,
            architectures: BTreeMap::new(),
            adapter: None,
            cancel: None,
        }
    }
}
