//! Approvals and questions: what an agent asks of a person before it goes on.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::ids::ApprovalId;
use crate::value::Ms;

/// What an agent asks. It is bound to the session, the epoch and the one action it
/// describes: an answer to it authorises nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Ask {
    /// Its identity.
    pub id: ApprovalId,
    /// What kind of answer it needs.
    pub kind: AskKind,
    /// One line for people.
    pub title: String,
    /// The tool that would be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// What the tool would be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// What can be chosen, where the agent offers a choice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<AskOption>,
    /// JSON Schema of what is to be filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// The page where it is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// What kind of answer is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AskKind {
    /// May it use this tool in this way?
    Permission,
    /// Something to fill in.
    Form,
    /// Something to do on a page.
    Url,
}

/// One choice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct AskOption {
    /// The agent's name for it.
    pub id: String,
    /// The agent's words for it.
    pub name: String,
    /// What it means: `allow_once`, `allow_always`, `reject_once`, `reject_always`.
    pub kind: String,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Answer {
    /// Yes or no.
    pub decision: Decision,
    /// The choice, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option: Option<String>,
    /// Let the agent remember it, where it can.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always: bool,
    /// What was filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Value>,
    /// Why, in the words of who answered. The agent is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Answer {
    /// The same decision, good for what was asked and no longer. Of what was offered, what is
    /// not known to be for once counts as for longer.
    pub fn once(self, offered: &[AskOption]) -> Self {
        let kind = match self.decision {
            Decision::Allow => "allow_once",
            Decision::Deny => "reject_once",
        };
        let is_for_once = |id: &String| {
            offered.iter().any(|option| option.id == *id && option.kind.ends_with("_once"))
        };
        let narrowest = || offered.iter().find(|option| option.kind == kind);
        let option = self.option.and_then(|id| match is_for_once(&id) {
            true => Some(id),
            false => narrowest().map(|option| option.id.clone()),
        });
        Self { always: false, option, ..self }
    }
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It may; or, here is what was asked for.
    Allow,
    /// It may not.
    Deny,
}

/// What an agent may do without being asked. Rules come before the mode; of the rules,
/// `deny` is final, then `ask`, then `allow`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// What happens to what no rule names.
    #[serde(default)]
    pub mode: Mode,
    /// Nobody is there: what would be asked is denied, and the log says so.
    #[serde(default)]
    pub headless: bool,
    /// What may be done.
    #[serde(default)]
    pub allow: Vec<Rule>,
    /// What is asked.
    #[serde(default)]
    pub ask: Vec<Rule>,
    /// What may never be done.
    #[serde(default)]
    pub deny: Vec<Rule>,
    /// How long a question waits before it counts as denied; for ever where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<Ms>,
}

impl Policy {
    /// Whether it says nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a session lays over its agent's policy. Rules are added to the agent's: its `deny`
/// stays final, and its `ask` stays before any `allow`. The rest takes the place of the
/// agent's where it is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionPolicy {
    /// What happens to what no rule names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Whether nobody is there: what would be asked is denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headless: Option<bool>,
    /// What may be done as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Rule>,
    /// What is asked as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ask: Vec<Rule>,
    /// What may never be done, either.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Rule>,
    /// How long a question waits before it counts as denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<Ms>,
}

impl SessionPolicy {
    /// Whether it says nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The agent's policy with this one over it.
    pub fn over(&self, agent: &Policy) -> Policy {
        let both = |agent: &[Rule], own: &[Rule]| [agent, own].concat();
        Policy {
            mode: self.mode.unwrap_or(agent.mode),
            headless: self.headless.unwrap_or(agent.headless),
            allow: both(&agent.allow, &self.allow),
            ask: both(&agent.ask, &self.ask),
            deny: both(&agent.deny, &self.deny),
            timeout_ms: self.timeout_ms.or(agent.timeout_ms),
        }
    }

    /// What of it would let an agent of this policy do more without a person, if anything
    /// does: the place, as in the API.
    pub fn widens(&self, agent: &Policy) -> Option<&'static str> {
        let longer = |own: Ms| agent.timeout_ms.is_some_and(|limit| own > limit);
        let widened = [
            ("/approvals/allow", !self.allow.is_empty()),
            ("/approvals/mode", self.mode.is_some_and(|mode| mode > agent.mode)),
            ("/approvals/headless", self.headless == Some(false) && agent.headless),
            ("/approvals/timeout_ms", self.timeout_ms.is_some_and(longer)),
        ];
        widened.into_iter().find_map(|(place, widens)| widens.then_some(place))
    }
}

/// All that judges what a compute does: its session's own policy, and those of the sessions
/// above it, within which it stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Policies {
    /// Its own.
    pub own: Policy,
    /// Those it stays within: of all of them, the strictest word counts.
    pub within: Vec<Policy>,
}

impl Policies {
    /// Every one of them, its own first.
    pub fn all(&self) -> impl Iterator<Item = &Policy> {
        std::iter::once(&self.own).chain(&self.within)
    }

    /// What a session that this one's agent creates stays within.
    pub fn for_children(self) -> Vec<Policy> {
        let mut all = vec![self.own];
        for policy in self.within {
            if !all.contains(&policy) {
                all.push(policy);
            }
        }
        all
    }

    /// The strictest mode.
    pub fn mode(&self) -> Mode {
        self.within.iter().map(|policy| policy.mode).fold(self.own.mode, Mode::min)
    }

    /// Whether nobody is there to be asked.
    pub fn headless(&self) -> bool {
        self.all().any(|policy| policy.headless)
    }

    /// How long a question waits; for ever where absent.
    pub fn timeout_ms(&self) -> Option<Ms> {
        self.all().filter_map(|policy| policy.timeout_ms).min()
    }
}

/// What happens to what no rule names. The stricter is the lesser.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[schema(as = ApprovalMode)]
pub enum Mode {
    /// All of it is asked.
    Strict,
    /// What only reads is allowed, the rest is asked.
    #[default]
    Balanced,
    /// All of it is allowed.
    Autonomous,
}

impl Mode {
    /// Its word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Balanced => "balanced",
            Self::Autonomous => "autonomous",
        }
    }
}

/// Which uses of which tools: `TOOL`, or `TOOL(ARGUMENT)`; `*` stands for anything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Rule(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(kinds: &[&str]) -> Vec<AskOption> {
        let named = |kind: &&str| AskOption {
            id: format!("{kind}!"),
            name: String::new(),
            kind: (*kind).to_owned(),
        };
        kinds.iter().map(named).collect()
    }

    #[test]
    fn for_once_an_answer_says_the_same_and_no_more() {
        let all = ["allow_always", "allow_once", "reject_always", "reject_once", "of_tomorrow"];
        for (kinds, decision, option, left) in [
            (&all[..], Decision::Allow, None, None),
            (&all[..], Decision::Allow, Some("allow_once!"), Some("allow_once!")),
            (&all[..], Decision::Allow, Some("allow_always!"), Some("allow_once!")),
            (&all[..], Decision::Allow, Some("of_tomorrow!"), Some("allow_once!")),
            (&all[..], Decision::Deny, Some("reject_always!"), Some("reject_once!")),
            (&all[..], Decision::Deny, Some("reject_once!"), Some("reject_once!")),
            (&all[..1], Decision::Allow, Some("allow_always!"), None),
        ] {
            let reason = Some("why".to_owned());
            let content = Some(Value::Bool(true));
            let given = option.map(str::to_owned);
            let answer = Answer { decision, option: given, always: true, content, reason };
            let once = answer.clone().once(&offered(kinds));
            assert_eq!(once.option.as_deref(), left, "{option:?} of {kinds:?}");
            assert_eq!(once, Answer { always: false, option: once.option.clone(), ..answer });
        }
    }
}
