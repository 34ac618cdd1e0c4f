//! Construction of a plan.

use std::sync::Arc;

use longshore_model::{ModelConfig, architecture};

use super::{
    adapt, awq, blocks, check,
    error::PlanError,
    heads, layout,
    options::{PlanOptions, TakeOver},
    planned::Plan,
    rotate,
};
use crate::{
    heads::Found,
    source::{checkpoint::Source, classify::Kind},
};

impl Plan {
    /// Decides what an import of `source` writes. Reads no files. The plan holds the source; several plans of one
    /// source can share it in an [`Arc`].
    ///
    /// 8-bit floats of the source get the scheme [`PlanOptions::scheme`]. Without a scheme they become mxfp8 if that
    /// holds the same values, else int8 (mxfp8 under the policy `v0.32`). Packed codes are kept, because a requested
    /// scheme would quantize them a second time.
    ///
    /// # Errors
    ///
    /// - [`PlanError::Coding`]: weights have a packing that cannot be imported;
    /// - [`PlanError::Requantize`], [`PlanError::Transposed`]: a scheme is requested for weights that are already
    ///   quantized;
    /// - [`PlanError::RequantizeBlocks`]: a scheme is requested for blocks of GGUF files in other types;
    /// - [`PlanError::NotGguf`]: blocks are to be taken over from a source without any;
    /// - [`PlanError::Gguf`]: blocks of GGUF files would have to be decoded to floats;
    /// - [`PlanError::Experts`]: the experts cannot be stacked;
    /// - [`PlanError::Adapter`], [`PlanError::AdapterBase`], [`PlanError::AdapterRotated`], [`PlanError::AdapterScaled`],
    ///   [`PlanError::AdapterQuantized`],
    ///   [`PlanError::AdapterDtype`], [`PlanError::AdapterReplaces`], [`PlanError::Magnitudes`]: an adapter cannot be merged;
    /// - [`PlanError::Rotation`]: a tensor stands in the way of rotating the residual stream;
    /// - [`PlanError::Awq`], [`PlanError::AwqStatistics`]: columns cannot have factors;
    /// - [`PlanError::Head`]: a draft head is not whole, or does not fit the model;
    /// - [`PlanError::Attachment`]: a scheme is requested for an adapter by itself;
    /// - [`PlanError::Clash`], [`PlanError::Reserved`]: two blobs or tensors would have the same name;
    /// - [`PlanError::Scheme`], [`PlanError::Layout`]: a tensor cannot be stored as decided.
    pub fn new(source: impl Into<Arc<Source>>, options: &PlanOptions) -> Result<Self, PlanError> {
        let source = source.into();
        let mut warnings = source.warnings.clone();
        if source.base.is_some() && options.scheme.is_some() {
            return Err(PlanError::Attachment);
        }
        let (mut drafts, mut notes) = (Vec::new(), Vec::new());
        if source.kind == Kind::Gguf {
            refuse_floats(options)?;
        } else if options.take_over == TakeOver::Every {
            return Err(PlanError::NotGguf);
        } else {
            warnings.extend(source.config.as_ref().and_then(unknown));
        }
        for member in &source.members {
            drafts.extend(layout::blobs(member, &source, options, &mut warnings, &mut notes)?);
        }
        check::names(&drafts, &source)?;
        notes.extend(adapt::adapt(&source, options, &mut drafts)?);
        notes.extend(rotate::rotate(&source, options, &mut drafts)?);
        notes.extend(awq::scale(&source, options, &mut drafts, &mut warnings)?);
        adapt::renew_global_scales(options, &mut drafts);
        let Found { heads, warnings: of_heads } = heads::find(&source, &drafts)?;
        warnings.extend(of_heads);
        notes.extend(crate::heads::notes(&heads));
        if source.kind == Kind::Gguf {
            let is_projector = source.config.as_ref().is_some_and(|config| config.has_vision);
            notes.push(blocks::note(is_projector, drafts.iter().flat_map(|draft| &draft.tensors)));
        }
        let blobs = drafts.into_iter().map(layout::lay_out).collect::<Result<_, _>>()?;
        Ok(Self {
            scheme: options.scheme,
            take_over: options.take_over,
            policy: options.policy.name().to_owned(),
            blobs,
            heads,
            files: source.companions.clone(),
            warnings,
            notes,
            source,
            awq: options.awq().cloned(),
        })
    }
}

/// Refuses to decode GGUF files to floats.
fn refuse_floats(options: &PlanOptions) -> Result<(), PlanError> {
    match options.scheme {
        None if options.floats && options.requantize => Err(PlanError::Gguf { asked: "decoded".to_owned() }),
        _ => Ok(()),
    }
}

/// Warns if no runtime is known to run the model.
fn unknown(config: &ModelConfig) -> Option<String> {
    let name = config.architecture.as_ref().filter(|_| !architecture::is_known(&config.identifiers))?;
    Some(format!("no runtime known to read this store runs {name}; an export restores the checkpoint for others"))
}
