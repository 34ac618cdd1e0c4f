//! Tags that transformers adds to Jinja, in terms of Jinja's own.

use std::borrow::Cow;

/// Replaces `{% generation %}` and `{% endgeneration %}`, which mark what the model writes and print nothing, by a condition that
/// always holds. The places of all other characters stay, line by line.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains("generation") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut left = text;
    while let Some(at) = left.find("{%") {
        let (before, tag) = left.split_at(at);
        out.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, rest) = tag.split_at(end);
        let inside = tag.trim_start_matches("{%").trim_end_matches("%}").trim_matches(['-', '+']);
        match inside.trim() {
            "generation" => out.push_str(&tag.replacen("generation", "if true", 1)),
            "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endif", 1)),
            _ => out.push_str(tag),
        }
        left = rest;
    }
    out.push_str(left);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_generations_become_conditions() {
        assert_eq!(
            plain("a{%- generation -%}b{% endgeneration %}{% if add_generation_prompt %}c{% endif %}{{ generation }}"),
            "a{%- if true -%}b{% endif %}{% if add_generation_prompt %}c{% endif %}{{ generation }}"
        );
        for text in ["", "{% x", "generation {%", "{%%}"] {
            assert_eq!(plain(text), text);
        }
    }
}
