//! What a run asks of the runner that takes it, and how that is said in labels.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fault::{Done, Fault};
use super::start::Labels;
use crate::presence::TAG;

/// What a run asks of its runner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Demands {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executor_profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executor_type: Option<String>,
    #[serde(deserialize_with = "listed")]
    pub tags: Vec<String>,
    /// The one runner that has this agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
}

/// `null` is an empty list.
fn listed<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Demands {
    /// These, with what they leave open from others. Tags are those of both.
    pub(super) fn over(self, other: Self) -> Self {
        let mut tags = self.tags;
        tags.extend(other.tags);
        tags.sort();
        tags.dedup();
        Self {
            hostname: self.hostname.or(other.hostname),
            project_dir: self.project_dir.or(other.project_dir),
            executor_profile: self.executor_profile.or(other.executor_profile),
            executor_type: self.executor_type.or(other.executor_type),
            tags,
            runner: self.runner,
        }
    }

    /// Refuses what no runner could ever have said of itself.
    pub(super) fn check(&self) -> Done<()> {
        let values = [
            ("hostname", &self.hostname),
            ("project_dir", &self.project_dir),
            ("executor_profile", &self.executor_profile),
            ("executor_type", &self.executor_type),
        ];
        for (name, value) in values {
            if value.as_ref().is_some_and(|value| value.chars().count() > 500) {
                return Err(Fault::new(422, format!("{name} has 500 characters at most")));
            }
        }
        for tag in &self.tags {
            if tag.is_empty() || tag.chars().count() > 90 || tag.contains('=') {
                let detail = "a tag has 1 to 90 characters and no '='";
                return Err(Fault::new(422, detail));
            }
        }
        if self.tags.len() > 50 {
            return Err(Fault::new(422, "50 tags at most"));
        }
        Ok(())
    }

    /// As labels that the runner must have. What kind of executor is asked for is no
    /// question to our own runners.
    pub(super) fn labels(&self, foreign: bool) -> Labels {
        let mut labels = Labels::new();
        let mut add = |key: &str, value: &Option<String>| {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                labels.insert(key.to_owned(), value.clone());
            }
        };
        add("hostname", &self.hostname);
        add("project_dir", &self.project_dir);
        add("executor_profile", &self.executor_profile);
        if foreign {
            add("executor_type", &self.executor_type);
        }
        add("runner", &self.runner);
        labels.extend(self.tags.iter().map(|tag| (format!("{TAG}{tag}"), "true".to_owned())));
        labels
    }

    /// As clients read them; nothing where nothing is asked.
    pub(super) fn shown(&self) -> Option<Value> {
        let asks = *self != Self::default();
        serde_json::to_value(self).ok().filter(|_| asks)
    }
}
