//! The order in which a document lists the members of an object. Objects are sorted once parsed, and some tools use the
//! first pattern of an object that matches.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Returns the keys of the first object that is a member called `name`, at any depth, in the document's order. Returns
/// none if there is no such object or if `json` is not JSON.
pub(super) fn keys(json: &[u8], name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut document = serde_json::Deserializer::from_slice(json);
    let walked = Walk { name, is_wanted: false, found: &mut found }.deserialize(&mut document);
    if walked.is_ok() { found } else { Vec::new() }
}

/// A walk through a value. Collects the keys of the value if it is wanted, or else of the first wanted value within.
struct Walk<'a> {
    name: &'a str,
    is_wanted: bool,
    found: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let is_wanted = !self.is_wanted && self.found.is_empty() && key == self.name;
            if self.is_wanted {
                self.found.push(key);
            }
            // Nothing is wanted once keys were found.
            map.next_value_seed(Walk { name: self.name, is_wanted, found: self.found })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Walk { name: self.name, is_wanted: false, found: self.found })?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_the_order_of_the_document() {
        let json = br#"{"a": [1, {"b": {"z": {"b": {"k": 1}}, "c": -2.5, "a": null}}, true], "b": {"y": "s"}}"#;
        assert_eq!(keys(json, "b"), ["z", "c", "a"]);
        assert_eq!(keys(json, "x"), [""; 0]);
        assert_eq!(keys(b"{\"b\": {\"y\": 1", "b"), [""; 0]);
    }
}
