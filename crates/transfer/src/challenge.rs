//! Challenges of a host: the values of `WWW-Authenticate`.

/// One challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token from another address.
    Bearer {
        /// Where tokens are had.
        realm: String,
        /// Service that the token is for.
        service: Option<String>,
        /// Scope that the token allows.
        scope: Option<String>,
    },
}

/// Longest challenge that is parsed, in bytes.
const MAX: usize = 8 << 10;

/// Parses the challenges of these header values. What is not understood is left out.
pub(crate) fn parse(values: &[String]) -> Vec<Challenge> {
    values.iter().filter(|value| value.len() <= MAX).filter_map(|value| one(value)).collect()
}

fn one(value: &str) -> Option<Challenge> {
    let (scheme, rest) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    match scheme.to_ascii_lowercase().as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => {
            let parameters = parameters(rest);
            let get = |name: &str| parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone());
            Some(Challenge::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") })
        }
        _ => None,
    }
}

/// Parses `name="value", name=value`. A backslash in quotes stands before a character that means itself.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',', '\t']).to_ascii_lowercase();
        let mut value = String::new();
        if let Some(quoted) = after.strip_prefix('"') {
            let mut chars = quoted.char_indices();
            let mut end = quoted.len();
            while let Some((at, c)) = chars.next() {
                match c {
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    '\\' => value.extend(chars.next().map(|(_, c)| c)),
                    c => value.push(c),
                }
            }
            rest = &quoted[end..];
        } else {
            let end = after.find(',').unwrap_or(after.len());
            after[..end].trim().clone_into(&mut value);
            rest = &after[end..];
        }
        found.push((name, value));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Option<Challenge> {
        parse(&[value.to_owned()]).pop()
    }

    #[test]
    fn challenges_are_understood() {
        assert_eq!(of("Basic realm=\"x\""), Some(Challenge::Basic));
        let bearer = Challenge::Bearer {
            realm: "https://a/t".into(),
            service: Some("r, s".into()),
            scope: Some("repository:a:pull,push".into()),
        };
        assert_eq!(of(r#"Bearer realm="https://a/t",service="r, s",scope="repository:a:pull,push""#), Some(bearer));
        let bare = Challenge::Bearer { realm: "https://a/t".into(), service: None, scope: None };
        assert_eq!(of("bearer realm=https://a/t"), Some(bare));
        for none in ["", "Negotiate", "Bearer", "Bearer service=x", "Bearer realm"] {
            assert_eq!(of(none), None, "{none}");
        }
        assert!(of(r#"Bearer realm="\"#).is_some());
    }
}
