//! Names of schemes, in users' requests and in metadata.

use std::{fmt, str::FromStr};

use super::{Format, Scheme, SchemeError};

/// All accepted names of formats in lower case, canonical names before aliases.
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
    // Aliases of ollama. In ollama `fp4` and `fp8` mean integers, so they mean integers here too.
    ("q4", Format::Affine { bits: 4 }),
    ("fp4", Format::Affine { bits: 4 }),
    ("q8", Format::Affine { bits: 8 }),
    ("fp8", Format::Affine { bits: 8 }),
];

fn format_named(name: &str) -> Option<Format> {
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, format)| format)
}

impl Scheme {
    /// Name of the format as metadata spells it: `int2` … `int8`, `nvfp4`, `mxfp4` or `mxfp8`. It does not include the
    /// group size.
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

    /// Creates the scheme that a blob's `quant_type` and `group_size` metadata describe. An affine scheme may have any
    /// of its groups, because writers have changed their default over time.
    ///
    /// # Errors
    ///
    /// [`SchemeError::Unknown`] where no format has that name, [`SchemeError::GroupSize`] where the format has no such
    /// group.
    pub fn from_metadata(quant_type: &str, group_size: u32) -> Result<Self, SchemeError> {
        let format = format_named(quant_type).ok_or_else(|| SchemeError::Unknown { found: quant_type.into() })?;
        Self { format, group_size }.checked()
    }
}

/// Parses a request: a format's name or alias in any case, with blanks around it ignored. An affine format may have a
/// suffix `-g32`, `-g64` or `-g128`. `none` is not a scheme.
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
        // The other formats have one group size each, and no suffix for it.
        if !matches!(format, Format::Affine { .. }) {
            return Err(unknown());
        }
        Ok(Self { format, group_size })
    }
}

/// Formats the shortest request that parses to this scheme: `int4`, or `int4-g32` where the group is not the default.
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
            // An alias comes after its canonical name.
            let canonical = NAMES.iter().find(|(_, other)| *other == format).map(|(name, _)| *name);
            assert_eq!(canonical, Some(named.quant_type()));
        }
    }
}
