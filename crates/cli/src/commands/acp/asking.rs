//! The agent's questions, put to the person at the editor. The first answer counts, from
//! wherever it comes: whoever is slower is told that none is needed any more.

use greenroom_client::Client;
use greenroom_core::approval::{AskKind, AskOption, Decision};
use greenroom_drivers::acp::wire::Connection;
use greenroom_protocol::v1::AnswerRequest;
use serde::Deserialize;
use serde_json::{Value, json};

/// A question, as a session's log and the API both have it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Question {
    pub(super) id: String,
    kind: AskKind,
    title: String,
    #[serde(default)]
    pub(super) tool: Value,
    #[serde(default)]
    pub(super) input: Value,
    #[serde(default)]
    options: Vec<AskOption>,
    #[serde(default)]
    schema: Value,
    #[serde(default)]
    url: Option<String>,
}

/// What an editor can ask its person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Manners {
    forms: bool,
    pages: bool,
}

impl Manners {
    /// From `clientCapabilities`.
    pub(super) fn of(capabilities: &Value) -> Self {
        let can = |kind: &str| capabilities["elicitation"][kind].is_object();
        Self { forms: can("form"), pages: can("url") }
    }
}

impl Question {
    /// Whether an editor of these manners can ask it.
    fn is_asked(&self, manners: Manners) -> bool {
        match self.kind {
            AskKind::Permission => true,
            AskKind::Form => manners.forms,
            AskKind::Url => manners.pages && self.url.is_some(),
        }
    }

    /// What ends a question that could only be shown.
    pub(super) fn over(&self, manners: Manners, how: &Value) -> Option<Value> {
        let status = if how["decision"] == "allow" { "completed" } else { "failed" };
        (!self.is_asked(manners)).then(|| {
            json!({ "sessionUpdate": "tool_call_update", "toolCallId": self.id, "status": status })
        })
    }
}

/// What a question needs of whoever asks it: where, and about which call.
pub(super) struct Asking {
    pub(super) client: Client,
    pub(super) editor: Connection,
    pub(super) session: String,
    pub(super) manners: Manners,
}

/// The choices where the agent names none.
fn plain_options() -> Vec<AskOption> {
    let option = |id: &str, name: &str, kind: &str| AskOption {
        id: id.to_owned(),
        name: name.to_owned(),
        kind: kind.to_owned(),
    };
    vec![option("allow", "Allow", "allow_once"), option("deny", "Deny", "reject_once")]
}

fn permission(session: &str, asked: &Question, call: Option<&str>) -> Value {
    let options = if asked.options.is_empty() { plain_options() } else { asked.options.clone() };
    let options: Vec<Value> = options
        .iter()
        .map(|option| json!({ "optionId": option.id, "name": option.name, "kind": option.kind }))
        .collect();
    let mut tool_call = json!({
        "toolCallId": call.unwrap_or(&asked.id), "title": asked.title, "status": "pending",
    });
    if !asked.input.is_null() {
        tool_call["rawInput"] = asked.input.clone();
    }
    json!({ "sessionId": session, "toolCall": tool_call, "options": options })
}

/// What a person chose; `None` where they chose nothing.
fn chosen(asked: &Question, outcome: &Value) -> Option<AnswerRequest> {
    let id = outcome.pointer("/outcome/optionId")?.as_str()?;
    let plain = asked.options.is_empty();
    let options = if plain { plain_options() } else { asked.options.clone() };
    let option = options.into_iter().find(|option| option.id == id)?;
    let allows = option.kind.starts_with("allow");
    Some(AnswerRequest {
        decision: if allows { Decision::Allow } else { Decision::Deny },
        option: (!plain).then_some(option.id),
        always: None,
        content: None,
        reason: None,
    })
}

fn form(session: &str, asked: &Question) -> Value {
    let schema = match asked.schema.is_object() {
        true => asked.schema.clone(),
        false => json!({ "type": "object", "properties": {} }),
    };
    json!({ "mode": "form", "sessionId": session, "message": asked.title, "requestedSchema": schema })
}

fn on_a_page(session: &str, asked: &Question) -> Value {
    json!({ "mode": "url", "sessionId": session, "elicitationId": asked.id,
        "message": asked.title, "url": asked.url })
}

/// What was filled in, or done on a page; `None` where the person did neither.
fn filled_in(outcome: &Value) -> Option<AnswerRequest> {
    let (decision, content) = match outcome["action"].as_str()? {
        "accept" => (Decision::Allow, outcome.get("content").filter(|c| c.is_object()).cloned()),
        "decline" => (Decision::Deny, None),
        _ => return None,
    };
    Some(AnswerRequest { decision, option: None, always: None, content, reason: None })
}

impl Asking {
    /// Puts a question to the person, and passes their answer on. An editor that cannot ask
    /// it shows that somebody has to.
    pub(super) async fn ask(self, asked: Question, call: Option<String>) {
        if !asked.is_asked(self.manners) {
            return self.tell(waits_elsewhere(&asked));
        }
        let (method, params) = match asked.kind {
            AskKind::Permission => {
                ("session/request_permission", permission(&self.session, &asked, call.as_deref()))
            }
            AskKind::Form => ("elicitation/create", form(&self.session, &asked)),
            AskKind::Url => ("elicitation/create", on_a_page(&self.session, &asked)),
        };
        let Ok(outcome) = self.editor.call(method, params).await else { return };
        let answer = match asked.kind {
            AskKind::Permission => chosen(&asked, &outcome),
            AskKind::Form | AskKind::Url => filled_in(&outcome),
        };
        let Some(answer) = answer else { return };
        // Somebody was faster, or the question is over: the log says so to everybody.
        if let Err(error) = self.client.answer(&self.session, &asked.id, &answer).await
            && !error.is_status(409)
        {
            let words = format!("The answer could not be passed on: {error}\n");
            self.tell(super::updates::chunk("agent_thought_chunk", &words));
        }
    }

    fn tell(&self, update: Value) {
        let params = json!({ "sessionId": self.session, "update": update });
        // An editor that is gone needs no telling.
        let _ = self.editor.tell("session/update", params);
    }
}

/// A question that this editor has no form for.
fn waits_elsewhere(asked: &Question) -> Value {
    let page = asked.url.as_ref().map(|url| format!(" ({url})")).unwrap_or_default();
    let title = format!(
        "Waits for a person: {}{page}. Answer with `greenroom approvals show {}`, or in the dashboard",
        asked.title, asked.id
    );
    json!({ "sessionUpdate": "tool_call", "toolCallId": asked.id, "title": title,
        "kind": "other", "status": "pending" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(options: Value) -> Question {
        let data = json!({ "id": "q", "kind": "permission", "title": "Write a", "tool": "w",
            "input": { "path": "a" }, "options": options, "epoch": 1, "run": null });
        serde_json::from_value(data).expect("a question")
    }

    fn picked(id: &str) -> Value {
        json!({ "outcome": { "outcome": "selected", "optionId": id } })
    }

    #[test]
    fn an_answer_is_one_of_the_agents_options_or_yes_or_no() {
        let plain = question(json!([]));
        assert_eq!(permission("s", &plain, Some("t1"))["toolCall"]["toolCallId"], "t1");
        let yes = chosen(&plain, &picked("allow")).expect("an answer");
        assert_eq!((yes.decision, yes.option), (Decision::Allow, None));
        let offered = question(json!([{ "id": "no!", "name": "No", "kind": "reject_always" }]));
        let no = chosen(&offered, &picked("no!")).expect("an answer");
        assert_eq!((no.decision, no.option.as_deref()), (Decision::Deny, Some("no!")));
        assert!(chosen(&offered, &picked("allow")).is_none(), "it was not offered");
        assert!(chosen(&plain, &json!({ "outcome": { "outcome": "cancelled" } })).is_none());
    }

    #[test]
    fn a_form_is_filled_in_declined_or_left() {
        let full = filled_in(&json!({ "action": "accept", "content": { "a": 1 } })).expect("one");
        assert_eq!((full.decision, full.content), (Decision::Allow, Some(json!({ "a": 1 }))));
        assert_eq!(
            filled_in(&json!({ "action": "decline" })).expect("one").decision,
            Decision::Deny
        );
        assert!(filled_in(&json!({ "action": "cancel" })).is_none());
        let caps = json!({ "elicitation": { "form": {} } });
        assert_eq!(Manners::of(&caps), Manners { forms: true, pages: false });
    }
}
