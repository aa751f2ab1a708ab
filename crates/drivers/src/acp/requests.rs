//! What the agent asks of us: permission, files, terminals, and questions to people. Each
//! is answered by a task of its own, so that none waits for another.

use std::sync::Arc;

use greenroom_core::ApprovalId;
use greenroom_core::approval::{Answer, Ask, AskKind, AskOption, Decision};
use greenroom_core::drive::Open;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::files;
use super::terminals::Terminals;
use super::updates::tool_of;
use super::wire::{Reply, RpcError};
use crate::Failure;
use crate::looping::tools::place::Place;
use crate::policy::Use;
use crate::shim::Shim;

const METHOD_NOT_FOUND: i32 = -32601;

/// Answers what the agent asks.
pub(super) struct Requests {
    shim: Shim,
    place: Arc<Place>,
    terminals: Terminals,
    /// Questions that wait for a person.
    asked: JoinSet<()>,
}

impl Requests {
    pub(super) fn new(shim: Shim, open: &Open) -> Result<Self, Failure> {
        let place = Place::open(&open.workspace).map_err(|error| {
            let at = open.workspace.display();
            Failure::new("start_error", format!("the workspace {at} cannot be opened: {error}"))
        })?;
        let place = Arc::new(place);
        Ok(Self {
            shim,
            place,
            terminals: Terminals::new(open.workspace.clone()),
            asked: JoinSet::new(),
        })
    }

    /// The turn is over, or is to be: nobody waits for answers any more. Each question is
    /// withdrawn and answered as cancelled.
    pub(super) fn cancel(&mut self) {
        self.asked.abort_all();
    }

    /// Takes one request.
    pub(super) fn take(&mut self, method: &str, params: Value, reply: Reply) {
        while self.asked.try_join_next().is_some() {}
        match method {
            "session/request_permission" => self.permission(params, reply),
            "elicitation/create" => self.question(params, reply),
            "fs/read_text_file" => {
                let place = self.place.clone();
                tokio::task::spawn_blocking(move || reply.with(files::read(&place, &params)));
            }
            "fs/write_text_file" => {
                let place = self.place.clone();
                tokio::task::spawn_blocking(move || reply.with(files::write(&place, &params)));
            }
            _ if method.starts_with("terminal/") => self.terminals.take(method, params, reply),
            _ => reply.error(METHOD_NOT_FOUND, format!("greenroom does not know {method:?}")),
        }
    }

    fn permission(&mut self, params: Value, reply: Reply) {
        let ask = permission_ask(&params);
        let shim = self.shim.clone();
        let cancelled = json!({ "outcome": { "outcome": "cancelled" } });
        let reply = OnDrop::new(reply, cancelled);
        self.asked.spawn(async move {
            let tool = ask.tool.clone().unwrap_or_default();
            let input = ask.input.clone().unwrap_or(Value::Null);
            let reads = only_reads(&params["toolCall"]);
            let options = ask.options.clone();
            let wish = Use { tool: &tool, input: &input, reads };
            let answer = shim.permission(wish, ask).await;
            reply.give(chosen(&options, &answer));
        });
    }

    fn question(&mut self, params: Value, reply: Reply) {
        let ask = question_ask(&params);
        let shim = self.shim.clone();
        let reply = OnDrop::new(reply, json!({ "action": "cancel" }));
        self.asked.spawn(async move {
            let answer = shim.ask(ask).await;
            reply.give(match answer.decision {
                Decision::Allow => {
                    let content = answer.content.unwrap_or_else(|| json!({}));
                    json!({ "action": "accept", "content": content })
                }
                Decision::Deny => json!({ "action": "decline" }),
            });
        });
    }
}

/// A reply that is given also when nobody waits for the answer any more.
struct OnDrop {
    reply: Option<Reply>,
    otherwise: Value,
}

impl OnDrop {
    fn new(reply: Reply, otherwise: Value) -> Self {
        Self { reply: Some(reply), otherwise }
    }

    fn give(mut self, result: Value) {
        if let Some(reply) = self.reply.take() {
            reply.ok(result);
        }
    }
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            reply.ok(std::mem::take(&mut self.otherwise));
        }
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn permission_ask(params: &Value) -> Ask {
    let call = &params["toolCall"];
    let options = params["options"].as_array().cloned().unwrap_or_default();
    Ask {
        id: ApprovalId(uuid::Uuid::now_v7()),
        kind: AskKind::Permission,
        title: text(&call["title"]).unwrap_or_else(|| "use a tool".to_owned()),
        tool: tool_of(call),
        input: [&call["rawInput"], &call["content"]].into_iter().find(|v| !v.is_null()).cloned(),
        options: options
            .iter()
            .filter_map(|option| {
                Some(AskOption {
                    id: text(&option["optionId"])?,
                    name: text(&option["name"]).unwrap_or_default(),
                    kind: text(&option["kind"]).unwrap_or_default(),
                })
            })
            .collect(),
        schema: None,
        url: None,
    }
}

fn question_ask(params: &Value) -> Ask {
    let by_page = params["mode"] == "url" || params["url"].is_string();
    Ask {
        id: ApprovalId(uuid::Uuid::now_v7()),
        kind: if by_page { AskKind::Url } else { AskKind::Form },
        title: text(&params["message"]).unwrap_or_else(|| "the agent asks".to_owned()),
        tool: None,
        input: None,
        options: Vec::new(),
        schema: params.get("requestedSchema").filter(|schema| schema.is_object()).cloned(),
        url: text(&params["url"]),
    }
}

/// Kinds of tools that change nothing.
fn only_reads(call: &Value) -> bool {
    matches!(call["kind"].as_str(), Some("read" | "search" | "think"))
}

/// The option that an answer means. They are told apart by kind: each agent has its own
/// names for them, and some have two of a kind.
fn chosen(options: &[AskOption], answer: &Answer) -> Value {
    let of_kind = |kind: &str| options.iter().find(|option| option.kind == kind);
    let named = answer.option.as_ref().and_then(|id| options.iter().find(|o| o.id == *id));
    let kinds = match (answer.decision, answer.always) {
        (Decision::Allow, true) => ["allow_always", "allow_once"],
        (Decision::Allow, false) => ["allow_once", "allow_always"],
        (Decision::Deny, true) => ["reject_always", "reject_once"],
        (Decision::Deny, false) => ["reject_once", "reject_always"],
    };
    match named.or_else(|| kinds.iter().find_map(|kind| of_kind(kind))) {
        Some(option) => json!({ "outcome": { "outcome": "selected", "optionId": option.id } }),
        // It offers no way to say this; a cancel allows nothing.
        None => json!({ "outcome": { "outcome": "cancelled" } }),
    }
}

impl From<std::io::Error> for RpcError {
    fn from(error: std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => files::NOT_FOUND,
            std::io::ErrorKind::InvalidInput => -32602,
            _ => -32603,
        };
        Self { code, message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(kinds: &[&str]) -> Vec<AskOption> {
        let option = |(at, kind): (usize, &&str)| AskOption {
            id: format!("{kind}-{at}"),
            name: String::new(),
            kind: (*kind).to_owned(),
        };
        kinds.iter().enumerate().map(option).collect()
    }

    fn choice(kinds: &[&str], decision: Decision, always: bool) -> Option<String> {
        let answer = Answer { decision, option: None, always, content: None, reason: None };
        let outcome = chosen(&options(kinds), &answer);
        text(&outcome["outcome"]["optionId"])
    }

    #[test]
    fn options_are_chosen_by_kind_and_the_narrowest_first() {
        let all = ["allow_always", "allow_once", "allow_always", "reject_once", "reject_always"];
        assert_eq!(choice(&all, Decision::Allow, false).as_deref(), Some("allow_once-1"));
        assert_eq!(choice(&all, Decision::Allow, true).as_deref(), Some("allow_always-0"));
        assert_eq!(choice(&all, Decision::Deny, false).as_deref(), Some("reject_once-3"));
        assert_eq!(
            choice(&["allow_always"], Decision::Allow, false).as_deref(),
            Some("allow_always-0")
        );
    }

    #[test]
    fn a_no_that_is_not_offered_is_a_cancel_and_never_a_yes() {
        assert_eq!(choice(&["allow_once"], Decision::Deny, false), None);
        assert_eq!(choice(&["of_tomorrow"], Decision::Allow, false), None);
    }
}
