//! Table of the kernels, and of the PTX that holds them.

use std::{ffi::CStr, fmt};

use longshore_quant::{FloatType, Format, Scheme};

/// A kernel. It decodes one format, with one type of scales, to one type of elements, for all group sizes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kernel {
    index: usize,
}

impl Kernel {
    /// Returns the kernel for a scheme. `source` is the type of an affine scheme's scales and biases; the other schemes
    /// ignore it.
    #[must_use]
    pub(crate) fn new(scheme: Scheme, source: FloatType, target: FloatType) -> Self {
        let wanted = |entry: &&Entry| {
            entry.format == scheme.format()
                && entry.target == target
                && entry.source.is_none_or(|known| known == source)
        };
        let index = TABLE.iter().position(|entry| wanted(&entry)).expect("the table has every scheme that can be made");
        Self { index }
    }

    /// Iterates over all kernels. The kernels of a module follow each other.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..TABLE.len()).map(|index| Self { index })
    }

    /// Name of the kernel's entry in the PTX, such as `dequantize_int4_bf16_to_f32` or `dequantize_nvfp4_to_bf16`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.c_name().to_str().expect("names are ASCII")
    }

    /// [`name`](Self::name) as a C string for the driver.
    #[must_use]
    pub fn c_name(self) -> &'static CStr {
        TABLE[self.index].name
    }

    /// Format that the kernel decodes.
    #[must_use]
    pub fn format(self) -> Format {
        TABLE[self.index].format
    }

    /// Type of the scales and biases that the kernel reads; `None` where scales are bytes.
    #[must_use]
    pub fn source(self) -> Option<FloatType> {
        TABLE[self.index].source
    }

    /// Type that the kernel writes.
    #[must_use]
    pub fn target(self) -> FloatType {
        TABLE[self.index].target
    }

    /// Index of the kernel's module, below [`MODULES`].
    pub(crate) fn module(self) -> usize {
        TABLE[self.index].module
    }

    /// PTX of the kernel's module, which holds the kernels of one format for all types.
    #[must_use]
    pub fn ptx(self) -> &'static CStr {
        CStr::from_bytes_with_nul(PTX[TABLE[self.index].module].as_bytes())
            .expect("PTX is text with one NUL, at its end")
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Debug)]
struct Entry {
    name: &'static CStr,
    format: Format,
    source: Option<FloatType>,
    target: FloatType,
    module: usize,
}

/// Number of modules.
pub(crate) const MODULES: usize = PTX.len();

macro_rules! ptx {
    ($($name:literal)*) => {
        [$(concat!(include_str!(concat!("../../kernels/ptx/", $name, ".ptx")), "\0")),*]
    };
}

const PTX: [&str; 9] = ptx!["int2" "int3" "int4" "int5" "int6" "int8" "nvfp4" "mxfp4" "mxfp8"];

/// Builds the entries from the parts of their names, because a constant cannot concatenate strings in another way.
macro_rules! table {
    (@c $($part:expr),*) => {
        match CStr::from_bytes_with_nul(concat!($($part,)* "\0").as_bytes()) {
            Ok(name) => name,
            Err(_) => panic!("a name holds no NUL"),
        }
    };
    ($($module:literal affine $bits:literal,)* ; $($block_module:literal block $name:literal $format:expr,)*) => {
        &[
            $(
                table!(@affine $module, $bits, "f32", F32, "f32", F32),
                table!(@affine $module, $bits, "f32", F32, "f16", F16),
                table!(@affine $module, $bits, "f32", F32, "bf16", BF16),
                table!(@affine $module, $bits, "f16", F16, "f32", F32),
                table!(@affine $module, $bits, "f16", F16, "f16", F16),
                table!(@affine $module, $bits, "f16", F16, "bf16", BF16),
                table!(@affine $module, $bits, "bf16", BF16, "f32", F32),
                table!(@affine $module, $bits, "bf16", BF16, "f16", F16),
                table!(@affine $module, $bits, "bf16", BF16, "bf16", BF16),
            )*
            $(
                table!(@block $block_module, $name, $format, "f32", F32),
                table!(@block $block_module, $name, $format, "f16", F16),
                table!(@block $block_module, $name, $format, "bf16", BF16),
            )*
        ]
    };
    (@affine $module:literal, $bits:literal, $source:literal, $from:ident, $target:literal, $to:ident) => {
        Entry {
            name: table!(@c "dequantize_int", $bits, "_", $source, "_to_", $target),
            format: Format::Affine { bits: $bits },
            source: Some(FloatType::$from),
            target: FloatType::$to,
            module: $module,
        }
    };
    (@block $module:literal, $name:literal, $format:expr, $target:literal, $to:ident) => {
        Entry {
            name: table!(@c "dequantize_", $name, "_to_", $target),
            format: $format,
            source: None,
            target: FloatType::$to,
            module: $module,
        }
    };
}

const TABLE: &[Entry] = table![
    0 affine 2, 1 affine 3, 2 affine 4, 3 affine 5, 4 affine 6, 5 affine 8, ;
    6 block "nvfp4" Format::Nvfp4, 7 block "mxfp4" Format::Mxfp4, 8 block "mxfp8" Format::Mxfp8,
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_entry_is_in_its_module_and_the_other_way_round() {
        let mut names = HashSet::new();
        for kernel in Kernel::all() {
            let ptx = kernel.ptx().to_str().expect("PTX is ASCII");
            assert!(ptx.contains(&format!(".visible .entry {}(\n", kernel.name())), "{kernel:?}");
            assert!(names.insert(kernel.name()), "{kernel:?} is there twice");
        }
        assert_eq!(names.len(), 6 * 9 + 3 * 3);
        assert_eq!(PTX.iter().map(|ptx| ptx.matches(".entry ").count()).sum::<usize>(), names.len());
    }

    #[test]
    fn the_kernel_of_a_scheme_says_what_it_does() {
        let kernel = Kernel::new(Scheme::INT4, FloatType::BF16, FloatType::F32);
        assert_eq!(kernel.name(), "dequantize_int4_bf16_to_f32");
        assert_eq!((kernel.source(), kernel.target()), (Some(FloatType::BF16), FloatType::F32));
        for source in FloatType::ALL {
            let kernel = Kernel::new(Scheme::MXFP8, source, FloatType::F16);
            assert_eq!((kernel.name(), kernel.source()), ("dequantize_mxfp8_to_f16", None));
        }
        for bits in Scheme::AFFINE_BITS {
            for source in FloatType::ALL {
                for target in FloatType::ALL {
                    let scheme = Scheme::affine(bits, 32).expect("it is listed");
                    let name = format!("dequantize_int{bits}_{source}_to_{target}").to_lowercase();
                    assert_eq!(Kernel::new(scheme, source, target).name(), name);
                }
            }
        }
    }

    /// A driver reads PTX only up to its own version, so neither the PTX version nor the target device may become newer
    /// unnoticed.
    #[test]
    fn modules_need_no_newer_driver_and_device_than_is_said() {
        for ptx in PTX {
            assert!(ptx.contains("\n.version 8.1\n.target sm_80\n.address_size 64\n"));
        }
    }
}
