//! A run as a response: one `POST /responses`, streamed and in the background, so that it
//! can be cancelled, and outlives a stop where its agent takes its work up again. Its
//! conversation is a chain: each response names the one before it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::busy::Headers;
use super::reply::{self, complaint};
use super::{Agents, End, failed};
use crate::looping::http::causes;
use crate::shim::Input;
use futures::StreamExt;
use greenroom_core::drive::Open;
use greenroom_core::record::{Outcome, OutputKind};
use serde_json::{Value, json};

/// How often a response that goes on is asked about.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The longest a short answer may take.
const SHORT: Duration = Duration::from_secs(30);

/// The response that was begun last, of whatever compute.
#[derive(Clone, Default)]
pub(super) struct Conversation {
    last: Arc<Mutex<Option<String>>>,
    /// What is still in progress from the compute before: it ends before another begins.
    before: Arc<tokio::sync::Mutex<()>>,
}

impl Conversation {
    /// Takes up the conversation of an earlier compute. A response that was in progress when
    /// that one ended goes on by itself, if its agent is made for that; what it comes to is
    /// said here.
    pub(super) async fn take_up(
        agents: &Agents,
        open: &Open,
        left: BTreeMap<String, Headers>,
    ) -> Self {
        let conversation = Self::default();
        let Some(last) = open.conversation.clone().filter(|id| reply::is_id(id)) else {
            return conversation;
        };
        if look(agents, &last).await.is_none() {
            agents.shim.context_fresh("the agent does not know its last response any more");
            return conversation;
        }
        conversation.set(&last);
        if left.contains_key(&path_of(&last)) {
            let going_on = Arc::clone(&conversation.before).lock_owned().await;
            let (agents, hold) = (agents.clone(), agents.busy.hold());
            let about = json!({ "about": "recovered", "response": last });
            agents.shim.event(OutputKind::AgentInfo, about);
            tokio::spawn(async move {
                let said = until_over(&agents, &last).await;
                agents.shim.text(&text_of(&said));
                drop((going_on, hold));
            });
        }
        conversation
    }

    fn set(&self, id: &str) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(id.to_owned());
    }

    fn last(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn path_of(id: &str) -> String {
    format!("/responses/{id}")
}

/// The response of this id, if the agent has it.
async fn look(agents: &Agents, id: &str) -> Option<Value> {
    let asked = agents.http.get(format!("{}/responses/{id}", agents.base)).timeout(SHORT);
    let answer = asked.send().await.ok().filter(|answer| answer.status().is_success())?;
    answer.json().await.ok()
}

/// What it came to; nothing, if the agent lost it.
async fn until_over(agents: &Agents, id: &str) -> Value {
    loop {
        match look(agents, id).await {
            Some(said) if super::busy::is_in_progress(&said["status"]) => {}
            said => return said.unwrap_or_default(),
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// All text of a response.
fn text_of(response: &Value) -> String {
    let items = response["output"].as_array().into_iter().flatten();
    let parts = items.flat_map(|item| item["content"].as_array().into_iter().flatten());
    let texts = parts.filter_map(|part| part["text"].as_str());
    texts.map(|text| format!("{text}\n")).collect()
}

/// Takes the run to its end.
pub(super) async fn run(
    agents: Agents,
    conversation: Conversation,
    input: Input,
    schema: bool,
    end: End,
) -> Outcome {
    let _before = tokio::select! {
        turn = Arc::clone(&conversation.before).lock_owned() => turn,
        () = end.cancelled.cancelled() => return Outcome::Stopped { error: None },
    };
    let mut body = match input {
        // As it is, where it is a request already.
        Input::Document(Value::Object(fields)) if fields.contains_key("input") => {
            Value::Object(fields)
        }
        other => json!({ "input": other.text() }),
    };
    body["stream"] = true.into();
    for (key, value) in [("store", true), ("background", true)] {
        if body.get(key).is_none() {
            body[key] = value.into();
        }
    }
    if body.get("conversation").is_none()
        && let Some(last) = conversation.last()
        && body.get("previous_response_id").is_none()
    {
        body["previous_response_id"] = last.into();
    }
    let mut turn =
        Turn { agents, conversation, id: None, text: String::new(), background: false, schema };
    loop {
        let sent = turn.agents.http.post(format!("{}/responses", turn.agents.base));
        let answer = tokio::select! {
            answer = sent.json(&body).send() => answer,
            () = end.cancelled.cancelled() => return Outcome::Stopped { error: None },
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return failed("agent_error", causes(&error)),
        };
        if answer.status().is_success() {
            turn.background = body["background"] == true;
            let outcome = turn.follow(answer, &end).await;
            if let Some(id) = &turn.id {
                turn.agents.busy.remember(&path_of(id), None);
            }
            return outcome;
        }
        let status = answer.status().as_u16();
        let said: Value = answer.json().await.unwrap_or_default();
        // Once more without what it refuses.
        let param = said["error"]["param"].as_str().unwrap_or_default();
        let lost = param == "previous_response_id" || status == 404;
        if lost && body["previous_response_id"].take().is_string() {
            turn.agents.shim.context_fresh(&complaint(Some(status), &said));
            body.as_object_mut().map(|fields| fields.remove("previous_response_id"));
        } else if param == "background" && body["background"] == true {
            body["background"] = false.into();
        } else {
            return failed("agent_error", complaint(Some(status), &said));
        }
    }
}

struct Turn {
    agents: Agents,
    conversation: Conversation,
    id: Option<String>,
    text: String,
    /// It goes on without its stream.
    background: bool,
    schema: bool,
}

impl Turn {
    async fn follow(&mut self, answer: reqwest::Response, end: &End) -> Outcome {
        if !reply::is_stream(&answer) {
            let said: Value = answer.json().await.unwrap_or_default();
            self.begun(&said);
            let said = self.rest(said).await;
            self.agents.shim.text(&text_of(&said));
            return self.over(&said);
        }
        let mut events = reply::events(answer);
        let mut is_told = false;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = end.cancelled.cancelled(), if !is_told && self.id.is_some() => {
                    is_told = true;
                    self.cancel().await;
                    continue;
                }
                // An agent server drains for as long as somebody listens. Its end is the
                // run's, and the next compute says what the response came to.
                () = end.leaving.cancelled(), if self.background && self.id.is_some() => {
                    drop(events);
                    return std::future::pending().await;
                }
            };
            let said: Value = match event {
                Some(Ok(data)) => serde_json::from_str(&data).unwrap_or_default(),
                // The stream is only a view: what the response comes to can be asked.
                Some(Err(_)) | None => {
                    let Some(id) = self.id.clone() else {
                        return failed(
                            "agent_error",
                            "the agent's stream ended before its response",
                        );
                    };
                    let said = look(&self.agents, &id).await.unwrap_or_default();
                    let said = self.rest(said).await;
                    let whole = text_of(&said);
                    self.agents.shim.text(whole.strip_prefix(&self.text).unwrap_or_default());
                    return self.over(&said);
                }
            };
            if let Some(outcome) = self.hear(&said) {
                return outcome;
            }
        }
    }

    fn hear(&mut self, said: &Value) -> Option<Outcome> {
        let shim = self.agents.shim.clone();
        match said["type"].as_str().unwrap_or_default() {
            "response.created" => self.begun(&said["response"]),
            "response.output_text.delta" => {
                let delta = said["delta"].as_str().unwrap_or_default();
                self.text.push_str(delta);
                shim.text(delta);
            }
            "response.output_text.done" if !self.text.ends_with('\n') => {
                self.text.push('\n');
                shim.text("\n");
            }
            "response.reasoning_summary_text.done" | "response.reasoning_text.done" => {
                shim.event(OutputKind::Thought, json!({ "text": said["text"] }));
            }
            "response.output_item.done" if said["item"]["type"] == "function_call" => {
                let item = &said["item"];
                let input = item["arguments"].as_str().unwrap_or_default();
                let input = serde_json::from_str(input).unwrap_or_else(|_| json!(input));
                let call = json!({ "id": item["call_id"], "tool": item["name"], "input": input });
                shim.event(OutputKind::ToolCall, call);
            }
            "response.output_item.done" if said["item"]["type"] == "function_call_output" => {
                let item = &said["item"];
                let result = json!({ "id": item["call_id"], "output": item["output"] });
                shim.event(OutputKind::ToolResult, result);
            }
            "response.completed"
            | "response.failed"
            | "response.incomplete"
            | "response.cancelled" => return Some(self.over(&said["response"])),
            "error" => {
                let error = json!({ "error": said });
                return Some(failed("agent_error", complaint(None, &error)));
            }
            _ => {}
        }
        None
    }

    fn begun(&mut self, response: &Value) {
        let Some(id) = response["id"].as_str().filter(|id| reply::is_id(id)) else { return };
        if self.id.as_deref() != Some(id) {
            self.id = Some(id.to_owned());
            // Before anything else is said: a compute that ends now is taken up there.
            self.agents.shim.conversation(id);
            self.conversation.set(id);
            self.agents.busy.remember(&path_of(id), Some(&Headers::new()));
        }
    }

    async fn cancel(&self) {
        let Some(id) = &self.id else { return };
        let url = format!("{}/responses/{id}/cancel", self.agents.base);
        let _ = self.agents.http.post(url).timeout(SHORT).send().await;
    }

    /// The response once it is over.
    async fn rest(&self, said: Value) -> Value {
        match said["id"].as_str() {
            Some(id) if super::busy::is_in_progress(&said["status"]) => {
                until_over(&self.agents, id).await
            }
            _ => said,
        }
    }

    fn over(&self, response: &Value) -> Outcome {
        let usage = &response["usage"];
        if usage.is_object() {
            let data = json!({
                "input_tokens": usage["input_tokens"], "output_tokens": usage["output_tokens"],
            });
            self.agents.shim.event(OutputKind::Usage, data);
        }
        match response["status"].as_str().unwrap_or_default() {
            "completed" => {
                let text = text_of(response);
                let result = self.schema.then(|| serde_json::from_str(&text).ok()).flatten();
                Outcome::Completed { result }
            }
            "cancelled" => Outcome::Stopped { error: None },
            "incomplete" => {
                let why = response["incomplete_details"]["reason"].as_str().unwrap_or("unknown");
                failed("agent_error", format!("the agent's response is incomplete: {why}"))
            }
            "failed" => failed("agent_error", complaint(None, response)),
            _ => failed("agent_error", "the agent lost its response"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_response_is_all_of_its_parts() {
        let response = json!({ "output": [
            { "type": "reasoning", "summary": [] },
            { "type": "message", "content": [{ "text": "a" }, { "type": "refusal" }] },
            { "type": "message", "content": [{ "text": "b" }] },
        ]});
        assert_eq!(text_of(&response), "a\nb\n");
        assert_eq!(text_of(&Value::Null), "");
    }
}
