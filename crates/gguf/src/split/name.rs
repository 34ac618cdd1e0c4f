use std::{fmt, str::FromStr};

/// The file name of a member of a split set: `PREFIX-00001-of-00003.gguf`.
///
/// It is a bare name: joining it to a directory cannot leave that directory on any system.
///
/// ```
/// use longshore_gguf::MemberName;
///
/// let name: MemberName = "llama-00001-of-00003.gguf".parse()?;
/// assert_eq!((name.prefix(), name.no(), name.count()), ("llama", 0, 3));
/// assert_eq!(name.sibling(2).map(|name| name.to_string()).as_deref(), Some("llama-00003-of-00003.gguf"));
/// # Ok::<(), longshore_gguf::MemberNameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemberName {
    prefix: Box<str>,
    no: u16,
    count: u16,
}

/// Why something is not the file name of a member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemberNameError {
    /// It has another form, or a number that is beyond the count.
    #[error("the file name {found:?} is not that of a member: expected one such as \"llama-00001-of-00003.gguf\"")]
    Form {
        /// The name as found.
        found: Box<str>,
    },
    /// The prefix is empty, or could leave the directory.
    #[error("the prefix {found:?} is refused: expected a part of a file name without '/', '\\', ':' and NUL")]
    Prefix {
        /// The prefix as found.
        found: Box<str>,
    },
    /// The number is not below the count.
    #[error("member {no}, counted from 0, of {count}: expected a number below the count")]
    Number {
        /// The number of the member, counted from 0.
        no: u16,
        /// The number of members.
        count: u16,
    },
}

impl MemberName {
    /// The name of member `no`, counted from 0, of `count`.
    ///
    /// # Errors
    ///
    /// [`MemberNameError::Prefix`], [`MemberNameError::Number`].
    pub fn new(prefix: &str, no: u16, count: u16) -> Result<Self, MemberNameError> {
        if prefix.is_empty() || prefix.contains(['/', '\\', ':', '\0']) {
            return Err(MemberNameError::Prefix { found: prefix.into() });
        }
        if no >= count {
            return Err(MemberNameError::Number { no, count });
        }
        Ok(Self { prefix: prefix.into(), no, count })
    }

    /// Common prefix of the members' names.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The number of the member, counted from 0. The name itself counts from 1.
    #[must_use]
    pub fn no(&self) -> u16 {
        self.no
    }

    /// The number of members.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.count
    }

    /// The name of member `no` of the same set, where there is one.
    #[must_use]
    pub fn sibling(&self, no: u16) -> Option<Self> {
        (no < self.count).then(|| Self { no, ..self.clone() })
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:05}-of-{:05}.gguf", self.prefix, u32::from(self.no) + 1, self.count)
    }
}

impl FromStr for MemberName {
    type Err = MemberNameError;

    fn from_str(name: &str) -> Result<Self, MemberNameError> {
        let form = || MemberNameError::Form { found: name.into() };
        let rest = name.strip_suffix(".gguf").ok_or_else(form)?;
        let (rest, count) = rest.rsplit_once("-of-").ok_or_else(form)?;
        let (prefix, number) = rest.rsplit_once('-').ok_or_else(form)?;
        let (count, number) = five_digits(count).zip(five_digits(number)).ok_or_else(form)?;
        let no = number.checked_sub(1).filter(|&no| no < count).ok_or_else(form)?;
        Self::new(prefix, no, count)
    }
}

fn five_digits(text: &str) -> Option<u16> {
    (text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}
