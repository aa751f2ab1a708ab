//! What a person can choose in the editor: how much is asked, and which agent goes on.

use greenroom_core::approval::Mode;
use greenroom_protocol::v1::{Agent, Session};
use serde_json::{Value, json};

/// The option by which the agent is chosen.
pub(super) const AGENT: &str = "agent";
/// The mode of a session that lays none over its agent's.
const OF_THE_AGENT: &str = "agent";

/// Each with its name and what it means. A mode counts from the agent's next use of a tool on.
const MODES: [(&str, &str, &str); 4] = [
    (OF_THE_AGENT, "As the agent's file says", "Approvals as the agent's own description has them"),
    ("strict", "Ask everything", "Counts from the next use of a tool on"),
    ("balanced", "Ask what changes something", "Counts from the next use of a tool on"),
    ("autonomous", "Ask nothing", "Counts from the next use of a tool on"),
];

/// The mode of this name: `None` is the agent's own.
pub(super) fn mode(id: &str) -> Option<Option<Mode>> {
    Some(match id {
        OF_THE_AGENT => None,
        "strict" => Some(Mode::Strict),
        "balanced" => Some(Mode::Balanced),
        "autonomous" => Some(Mode::Autonomous),
        _ => return None,
    })
}

/// The name of a mode.
pub(super) fn mode_id(mode: Option<Mode>) -> &'static str {
    mode.map_or(OF_THE_AGENT, Mode::as_str)
}

/// All modes, and the session's.
pub(super) fn modes(session: &Session) -> Value {
    let all: Vec<Value> = MODES
        .iter()
        .map(|(id, name, about)| json!({ "id": id, "name": name, "description": about }))
        .collect();
    json!({ "currentModeId": mode_id(session.approvals.mode), "availableModes": all })
}

/// Which agent, where there is a choice.
pub(super) fn options(current: &str, agents: &[Agent]) -> Value {
    if agents.len() < 2 {
        return json!([]);
    }
    let all: Vec<Value> = agents
        .iter()
        .map(|agent| {
            json!({ "value": agent.name, "name": agent.name, "description": agent.description })
        })
        .collect();
    json!([{
        "id": AGENT, "name": "Agent", "type": "select", "currentValue": current, "options": all,
        "description": "Which agent works in the session; not while one is at work",
    }])
}

/// The agent of a session that names none: one that works, by name.
pub(super) fn first(agents: &[Agent]) -> Option<&Agent> {
    let works = |agent: &&Agent| agent.health == "ok" && agent.needs.is_none();
    agents.iter().find(works).or_else(|| agents.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_that_is_offered_is_known() {
        for (id, _, _) in MODES {
            assert_eq!(mode_id(mode(id).expect(id)), id);
        }
        assert!(mode("yolo").is_none());
    }
}
