//! docker-agent: `docker-agent run --exec --json`.
//!
//! Its events are those that the door `/docker-agent` serves, so what is more than text goes
//! on as it was said, beside its meaning: as `origin`. Three things do not: the pieces of a
//! call before the call, the word that a message was stored, and the transcript of a helper
//! once more at its end.

use greenroom_core::record::{OutputKind, RunError};
use serde_json::{Value, json};

use super::failure;
use super::stream::{Said, Stream, Usage, log, str_at, text, tokens, tool_call, tool_result};
use super::{Cancel, Feed, Preset};

/// How it is driven.
pub(super) const PRESET: Preset = Preset {
    base: &["run", "--exec", "--json"],
    subject: Some("default"),
    autonomous: &["--yolo"],
    // What it would ask, it refuses by itself.
    careful: &[],
    careful_env: &[],
    fresh: &[],
    // Its database is in HOME, which is the session's own.
    resume: &["--session", "{id}"],
    last: &["-"],
    env: &[],
    files: &[],
    feed: Feed::Prompt,
    cancel: Cancel::Signal(rustix::process::Signal::INT),
    unknown: &["session not found"],
    stream: || Box::new(DockerAgent::default()),
};

/// Text of a helper, or thoughts, are said in pieces of this size at most.
const MOST_PIECE: usize = 8 << 10;

/// Its stream.
#[derive(Debug, Default)]
struct DockerAgent {
    /// The conversation's own name.
    root: String,
    /// The streams in progress, the innermost last.
    open: Vec<String>,
    /// What comes token by token and is said in larger pieces.
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    kind: String,
    helper: bool,
    /// The first of its pieces.
    head: Value,
    text: String,
}

impl Pending {
    fn goes_on_with(&self, kind: &str, line: &Value) -> bool {
        let same = |path| self.head.pointer(path) == line.pointer(path);
        self.kind == kind && same("/session_id") && same("/agent_name")
    }

    fn said(mut self) -> Said {
        let said = match self.kind.as_str() {
            "agent_choice" => {
                let data = json!({ "stream": "agent", "text": self.text });
                Said::Event(OutputKind::Log, data)
            }
            _ => Said::Event(OutputKind::Thought, json!({ "text": self.text })),
        };
        if !self.helper {
            return said;
        }
        self.head["content"] = self.text.into();
        both(said, self.head)
    }
}

/// An event that has no meaning beyond docker-agent's clients.
fn own(kind: &str, origin: Value) -> Said {
    Said::Event(OutputKind::AgentInfo, json!({ "about": kind, "origin": origin }))
}

/// What it means, and as it was said.
fn both(said: Said, origin: Value) -> Said {
    match said {
        Said::Event(kind, mut data) => {
            data["origin"] = origin;
            Said::Event(kind, data)
        }
        other => other,
    }
}

/// A line for people, and as it was said.
fn logged(text: &str, origin: Value) -> Vec<Said> {
    log(text).into_iter().map(|said| both(said, origin.clone())).collect()
}

fn arguments(line: &Value) -> Value {
    let text = str_at(line, "/tool_call/function/arguments");
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

impl DockerAgent {
    /// The session that a line is about: the innermost in progress where it does not say.
    fn session<'a>(&'a self, line: &'a Value) -> &'a str {
        match str_at(line, "/session_id") {
            "" => self.open.last().map_or(&self.root, |id| id),
            id => id,
        }
    }

    /// A line as it was said, but for the name of the whole conversation, which is another
    /// one to those who read it here.
    fn origin(&self, line: &Value) -> Value {
        let mut origin = line.clone();
        if let Some(fields) = origin.as_object_mut() {
            for key in ["session_id", "parent_session_id"] {
                if fields.get(key).and_then(Value::as_str) == Some(&self.root) {
                    fields.remove(key);
                }
            }
        }
        origin
    }

    fn flush(&mut self) -> Option<Said> {
        self.pending.take().map(Pending::said)
    }

    /// A piece of a thought, or of what a helper says.
    fn piece(&mut self, kind: &str, line: &Value, helper: bool) -> Vec<Said> {
        let content = str_at(line, "/content");
        let mut said = Vec::new();
        let goes_on = self.pending.as_ref().is_some_and(|so_far| so_far.goes_on_with(kind, line));
        if !goes_on {
            said.extend(self.flush());
        }
        if content.is_empty() {
            return said;
        }
        let so_far = self.pending.get_or_insert_with(|| Pending {
            kind: kind.to_owned(),
            helper,
            head: line.clone(),
            text: String::new(),
        });
        so_far.text.push_str(content);
        if so_far.text.len() >= MOST_PIECE {
            said.extend(self.flush());
        }
        said
    }

    fn usage(&self, line: &Value) -> Said {
        let last = |name: &str| tokens(line, &format!("/usage/last_message/{name}"));
        let either = |names: [&str; 2]| names.iter().find_map(|name| line.pointer(name));
        let model = either(["/usage/last_message/Model", "/usage/last_message/model"]);
        let cost = either(["/usage/last_message/Cost", "/usage/last_message/cost"]);
        let usage = Usage {
            // It counts what was cached apart.
            input: last("input_tokens") + last("cached_input_tokens") + last("cached_write_tokens"),
            output: last("output_tokens"),
            cost: cost.and_then(Value::as_f64),
            model: model.and_then(Value::as_str).map(str::to_owned),
        };
        match usage.said() {
            Some(said) => both(said, self.origin(line)),
            // Sums of the session alone, after nothing that would count.
            None => own("token_usage", self.origin(line)),
        }
    }

    fn whole(&mut self, kind: &str, line: &Value) -> Vec<Said> {
        let mut origin = self.origin(line);
        let helper = self.session(line) != self.root;
        match kind {
            "stream_started" if !helper => Vec::new(),
            "stream_stopped" if !helper => vec![Said::Done],
            "tool_call" => {
                let name = str_at(line, "/tool_call/function/name");
                let said = tool_call(str_at(line, "/tool_call/id"), name, &arguments(line));
                vec![both(said, origin)]
            }
            "tool_call_response" => {
                let is_error = line.pointer("/result/isError").and_then(Value::as_bool);
                // Its output is there once: as the meaning.
                if let Some(fields) = origin.as_object_mut() {
                    fields.remove("response");
                }
                if let Some(result) = origin.pointer_mut("/result").and_then(Value::as_object_mut) {
                    result.remove("output");
                }
                let id = match str_at(line, "/tool_call/id") {
                    "" => str_at(line, "/tool_call_id"),
                    id => id,
                };
                let output = str_at(line, "/response").into();
                vec![both(tool_result(id, output, is_error.unwrap_or(false)), origin)]
            }
            "tool_call_confirmation" => {
                let data = json!({
                    "tool": str_at(line, "/tool_call/function/name"), "input": arguments(line),
                    "decision": "deny", "by": "docker-agent",
                });
                vec![Said::Event(OutputKind::Decided, data)]
            }
            "token_usage" => vec![self.usage(line)],
            "warning" => logged(str_at(line, "/message"), origin),
            "shell" | "tool_call_output" => logged(str_at(line, "/output"), origin),
            "rag_indexing_started" | "rag_indexing_progress" | "rag_indexing_completed" => {
                let [name, of] = ["/rag_name", "/strategy_name"].map(|at| str_at(line, at));
                logged(&format!("{kind} {name} {of}"), origin)
            }
            "max_iterations_reached" => {
                let most = tokens(line, "/max_iterations");
                log(&format!("docker-agent has come to its max_iterations, {most}"))
            }
            "elicitation_request" => {
                let text = format!(
                    "docker-agent asks: {} Its command line has no way to answer: have the agent \
                     work without asking, or serve the same file with driver: loop",
                    str_at(line, "/message")
                );
                vec![Said::Stuck(RunError::new("agent_error", text))]
            }
            "error" => vec![Said::Failed(failure::of_model(str_at(line, "/error")))],
            "sub_session_completed" => {
                let helper =
                    ["id", "title"].map(|key| (key, str_at(line, &format!("/sub_session/{key}"))));
                origin["sub_session"] = json!(std::collections::BTreeMap::from(helper));
                vec![own(kind, origin)]
            }
            "agent_info" | "team_info" | "toolset_info" | "mcp_init_started"
            | "mcp_init_finished" | "stream_started" | "stream_stopped" | "hook_blocked"
            | "hook_started" | "hook_finished" | "session_title" | "session_summary"
            | "session_compaction" | "agent_switching" | "model_fallback" => {
                vec![own(kind, origin)]
            }
            _ => Vec::new(),
        }
    }
}

impl Stream for DockerAgent {
    fn object(&mut self, kind: &str, line: &Value) -> Vec<Said> {
        let named = str_at(line, "/session_id");
        let mut said = Vec::new();
        if self.root.is_empty() && !named.is_empty() {
            self.root = named.to_owned();
            said.push(Said::Conversation(named.to_owned()));
        }
        let helper = self.session(line) != self.root;
        match kind {
            "agent_choice" if !helper => {
                said.extend(self.flush());
                said.extend(text(str_at(line, "/content")));
            }
            "agent_choice" | "agent_choice_reasoning" => {
                said.extend(self.piece(kind, line, helper));
            }
            // Nothing that would end what is being said.
            "partial_tool_call" | "message_added" => {}
            _ => {
                said.extend(self.flush());
                if kind == "stream_started" {
                    self.open.push(named.to_owned());
                }
                said.extend(self.whole(kind, line));
                if kind == "stream_stopped" {
                    let over = self.session(line).to_owned();
                    self.open.retain(|id| *id != over);
                }
            }
        }
        said
    }

    fn over(&mut self) -> Vec<Said> {
        self.flush().into_iter().collect()
    }

    fn unsaid(&self) -> Option<RunError> {
        // At the most of its iterations it ends without a word of that.
        self.open.contains(&self.root).then(|| {
            let text = "docker-agent broke off: its agent's max_iterations may be used up";
            RunError::new("agent_error", text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "5e55";

    fn read(lines: &[Value]) -> Vec<Said> {
        let mut stream = DockerAgent::default();
        lines.iter().flat_map(|line| stream.line(&line.to_string())).collect()
    }

    fn call(id: &str) -> Value {
        json!({ "id": id, "type": "function",
            "function": { "name": "shell", "arguments": "{\"cmd\":\"ls\"}" } })
    }

    fn started() -> [Value; 4] {
        [
            json!({ "type": "agent_info", "agent_name": "root", "model": "openai/m", "description": "Leads" }),
            json!({ "type": "team_info", "available_agents": [], "current_agent": "root" }),
            json!({ "type": "user_message", "message": "go", "session_id": ROOT, "session_position": 0 }),
            json!({ "type": "stream_started", "session_id": ROOT, "agent_name": "root" }),
        ]
    }

    fn run(middle: &[Value]) -> Vec<Said> {
        let end = json!({ "type": "stream_stopped", "session_id": ROOT, "agent_name": "root" });
        read(&[&started()[..], middle, &[end]].concat())
    }

    /// What a run says between its beginning and its end.
    fn between(middle: &[Value]) -> Vec<Said> {
        let all = run(middle);
        assert!(
            matches!(&all[..3], [Said::Event(..), Said::Event(..), Said::Conversation(id)] if id == ROOT)
        );
        assert_eq!(all.last(), Some(&Said::Done));
        all[3..all.len() - 1].to_vec()
    }

    #[test]
    fn a_turn_with_a_tool() {
        let called = json!({ "type": "tool_call", "tool_call": call("c1"),
            "tool_definition": { "name": "shell", "annotations": {} }, "agent_name": "root" });
        let answered = json!({ "type": "tool_call_response", "tool_call": call("c1"),
            "tool_definition": { "name": "shell" }, "response": "a b",
            "result": { "output": "a b", "meta": { "x": 1 } } });
        let used = json!({ "type": "token_usage", "session_id": ROOT, "usage": {
            "input_tokens": 900, "output_tokens": 80, "context_length": 980, "context_limit": 2000,
            "cost": 0.5, "last_message": { "input_tokens": 100, "output_tokens": 7,
                "cached_input_tokens": 30, "cached_write_tokens": 2, "Cost": 0.25,
                "Model": "openai/m" } } });
        let said = between(&[
            json!({ "type": "agent_choice", "content": "I lo", "session_id": ROOT }),
            json!({ "type": "partial_tool_call", "tool_call": call("c1") }),
            json!({ "type": "agent_choice", "content": "ok." }),
            json!({ "type": "message_added", "session_id": ROOT }),
            used.clone(),
            called.clone(),
            answered,
        ]);
        let mut used = used;
        used.as_object_mut().expect("an object").remove("session_id");
        let usage = json!({ "input_tokens": 132, "output_tokens": 7, "cost_usd": 0.25,
            "model": "openai/m", "origin": used });
        let result = json!({ "id": "c1", "output": "a b", "is_error": false, "origin": {
            "type": "tool_call_response", "tool_call": call("c1"),
            "tool_definition": { "name": "shell" }, "result": { "meta": { "x": 1 } } } });
        let expected = [
            Said::Text("I lo".into()),
            Said::Text("ok.".into()),
            Said::Event(OutputKind::Usage, usage),
            Said::Event(
                OutputKind::ToolCall,
                json!({ "id": "c1", "tool": "shell", "input": { "cmd": "ls" }, "origin": called }),
            ),
            Said::Event(OutputKind::ToolResult, result),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_helpers_talk_is_not_the_answer() {
        let choice = |text: &str, who: &str, session: &str| json!({ "type": "agent_choice", "content": text, "agent_name": who, "session_id": session });
        let switch = json!({ "type": "agent_switching", "switching": true, "from_agent": "root", "to_agent": "b" });
        let begun = json!({ "type": "stream_started", "session_id": "sub", "agent_name": "b" });
        let over = json!({ "type": "stream_stopped", "session_id": "sub", "agent_name": "b" });
        let done = json!({ "type": "sub_session_completed", "parent_session_id": ROOT,
            "sub_session": { "id": "sub", "title": "Transferred task", "messages": [1, 2, 3] } });
        let said = between(&[
            switch.clone(),
            begun.clone(),
            choice("hel", "b", "sub"),
            choice("per", "b", "sub"),
            over.clone(),
            done,
            choice("So it is.", "root", ROOT),
        ]);
        let done = json!({ "type": "sub_session_completed",
            "sub_session": { "id": "sub", "title": "Transferred task" } });
        let helped = json!({ "stream": "agent", "text": "helper" });
        let helped = both(Said::Event(OutputKind::Log, helped), choice("helper", "b", "sub"));
        let expected = [
            own("agent_switching", switch),
            own("stream_started", begun),
            helped,
            own("stream_stopped", over),
            own("sub_session_completed", done),
            Said::Text("So it is.".into()),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn thoughts_are_whole_and_long_ones_in_pieces() {
        let think = |text: &str| json!({ "type": "agent_choice_reasoning", "content": text, "session_id": ROOT });
        let long = "x".repeat(MOST_PIECE);
        let said = between(&[
            think("One "),
            think("thought."),
            json!({ "type": "message_added" }),
            think(&long),
            think("rest"),
        ]);
        let thought = |text: String| Said::Event(OutputKind::Thought, json!({ "text": text }));
        assert_eq!(said, [thought(format!("One thought.{long}")), thought("rest".into())]);
    }

    #[test]
    fn what_breaks_off_was_said_as_far_as_it_went() {
        let mut stream = DockerAgent::default();
        for line in started() {
            stream.line(&line.to_string());
        }
        let thought =
            json!({ "type": "agent_choice_reasoning", "content": "But", "session_id": ROOT });
        assert_eq!(stream.line(&thought.to_string()), []);
        let but = Said::Event(OutputKind::Thought, json!({ "text": "But" }));
        assert_eq!((stream.over(), stream.over()), (vec![but], vec![]));
    }

    #[test]
    fn what_it_would_ask_is_refused_and_what_nobody_can_answer_ends_it() {
        let asked = json!({ "type": "tool_call_confirmation", "tool_call": call("c1") });
        let decided = json!({ "tool": "shell", "input": { "cmd": "ls" }, "decision": "deny", "by": "docker-agent" });
        assert_eq!(between(&[asked]), [Said::Event(OutputKind::Decided, decided)]);
        let said = between(&[json!({ "type": "elicitation_request", "message": "Which one?" })]);
        let [Said::Stuck(error)] = &said[..] else { panic!("{said:?}") };
        assert!(error.message.starts_with("docker-agent asks: Which one?"), "{error:?}");
    }

    proptest::proptest! {
        #[test]
        fn no_line_is_too_strange(
            lines in proptest::collection::vec((0usize..KINDS.len(), 0usize..8, 0usize..8), 1..20),
        ) {
            let junk = [json!(null), json!(7), json!("x"), json!([]), json!({}), json!({ "id": [1] }),
                json!({ "output": {}, "last_message": 3 }), call("c")];
            let mut stream = DockerAgent::default();
            for (kind, a, b) in lines {
                let line = json!({ "type": KINDS[kind], "session_id": junk[a], "tool_call": junk[b],
                    "result": junk[a], "usage": junk[b], "content": junk[a], "sub_session": junk[b] });
                stream.line(&line.to_string());
                stream.unsaid();
            }
        }
    }

    const KINDS: [&str; 11] = [
        "stream_started",
        "stream_stopped",
        "agent_choice",
        "agent_choice_reasoning",
        "tool_call",
        "tool_call_response",
        "tool_call_confirmation",
        "token_usage",
        "error",
        "user_message",
        "sub_session_completed",
    ];

    #[test]
    fn a_stream_that_breaks_off_is_no_answer() {
        let mut stream = DockerAgent::default();
        for line in started() {
            stream.line(&line.to_string());
        }
        assert_eq!(stream.unsaid().map(|error| error.code), Some("agent_error".to_owned()));
        let over =
            stream.line(&json!({ "type": "stream_stopped", "session_id": ROOT }).to_string());
        assert_eq!((over, stream.unsaid()), (vec![Said::Done], None));
        let failed =
            run(&[json!({ "type": "error", "error": "all models failed: 401 Unauthorized" })]);
        assert!(matches!(&failed[3], Said::Failed(error) if error.code == "auth"), "{failed:?}");
    }
}
