//! Paths of modules, whose beginnings depend on the tool that wrote them.

/// Segments of a path that wrap a language model. Tools put them in front of the same module in any order and number:
/// `model.language_model.layers.0` and `language_model.model.layers.0` are one module.
pub const WRAPPERS: [&str; 3] = ["model", "language_model", "text_model"];

/// Returns `path` without the segments that are [`WRAPPERS`]. Two paths name the same module if the results are equal.
///
/// ```
/// use longshore_model::modules::without_wrappers;
///
/// assert_eq!(without_wrappers("model.language_model.layers.0.mlp"), "layers.0.mlp");
/// assert_eq!(without_wrappers("vision_tower.layers.0.mlp"), "vision_tower.layers.0.mlp");
/// ```
#[must_use]
pub fn without_wrappers(path: &str) -> String {
    let mut bare = String::with_capacity(path.len());
    for segment in path.split('.').filter(|segment| !WRAPPERS.contains(segment)) {
        if !bare.is_empty() {
            bare.push('.');
        }
        bare.push_str(segment);
    }
    bare
}
