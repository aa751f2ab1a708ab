//! What of a session its compute goes by, and that can be edited while it lives.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::approval::Policy;
use crate::ids::AgentName;
use crate::loop_spec::ModelSpec;

/// All of it, as it is now: said again, it changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Settings {
    /// What the agent may do without being asked: the session's own policy over its agent's.
    #[serde(default)]
    pub approvals: Policy,
    /// The model of whoever works on the session, in the place of the first of its
    /// description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelSpec>,
    /// The same for members of a team, where nothing is said for the session itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<AgentName, ModelSpec>,
}

impl Settings {
    /// The models of an agent whose description has these: the one that was chosen for it
    /// comes first, and what the description says is behind it.
    pub fn models_of(&self, member: Option<&AgentName>, own: &[ModelSpec]) -> Vec<ModelSpec> {
        let of_member = || member.and_then(|member| self.models.get(member));
        let Some(chosen) = self.model.as_ref().or_else(of_member) else { return own.to_vec() };
        // Its fallbacks stay; what it replaces does not become one.
        let behind = own.iter().skip(1).filter(|model| *model != chosen);
        std::iter::once(chosen).chain(behind).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loop_spec::Provider;

    #[test]
    fn what_is_chosen_comes_first_and_fallbacks_stay() {
        let model = |name: &str| ModelSpec::new(Provider::Openai, name);
        let own = [model("a"), model("b"), model("c")];
        let names = |settings: &Settings, member: Option<&str>| {
            let member = member.map(|name| name.parse::<AgentName>().expect("a name"));
            let models = settings.models_of(member.as_ref(), &own);
            models.into_iter().map(|model| model.model).collect::<Vec<_>>().join(" ")
        };
        let mut settings = Settings::default();
        assert_eq!(names(&settings, None), "a b c");
        settings.models.insert("helper".parse().expect("a name"), model("m"));
        assert_eq!(names(&settings, None), "a b c", "of another");
        assert_eq!(names(&settings, Some("helper")), "m b c");
        settings.model = Some(model("b"));
        assert_eq!(names(&settings, None), "b c");
        assert_eq!(names(&settings, Some("helper")), "b c", "the session's own word counts");
    }
}
