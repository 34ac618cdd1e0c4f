//! The description of the quantization in `config.json`, as mlx-lm reads it.

use std::collections::BTreeMap;

use longshore_quant::Scheme;

use crate::export::{claims, document::Document};

/// The scheme of each quantized module, by the module's name.
pub(super) type Modules = BTreeMap<String, Scheme>;

/// Describes in `config` how the modules are quantized: the scheme of most elements, and by name each module with
/// another scheme. Modules without scales need no entry, because mlx-lm's loader ignores them. If the source's
/// description has the same meaning, it is kept.
pub(super) fn describe(config: &mut Document, modules: &Modules, elements: &BTreeMap<String, u64>) {
    if config.object("quantization").is_some_and(|source| means(&source, modules)) {
        let same = config.get("quantization").unwrap_or_default().to_owned();
        config.set("quantization_config", same);
        config.remove("compression_config");
        return;
    }
    claims::strip(config);
    let Some(base) = base(modules, elements) else { return };
    let mut members = coding(base);
    for (module, scheme) in modules.iter().filter(|(_, scheme)| **scheme != base) {
        members.push((module.clone(), config.nested(&coding(*scheme))));
    }
    let text = config.nested(&members);
    config.set("quantization", text.clone());
    config.set("quantization_config", text);
}

/// The scheme of the largest number of elements.
fn base(modules: &Modules, elements: &BTreeMap<String, u64>) -> Option<Scheme> {
    let mut counts: Vec<(Scheme, u64)> = Vec::new();
    for (module, scheme) in modules {
        let elements = elements.get(module).copied().unwrap_or(0);
        match counts.iter_mut().find(|(known, _)| known == scheme) {
            Some((_, count)) => *count = count.saturating_add(elements),
            None => counts.push((*scheme, elements)),
        }
    }
    // If two schemes have the same number of elements, the one of the first module by name wins.
    counts.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(scheme, _)| scheme)
}

fn coding(scheme: Scheme) -> Vec<(String, String)> {
    let mode = if scheme.is_affine() { "affine" } else { scheme.quant_type() };
    vec![
        ("group_size".to_owned(), scheme.group_size().to_string()),
        ("bits".to_owned(), scheme.bits().to_string()),
        ("mode".to_owned(), format!("\"{mode}\"")),
    ]
}

/// Whether mlx-lm reads `source` as a description of exactly these modules.
fn means(source: &Document, modules: &Modules) -> bool {
    let number = |coding: &Document, name: &str| coding.get(name)?.parse::<u32>().ok();
    let is = |coding: &Document, scheme: Scheme| {
        let mode = coding.get("mode").unwrap_or("\"affine\"").trim_matches('"');
        number(coding, "group_size") == Some(scheme.group_size())
            && number(coding, "bits") == Some(scheme.bits().into())
            && mode == if scheme.is_affine() { "affine" } else { scheme.quant_type() }
    };
    let named = |module: &str| source.object(module);
    modules.iter().all(|(module, scheme)| is(&named(module).unwrap_or_else(|| source.clone()), *scheme))
        && source.names().all(|name| match source.get(name) {
            Some(value) if value.starts_with('{') => modules.contains_key(name),
            Some("false") => !modules.contains_key(name),
            _ => true,
        })
}
