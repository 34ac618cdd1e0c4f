//! Values that a shell may offer for an argument that takes others too.

use std::ffi::OsStr;

use clap::{
    Arg, Command, Error,
    builder::{PossibleValue, TypedValueParser},
};

/// Usual values of `--quantize`; a group may follow.
pub(crate) const TYPES: &[&str] =
    &["int4", "int8", "nvfp4", "mxfp4", "mxfp8", "int2", "int3", "int5", "int6", "mlx", "none"];
pub(crate) const GGML_TYPES: &[&str] = &["q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q6_k", "f16", "bf16", "f32"];
pub(crate) const POLICIES: &[&str] = &["default", "uniform", "v0.16", "v0.32"];
pub(crate) const PROFILES: &[&str] = &["plus", "best", "gptq", "mlx", "mlx-metal"];
pub(crate) const DEVICES: &[&str] = &["host", "mlx", "cuda"];
pub(crate) const FLOATS: &[&str] = &["bf16", "f16", "f32"];

/// A parser that names values for completions, and takes whatever the parser inside does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offers<P> {
    parser: P,
    values: &'static [&'static str],
}

/// `parser`, with `values` for completions.
pub(crate) fn offers<P>(values: &'static [&'static str], parser: P) -> Offers<P> {
    Offers { parser, values }
}

impl<P: TypedValueParser> TypedValueParser for Offers<P> {
    type Value = P::Value;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Self::Value, Error> {
        self.parser.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.values.iter().map(PossibleValue::new)))
    }
}

#[cfg(test)]
mod tests {
    use longshore_packer::ExportOptions;
    use longshore_quant::{Profile, Scheme, policy::Policy};

    use super::*;

    #[test]
    fn what_is_offered_is_taken() {
        assert_eq!(POLICIES, Policy::names());
        let mut profiles = PROFILES.to_vec();
        profiles.sort_unstable();
        let mut all: Vec<_> = Profile::ALL.map(Profile::name).into_iter().chain(["gptq"]).collect();
        all.sort_unstable();
        assert_eq!(profiles, all);
        assert!(TYPES.iter().all(|name| ["mlx", "none"].contains(name) || name.parse::<Scheme>().is_ok()));
        let mut types = GGML_TYPES.to_vec();
        types.sort_unstable();
        let mut all = ExportOptions::ENCODED_TYPES.map(|known| known.name().to_lowercase());
        all.sort_unstable();
        assert_eq!(types, all);
        assert!(FLOATS.iter().all(|name| name.to_ascii_uppercase().parse::<longshore_quant::FloatType>().is_ok()));
    }
}
