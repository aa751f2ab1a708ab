//! From the events of a session to those that docker-agent's clients know. Pure: what was
//! said before decides what is said now, and nothing else does.

use std::collections::HashMap;

use greenroom_core::{Event, RunId, Timestamp};
use greenroom_protocol::link::Delta;
use serde_json::{Value, json};

use super::call::{bounded, definition, pieces};
use super::face::Face;
use super::foreign::Own;
use super::live::Live;
use super::transcript::{asked, call, output, tool};
use crate::service::forks;

/// Translates the log of one session, in order.
pub(super) struct Frames {
    face: Face,
    live: Live,
    /// What runs ask that have not begun.
    prompts: HashMap<String, String>,
    /// Uses of tools that have not come to their end.
    calls: Vec<Use>,
    /// What docker-agent itself says, where it is the agent.
    own: Own,
    /// The child session that works on a task.
    child: Option<Value>,
    /// Whether the run in progress has said anything.
    said: bool,
    context: u64,
    cost: f64,
    attempts: u64,
}

struct Use {
    id: String,
    tool: String,
    input: Value,
    call: Value,
    /// Whether its client knows that it is under way.
    begun: bool,
}

fn text<'a>(data: &'a Value, key: &str) -> &'a str {
    data.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(data: &Value, key: &str) -> u64 {
    data.get(key).and_then(Value::as_u64).unwrap_or(0)
}

/// The run that an event ends, if it ends one.
pub(super) fn ended(event: &Event) -> Option<RunId> {
    let ends = matches!(
        event.kind.as_str(),
        "run.completed" | "run.failed" | "run.stopped" | "run.withdrawn" | "run.steered"
    );
    event.run.filter(|_| ends)
}

impl Frames {
    /// Of a session whose agent has this face.
    pub(super) fn of(face: Face) -> Self {
        Self {
            face,
            live: Live::default(),
            prompts: HashMap::new(),
            calls: Vec::new(),
            own: Own::default(),
            child: None,
            said: false,
            context: 0,
            cost: 0.0,
            attempts: 0,
        }
    }

    /// The run whose prompt has to be looked up before this event is translated.
    pub(super) fn lacks(&self, event: &Event) -> Option<RunId> {
        let begins = matches!(event.kind.as_str(), "run.started" | "run.steered");
        let run = event.run.filter(|_| begins)?;
        (!self.prompts.contains_key(&run.to_string())).then_some(run)
    }

    /// What a run asks that was queued before all that was read.
    pub(super) fn knows(&mut self, run: RunId, data: &Value) {
        self.prompts.insert(run.to_string(), asked(data));
    }

    fn say(&self, kind: &str, at: Timestamp, more: Value) -> Value {
        let agent = self.own.speaker().unwrap_or(&self.face.agent);
        let mut event = json!({ "type": kind, "agent_name": agent, "timestamp": at });
        if let (Value::Object(event), Value::Object(more)) = (&mut event, more) {
            event.extend(more);
        }
        event
    }

    fn of_session(&self, kind: &str, at: Timestamp, more: Value) -> Value {
        let mut event = self.say(kind, at, more);
        event["session_id"] = self.face.session.as_str().into();
        event
    }

    fn warning(&self, at: Timestamp, message: impl Into<String>) -> Value {
        self.say("warning", at, json!({ "message": message.into() }))
    }

    fn choice(&self, kind: &str, at: Timestamp, text: &str) -> Vec<Value> {
        let say = |piece| self.of_session(kind, at, json!({ "content": piece }));
        pieces(text).into_iter().map(say).collect()
    }

    /// Text as it comes.
    pub(super) fn delta(&mut self, delta: &Delta, at: Timestamp) -> Vec<Value> {
        if self.face.is_docker_agent {
            // Who says it is in the log, before it.
            return Vec::new();
        }
        match self.live.delta(delta) {
            Some(text) if !text.is_empty() => {
                self.said = true;
                self.choice("agent_choice", at, &text)
            }
            _ => Vec::new(),
        }
    }

    /// An entry of the log, in their words; nothing where they have none for it.
    pub(super) fn event(&mut self, event: &Event) -> Vec<Value> {
        let Some(event) = forks::said(event) else { return Vec::new() };
        let data = &event.data;
        if data.get("late").and_then(Value::as_bool) == Some(true) {
            return Vec::new();
        }
        if event.kind == "message" {
            return self.message(&event);
        }
        let mut all = Vec::new();
        if event.run.is_some() && is_output(&event.kind) {
            let ahead = self.live.boundary(event.run);
            if !ahead.is_empty() {
                all = self.choice("agent_choice", event.at, &ahead);
            }
        }
        // What was said live after this event in the log goes behind it.
        let mut now = self.translated(&event);
        if self.face.is_docker_agent
            && let Some(said) = self.own.said(&event, &self.face.session)
        {
            now = said;
        }
        now.append(&mut all);
        now
    }

    fn message(&mut self, event: &Event) -> Vec<Value> {
        if text(&event.data, "role") != "agent" {
            return Vec::new();
        }
        self.said = true;
        let rest = self.live.message(event.run, &event.data);
        // Also where all of it was said: it has a position in the log.
        self.choice("agent_choice", event.at, &rest)
    }

    fn translated(&mut self, event: &Event) -> Vec<Value> {
        let (data, at) = (&event.data, event.at);
        match event.kind.as_str() {
            "run.queued" => {
                let run = data.get("run").map(|run| text(run, "id")).unwrap_or_default();
                self.prompts.insert(run.to_owned(), asked(data));
                Vec::new()
            }
            "run.edited" => {
                self.prompts.insert(text(data, "run").to_owned(), asked(data));
                Vec::new()
            }
            "run.started" => self.begin(event),
            "run.steered" => vec![self.user_message(event)],
            "thought" => self.choice("agent_choice_reasoning", at, text(data, "text")),
            "tool_call" => self.call(event),
            "tool_result" => self.result(event),
            "approval.requested" => self.asks(event),
            "approval.answered" => self.answered(event),
            "approval.decided" if text(data, "decision") == "allow" => {
                self.begins(at, |used| used.tool == text(data, "tool") && fits(used, data))
            }
            "usage" => vec![self.usage(event)],
            "log" => {
                let said = text(data, "text");
                let kind = if text(data, "stream") == "driver" { "warning" } else { "shell" };
                let field = if kind == "warning" { "message" } else { "output" };
                pieces(said)
                    .into_iter()
                    .map(|piece| self.say(kind, at, json!({ field: piece })))
                    .collect()
            }
            "session.updated" if data.get("title").is_some() => {
                vec![self.of_session("session_title", at, json!({ "title": text(data, "title") }))]
            }
            "session.updated" if data.get("model").is_some() => self.another_model(event),
            "session.agent_info" => self.info(event),
            "session.agent_changed" => {
                vec![self.warning(at, "the agent's description is another one now")]
            }
            "session.context_fresh" => vec![self.warning(
                at,
                format!("the agent begins a new conversation: {}", text(data, "reason")),
            )],
            "output_gap" => {
                vec![
                    self.warning(
                        at,
                        format!("{} bytes of output were dropped", number(data, "bytes")),
                    ),
                ]
            }
            "log_gap" => vec![self.warning(at, "entries of the agent's journal are lost")],
            "child.created" => {
                self.child = Some(json!({ "id": text(data, "id"), "agent": text(data, "agent") }));
                Vec::new()
            }
            "run.completed" | "run.failed" | "run.stopped" | "run.withdrawn" => self.end(event),
            _ => Vec::new(),
        }
    }

    /// Another model, from its next call on; without a name it is the agent's own again, which
    /// the next turn says.
    fn another_model(&mut self, event: &Event) -> Vec<Value> {
        let model = text(&event.data, "model");
        if model.is_empty() {
            return Vec::new();
        }
        self.face.model = model.to_owned();
        vec![self.told(event.at)]
    }

    fn told(&self, at: Timestamp) -> Value {
        let Face { model, description, .. } = &self.face;
        self.say("agent_info", at, json!({ "model": model, "description": description }))
    }

    fn user_message(&mut self, event: &Event) -> Value {
        let prompt = self.prompts.remove(text(&event.data, "run")).unwrap_or_default();
        let more = json!({ "message": prompt, "session_position": -1 });
        self.of_session("user_message", event.at, more)
    }

    fn begin(&mut self, event: &Event) -> Vec<Value> {
        let at = event.at;
        self.said = false;
        self.own = Own::begun();
        self.calls.clear();
        let face = &self.face;
        let mut all = vec![
            self.told(at),
            self.say(
                "team_info",
                at,
                json!({ "available_agents": face.team, "current_agent": face.agent }),
            ),
        ];
        if face.has_servers {
            all.push(self.say("mcp_init_started", at, json!({})));
            all.push(self.say("mcp_init_finished", at, json!({})));
        }
        let tools = json!({ "available_tools": face.tools, "loading": false });
        all.push(self.say("toolset_info", at, tools));
        all.push(self.user_message(event));
        all.push(self.of_session("stream_started", at, json!({})));
        all
    }

    fn used(&self, used: &Use) -> Value {
        let reads = !self.face.waits_for_leave(&used.tool);
        json!({
            "tool_call": used.call,
            "tool_definition": definition(&used.tool, reads && self.face.calls_then_asks),
        })
    }

    fn call(&mut self, event: &Event) -> Vec<Value> {
        let (data, at) = (&event.data, event.at);
        let name = tool(data).to_owned();
        let begun = !self.face.waits_for_leave(&name);
        let used = Use {
            id: text(data, "id").to_owned(),
            input: data.get("input").cloned().unwrap_or_default(),
            call: bounded(call(data)),
            tool: name,
            begun,
        };
        let kind = if begun { "tool_call" } else { "partial_tool_call" };
        let mut all = vec![self.say(kind, at, self.used(&used))];
        if used.tool == "delegate" {
            all.push(self.switching(at, text(&used.input, "agent"), true));
        }
        self.calls.push(used);
        all
    }

    fn switching(&self, at: Timestamp, to: &str, there: bool) -> Value {
        let own = self.face.agent.as_str();
        let (from, to) = if there { (own, to) } else { (to, own) };
        self.say(
            "agent_switching",
            at,
            json!({ "switching": there, "from_agent": from, "to_agent": to }),
        )
    }

    /// The first use that fits is under way.
    fn begins(&mut self, at: Timestamp, fits: impl Fn(&Use) -> bool) -> Vec<Value> {
        let found = self.calls.iter().position(|used| !used.begun && fits(used));
        let Some(found) = found else { return Vec::new() };
        self.calls[found].begun = true;
        vec![self.say("tool_call", at, self.used(&self.calls[found]))]
    }

    fn result(&mut self, event: &Event) -> Vec<Value> {
        let (data, at) = (&event.data, event.at);
        let id = text(data, "id").to_owned();
        let mut all = Vec::new();
        let is_error = data.get("is_error").and_then(Value::as_bool).unwrap_or(false);
        if !is_error {
            all = self.begins(at, |used| used.id == id);
        }
        let known = self.calls.iter().position(|used| used.id == id);
        let used = match known {
            Some(at) => self.calls.remove(at),
            None => Use {
                call: bounded(call(data)),
                tool: tool(data).to_owned(),
                input: Value::Null,
                id,
                begun: true,
            },
        };
        let output = output(data);
        let mut more = self.used(&used);
        more["result"] = json!({ "output": output, "isError": is_error });
        more["response"] = output.into();
        more["tool_call_id"] = used.id.as_str().into();
        all.push(self.say("tool_call_response", at, more));
        if used.tool == "delegate" {
            if let Some(child) = self.child.take() {
                let more = json!({ "parent_session_id": self.face.session, "sub_session": child });
                all.push(self.say("sub_session_completed", at, more));
            }
            all.push(self.switching(at, text(&used.input, "agent"), false));
        }
        all
    }

    fn asks(&self, event: &Event) -> Vec<Value> {
        vec![self.question(event.at, &event.data)]
    }

    /// What waits for a person: of an entry of the log, or of an approval as it stands.
    pub(super) fn question(&self, at: Timestamp, ask: &Value) -> Value {
        let id = text(ask, "id");
        match text(ask, "kind") {
            kind @ ("form" | "url") => {
                let mut more = json!({
                    "message": text(ask, "title"), "mode": kind, "elicitation_id": id,
                });
                for key in ["schema", "url"] {
                    if let Some(value) = ask.get(key).filter(|value| !value.is_null()) {
                        more[key] = value.clone();
                    }
                }
                self.of_session("elicitation_request", at, more)
            }
            _ => {
                let known = self
                    .calls
                    .iter()
                    .find(|used| used.tool == text(ask, "tool") && fits(used, ask));
                let mut more = match known {
                    Some(used) => self.used(used),
                    None => {
                        let mut call = call(ask);
                        call["id"] = id.into();
                        json!({
                            "tool_call": bounded(call),
                            "tool_definition": definition(tool(ask), false),
                        })
                    }
                };
                more["confirmation_id"] = id.into();
                self.of_session("tool_call_confirmation", at, more)
            }
        }
    }

    fn answered(&mut self, event: &Event) -> Vec<Value> {
        if text(&event.data, "decision") != "allow" {
            return Vec::new();
        }
        // Uses are asked about one after another, in order.
        self.begins(event.at, |_| true)
    }

    fn usage(&mut self, event: &Event) -> Value {
        let data = &event.data;
        let (input, output) = (number(data, "input_tokens"), number(data, "output_tokens"));
        let cost = data.get("cost_usd").and_then(Value::as_f64).unwrap_or(0.0);
        self.cost += cost;
        if text(data, "purpose").is_empty() {
            self.context = input + output;
        }
        let usage = json!({
            "input_tokens": input,
            "output_tokens": output,
            "context_length": self.context,
            "context_limit": 0,
            "cost": self.cost,
            "last_message": {
                "input_tokens": input,
                "output_tokens": output,
                "cached_input_tokens": number(data, "cached_tokens"),
                "cached_write_tokens": 0,
                "Cost": cost,
                "Model": text(data, "model"),
            },
        });
        self.of_session("token_usage", event.at, json!({ "usage": usage }))
    }

    fn info(&mut self, event: &Event) -> Vec<Value> {
        let (data, at) = (&event.data, event.at);
        let error = data.get("error").map(|error| text(error, "message")).unwrap_or_default();
        match text(data, "about") {
            "title" => {
                vec![self.of_session("session_title", at, json!({ "title": text(data, "title") }))]
            }
            "compacted" => vec![
                self.of_session("session_compaction", at, json!({ "status": "started" })),
                self.of_session("session_summary", at, json!({ "summary": text(data, "summary") })),
                self.of_session("session_compaction", at, json!({ "status": "completed" })),
            ],
            "discard" if text(data, "next") == "fallback" => {
                self.attempts += 1;
                let models: Vec<&str> =
                    self.face.team.iter().map(|member| text(member, "model")).collect();
                vec![self.say(
                    "model_fallback",
                    at,
                    json!({
                        "failed_model": text(data, "model"), "fallback_model": "",
                        "reason": error, "attempt": self.attempts,
                        "max_attempts": models.len().max(1),
                    }),
                )]
            }
            "discard" => {
                let model = text(data, "model");
                let next = match text(data, "next") {
                    "retry" => "it is called again",
                    _ => "it is given up",
                };
                vec![self.warning(at, format!("a call of {model} broke off, {next}: {error}"))]
            }
            _ => Vec::new(),
        }
    }

    fn end(&mut self, event: &Event) -> Vec<Value> {
        let (data, at) = (&event.data, event.at);
        let mut all = Vec::new();
        if !self.said
            && let Some(result) = data.get("result").filter(|result| !result.is_null())
        {
            let words = result.as_str().map_or_else(|| result.to_string(), str::to_owned);
            all = self.choice("agent_choice", at, &words);
        }
        self.calls.clear();
        all.extend(self.own.over(at));
        let error = data.get("error").filter(|error| !error.is_null());
        let (code, message) =
            error.map_or(("", ""), |error| (text(error, "code"), text(error, "message")));
        if code == "max_iterations" {
            let most = self.face.max_iterations;
            all.push(self.say("max_iterations_reached", at, json!({ "max_iterations": most })));
        }
        match event.kind.as_str() {
            "run.failed" => {
                all.push(self.say("error", at, json!({ "error": format!("{code}: {message}") })));
            }
            "run.stopped" => {
                let why = if message.is_empty() { "it was asked to" } else { message };
                all.push(self.warning(at, format!("the turn was stopped: {why}")));
            }
            "run.withdrawn" => all.push(self.warning(at, "the turn was withdrawn before it began")),
            _ => {}
        }
        all.push(self.of_session("stream_stopped", at, json!({})));
        all
    }

    /// The stream ends though the turn goes on.
    pub(super) fn broken_off(&mut self, at: Timestamp, why: &str) -> Vec<Value> {
        let mut all = self.own.over(at);
        all.push(self.say("error", at, json!({ "error": why })));
        all.push(self.of_session("stream_stopped", at, json!({})));
        all
    }
}

/// Whether a question, or a decision, is about this use.
fn fits(used: &Use, about: &Value) -> bool {
    about.get("input").is_none_or(|input| input.is_null() || *input == used.input)
}

/// Whether it is something an agent says or does, which ends a piece of its text.
fn is_output(kind: &str) -> bool {
    !kind.starts_with("run.") && !kind.starts_with("session.") && !kind.starts_with("approval.")
        || matches!(kind, "run.completed" | "run.failed" | "run.stopped" | "session.agent_info")
}
