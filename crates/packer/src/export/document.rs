//! Editing a JSON object as text, so that everything that is not edited stays as it was written.

/// The members of a JSON object in their order, each with its own spelling.
///
/// The order, the digits of numbers, the white space and Python's `NaN` and `Infinity` are kept. A name that occurs
/// twice is kept twice. [`Document::get`] returns the last of the two, as readers of JSON do.
#[derive(Debug, Clone)]
pub(super) struct Document {
    members: Vec<Member>,
    /// White space before an added member. `colon` is the text between its name and its value.
    lead: String,
    colon: String,
    /// White space after the last member, before the closing brace.
    close: String,
    /// Text after the closing brace.
    tail: String,
}

#[derive(Debug, Clone)]
struct Member {
    lead: String,
    /// The name as written, with its quotes.
    key: String,
    name: String,
    colon: String,
    value: String,
}

impl Document {
    /// Parses a text that is a JSON object. `None` if it is not an object. Whether each value is valid JSON is not
    /// checked.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut at = Cursor { text, at: 0 };
        at.space();
        at.eat("{")?;
        let mut members: Vec<Member> = Vec::new();
        let close = loop {
            let lead = at.space();
            if members.is_empty() && at.eat("}").is_some() {
                break lead;
            }
            let key = at.value().filter(|key| key.starts_with('"'))?;
            let name = serde_json::from_str(key).ok()?;
            let start = at.at;
            at.space();
            at.eat(":")?;
            at.space();
            let colon = &text[start..at.at];
            let value = at.value()?;
            members.push(Member {
                lead: lead.to_owned(),
                key: key.to_owned(),
                name,
                colon: colon.to_owned(),
                value: value.to_owned(),
            });
            let space = at.space();
            if at.eat(",").is_none() {
                at.eat("}")?;
                break space;
            }
        };
        let tail = at.space();
        if at.at != text.len() {
            return None;
        }
        let first = members.first();
        let lead = first.map_or_else(String::new, |member| member.lead.clone());
        let colon = first.map_or_else(|| ": ".to_owned(), |member| member.colon.clone());
        Some(Self { members, lead, colon, close: close.to_owned(), tail: tail.to_owned() })
    }

    /// The text of the member's value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.members.iter().rev().find(|member| member.name == name).map(|member| member.value.as_str())
    }

    /// The member, if its value is an object.
    pub(super) fn object(&self, name: &str) -> Option<Self> {
        Self::parse(self.get(name)?)
    }

    /// The names of all members.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.name.as_str())
    }

    /// Whether the member exists and is not `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value != "null")
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.members.retain(|member| member.name != name);
    }

    /// Replaces the value of a member, or adds the member at the end.
    pub(super) fn set(&mut self, name: &str, value: String) {
        if let Some(member) = self.members.iter_mut().rev().find(|member| member.name == name) {
            member.value = value;
            return;
        }
        let key = serde_json::Value::from(name).to_string();
        let (lead, colon) = (self.lead.clone(), self.colon.clone());
        self.members.push(Member { lead, key, name: name.to_owned(), colon, value });
    }

    /// Adds a member if the document does not have it.
    pub(super) fn add(&mut self, name: &str, value: impl FnOnce() -> Option<String>) {
        if !self.has(name)
            && let Some(value) = value()
        {
            self.set(name, value);
        }
    }

    /// The text of an object with these members. Each member gets its own line if the members of this document have
    /// their own lines.
    pub(super) fn nested(&self, members: &[(String, String)]) -> String {
        let Some((_, indent)) = self.lead.rsplit_once('\n') else {
            let members: Vec<_> = members.iter().map(|(name, value)| format!("{}{value}", self.key(name))).collect();
            return format!("{{{}}}", members.join(", "));
        };
        let step = indent;
        let line = |(name, value): &(String, String)| {
            // A value of several lines is indented like its member.
            format!("\n{indent}{step}{}{}", self.key(name), value.replace('\n', &format!("\n{step}")))
        };
        let lines: Vec<_> = members.iter().map(line).collect();
        format!("{{{}\n{indent}}}", lines.join(","))
    }

    fn key(&self, name: &str) -> String {
        format!("{}{}", serde_json::Value::from(name), self.colon)
    }

    pub(super) fn to_text(&self) -> String {
        let member = |member: &Member| format!("{}{}{}{}", member.lead, member.key, member.colon, member.value);
        let members: Vec<_> = self.members.iter().map(member).collect();
        format!("{{{}{}}}{}", members.join(","), self.close, self.tail)
    }
}

/// A position in a text.
struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Cursor<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn take(&mut self, length: usize) -> &'t str {
        let taken = &self.rest()[..length];
        self.at += length;
        taken
    }

    fn eat(&mut self, token: &str) -> Option<()> {
        self.rest().starts_with(token).then(|| self.at += token.len())
    }

    fn space(&mut self) -> &'t str {
        let rest = self.rest();
        self.take(rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len())
    }

    /// Takes the text of a value: a string, an object, an array, or a word up to the character that ends it.
    fn value(&mut self) -> Option<&'t str> {
        let rest = self.rest().as_bytes();
        let (mut depth, mut in_string) = (0_usize, false);
        let mut at = 0;
        while at < rest.len() {
            match rest[at] {
                b'\\' if in_string => at += 1,
                b'"' => {
                    in_string = !in_string;
                    if !in_string && depth == 0 {
                        return Some(self.take(at + 1));
                    }
                }
                _ if in_string => {}
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(self.take(at + 1));
                    }
                }
                b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => break,
                _ => {}
            }
            at += 1;
        }
        (at > 0 && at < rest.len() && depth == 0 && !in_string).then(|| self.take(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "{\n  \"z\": 1e-06,\n  \"a\" : [1, {\"b\": \"}\\\"\"}],\n  \"n\": NaN, \"t\": {\n    \"x\": -0.0\n  }\n}\n";

    fn document(text: &str) -> Document {
        Document::parse(text).unwrap_or_else(|| panic!("{text:?} is an object"))
    }

    #[test]
    fn what_is_not_edited_stays() {
        for text in [TEXT, "{}", " { } \n", r#"{"a":1,"b":"ü\u00fc"}"#, "{\"a\": 1, \"a\": 2}"] {
            assert_eq!(document(text).to_text().trim(), text.trim());
        }
        assert_eq!(document(TEXT).to_text(), TEXT);
    }

    #[test]
    fn members_are_found_removed_replaced_and_added() {
        let mut edited = document(TEXT);
        assert_eq!(edited.get("a"), Some(r#"[1, {"b": "}\""}]"#));
        assert_eq!(edited.object("t").and_then(|t| t.get("x").map(str::to_owned)).as_deref(), Some("-0.0"));
        edited.remove("a");
        edited.set("z", "2".into());
        edited.add("z", || Some("3".into()));
        edited.add("new", || Some("4".into()));
        assert_eq!(
            edited.to_text(),
            "{\n  \"z\": 2,\n  \"n\": NaN, \"t\": {\n    \"x\": -0.0\n  },\n  \"new\": 4\n}\n"
        );
    }

    #[test]
    fn new_objects_are_laid_out_as_the_document_is() {
        let inner = |document: &Document| document.nested(&[("b".into(), "1".into())]);
        let mut lines = document("{\n \"a\": 0\n}");
        let outer = lines.nested(&[("c".into(), inner(&lines))]);
        lines.set("n", outer);
        assert_eq!(lines.to_text(), "{\n \"a\": 0,\n \"n\": {\n  \"c\": {\n   \"b\": 1\n  }\n }\n}");
        let mut line = document("{\"a\": 0}");
        let nested = inner(&line);
        line.set("n", nested);
        assert_eq!(line.to_text(), "{\"a\": 0,\"n\": {\"b\": 1}}");
    }

    #[test]
    fn what_is_no_object() {
        for text in ["", "[]", "1", "{", "{\"a\"}", "{\"a\": }", "{\"a\": 1,}", "{\"a\": 1} x", "{a: 1}", "{\"a\": [}"]
        {
            assert!(Document::parse(text).is_none(), "{text:?}");
        }
    }
}
