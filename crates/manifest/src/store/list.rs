//! Summaries of all models of a store. Manifests are parsed without keeping fields that a summary lacks. Of a config
//! only the beginning is read, because the table, by far the largest part, comes last.

use std::{borrow::Cow, fmt, io::Read as _, path::PathBuf, time::SystemTime};

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};

use super::{ListEntry, ModelError, Store, Summary, foreign, lean::LeanManifest, models::MAX_CONFIG};
use crate::{
    Digest, FsError, Manifest, ModelName,
    document::{Base, DocumentError, Facts, Import},
    fs, parallel,
};

/// Number of bytes of a config that are read first. They hold everything but the table.
const HEAD: u64 = 16 << 10;
/// Number of parts into which the digests of all models are split for counting. Each part fits into a core's own cache.
const PARTS: u64 = 16;

impl Store {
    /// Lists every name with a summary of its model, sorted by name. A model that cannot be read is listed with its
    /// error. Documents are read in parallel, on the current rayon pool.
    ///
    /// # Errors
    ///
    /// [`FsError`] if a directory cannot be listed.
    pub fn list(&self) -> Result<Vec<ListEntry>, FsError> {
        let names = self.names()?;
        let mut read = parallel::map_with(&names, |scratch, name| self.line(name, scratch));
        let unique_sizes = unique_sizes(&read);
        for (line, unique_size) in read.iter_mut().zip(unique_sizes) {
            if let Ok(Line { summary: Ok(summary), .. }) = line {
                summary.unique_size = unique_size;
            }
        }
        let entry = |(name, read): (ModelName, Result<Line, ModelError>)| {
            let (modified, summary) = match read {
                Ok(line) => (line.modified, line.summary),
                Err(error) => (self.modified(&name), Err(error)),
            };
            ListEntry { name, modified, summary }
        };
        Ok(names.into_iter().zip(read).map(entry).collect())
    }

    /// Lists the names of the models that are attachments of the model whose manifest has this digest, sorted. Models that cannot
    /// be read are passed over.
    ///
    /// # Errors
    ///
    /// [`FsError`] if a directory cannot be listed.
    pub fn attachments(&self, of: &Digest) -> Result<Vec<ModelName>, FsError> {
        let names = self.names()?;
        let base = |name: &ModelName| {
            let (_, manifest) = self.manifest(name).ok()?;
            self.head(manifest.config.digest, manifest.config.size).ok()?.1.base
        };
        let bases = parallel::map(&names, 1, base);
        let is_of = |base: &Option<Base>| base.as_ref().is_some_and(|base| base.digest == *of);
        Ok(names.into_iter().zip(bases).filter(|(_, base)| is_of(base)).map(|(name, _)| name).collect())
    }

    fn modified(&self, name: &ModelName) -> Option<SystemTime> {
        self.manifest_path(name).metadata().and_then(|found| found.modified()).ok()
    }

    /// Summarizes a model. `bytes` is memory for its manifest.
    fn line(&self, name: &ModelName, bytes: &mut Vec<u8>) -> Result<Line, ModelError> {
        let modified = self.read_manifest_into(name, bytes)?.modified().ok();
        let fail = |source| ModelError::Document { path: self.manifest_path(name), source };
        let LeanManifest { config, layers: mut blobs } = LeanManifest::parse(bytes).map_err(fail)?;
        blobs.push(config);
        blobs.sort_unstable_by(|a, b| beginning(&a.0).cmp(&beginning(&b.0)).then_with(|| a.cmp(b)));
        // If a digest is listed with two sizes, the last size counts.
        blobs.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            kept.1 = if is_same { next.1 } else { kept.1 };
            is_same
        });
        let head = self.head(config.0, config.1);
        let summary = head.and_then(|(path, head)| {
            let (facts, import) = match (head.facts, head.import) {
                (Some(facts), Some(import)) => (facts, Some(import)),
                _ if head.model_family.is_empty() => {
                    let manifest = Manifest::parse(bytes).map_err(|source| ModelError::Document { path, source })?;
                    (foreign::facts(self, &manifest), None)
                }
                _ => (Facts { architecture: Some(head.model_family), ..Facts::default() }, None),
            };
            Ok(Summary {
                digest: Digest::of(bytes),
                size: blobs.iter().map(|(_, size)| *size).fold(0, u64::saturating_add),
                unique_size: 0,
                format: head.model_format,
                file_type: head.file_type,
                facts,
                import,
            })
        });
        Ok(Line { modified, blobs, summary })
    }

    /// Reads the fields of a config that a summary needs. Also returns the path of the config's file.
    fn head(&self, digest: Digest, expected: u64) -> Result<(PathBuf, Head), ModelError> {
        let path = self.blob_path(&digest);
        let (file, metadata) = fs::open_sized(&path).map_err(FsError::at("open", &path))?;
        let size = metadata.len();
        if size > MAX_CONFIG {
            return Err(ModelError::TooLarge { path, size, limit: MAX_CONFIG });
        }
        if size != expected {
            return Err(ModelError::Size { path, found: size, expected });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size.min(HEAD)).expect("a beginning is small"));
        let read = |bytes: &mut Vec<u8>, limit| (&file).take(limit).read_to_end(bytes);
        read(&mut bytes, HEAD).map_err(FsError::at("read", &path))?;
        if let Some(head) = Some(&bytes).filter(|_| size > HEAD).and_then(|bytes| Head::of_beginning(bytes)) {
            return Ok((path, head));
        }
        read(&mut bytes, MAX_CONFIG).map_err(FsError::at("read", &path))?;
        match Head::of_all(&bytes) {
            Ok(head) => Ok((path, head)),
            Err(source) => Err(ModelError::Document { path, source: DocumentError::Json { what: "config", source } }),
        }
    }
}

/// Intermediate result for a model whose manifest can be read.
struct Line {
    modified: Option<SystemTime>,
    /// Blobs with their sizes in bytes, each once, sorted by [`beginning`].
    blobs: Vec<(Digest, u64)>,
    /// Summary, in which the unique size is still 0.
    summary: Result<Summary, ModelError>,
}

/// Fields of a config from which a summary is made.
#[derive(Default)]
struct Head {
    model_format: String,
    /// Architecture of a GGUF model. Empty for other models.
    model_family: String,
    file_type: String,
    base: Option<Base>,
    facts: Option<Facts>,
    import: Option<Import>,
    /// Whether parsing stopped at the table because nothing after it is needed.
    is_enough: bool,
}

impl Head {
    fn of_all(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let mut head = Self::default();
        let mut json = serde_json::Deserializer::from_slice(bytes);
        Document { head: &mut head, stops: false }.deserialize(&mut json)?;
        json.end()?;
        Ok(head)
    }

    /// Parses the beginning of a config. Returns `None` if the beginning is not enough.
    fn of_beginning(bytes: &[u8]) -> Option<Self> {
        let mut head = Self::default();
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let _ = Document { head: &mut head, stops: true }.deserialize(&mut json);
        head.is_enough.then_some(head)
    }
}

/// Parser of the whole document.
struct Document<'h> {
    head: &'h mut Head,
    /// Whether to stop at the tensors of the table.
    stops: bool,
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a config")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { head, stops } = self;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match &*key {
                "model_format" => head.model_format = map.next_value()?,
                "model_family" => head.model_family = map.next_value()?,
                "file_type" => head.file_type = map.next_value()?,
                "base" => head.base = map.next_value()?,
                "longshore" => map.next_value_seed(Table { head, stops })?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Parser of the table, or null.
struct Table<'h> {
    head: &'h mut Head,
    stops: bool,
}

impl<'de> DeserializeSeed<'de> for Table<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Table<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tensor table")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { head, stops } = self;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match &*key {
                "facts" => head.facts = Some(map.next_value()?),
                "import" => head.import = Some(map.next_value()?),
                _ if stops && head.facts.is_some() && head.import.is_some() => {
                    head.is_enough = true;
                    return Err(A::Error::custom("the rest is not wanted"));
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        match (&head.facts, &head.import) {
            (None, _) => Err(A::Error::missing_field("facts")),
            (_, None) => Err(A::Error::missing_field("import")),
            _ => Ok(()),
        }
    }
}

/// Returns the first bytes of a digest as a number. It orders digests, and nearly always distinguishes two.
fn beginning(digest: &Digest) -> u64 {
    digest.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Returns for each line the size in bytes of the blobs that no other line has. Runs in parallel, because a store may
/// name a million blobs.
fn unique_sizes(lines: &[Result<Line, ModelError>]) -> Vec<u64> {
    let part_of = |digest: &Digest| beginning(digest) / (u64::MAX / PARTS + 1);
    let count = |part: u64| {
        let mut found = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let blobs = line.as_ref().map_or(&[][..], |line| &line.blobs);
            // The blobs are sorted by their beginnings.
            let begin = blobs.partition_point(|(digest, _)| part_of(digest) < part);
            let of_part = blobs[begin..].iter().take_while(|(digest, _)| part_of(digest) == part);
            found.extend(of_part.map(|blob| (beginning(&blob.0), at, blob)));
        }
        // Sorting numbers beside each other takes less time than looking up each digest in a table.
        found.sort_unstable_by_key(|(beginning, ..)| *beginning);
        let mut sizes = vec![0_u64; lines.len()];
        for alike in found.chunk_by_mut(|a, b| a.0 == b.0) {
            alike.sort_unstable_by_key(|(_, _, (digest, _))| *digest);
            for owners in alike.chunk_by(|a, b| a.2.0 == b.2.0) {
                if let [(_, at, (_, size))] = owners {
                    // Sizes come from manifests and may be arbitrary.
                    sizes[*at] = sizes[*at].saturating_add(*size);
                }
            }
        }
        sizes
    };
    let add = |mut a: Vec<u64>, b: Vec<u64>| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a = a.saturating_add(b));
        a
    };
    let parts: Vec<u64> = (0..PARTS).collect();
    parallel::map(&parts, 1, |part| count(*part)).into_iter().reduce(add).unwrap_or_default()
}
