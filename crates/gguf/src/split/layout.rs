use super::{
    MemberName, MemberNameError,
    keys::{COUNT, NO, TENSORS},
};
use crate::{
    Dims, GgmlType, Header, Layout, LayoutError, Limits, Metadata, MetadataError, TensorInfo,
    header::{self, ALIGNMENT_KEY},
    layout::measure,
};

/// Where one member ends and the next begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SplitBy {
    /// The most bytes of a file, metadata included. A tensor that is larger has a file of its own. `None` is no bound.
    pub file_bytes: Option<u64>,
    /// The most tensors of a file; 0 counts as 1. `None` is no bound.
    pub tensors: Option<usize>,
    /// Whether the first file has the metadata alone.
    pub metadata_alone: bool,
}

/// The plan of a split set: a name and a [`Layout`] for each file. It is a function of the arguments.
///
/// The first file has the metadata; each has `split.no`, `split.count` and `split.tensors.count` behind it. Tensors keep their order.
/// An alignment is repeated in every file, as each is read by its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitLayout {
    members: Box<[(MemberName, Layout)]>,
}

/// Why tensors cannot be a split set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SplitLayoutError {
    /// They could not be one file either, or a file of the set is none.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The prefix is refused.
    #[error(transparent)]
    Name(#[from] MemberNameError),
    /// The metadata has one of the three keys already, or too many pairs to hold them.
    #[error("the keys of the split set cannot be added to the metadata")]
    Metadata {
        /// Why.
        #[from]
        source: MetadataError,
    },
    /// More files than `split.count` can say.
    #[error("{found} files: expected at most {}", u16::MAX)]
    TooManyFiles {
        /// The number of files.
        found: usize,
    },
}

impl SplitLayout {
    /// Plans the files of these tensors, each a name, a type and dims.
    ///
    /// # Errors
    ///
    /// Every variant of [`SplitLayoutError`].
    pub fn new<N: Into<Box<str>>>(
        prefix: &str,
        metadata: &Metadata,
        tensors: impl IntoIterator<Item = (N, GgmlType, Dims)>,
        by: &SplitBy,
    ) -> Result<Self, SplitLayoutError> {
        let tensors = measure(tensors)?;
        Header::index(&tensors).map_err(|tensor| LayoutError::DuplicateTensor { tensor })?;
        let total = i32::try_from(tensors.len()).expect("the limit of tensors is far below");
        let alignment = header::alignment(metadata, &Limits::default()).map_err(LayoutError::from)?;
        // Every later file has the same pairs, as long as these.
        let first = with_keys(metadata.clone(), 0, 0, total)?;
        let later = with_keys(metadata_of_later(metadata)?, 0, 0, total)?;
        let lens = [&first, &later].map(|metadata| metadata.as_bytes().len() as u64);
        let groups = divide(tensors, lens, alignment, by);

        let found = groups.len();
        let count = u16::try_from(found).map_err(|_| SplitLayoutError::TooManyFiles { found })?;
        let members = (0..count).zip(groups).map(|(no, tensors)| {
            let base = if no == 0 { metadata.clone() } else { metadata_of_later(metadata)? };
            let layout = Layout::from_tensors(with_keys(base, no, count, total)?, tensors)?;
            Ok((MemberName::new(prefix, no, count)?, layout))
        });
        Ok(Self { members: members.collect::<Result<_, SplitLayoutError>>()? })
    }

    /// The files' names and plans, in order. There is one at least.
    #[must_use]
    pub fn members(&self) -> &[(MemberName, Layout)] {
        &self.members
    }

    /// The same, to be written.
    #[must_use]
    pub fn into_members(self) -> Vec<(MemberName, Layout)> {
        self.members.into()
    }
}

/// Metadata keys of a later member of a set.
fn metadata_of_later(metadata: &Metadata) -> Result<Metadata, MetadataError> {
    let mut later = Metadata::new();
    if let Some(alignment) = metadata.get(ALIGNMENT_KEY) {
        later.push(ALIGNMENT_KEY, alignment)?;
    }
    Ok(later)
}

fn with_keys(mut metadata: Metadata, no: u16, count: u16, tensors: i32) -> Result<Metadata, MetadataError> {
    metadata.push(NO, no)?;
    metadata.push(COUNT, count)?;
    metadata.push(TENSORS, tensors)?;
    Ok(metadata)
}

/// The tensors of each file, where the metadata of the first and of the others has so many bytes.
fn divide(tensors: Vec<TensorInfo>, [first, later]: [u64; 2], alignment: u64, by: &SplitBy) -> Vec<Vec<TensorInfo>> {
    let mut groups = vec![Vec::new()];
    let mut size = Size { metadata: first, ..Size::default() };
    let mut alone = by.metadata_alone;
    for tensor in tensors {
        let group = groups.last().map_or(0, Vec::len);
        let grown = size.with(&tensor, alignment);
        let full = group > 0
            && (by.tensors.is_some_and(|most| group >= most.max(1))
                || by.file_bytes.is_some_and(|most| grown.file_len(alignment).is_none_or(|len| len > most)));
        if full || std::mem::take(&mut alone) {
            groups.push(Vec::new());
            size = Size { metadata: later, ..Size::default() }.with(&tensor, alignment);
        } else {
            size = grown;
        }
        groups.last_mut().expect("there is one at least").push(tensor);
    }
    groups
}

/// Bytes of a file in the making.
#[derive(Clone, Copy, Default)]
struct Size {
    metadata: u64,
    infos: u64,
    data: u64,
}

impl Size {
    fn with(self, tensor: &TensorInfo, alignment: u64) -> Self {
        let padded = header::align(tensor.byte_len, alignment).unwrap_or(u64::MAX);
        Self {
            infos: self.infos.saturating_add(header::info_len(tensor)),
            data: self.data.saturating_add(padded),
            ..self
        }
    }

    fn file_len(self, alignment: u64) -> Option<u64> {
        header::data_start(self.metadata, self.infos, alignment)?.checked_add(self.data)
    }
}
