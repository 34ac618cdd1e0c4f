//! The options of a plan.

use longshore_quant::{Scheme, policy::Policy};

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
}
