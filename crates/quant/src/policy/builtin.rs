//! The built-in policies, parsed on first use.

use std::sync::LazyLock;

use super::{Policy, read};

pub(super) const NAMES: &[&str] = &["default", "uniform", "v0.16", "v0.32"];

static POLICIES: LazyLock<[Policy; 4]> = LazyLock::new(|| {
    [
        ("default", include_str!("../../policies/default.toml")),
        ("uniform", include_str!("../../policies/uniform.toml")),
        ("v0.16", include_str!("../../policies/v0.16.toml")),
        ("v0.32", include_str!("../../policies/v0.32.toml")),
    ]
    .map(|(name, text)| read::policy(text, name).expect("built-in policies are valid: a test parses each"))
});

pub(super) fn find(name: &str) -> Option<&'static Policy> {
    NAMES.contains(&name).then(|| POLICIES.iter().find(|policy| policy.name() == name))?
}
