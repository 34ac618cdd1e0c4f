/// Reason why an adapter cannot be merged. [`Self::hint`] says what to do next.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// The document is not one that PEFT or mlx-lm writes.
    #[error("adapter_config.json cannot be read: {problem}")]
    Config {
        /// The error of the parser, or the missing member.
        problem: String,
    },
    /// The document asks for something that merging does not give.
    #[error("adapter_config.json has {setting}: {found}, expected {expected}")]
    Setting {
        /// The member of the document.
        setting: &'static str,
        /// Its value.
        found: String,
        /// The values that can be merged.
        expected: &'static str,
    },
    /// A key of a GGUF file asks for something that merging does not give.
    #[error("the metadata of the adapter has {key}: {found}, expected {expected}")]
    Metadata {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// The values that can be merged.
        expected: &'static str,
    },
    /// A GGUF file is for another architecture than the base's.
    #[error("the adapter is for the architecture {found:?} of llama.cpp, expected that of the base, {expected}")]
    Architecture {
        /// The adapter's.
        found: String,
        /// The names that files of the base may have.
        expected: String,
    },
    /// A GGUF file has a tensor of the base in a form to which no product of factors leads back.
    #[error("tensor {tensor:?} of the adapter changes what GGUF files have {form}, which is not merged")]
    Form {
        /// The tensor.
        tensor: String,
        /// The form, as the end of a sentence.
        form: &'static str,
    },
    /// The rows of a factor alternate within heads, and are not those of the base's heads.
    #[error("the rows of tensor {tensor:?} of the adapter, {rows}, alternate within heads, and {}", of_heads(*heads))]
    Heads {
        /// The factor.
        tensor: String,
        /// Number of its rows.
        rows: u64,
        /// Number of the base's heads, if it is known.
        heads: Option<u64>,
    },
    /// A pattern of ranks or of alphas is no regular expression, or too large.
    #[error("adapter_config.json has the pattern {pattern:?}, which cannot be used: {problem}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The error.
        problem: String,
    },
    /// One factor of a pair is missing.
    #[error("the adapter has {found:?} without {missing:?}")]
    Half {
        /// The factor that is there.
        found: String,
        /// The factor that is missing.
        missing: String,
    },
    /// A factor has another rank than the other factor, or than the document says.
    #[error("tensor {tensor:?} of the adapter has rank {found}, expected {expected} ({by})")]
    Rank {
        /// The factor.
        tensor: String,
        /// Its rank.
        found: u64,
        /// The other rank.
        expected: u64,
        /// What states the other rank.
        by: String,
    },
    /// A tensor does not fit the weight that it would change.
    #[error(
        "tensor {tensor:?} of the adapter has shape {found:?}, expected {expected} for {base:?} of shape {of_base:?}"
    )]
    Shape {
        /// The tensor of the adapter.
        tensor: String,
        /// Its shape.
        found: Vec<u64>,
        /// The shapes that fit.
        expected: String,
        /// The weight.
        base: String,
        /// The weight's shape.
        of_base: Vec<u64>,
    },
    /// A tensor of the adapter has the number of extents of no tensor that adapters have.
    #[error("tensor {tensor:?} of the adapter has shape {found:?}, expected {expected}")]
    Extents {
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<u64>,
        /// The shapes that are read.
        expected: &'static str,
    },
    /// An embedding or a head has more rows than that of the base.
    #[error(
        "tensor {tensor:?} of the adapter has {found} rows, and {base:?} has {expected}: the vocabulary was changed"
    )]
    Vocabulary {
        /// The tensor of the adapter.
        tensor: String,
        /// Its rows.
        found: u64,
        /// The tensor of the base.
        base: String,
        /// The rows of that.
        expected: u64,
    },
    /// The base has nothing that the tensor could change.
    #[error("{}tensor {tensor:?} of the adapter belongs to nothing in the base", beside(*others))]
    Unused {
        /// The first such tensor.
        tensor: String,
        /// Number of further ones.
        others: usize,
    },
    /// Several weights of the base fit equally well.
    #[error("tensor {tensor:?} of the adapter fits both {first:?} and {second:?}")]
    Ambiguous {
        /// The tensor.
        tensor: String,
        /// A weight.
        first: String,
        /// Another, or the same read in another way.
        second: String,
    },
    /// Two pairs of one adapter change the same weight.
    #[error("the adapter changes {base:?} twice, by {first:?} and by {second:?}")]
    Twice {
        /// The weight.
        base: String,
        /// A tensor of the adapter.
        first: String,
        /// Another.
        second: String,
    },
    /// The base has one matrix for its embedding and its head, and the adapter changes one of them.
    #[error(
        "tensor {tensor:?} of the adapter changes one use of a matrix that is both the embedding and the head of the base"
    )]
    Tied {
        /// The tensor of the adapter.
        tensor: String,
    },
    /// Magnitudes of `DoRA` on what has no rows of its own.
    #[error("tensor {tensor:?} of the adapter holds magnitudes (DoRA) of {of}, which cannot be merged")]
    Magnitude {
        /// The tensor.
        tensor: String,
        /// The kind of weight.
        of: &'static str,
    },
}

/// A beginning of a message that counts.
fn beside(others: usize) -> String {
    if others == 0 {
        String::new()
    } else {
        format!("{} tensors of the adapter belong to nothing in the base: ", others + 1)
    }
}

/// An end of a message about heads.
fn of_heads(heads: Option<u64>) -> String {
    heads.map_or_else(
        || "the base does not say how many heads it has".to_owned(),
        |heads| format!("the base has {heads} heads, whose rows come in pairs"),
    )
}

impl AdapterError {
    /// Advice to the user, if there is any for this error.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Vocabulary { .. } => {
                Some("resize the base's embeddings to the adapter's vocabulary first, and import the result")
            }
            Self::Tied { .. } => {
                Some("untie the base first: save it with `tie_word_embeddings` false and an lm_head of its own")
            }
            Self::Unused { .. } | Self::Architecture { .. } => Some("check that the adapter was made for this base"),
            Self::Setting { .. } | Self::Metadata { .. } | Self::Magnitude { .. } => {
                Some("merge it with the program that made it, and import the result")
            }
            Self::Form { .. } => Some("import the adapter as PEFT wrote it"),
            Self::Heads { heads: None, .. } => {
                Some("import the base with its config.json, or the adapter as PEFT wrote it")
            }
            _ => None,
        }
    }
}
