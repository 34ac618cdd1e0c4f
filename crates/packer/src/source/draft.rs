//! A draft model beside its target.

use longshore_manifest::RelativePath;
use longshore_model::ModelConfig;

use super::{
    checkpoint::Source,
    classify::Kind,
    companions::Companion,
    error::SourceError,
    member::{DRAFT, Member, MemberRole},
};
use crate::{
    heads::{
        self,
        maps::{self, D2T, T2D},
    },
    tensor::SourceTensor,
};

/// The longest map of a draft head that is read, in bytes.
const MAX_MAP_BYTES: u64 = 64 << 20;

impl Source {
    /// Adds a draft model: a second, small model that predicts the tokens of the target. Its tensors are stored as
    /// `draft.<tensor>`, its files as `draft/<file>`. It may be an EAGLE-3 head: the maps between the vocabularies are read and
    /// checked here, and [`Plan::new`](crate::Plan::new) finds whether the head is whole and fits.
    ///
    /// # Errors
    ///
    /// Returns [`SourceError::Draft`] if `draft` is a pipeline, is a set of Medusa heads or has no `config.json`, if the
    /// target is a pipeline, is to be rotated or already has a draft, if a file of the target has the name that a file of the draft
    /// would get, or if a map between the vocabularies is wrong.
    pub fn with_draft(mut self, draft: Self) -> Result<Self, SourceError> {
        let root = draft.root.clone();
        let fail = |problem: String| Err(SourceError::Draft { root: root.clone(), problem });
        if self.kind == Kind::Gguf || draft.kind == Kind::Gguf {
            return fail("a model in GGUF files is stored by itself".into());
        }
        if self.kind == Kind::Pipeline {
            return fail("a pipeline has no draft model".into());
        }
        if self.rotation.is_some() {
            return fail("the target is to be rotated, and only a model by itself is: expected a draft beside it only if it is not".into());
        }
        if self.members.iter().any(Member::is_draft) {
            return fail("the target has a draft model already".into());
        }
        let [member] = draft.members.as_slice() else {
            return fail("it is a pipeline or has a draft model itself: expected one model".into());
        };
        if draft.kind == Kind::Pipeline {
            return fail("it is a pipeline: expected one model".into());
        }
        if draft.config.is_none() {
            return fail(
                "it is a single file: expected a directory with a config.json, which says how to run it".into(),
            );
        }
        if heads::is_medusa(draft.config.as_ref(), draft.tensors.iter().map(|tensor| tensor.name.as_str())) {
            return fail("it is a set of Medusa heads: expected an EAGLE-3 head, or a smaller model".into());
        }
        if let Err(problem) = check_maps(&draft, vocabulary(&self)) {
            return fail(problem);
        }

        let (first_shard, first) = (self.shards.len(), self.tensors.len());
        self.members.push(Member {
            role: MemberRole::Draft,
            tensors: first..first + draft.tensors.len(),
            ..member.clone()
        });
        let moved = |tensor: SourceTensor| SourceTensor { shard: tensor.shard + first_shard, ..tensor };
        self.tensors.extend(draft.tensors.into_iter().map(moved));
        self.shards.extend(draft.shards.into_iter().map(|mut shard| {
            shard.name.insert_str(0, &format!("{DRAFT}/"));
            shard
        }));
        for file in draft.companions {
            let name = format!("{DRAFT}/{}", file.name);
            let Ok(name) = RelativePath::parse(&name) else {
                return fail(format!("the path of its file {} is too long", file.name));
            };
            if self.companions.iter().any(|other| other.name == name) {
                return fail(format!("the target has a file {name} of its own"));
            }
            self.companions.push(Companion { name, ..file });
        }
        self.companions.sort_by(|a, b| a.name.cmp(&b.name));
        self.warnings.extend(draft.warnings.into_iter().map(|warning| format!("{DRAFT}: {warning}")));
        Ok(self)
    }
}

/// Number of the target's tokens: the rows of its embedding, or what its configuration states.
fn vocabulary(target: &Source) -> Option<u64> {
    let mut embeddings = target.tensors.iter().filter(|tensor| tensor.name.ends_with("embed_tokens.weight"));
    let rows = embeddings.next().and_then(|tensor| tensor.shape.dims().first().copied());
    rows.or_else(|| target.config.as_ref().map(ModelConfig::facts)?.vocabulary)
}

/// Reads the maps between the vocabularies of an EAGLE-3 head and of its target, if there are any, and checks them.
fn check_maps(draft: &Source, vocabulary: Option<u64>) -> Result<(), String> {
    let find = |name: &str| {
        draft.tensors.iter().find(|tensor| tensor.name.strip_prefix("model.").unwrap_or(&tensor.name) == name)
    };
    let read = |map: &SourceTensor| {
        if map.byte_len() > MAX_MAP_BYTES {
            return Err(format!("{} has {} bytes, expected at most {MAX_MAP_BYTES}", map.name, map.byte_len()));
        }
        let mut bytes = vec![0; usize::try_from(map.byte_len()).map_err(|error| error.to_string())?];
        let shard = &draft.shards[map.shard];
        let read = shard.data.open().and_then(|data| data.read_exact_at(&mut bytes, map.range.start));
        read.map_err(|error| format!("{} cannot be read: {error}", shard.path.display()))?;
        Ok((map.dtype, bytes))
    };
    let Some(d2t) = find(D2T).map(read).transpose()? else { return Ok(()) };
    let t2d = find(T2D).map(read).transpose()?;
    let t2d = t2d.as_ref().map(|(dtype, bytes)| (*dtype, bytes.as_slice()));
    maps::check((d2t.0, &d2t.1), t2d, vocabulary).map_err(|error| error.to_string())
}
