//! A draft model beside its target.

use longshore_manifest::RelativePath;

use super::{
    checkpoint::Source,
    classify::Kind,
    companions::Companion,
    error::SourceError,
    member::{DRAFT, Member, MemberRole},
};
use crate::tensor::SourceTensor;

impl Source {
    /// Adds a draft model: a second, small model that predicts the tokens of the target. Its tensors are stored as
    /// `draft.<tensor>`, its files as `draft/<file>`.
    ///
    /// # Errors
    ///
    /// Returns [`SourceError::Draft`] if `draft` is a pipeline, has quantized weights or has no `config.json`, if the
    /// target is a pipeline or already has a draft, or if a file of the target has the name that a file of the draft
    /// would get.
    pub fn with_draft(mut self, draft: Self) -> Result<Self, SourceError> {
        let root = draft.root.clone();
        let fail = |problem: String| Err(SourceError::Draft { root: root.clone(), problem });
        if self.kind == Kind::Gguf || draft.kind == Kind::Gguf {
            return fail("a model in GGUF files is stored by itself".into());
        }
        if self.kind == Kind::Pipeline {
            return fail("a pipeline has no draft model".into());
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
