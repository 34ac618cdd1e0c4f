use std::{
    iter::FusedIterator,
    path::{Path, PathBuf},
};

use super::{
    MemberError, MemberName, SplitError, SplitKeys,
    keys::{self, COUNT, NO, TENSORS},
};
use crate::{Header, Layout, LayoutError, Limits, Metadata, TensorInfo, header::ALIGNMENT_KEY};

/// A model in one file or several, all of whose headers are known to agree.
///
/// Members' keys, names and numbers of tensors fit together; no tensor is in two of them; and what a later member says about the
/// model is what the first says. A file that is not split is a set of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitSet {
    members: Box<[Member]>,
    /// Every tensor as the indices of its member and of itself there, in byte order of the names.
    by_name: Box<[(u16, u32)]>,
}

/// One file of a [`SplitSet`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Where it was found.
    pub path: PathBuf,
    /// Its header.
    pub header: Header,
}

impl SplitSet {
    /// Reads the headers of the file at `path`, which may be any member, and of all others of its set, which lie beside it.
    ///
    /// # Errors
    ///
    /// [`SplitError`] names the file. One that is missing is a [`SplitError::Open`].
    pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<Self, SplitError> {
        let path = path.as_ref();
        let (_, header) = Header::open(path, limits)?;
        let agreed = agree(path, &header, limits).map_err(|source| member(path, source))?;
        let Some((name, keys)) = agreed else {
            return Self::new([(path.to_owned(), header)], limits);
        };
        let mut entry = Some(header);
        let mut members = Vec::new();
        let mut tensors = 0;
        for no in 0..keys.count {
            let sibling = name.sibling(no).expect("the name's count is that of the keys");
            // The one that was asked for keeps the name it was asked by.
            let (path, header) = if let Some(header) = entry.take_if(|_| no == keys.no) {
                (path.to_owned(), header)
            } else {
                let path = path.with_file_name(sibling.to_string());
                let (_, header) = Header::open(&path, limits)?;
                (path, header)
            };
            tensors += header.len() as u64;
            // Files that lie are found out before all of them are in memory.
            if tensors > u64::from(keys.tensors) {
                let error = MemberError::TensorCount { expected: keys.tensors, found: tensors };
                return Err(member(&path, error));
            }
            members.push((path, header));
        }
        Self::new(members, limits)
    }

    /// A set of these files and their headers, in order. Nothing is read.
    ///
    /// # Errors
    ///
    /// [`SplitError::Member`] names the file that is at odds with its name or with the others; [`SplitError::Empty`].
    pub fn new<P: Into<PathBuf>>(
        members: impl IntoIterator<Item = (P, Header)>,
        limits: &Limits,
    ) -> Result<Self, SplitError> {
        let members: Box<[Member]> =
            members.into_iter().map(|(path, header)| Member { path: path.into(), header }).collect();
        let first = members.first().ok_or(SplitError::Empty)?;
        let expected = agree(&first.path, &first.header, limits).map_err(|source| member(&first.path, source))?;
        let count = expected.as_ref().map_or(1, |(_, keys)| keys.count);
        if members.len() != usize::from(count) {
            let error = MemberError::Members { expected: count, found: members.len() };
            return Err(member(&first.path, error));
        }
        if let Some((name, expected)) = expected {
            let mut tensors = 0;
            for (no, other) in (0..count).zip(&*members) {
                tensors += other.header.len() as u64;
                check(no, other, first, &name, expected, limits).map_err(|source| member(&other.path, source))?;
            }
            if tensors != expected.tensors.into() {
                let last = members.last().unwrap_or(first);
                let error = MemberError::TensorCount { expected: expected.tensors, found: tensors };
                return Err(member(&last.path, error));
            }
        }
        let by_name = index(&members)?;
        Ok(Self { members, by_name })
    }

    /// The files, in order. There is one at least.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The metadata of the model, which the first member has, with the keys that say how it is split.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        self.members[0].header.metadata()
    }

    /// Plans the same model as one file: the metadata without the keys that say how it is split, and the tensors in order.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] where one file would pass the default [`Limits`].
    pub fn merged(&self) -> Result<Layout, LayoutError> {
        let mut metadata = self.metadata().clone();
        metadata.retain(|key| !keys::is_split(key));
        Layout::new(metadata, self.iter().map(|(_, tensor)| (tensor.name(), tensor.ggml_type, tensor.dims)))
    }

    /// The number of tensors in all members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether no member has a tensor.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The tensors with their members, in the order of the members and of their bytes there.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Member, &TensorInfo)> + FusedIterator + Clone {
        self.members.iter().flat_map(|member| member.header.iter().map(move |tensor| (member, tensor)))
    }

    /// The tensor called `name` with its member, in O(log n).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<(&Member, &TensorInfo)> {
        let at = self.by_name.binary_search_by(|&at| (*tensor(&self.members, at).name).cmp(name)).ok()?;
        let at = self.by_name[at];
        Some((&self.members[usize::from(at.0)], tensor(&self.members, at)))
    }
}

/// The keys of a file that is one of several, and its name, which says the same. `None` where it is alone, which its name must not
/// deny.
fn agree(path: &Path, header: &Header, limits: &Limits) -> Result<Option<(MemberName, SplitKeys)>, MemberError> {
    let found = path.file_name().unwrap_or_default();
    let name = found.to_str().and_then(|name| name.parse::<MemberName>().ok());
    let found = found.to_string_lossy();
    let Some(keys) = SplitKeys::of(header.metadata())? else {
        return match name.filter(|name| name.count() > 1) {
            Some(name) => Err(MemberError::Alone { found: found.into(), expected: name.count() }),
            None => Ok(None),
        };
    };
    let SplitKeys { no, count, tensors } = keys;
    if u64::from(tensors) > limits.tensors {
        return Err(MemberError::TooManyTensors { found: tensors, limit: limits.tensors });
    }
    let name = name.filter(|name| (name.no(), name.count()) == (no, count)).ok_or_else(|| {
        let expected = format!("-{:05}-of-{count:05}.gguf", u32::from(no) + 1).into();
        MemberError::FileName { no, count, expected, found: found.into() }
    })?;
    Ok(Some((name, keys)))
}

/// Member `no` is what the first one's keys and name ask for.
fn check(
    no: u16,
    other: &Member,
    first: &Member,
    name: &MemberName,
    expected: SplitKeys,
    limits: &Limits,
) -> Result<(), MemberError> {
    let (metadata, model) = (other.header.metadata(), first.header.metadata());
    let declared = metadata.get(COUNT).ok_or(MemberError::MissingKey { key: COUNT })?;
    let keys = SplitKeys::of(metadata)?;
    let of_others = [
        (COUNT, u64::from(expected.count), declared.as_u64()),
        (NO, no.into(), keys.map(|keys| keys.no.into())),
        (TENSORS, expected.tensors.into(), keys.map(|keys| keys.tensors.into())),
    ];
    for (key, expected, found) in of_others {
        if let Some(found) = found.filter(|&found| found != expected) {
            return Err(MemberError::Differs { key, expected, found });
        }
    }
    let agreed = agree(&other.path, &other.header, limits)?;
    if agreed.is_none_or(|(other, _)| other.prefix() != name.prefix()) {
        let expected = name.sibling(no).map(|name| name.to_string()).unwrap_or_default().into();
        let found = other.path.file_name().unwrap_or_default().to_string_lossy().into();
        return Err(MemberError::FileName { no, count: name.count(), expected, found });
    }
    // Each file is laid out by its own alignment.
    let mut said = metadata.iter().map(|(key, _)| key).filter(|key| !keys::is_split(key) && *key != ALIGNMENT_KEY);
    match said.find(|key| metadata.raw(key) != model.raw(key)) {
        Some(key) => Err(MemberError::ForeignKey { key: key.into() }),
        None => Ok(()),
    }
}

fn index(members: &[Member]) -> Result<Box<[(u16, u32)]>, SplitError> {
    let mut by_name: Box<[(u16, u32)]> = (0..=u16::MAX)
        .zip(members)
        .flat_map(|(no, member)| (0..=u32::MAX).take(member.header.len()).map(move |at| (no, at)))
        .collect();
    by_name.sort_unstable_by(|&a, &b| tensor(members, a).name.cmp(&tensor(members, b).name).then(a.cmp(&b)));
    for pair in by_name.windows(2) {
        let [earlier, later] = [pair[0], pair[1]];
        let name = &tensor(members, later).name;
        if *name == tensor(members, earlier).name {
            let error = MemberError::DuplicateTensor { tensor: name.clone(), earlier: earlier.0 };
            return Err(member(&members[usize::from(later.0)].path, error));
        }
    }
    Ok(by_name)
}

fn tensor(members: &[Member], (member, at): (u16, u32)) -> &TensorInfo {
    &members[usize::from(member)].header.tensors[at as usize]
}

fn member(path: &Path, source: MemberError) -> SplitError {
    SplitError::Member { path: path.to_owned(), source }
}
