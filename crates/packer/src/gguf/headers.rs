//! The companion files that hold the headers of GGUF files.

use longshore_manifest::RelativePath;

/// The directory of the headers among a model's companion files.
const DIRECTORY: &str = "gguf";

/// The name of the companion file that holds the header of file `no`, counted from 0, of `count` GGUF files:
/// `gguf/header-00001-of-00003.bin`. It does not depend on the names of the files.
pub(crate) fn name(no: u16, count: u16) -> RelativePath {
    let name = format!("{DIRECTORY}/header-{:05}-of-{count:05}.bin", u32::from(no) + 1);
    RelativePath::parse(&name).expect("two short segments of letters and digits")
}

/// Whether a companion file has the name of a header.
pub(crate) fn is_header(name: &str) -> bool {
    let numbers = || name.strip_prefix(DIRECTORY)?.strip_prefix("/header-")?.strip_suffix(".bin")?.split_once("-of-");
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers().is_some_and(|(no, count)| is_number(no) && is_number(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognised() {
        assert_eq!(name(0, 1).as_str(), "gguf/header-00001-of-00001.bin");
        for name in [name(2, 3), name(u16::MAX - 1, u16::MAX)] {
            assert!(is_header(name.as_str()), "{name}");
        }
        for other in
            ["gguf/header.bin", "header-00001-of-00001.bin", "gguf/header-1-of-1.bin", "gguf/header-0000a-of-00001.bin"]
        {
            assert!(!is_header(other), "{other}");
        }
    }
}
