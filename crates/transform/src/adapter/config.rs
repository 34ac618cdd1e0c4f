//! The documents of adapters.

use serde::Deserialize;
use serde_json::Value;

use super::{
    error::AdapterError,
    format::Format,
    gguf::Keys,
    pattern::{Listing, Patterns},
    settings::{Scaling, Settings},
};

/// Rank and alpha that PEFT takes where the document has none.
const PEFT_DEFAULT: f64 = 8.0;

#[derive(Deserialize)]
struct Document {
    peft_type: Option<String>,
    r: Option<f64>,
    lora_alpha: Option<f64>,
    use_rslora: Option<bool>,
    use_dora: Option<bool>,
    init_lora_weights: Option<Value>,
    use_qalora: Option<bool>,
    rank_pattern: Option<Listing>,
    alpha_pattern: Option<Listing>,
    fan_in_fan_out: Option<bool>,
    bias: Option<String>,
    lora_bias: Option<bool>,
    layer_replication: Option<Value>,
    alora_invocation_tokens: Option<Value>,
    fine_tune_type: Option<String>,
    lora_parameters: Option<Parameters>,
}

/// `lora_parameters` of mlx-lm.
#[derive(Deserialize)]
struct Parameters {
    rank: Option<f64>,
    scale: Option<f64>,
}

impl Settings {
    /// Parses `adapter_config.json`, or the keys of a GGUF file.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, AdapterError> {
        let config = |problem: String| AdapterError::Config { problem };
        let document: Document = serde_json::from_slice(bytes).map_err(|error| config(error.to_string()))?;
        match (&document.peft_type, &document.lora_parameters) {
            (Some(_), _) => document.peft(),
            (None, Some(_)) => document.mlx(),
            (None, None) => match serde_json::from_slice::<Keys>(bytes) {
                Ok(keys) if keys.are_there() => keys.settings(),
                _ => {
                    Err(config("it has neither peft_type, as PEFT writes, nor lora_parameters, as mlx-lm does".into()))
                }
            },
        }
    }
}

impl Document {
    fn peft(self) -> Result<Settings, AdapterError> {
        let setting = |setting, found: String, expected| Err(AdapterError::Setting { setting, found, expected });
        let kind = self.peft_type.unwrap_or_default();
        if kind != "LORA" {
            return setting("peft_type", kind, "LORA");
        }
        if let Some(bias) = self.bias.filter(|bias| bias != "none") {
            return setting("bias", bias, "none");
        }
        let has = |value: &Option<Value>| value.as_ref().is_some_and(|value| !value.is_null());
        let unmergeable = [
            (self.lora_bias == Some(true), "lora_bias", "false: a bias of B cannot be part of a weight"),
            (self.use_qalora == Some(true), "use_qalora", "false"),
            (has(&self.layer_replication), "layer_replication", "none: the merged model would have other layers"),
            (
                has(&self.alora_invocation_tokens),
                "alora_invocation_tokens",
                "none: the adapter acts on some tokens only",
            ),
        ];
        if let Some((_, name, expected)) = unmergeable.into_iter().find(|(is_set, ..)| *is_set) {
            return setting(name, "a value".into(), expected);
        }
        // These begin with a base from which a part of each weight was taken.
        if let Some(Value::String(found)) = self.init_lora_weights {
            let lower = found.to_lowercase();
            if ["pissa", "corda", "olora", "loftq"].iter().any(|start| lower.starts_with(start)) {
                return setting(
                    "init_lora_weights",
                    found,
                    "one that leaves the base as it was: convert it with PEFT first",
                );
            }
        }
        Ok(Settings {
            format: Format::Peft,
            is_fan_in_fan_out: self.fan_in_fan_out == Some(true),
            is_dora: self.use_dora == Some(true),
            scaling: Scaling::Ratio {
                rank: self.r.unwrap_or(PEFT_DEFAULT),
                alpha: self.lora_alpha.unwrap_or(PEFT_DEFAULT),
                is_root: self.use_rslora == Some(true),
                ranks: Patterns::new(&self.rank_pattern.unwrap_or_default())?,
                alphas: Patterns::new(&self.alpha_pattern.unwrap_or_default())?,
            },
            ggml: None,
        })
    }

    fn mlx(self) -> Result<Settings, AdapterError> {
        let kind = self.fine_tune_type.unwrap_or_else(|| "lora".into());
        if kind != "lora" && kind != "dora" {
            let expected = "lora or dora: other weights are a checkpoint of their own";
            return Err(AdapterError::Setting { setting: "fine_tune_type", found: kind, expected });
        }
        let Parameters { rank, scale } = self.lora_parameters.unwrap_or(Parameters { rank: None, scale: None });
        let missing = || AdapterError::Config { problem: "lora_parameters has no scale".into() };
        let scaling = Scaling::Factor { scale: scale.ok_or_else(missing)?, rank };
        Ok(Settings { format: Format::Mlx, is_fan_in_fan_out: false, is_dora: kind == "dora", scaling, ggml: None })
    }
}
