//! A map whose keys are taken one by one: what is left at the end was not served, and is
//! said.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What is wrong: a key, and what about it.
pub(super) type Wrong = (String, String);

/// A map, and where it is.
#[derive(Debug)]
pub(super) struct Keys {
    at: String,
    map: Map<String, Value>,
}

impl Keys {
    /// The map at this place.
    pub(super) fn of(at: impl Into<String>, value: Value) -> Result<Self, Wrong> {
        let at = at.into();
        match value {
            Value::Object(map) => Ok(Self { at, map }),
            _ => Err((at, "must be a map of keys".to_owned())),
        }
    }

    /// The place of a key.
    pub(super) fn at(&self, key: &str) -> String {
        match self.at.is_empty() {
            true => key.to_owned(),
            false => format!("{}.{key}", self.at),
        }
    }

    /// What is wrong with a key.
    pub(super) fn wrong(&self, key: &str, message: impl Into<String>) -> Wrong {
        (self.at(key), message.into())
    }

    /// Takes a value of this type. `null` is as good as nothing.
    pub(super) fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, Wrong> {
        match self.map.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let read = serde_json::from_value(value);
                read.map(Some).map_err(|error| self.wrong(key, error.to_string()))
            }
        }
    }

    /// Takes a map.
    pub(super) fn take_map(&mut self, key: &str) -> Result<Option<Self>, Wrong> {
        let value: Option<Value> = self.take(key)?;
        value.map(|value| Self::of(self.at(key), value)).transpose()
    }

    /// Takes a map's entries, in their order, each with its place.
    pub(super) fn take_entries(&mut self, key: &str) -> Result<Vec<(String, Self)>, Wrong> {
        let Some(map) = self.take_map(key)? else { return Ok(Vec::new()) };
        let at = map.at;
        let entries = map.map.into_iter();
        entries
            .map(|(name, value)| Ok((name.clone(), Self::of(format!("{at}.{name}"), value)?)))
            .collect()
    }

    /// Keys that are known and not served, without which the agent is still itself: each
    /// that is there is warned of.
    pub(super) fn warn(&mut self, keys: &[(&str, &str)], warnings: &mut Vec<String>) {
        for (key, why) in keys {
            if self.map.remove(*key).is_some_and(|value| value != Value::Null && value != false) {
                warnings.push(format!("{} is not served: {why}", self.at(key)));
            }
        }
    }

    /// What is left is an error that names it.
    pub(super) fn end(self, not_served: &[&str]) -> Result<(), Wrong> {
        let Some((key, _)) = self.map.iter().next() else { return Ok(()) };
        let message = match not_served.contains(&key.as_str()) {
            true => "is not served by this build; without it the agent would be another",
            false => "is not a key of an agent of this kind",
        };
        Err(self.wrong(key, message))
    }
}
