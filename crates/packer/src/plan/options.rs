//! The options of a plan.

use std::sync::Arc;

use longshore_quant::{Scheme, policy::Policy};

use crate::statistics::importance::ImportanceFile;

/// The options of a plan. With the default options all values are kept as the source stores them.
///
/// ```
/// use longshore_packer::{PlanOptions, quant::Scheme};
///
/// let options = PlanOptions { scheme: Some(Scheme::INT4), ..PlanOptions::default() };
/// assert_eq!(options.policy.name(), "default");
/// ```
#[derive(Debug, Clone, Default)]
pub struct PlanOptions {
    /// The scheme to quantize to. With `None`, floats are kept, and so are codes whose values a scheme of this program
    /// holds exactly. For 8-bit floats that no scheme holds exactly, the policy chooses a scheme.
    pub scheme: Option<Scheme>,
    /// The policy that chooses, for each tensor, whether it gets `scheme`, another scheme or none.
    pub policy: Policy,
    /// Gives every tensor that is quantized to nvfp4 a global scale, chosen from its largest weight. Not every runtime
    /// supports a global scale.
    pub global_scale: bool,
    /// Without a scheme: decodes 8-bit floats instead of choosing a scheme for them. With [`Self::requantize`], packed
    /// codes are decoded, too.
    pub floats: bool,
    /// Decodes weights that are already quantized and quantizes them again. Accuracy is lost twice.
    pub requantize: bool,
    /// The blocks of GGUF files that are taken over into schemes without decoding.
    pub take_over: TakeOver,
    /// Multiplies columns by factors of their inputs, and divides what makes these.
    pub awq: Option<Awq>,
}

/// Factors of columns by their inputs, as AWQ has them: a column whose inputs are large is rounded more finely beside its neighbours.
/// The norm or weight that makes the inputs is divided by the factors, so that the model computes the same but for rounding.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Awq {
    /// The mean squares of inputs, E\[x²\].
    pub statistics: Arc<ImportanceFile>,
    /// The power from 0 to 1 that the root of E\[x²\] is raised to. 0 changes nothing.
    pub power: f64,
}

impl Awq {
    /// Chooses factors by these statistics.
    #[must_use]
    pub fn new(statistics: Arc<ImportanceFile>, power: f64) -> Self {
        Self { statistics, power }
    }
}

impl PlanOptions {
    /// The factors of columns that change anything.
    pub(crate) fn awq(&self) -> Option<&Awq> {
        self.awq.as_ref().filter(|awq| awq.power != 0.0)
    }
}

/// The blocks of GGUF files that become codes of a scheme with the same values, without decoding.
///
/// The schemes that hold a type's values are those of [`Mapping`](longshore_quant::ggml::Mapping).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TakeOver {
    /// With [`PlanOptions::scheme`], blocks whose values a scheme of the same format holds, in whatever group size. Without
    /// a scheme, none.
    #[default]
    Format,
    /// With [`PlanOptions::scheme`], blocks whose values this scheme holds in its group size. Without a scheme, none.
    Scheme,
    /// Without [`PlanOptions::scheme`], all blocks whose values a scheme holds. Only for sources in GGUF.
    Every,
}
