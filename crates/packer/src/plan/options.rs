//! The options of a plan.

use longshore_quant::{Scheme, policy::Policy};

/// The options of a plan. The default keeps everything as it is stored.
///
/// ```
/// use longshore_packer::{PlanOptions, quant::Scheme};
///
/// let options = PlanOptions { scheme: Some(Scheme::INT4), ..PlanOptions::default() };
/// assert_eq!(options.policy.name(), "default");
/// ```
#[derive(Debug, Clone, Default)]
pub struct PlanOptions {
    /// The scheme to quantize to. `None` keeps floats as they are, and codes where a scheme of ours holds the same values; for 8-bit
    /// floats that none holds exactly, the policy says what becomes of them.
    pub scheme: Option<Scheme>,
    /// Which tensors get that scheme, another, or none.
    pub policy: Policy,
    /// Give every tensor that is quantized to nvfp4 a global scale, chosen from its largest weight. Not every consumer
    /// has a slot for one.
    pub global_scale: bool,
    /// Without a scheme: decode 8-bit floats rather than choose a scheme for them, and with [`Self::requantize`] packed codes,
    /// too.
    pub floats: bool,
    /// Decode codes that somebody has chosen already, and choose others: it loses twice.
    pub requantize: bool,
}
