use serde::{Serialize, Serializer, ser::SerializeMap};

use super::ShardIndex;

impl ShardIndex {
    /// Formats the index as transformers does: two spaces of indent, keys in byte order, a line feed at the end. Equal
    /// indexes give equal bytes. `metadata` holds `total_size` where it is known, and nothing else.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(&Document(self)).expect("strings and integers become JSON");
        json.push('\n');
        json
    }
}

struct Document<'a>(&'a ShardIndex);

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Metadata {
            #[serde(skip_serializing_if = "Option::is_none")]
            total_size: Option<u64>,
        }

        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("metadata", &Metadata { total_size: self.0.total_size })?;
        map.serialize_entry("weight_map", &WeightMap(self.0))?;
        map.end()
    }
}

struct WeightMap<'a>(&'a ShardIndex);

impl Serialize for WeightMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}
