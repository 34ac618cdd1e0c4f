//! The names of schemes: what users ask for, and what metadata says.

use std::{fmt, str::FromStr};

use super::{Format, Scheme, SchemeError};

/// Every accepted name of a format in lower case, canonical names before aliases.
const NAMES: [(&str, Format); 13] = [
    ("int2", Format::Affine { bits: 2 }),
    ("int3", Format::Affine { bits: 3 }),
    ("int4", Format::Affine { bits: 4 }),
    ("int5", Format::Affine { bits: 5 }),
    ("int6", Format::Affine { bits: 6 }),
    ("int8", Format::Affine { bits: 8 }),
    ("nvfp4", Format::Nvfp4),
    ("mxfp4", Format::Mxfp4),
    ("mxfp8", Format::Mxfp8),
    // ollama's aliases. `fp4` and `fp8` mean integers there, and so they do here.
    ("q4", Format::Affine { bits: 4 }),
    ("fp4", Format::Affine { bits: 4 }),
    ("q8", Format::Affine { bits: 8 }),
    ("fp8", Format::Affine { bits: 8 }),
];

fn format_named(name: &str) -> Option<Format> {
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, format)| format)
}

impl Scheme {
    /// The name of the format as metadata spells it: `int2` … `int8`, `nvfp4`, `mxfp4` or `mxfp8`. It says nothing
    /// about the group size.
    #[must_use]
    pub const fn quant_type(self) -> &'static str {
        match self.format {
            Format::Affine { bits: 2 } => "int2",
            Format::Affine { bits: 3 } => "int3",
            Format::Affine { bits: 4 } => "int4",
            Format::Affine { bits: 5 } => "int5",
            Format::Affine { bits: 6 } => "int6",
            Format::Affine { .. } => "int8",
            Format::Nvfp4 => "nvfp4",
            Format::Mxfp4 => "mxfp4",
            Format::Mxfp8 => "mxfp8",
        }
    }

    /// The scheme that a blob's `quant_type` and `group_size` metadata describe. An affine scheme may have any of its
    /// groups, whatever the default: writers have changed it over time.
    ///
    /// # Errors
    ///
    /// [`SchemeError::Unknown`] where no format is so called, [`SchemeError::GroupSize`] where it has no such group.
    pub fn from_metadata(quant_type: &str, group_size: u32) -> Result<Self, SchemeError> {
        let format = format_named(quant_type).ok_or_else(|| SchemeError::Unknown { found: quant_type.into() })?;
        Self { format, group_size }.checked()
    }
}

/// Parses a request: a format's name or alias in any case, an affine one with an optional `-g32`, `-g64` or `-g128`,
/// blanks around it ignored. `none` is no scheme.
impl FromStr for Scheme {
    type Err = SchemeError;

    fn from_str(request: &str) -> Result<Self, Self::Err> {
        let unknown = || SchemeError::Unknown { found: request.into() };
        let text = request.trim();
        if let Some(format) = format_named(text) {
            return Ok(Self { format, group_size: format.default_group_size() });
        }
        let (name, group) = text.rsplit_once('-').ok_or_else(unknown)?;
        let format = format_named(name).ok_or_else(unknown)?;
        let group_size = match group {
            "g32" | "G32" => 32,
            "g64" | "G64" => 64,
            "g128" | "G128" => 128,
            _ => return Err(unknown()),
        };
        // The other formats have one group each, and no suffix to name it.
        if !matches!(format, Format::Affine { .. }) {
            return Err(unknown());
        }
        Ok(Self { format, group_size })
    }
}

/// The shortest request that parses to this scheme: `int4`, or `int4-g32` where the group is not the default.
impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group_size == self.format.default_group_size() {
            f.pad(self.quant_type())
        } else {
            f.pad(&format!("{}-g{}", self.quant_type(), self.group_size))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_of_a_scheme_that_is_listed() {
        for (name, format) in NAMES {
            let named = Scheme::all().find(|scheme| scheme.format() == format);
            let named = named.unwrap_or_else(|| panic!("Scheme::all has no {name}"));
            // An alias comes after the name that it stands for.
            let canonical = NAMES.iter().find(|(_, other)| *other == format).map(|(name, _)| *name);
            assert_eq!(canonical, Some(named.quant_type()));
        }
    }
}
