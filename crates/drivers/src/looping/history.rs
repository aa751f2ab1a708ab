//! The conversation, as a fold of the session's log. What a driver says is folded by the
//! very same function as what it reads back after a restart, so both are one thing.
//!
//! | event | in the conversation |
//! |---|---|
//! | `run.queued`, `run.started`, `run.steered` | what is asked, in the order in which runs began, or became part of another |
//! | `message` of the agent | what the model says |
//! | `tool_call` | what it wants done; `state` is what its provider wants back with it |
//! | `tool_result` | what came of it |
//! | `session.agent_info`, by its `about` | `prompt`: what a command stands for; `correction`: what is wrong with an answer; `discard`: a call broke off and its pieces do not count; `compacted`: a summary takes the place of all but the last `keep` messages |
//! | `session.inherited` | what the event in it is |
//!
//! A call without a result is answered as interrupted as soon as anything comes after it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::model::{Call, CallResult, Message, State};

/// What a call says that never came to its end.
pub const INTERRUPTED: &str =
    "interrupted: the agent was stopped before this came to its end; it may have been done in part";
/// What stands for a prompt that cannot be read any more.
const LOST_PROMPT: &str = "(what was asked here is no longer in the log)";
/// What goes before a summary.
const SUMMARY: &str = "Summary of the conversation until now:\n\n";

/// A conversation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    messages: Vec<Message>,
    /// The answer that is coming, and the calls of it that have their results.
    text: String,
    calls: Vec<Call>,
    state: Option<State>,
    results: BTreeMap<String, CallResult>,
    /// Prompts of runs that have not begun.
    prompts: BTreeMap<String, String>,
    /// All names calls ever had.
    names: BTreeSet<String>,
    /// What was asked first of all.
    first: Option<String>,
    /// Calls that were closed without a result in the log.
    unanswered: Vec<Call>,
    /// Where the last prompt begins in its message, which may hold others before it.
    asked_at: usize,
}

/// What a run asks, as text.
fn asked(data: &Value) -> Option<String> {
    match (data.get("input"), data.get("prompt")) {
        (Some(document), _) if !document.is_null() => Some(document.to_string()),
        (_, Some(Value::String(text))) => Some(text.clone()),
        _ => None,
    }
}

/// A message of nothing is refused by providers.
fn or_nothing(text: &str) -> &str {
    if text.trim().is_empty() { "(nothing)" } else { text }
}

fn text<'a>(data: &'a Value, key: &str) -> &'a str {
    data.get(key).and_then(Value::as_str).unwrap_or_default()
}

impl History {
    /// Folds one event of the log. Any event may come: what says nothing is passed over.
    pub fn event(&mut self, kind: &str, data: &Value) {
        if data.get("late").and_then(Value::as_bool) == Some(true) {
            // Of a compute that was given up; the conversation went on without it.
            return;
        }
        match kind {
            // Of the log it was forked from.
            "session.inherited" => {
                let nothing = Value::Null;
                self.event(text(data, "type"), data.get("data").unwrap_or(&nothing));
            }
            "run.queued" => {
                let run = data.get("run").map(|run| text(run, "id")).unwrap_or_default();
                if let Some(prompt) = asked(data) {
                    self.prompts.insert(run.to_owned(), prompt);
                }
            }
            "run.started" => self.carried(data),
            "run.steered" => self.carried(data),
            // One that was stopped on its way, and came in all the same.
            "session.unmatched" => match data.get("body") {
                Some(body) if text(body, "is") == "steered" => {
                    if let Some(prompt) = self.prompts.remove(text(body, "run")) {
                        self.ask(&prompt);
                    }
                }
                _ => {}
            },
            "run.completed" | "run.failed" | "run.stopped" => self.close(),
            // A person's words are there with their run already.
            "message" if text(data, "role") == "agent" => self.say(text(data, "text")),
            "tool_call" => self.call(data),
            "tool_result" => self.result(data),
            "session.agent_info" => self.info(data),
            _ => {}
        }
    }

    /// Something is asked.
    pub fn ask(&mut self, prompt: &str) {
        self.close();
        self.first.get_or_insert_with(|| prompt.to_owned());
        self.user(prompt);
    }

    /// A run begins, or becomes part of the one in progress.
    fn carried(&mut self, data: &Value) {
        let prompt = self.prompts.remove(text(data, "run"));
        self.ask(prompt.as_deref().unwrap_or(LOST_PROMPT));
    }

    /// What was asked first of all, word for word.
    pub fn first(&self) -> Option<&str> {
        self.first.as_deref()
    }

    /// The model says more.
    pub fn say(&mut self, text: &str) {
        if !self.results.is_empty() {
            self.close();
        }
        self.text.push_str(text);
    }

    fn call(&mut self, data: &Value) {
        if !self.results.is_empty() {
            self.close();
        }
        let id = text(data, "id");
        if id.is_empty() || !self.names.insert(id.to_owned()) {
            return;
        }
        if let Some(state) = data.get("state") {
            self.state = serde_json::from_value(state.clone()).ok();
        }
        self.calls.push(Call {
            id: id.to_owned(),
            tool: text(data, "tool").to_owned(),
            input: data.get("input").cloned().unwrap_or_else(|| json!({})),
        });
    }

    fn result(&mut self, data: &Value) {
        let id = text(data, "id");
        self.unanswered.retain(|call| call.id != id);
        let Some(call) = self.calls.iter().find(|call| call.id == id) else { return };
        let result = CallResult {
            id: id.to_owned(),
            tool: call.tool.clone(),
            output: text(data, "output").to_owned(),
            is_error: data.get("is_error").and_then(Value::as_bool).unwrap_or(false),
        };
        self.results.entry(id.to_owned()).or_insert(result);
    }

    fn info(&mut self, data: &Value) {
        match text(data, "about") {
            "prompt" => {
                self.close();
                if let Some(Message::User(last)) = self.messages.last_mut() {
                    last.truncate(self.asked_at);
                    last.push_str(or_nothing(text(data, "text")));
                }
            }
            "correction" => {
                self.close();
                self.user(text(data, "text"));
            }
            "discard" if self.calls.is_empty() => self.text.clear(),
            "compacted" => {
                self.close();
                let keep = data.get("keep").and_then(Value::as_u64).unwrap_or(0);
                let keep = usize::try_from(keep).unwrap_or(usize::MAX).min(self.messages.len());
                let kept = self.messages.split_off(self.messages.len() - keep);
                self.messages.clear();
                self.user(&format!("{SUMMARY}{}", text(data, "summary")));
                for message in kept {
                    match message {
                        Message::User(text) => self.user(&text),
                        // Results whose calls are gone would dangle, the other way round.
                        Message::Results(_)
                            if !matches!(self.messages.last(), Some(Message::Agent { .. })) => {}
                        other => self.messages.push(other),
                    }
                }
            }
            _ => {}
        }
    }

    fn user(&mut self, text: &str) {
        let text = or_nothing(text);
        // Two in a row are one: providers want roles that alternate.
        match self.messages.last_mut() {
            Some(Message::User(last)) => {
                last.push_str("\n\n");
                self.asked_at = last.len();
                last.push_str(text);
            }
            _ => {
                self.asked_at = 0;
                self.messages.push(Message::User(text.to_owned()));
            }
        }
    }

    /// What is coming has come. Calls without a result are answered as interrupted.
    pub fn close(&mut self) {
        let text = std::mem::take(&mut self.text);
        let calls = std::mem::take(&mut self.calls);
        let mut results = std::mem::take(&mut self.results);
        let state = self.state.take();
        if text.trim().is_empty() && calls.is_empty() {
            return;
        }
        if self.messages.is_empty() {
            self.user(LOST_PROMPT);
        }
        let unanswered = calls.iter().filter(|call| !results.contains_key(&call.id));
        self.unanswered.extend(unanswered.cloned());
        let answers: Vec<CallResult> = calls
            .iter()
            .map(|call| results.remove(&call.id).unwrap_or_else(|| interrupted(call)))
            .collect();
        match self.messages.last_mut() {
            // An answer that went on after an interruption.
            Some(Message::Agent { text: before, calls: none, .. })
                if none.is_empty() && calls.is_empty() =>
            {
                before.push_str(&text);
            }
            _ => {
                if matches!(self.messages.last(), Some(Message::Agent { .. })) {
                    self.messages.push(Message::User("(go on)".to_owned()));
                }
                self.messages.push(Message::Agent { text, calls, state });
            }
        }
        if !answers.is_empty() {
            self.messages.push(Message::Results(answers));
        }
    }

    /// Calls that have no result yet.
    pub fn open_calls(&self) -> Vec<Call> {
        let open = self.calls.iter().filter(|call| !self.results.contains_key(&call.id));
        open.cloned().collect()
    }

    /// Calls whose result the log does not have and never will: they are to be answered
    /// there, too.
    pub fn unanswered(&mut self) -> Vec<Call> {
        self.close();
        std::mem::take(&mut self.unanswered)
    }

    /// A name for a call that no other has, as near to the provider's as can be.
    pub fn name_for(&self, id: &str) -> String {
        let id = if id.is_empty() { "call" } else { id };
        let free = |name: &String| !self.names.contains(name);
        let numbered = (2u64..).map(|n| format!("{id}-{n}"));
        std::iter::once(id.to_owned()).chain(numbered).find(free).unwrap_or_default()
    }

    /// The conversation, with what is open closed.
    pub fn messages(&mut self) -> &[Message] {
        self.close();
        &self.messages
    }

    /// What the model has said since it was last asked anything.
    pub fn answer(&mut self) -> &str {
        self.close();
        match self.messages.last() {
            Some(Message::Agent { text, .. }) => text,
            _ => "",
        }
    }
}

fn interrupted(call: &Call) -> CallResult {
    CallResult {
        id: call.id.clone(),
        tool: call.tool.clone(),
        output: INTERRUPTED.to_owned(),
        is_error: true,
    }
}

/// About how many tokens messages take. Four bytes of text are about one.
pub fn tokens(messages: &[Message]) -> u64 {
    let bytes: usize = messages
        .iter()
        .map(|message| match message {
            Message::User(text) => text.len(),
            Message::Agent { text, calls, state } => {
                let calls: usize =
                    calls.iter().map(|c| c.tool.len() + c.input.to_string().len()).sum();
                text.len() + calls + state.as_ref().map_or(0, |s| s.parts.to_string().len())
            }
            Message::Results(results) => results.iter().map(|r| r.output.len()).sum(),
        })
        .sum();
    bytes as u64 / 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event() -> impl Strategy<Value = (&'static str, Value)> {
        let id = prop_oneof![Just(""), Just("a"), Just("b"), Just("c"), Just("d")];
        let said = prop_oneof![Just(""), Just(" "), Just("one"), Just("two\n")];
        prop_oneof![
            (id.clone(), said.clone()).prop_map(|(id, text)| {
                ("run.queued", json!({"run": {"id": id}, "prompt": text}))
            }),
            id.clone().prop_map(|id| ("run.started", json!({"run": id}))),
            id.clone().prop_map(|id| ("run.steered", json!({"run": id, "into": "x"}))),
            id.clone().prop_map(|id| ("run.stopped", json!({"run": id}))),
            said.clone().prop_map(|text| ("message", json!({"role": "agent", "text": text}))),
            id.clone().prop_map(|id| ("tool_call", json!({"id": id, "tool": "t", "input": {}}))),
            id.prop_map(|id| ("tool_result", json!({"id": id, "output": "o"}))),
            said.clone()
                .prop_map(|t| ("session.agent_info", json!({"about": "correction", "text": t}))),
            said.prop_map(|t| ("session.agent_info", json!({"about": "prompt", "text": t}))),
            Just(("session.agent_info", json!({"about": "discard"}))),
            (0u64..9).prop_map(|keep| {
                let data = json!({"about": "compacted", "summary": "s", "keep": keep});
                ("session.agent_info", data)
            }),
            Just(("usage", json!({"input_tokens": 1}))),
        ]
    }

    /// What every provider wants of a conversation.
    fn well_formed(messages: &[Message]) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for (at, message) in messages.iter().enumerate() {
            let before = at.checked_sub(1).map(|at| &messages[at]);
            let open: Vec<&str> = match before {
                Some(Message::Agent { calls, .. }) => calls.iter().map(|c| c.id.as_str()).collect(),
                _ => Vec::new(),
            };
            match message {
                Message::Results(results) => {
                    let ids: Vec<&str> = results.iter().map(|r| r.id.as_str()).collect();
                    if ids.is_empty() || ids != open {
                        return Err(format!("{at}: results {ids:?} of calls {open:?}"));
                    }
                }
                _ if !open.is_empty() => return Err(format!("{at}: {open:?} dangle")),
                Message::User(text) => {
                    if matches!(before, Some(Message::User(_))) || text.trim().is_empty() {
                        return Err(format!("{at}: a user after a user, or of nothing"));
                    }
                }
                Message::Agent { text, calls, .. } => {
                    if matches!(before, None | Some(Message::Agent { .. })) {
                        return Err(format!("{at}: an agent after {before:?}"));
                    }
                    if text.trim().is_empty() && calls.is_empty() {
                        return Err(format!("{at}: an answer of nothing"));
                    }
                    for call in calls {
                        if !names.insert(&call.id) {
                            return Err(format!("{at}: {} comes twice", call.id));
                        }
                    }
                }
            }
        }
        match messages.last() {
            Some(Message::Agent { calls, .. }) if !calls.is_empty() => Err("ends dangling".into()),
            _ => Ok(()),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_log_makes_a_conversation_every_provider_takes(
            log in proptest::collection::vec(event(), 0..40),
            cut in 0usize..40,
        ) {
            let mut history = History::default();
            for (at, (kind, data)) in log.iter().enumerate() {
                if at == cut {
                    // Killed here, and read back later: what was open is closed for good.
                    history.close();
                }
                history.event(kind, data);
            }
            let messages = history.messages().to_vec();
            prop_assert_eq!(well_formed(&messages), Ok(()), "{:?}", messages);
        }

        #[test]
        fn reading_in_pages_is_reading_at_once(
            log in proptest::collection::vec(event(), 0..40), at in 0usize..40,
        ) {
            let fold = |events: &[(&str, Value)], mut history: History| {
                events.iter().for_each(|(kind, data)| history.event(kind, data));
                history
            };
            let at = at.min(log.len());
            let mut paged = fold(&log[at..], fold(&log[..at], History::default()));
            let mut whole = fold(&log, History::default());
            prop_assert_eq!(paged.messages(), whole.messages());
        }
    }

    proptest! {
        #[test]
        fn what_a_fork_has_inherited_is_its_own(
            log in proptest::collection::vec(event(), 0..40),
        ) {
            let (mut own, mut inherited) = (History::default(), History::default());
            for (kind, data) in &log {
                own.event(kind, data);
                inherited.event("session.inherited", &json!({"type": kind, "data": data}));
            }
            prop_assert_eq!(own.messages(), inherited.messages());
        }
    }

    #[test]
    fn a_call_cut_off_is_answered_as_interrupted() {
        let mut history = History::default();
        history.event("run.queued", &json!({"run": {"id": "1"}, "prompt": "do"}));
        history.event("run.started", &json!({"run": "1"}));
        history.event("message", &json!({"role": "agent", "text": "I will."}));
        history.event("tool_call", &json!({"id": "a", "tool": "shell", "input": {"n": 1}}));
        history.event("tool_call", &json!({"id": "b", "tool": "shell", "input": {}}));
        history.event("tool_result", &json!({"id": "a", "output": "fine"}));
        let messages = history.messages();
        let Message::Results(results) = &messages[2] else { panic!("{messages:?}") };
        assert_eq!((results[0].output.as_str(), results[0].is_error), ("fine", false));
        assert_eq!((results[1].output.as_str(), results[1].is_error), (INTERRUPTED, true));
    }

    #[test]
    fn runs_that_never_began_are_no_part_of_it() {
        let mut history = History::default();
        for id in ["1", "2", "3"] {
            history.event("run.queued", &json!({"run": {"id": id}, "prompt": id}));
        }
        for id in ["3", "1"] {
            history.event("run.started", &json!({"run": id}));
            history.event("message", &json!({"role": "agent", "text": "yes"}));
        }
        let said: Vec<_> = history
            .messages()
            .iter()
            .filter_map(|m| match m {
                Message::User(text) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(said, ["3", "1"]);
    }

    #[test]
    fn names_of_calls_stay_apart() {
        let mut history = History::default();
        history.event("tool_call", &json!({"id": "call_0", "tool": "t", "input": {}}));
        assert_eq!(history.name_for("call_0"), "call_0-2");
        assert_eq!(history.name_for("other"), "other");
    }
}
