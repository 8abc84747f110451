//! `config.json`: the configuration of the node's normal operation. It belongs to the owner; this program writes a few of
//! its keys.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::format::string;
use super::record::json;
use crate::files::{FileError, Folder, Owner, Staged};
use provisioning_core::domain::{Credentials, Registration};

/// The placeholder for a missing value in the file of the existing software.
const NO_NODE_ID: &str = "your-node-id";
const NO_API_KEY: &str = "your_api_key_here";

/// Maximum size of a configuration, bytes.
const LIMIT: usize = 1024 * 1024;

/// The file and its parsed content.
#[derive(Debug)]
pub(super) struct Configuration {
    folder: Folder,
    name: String,
    /// None if the file does not exist.
    content: Option<Entries>,
}

/// An object with its keys in order and the original text of each value, so that values of others are kept unchanged, down
/// to the last digit of a number.
#[derive(Debug, Default)]
struct Entries(Vec<(String, Zeroizing<String>)>);

impl Configuration {
    /// Reads the file. It may be missing, but its folder must exist.
    pub(super) fn read(path: &Path) -> Result<Self, FileError> {
        let (folder, name) = Folder::of(path)?;
        let malformed = |what| FileError::Malformed { path: path.into(), what };
        let content = match folder.read(&name, LIMIT)? {
            // An empty file, as `touch` creates it, counts as an empty configuration.
            Some(content) if content.trim_ascii().is_empty() => Some(Entries::default()),
            Some(content) => Some(json(&content).map_err(malformed)?),
            None => None,
        };
        Ok(Self { folder, name, content })
    }

    /// Whether the file exists.
    pub(super) const fn is_there(&self) -> bool {
        self.content.is_some()
    }

    /// The registered identity, unless it is a placeholder.
    pub(super) fn node_id(&self) -> Option<String> {
        self.text("node_id").filter(|node_id| node_id != NO_NODE_ID)
    }

    /// The address of the command center.
    pub(super) fn command_center(&self) -> Option<String> {
        self.text("jarvis_command_center_api_url")
    }

    fn text(&self, key: &str) -> Option<String> {
        let (_, value) = self.content.as_ref()?.0.iter().find(|(name, _)| name == key)?;
        serde_json::from_str::<String>(value).ok().filter(|text| !text.is_empty())
    }

    /// Checks that the file can be written, and leaves it unchanged.
    pub(super) fn rehearse(mut self, credentials: &Credentials) -> Result<(), FileError> {
        self.set_place(credentials);
        // Dropping it removes the staged file.
        self.stage().map(drop)
    }

    /// Stages room, URLs, identity and key in one write.
    pub(super) fn enroll(&mut self, credentials: &Credentials, registration: &Registration) -> Result<Staged<'_>, FileError> {
        self.set_place(credentials);
        self.set("node_id", &registration.node_id);
        self.set("api_key", registration.node_key.expose());
        self.stage()
    }

    /// Replaces identity and key by the placeholders.
    pub(super) fn clear(mut self) -> Result<(), FileError> {
        self.set("node_id", NO_NODE_ID);
        self.set("api_key", NO_API_KEY);
        self.stage()?.commit()
    }

    fn set_place(&mut self, credentials: &Credentials) {
        // An attempt without a command center changes nothing here.
        let Some(command_center) = &credentials.command_center else { return };
        self.set("room", &credentials.room);
        self.set("jarvis_command_center_api_url", command_center.as_str());
        if let Some(url) = &credentials.config_service {
            self.set("jarvis_config_service_url", url.as_str());
        }
    }

    fn set(&mut self, key: &str, text: &str) {
        self.content.get_or_insert_default().set(key.into(), string(text));
    }

    fn stage(&self) -> Result<Staged<'_>, FileError> {
        let owner: Owner = self.folder.replaceable(&self.name)?;
        let content = self.content.as_ref().map(Entries::content).unwrap_or_default();
        self.folder.stage(&self.name, content.as_bytes(), owner)
    }
}

/// Removes temporary files of interrupted writes. A missing folder contains none.
pub(super) fn tidy(path: &Path) -> Result<(), FileError> {
    match Folder::of(path) {
        Ok((folder, name)) => folder.tidy(&[&name]),
        Err(_) => Ok(()),
    }
}

/// The configured path, or the error if none is configured.
pub(super) fn located(path: Option<&PathBuf>) -> Result<&Path, super::Error> {
    path.map(PathBuf::as_path).ok_or(super::Error::ConfigurationUnset)
}

impl Entries {
    /// An existing key keeps its position; of a duplicate key the last value counts, as in Python.
    fn set(&mut self, key: String, value: Zeroizing<String>) {
        match self.0.iter_mut().find(|(name, _)| *name == key) {
            Some((_, place)) => *place = value,
            None => self.0.push((key, value)),
        }
    }

    /// Indented by two, as Python writes it.
    fn content(&self) -> Zeroizing<String> {
        if self.0.is_empty() {
            return Zeroizing::new("{}".into());
        }
        let capacity = self.0.iter().map(|(key, value)| 6 * key.len() + value.len() + 16).sum();
        let mut content = Zeroizing::new(String::with_capacity(capacity));
        for (index, (key, value)) in self.0.iter().enumerate() {
            content.push_str(if index == 0 { "{\n  " } else { ",\n  " });
            content.push_str(&string(key));
            content.push_str(": ");
            content.push_str(value);
        }
        content.push_str("\n}");
        content
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Entries::default();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    entries.set(key, Zeroizing::new(Box::<str>::from(value).into_string()));
                }
                Ok(entries)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_others_are_kept_unchanged() {
        let original = "{\n  \"z\": 12345678901234567890123,\n  \"node_id\": \"old\",\n  \"a\": [\n    1.50\n  ],\n  \"\\u00e9\": \"\\u00e9\"\n}";
        let mut entries: Entries = json(original.as_bytes()).unwrap();
        entries.set("node_id".into(), string("new"));
        assert_eq!(entries.content().as_str(), original.replace("old", "new"));
    }

    #[test]
    fn of_a_duplicate_key_the_last_value_counts() {
        let entries: Entries = json(br#"{"a": 1, "b": 2, "a": 3}"#).unwrap();
        assert_eq!(entries.content().as_str(), "{\n  \"a\": 3,\n  \"b\": 2\n}");
    }

    #[test]
    fn json_that_is_not_an_object_is_refused() {
        for wrong in ["[]", "1", "\"text\"", "{", "{\"a\": }", "{} {}"] {
            assert!(json::<Entries>(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
