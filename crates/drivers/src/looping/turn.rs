//! The loop: the model is called, what it wants is done, until it wants nothing more.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use greenroom_core::record::{Outcome, OutputKind, RunError};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::agent::Agent;
use super::compact;
use super::history::tokens;
use super::model::*;
use super::prompt;
use super::retry::Backoff;
use crate::shim::Input;

/// So often a model is told that its answer does not fit.
const MOST_CORRECTIONS: u32 = 2;

/// What a run has used up.
#[derive(Debug, Default)]
struct Turn {
    /// Calls of the model.
    calls: u32,
    corrections: u32,
    /// Which of the models is called. After a fallback it stays so for the run: each call
    /// would pay for the first one's fault again.
    model: usize,
    /// It was told that the conversation is too long, and made it shorter.
    shortened: bool,
}

impl Agent {
    /// A whole run. Dropped, it is given up where it is; [`Agent::give_up`] comes after that.
    pub async fn turn(&mut self, input: &Input) -> Outcome {
        let asked = input.text();
        let joined = self.take_part(&asked).await;
        self.history.ask(&asked);
        if let Err(crate::Failure(error)) = joined {
            return Outcome::Failed { error };
        }
        if let Some((_, task)) = super::member(&self.team, &asked) {
            self.say(OutputKind::AgentInfo, json!({ "about": "prompt", "text": task }));
        } else if let Some(text) = prompt::command(&self.spec.commands, &asked) {
            self.say(OutputKind::AgentInfo, json!({ "about": "prompt", "text": text }));
        }
        match self.rounds().await {
            Ok(result) => Outcome::Completed { result },
            Err(error) => Outcome::Failed { error },
        }
    }

    async fn rounds(&mut self) -> Result<Option<Value>, RunError> {
        let mut turn = Turn::default();
        let (system, warnings) = prompt::system(
            &self.spec,
            &self.bench.place,
            self.form.as_ref(),
            jiff::Zoned::now().date(),
        );
        for warning in warnings {
            self.warn(&warning);
        }
        let tools = self.tools();
        loop {
            let most = self.spec.max_iterations;
            if most > 0 && turn.calls >= most {
                return Err(RunError::new(
                    "max_iterations",
                    format!(
                        "the model was called {most} times in this run, which is max_iterations: \
                         prompt again to let it go on, or set it higher"
                    ),
                ));
            }
            if self.remodel() {
                turn.model = 0;
            }
            if let Some(at) = self.spec.compact_at
                && self.context.max(tokens(self.history.messages())) >= at
            {
                self.compact(at, at.saturating_mul(6), &mut turn).await;
            }
            if let Some(run) = self.run {
                let texts = self.shim.steered(run);
                texts.iter().for_each(|text| self.history.ask(text));
            }
            turn.calls += 1;
            let reply = match self.answered(&system, &tools, &mut turn).await {
                Ok(reply) => reply,
                Err(fault) if fault.kind == FaultKind::TooLong && !turn.shortened => {
                    turn.shortened = true;
                    let at = tokens(self.history.messages()).max(2);
                    // Half of what did not fit, in bytes.
                    if !self.compact(at, at.saturating_mul(2), &mut turn).await {
                        return Err(RunError::new(fault.code(), fault.message));
                    }
                    continue;
                }
                Err(fault) => return Err(RunError::new(fault.code(), fault.message)),
            };
            match reply.stop {
                Stop::Length => self.warn("the answer was cut: it is as long as max_tokens allows"),
                Stop::Filtered => self.warn("the answer was cut by the provider's filter"),
                Stop::Done => {}
            }
            if reply.calls.is_empty() {
                match self.fits() {
                    Ok(result) => return Ok(result),
                    Err(why) if turn.corrections < MOST_CORRECTIONS => {
                        turn.corrections += 1;
                        let text = format!("Your answer {why}. Answer again, with JSON alone.");
                        let data = json!({ "about": "correction", "text": text });
                        self.say(OutputKind::AgentInfo, data);
                    }
                    Err(why) => {
                        return Err(RunError::new(
                            "output_schema",
                            format!("the answer {why}, also after {MOST_CORRECTIONS} corrections"),
                        ));
                    }
                }
            }
            for call in &reply.calls {
                let (output, is_error) = self.use_tool(call).await;
                let data = json!({
                    "id": call.id, "tool": call.tool, "output": output, "is_error": is_error,
                });
                self.say(OutputKind::ToolResult, data);
            }
        }
    }

    /// A whole answer of one of the models, its calls and tokens said.
    async fn answered(
        &mut self,
        system: &str,
        tools: &[Tool],
        turn: &mut Turn,
    ) -> Result<Reply, Fault> {
        let mut until = Instant::now() + Duration::from_millis(self.spec.retry_ms.0);
        let mut backoff = Backoff::default();
        loop {
            // Also before a call is tried again: another model may be the way out.
            if self.remodel() {
                turn.model = 0;
                until = Instant::now() + Duration::from_millis(self.spec.retry_ms.0);
                backoff = Backoff::default();
            }
            let fault = match self.called(system, tools, turn.model).await {
                Ok(reply) => return Ok(self.note(reply, turn.model)),
                Err(fault) => fault,
            };
            let wait = match fault.kind {
                FaultKind::Limited(Some(after)) => after,
                _ => backoff.wait(),
            };
            let again = fault.may_pass() && Instant::now() + wait <= until;
            // A conversation that is too long for one is made shorter, not given to another.
            let other =
                !again && fault.kind != FaultKind::TooLong && turn.model + 1 < self.models.len();
            let next = match (again, other) {
                (true, _) => "retry",
                (false, true) => "fallback",
                (false, false) => "give_up",
            };
            let mut data = json!({
                "about": "discard",
                "model": self.models[turn.model].name(),
                "error": { "code": fault.code(), "message": fault.message },
                "next": next,
            });
            if again {
                data["wait_ms"] = json!(wait.as_millis() as u64);
            }
            self.say(OutputKind::AgentInfo, data);
            if again {
                tokio::time::sleep(wait).await;
            } else if other {
                turn.model += 1;
                until = Instant::now() + Duration::from_millis(self.spec.retry_ms.0);
                backoff = Backoff::default();
            } else {
                return Err(fault);
            }
        }
    }

    /// One call of a model, its text said as it comes.
    async fn called(&mut self, system: &str, tools: &[Tool], model: usize) -> Result<Reply, Fault> {
        let partial = Arc::clone(&self.partial);
        let (shim, mut thought) = (self.shim.clone(), String::new());
        let result = {
            let request = Request {
                system,
                messages: self.history.messages(),
                tools,
                form: self.form.as_ref(),
            };
            let mut heard = |piece: Piece<'_>| match piece {
                Piece::Thought(text) => thought.push_str(text),
                Piece::Text(text) => {
                    say_thought(&shim, &mut thought);
                    partial.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
                    shim.text(text);
                }
            };
            self.models[model].call(&request, &mut heard).await
        };
        say_thought(&self.shim, &mut thought);
        self.take_partial();
        result
    }

    /// What was said so far is part of the conversation.
    fn take_partial(&mut self) {
        let said = {
            let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *partial)
        };
        self.history.say(&said);
    }

    /// Says a reply's calls and tokens. Its calls get names no other has.
    fn note(&mut self, mut reply: Reply, model: usize) -> Reply {
        let mut state = reply.state.take();
        for call in &mut reply.calls {
            call.id = self.history.name_for(&call.id);
            let mut data = json!({ "id": call.id, "tool": call.tool, "input": call.input });
            // All of it goes with the first call: a call is kept whatever the quota says.
            if let Some(state) = state.take() {
                data["state"] = json!(state);
            }
            self.say(OutputKind::ToolCall, data);
        }
        self.spent(reply.usage, model, None);
        self.context = reply.usage.input + reply.usage.output;
        reply
    }

    /// Says what a call has used.
    fn spent(&mut self, usage: Usage, model: usize, purpose: Option<&str>) {
        let mut data = json!({
            "model": self.models[model].name(),
            "input_tokens": usage.input,
            "output_tokens": usage.output,
        });
        if usage.cached > 0 {
            data["cached_tokens"] = json!(usage.cached);
        }
        let price = self.spec.models.get(model).and_then(|model| model.price.as_ref());
        let price = price.and_then(|price| Some((price.input.as_f64()?, price.output.as_f64()?)));
        if let Some((input, output)) = price {
            let cost = usage.input as f64 * input + usage.output as f64 * output;
            data["cost_usd"] = json!(cost / 1e6);
        }
        if let Some(purpose) = purpose {
            data["purpose"] = json!(purpose);
        }
        self.say(OutputKind::Usage, data);
    }

    /// Sums older turns up, of which the model is shown so many bytes. Says whether the
    /// conversation is shorter now.
    async fn compact(&mut self, at: u64, most: u64, turn: &mut Turn) -> bool {
        let messages = self.history.messages().to_vec();
        let Some(keep) = compact::keep(&messages, at) else { return false };
        let old = &messages[..messages.len() - keep];
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let asked = [Message::User(compact::transcript(old, most))];
        let request =
            Request { system: compact::INSTRUCTION, messages: &asked, tools: &[], form: None };
        let mut summary = String::new();
        let mut heard = |piece: Piece<'_>| {
            if let Piece::Text(text) = piece {
                summary.push_str(text);
            }
        };
        let done = self.models[turn.model].call(&request, &mut heard).await;
        match done {
            Ok(reply) => self.spent(reply.usage, turn.model, Some("compaction")),
            Err(fault) => {
                self.warn(&format!("older turns could not be summed up: {fault}"));
                return false;
            }
        }
        if summary.trim().is_empty() {
            self.warn("older turns could not be summed up: the summary is empty");
            return false;
        }
        let data = json!({ "about": "compacted", "summary": summary.trim(), "keep": keep });
        self.say(OutputKind::AgentInfo, data);
        self.context = 0;
        true
    }

    /// The result of the run, where it has a form.
    fn fits(&mut self) -> Result<Option<Value>, String> {
        let Some(validator) = &self.validator else { return Ok(None) };
        let answer = self.history.answer();
        let value = json_in(answer).ok_or("is not JSON")?;
        let wrong = validator.iter_errors(&value).next().map(|error| {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { "its top".to_owned() } else { place };
            format!("does not fit the schema at {place}: {error}")
        });
        wrong.map_or(Ok(Some(value)), Err)
    }

    /// After a turn was dropped: what was begun is closed, in the log too.
    pub fn give_up(&mut self) {
        self.take_partial();
        for call in self.history.open_calls() {
            let output = "stopped: the run was stopped before this came to its end";
            let data =
                json!({ "id": call.id, "tool": call.tool, "output": output, "is_error": true });
            self.say(OutputKind::ToolResult, data);
        }
    }
}

fn say_thought(shim: &crate::shim::Shim, thought: &mut String) {
    if !thought.trim().is_empty() {
        shim.event(OutputKind::Thought, json!({ "text": thought }));
    }
    thought.clear();
}

/// The JSON an answer is, also where it stands in a fence.
fn json_in(answer: &str) -> Option<Value> {
    let text = answer.trim();
    let fenced = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    let text = fenced.map_or(text, |inner| inner.strip_prefix("json").unwrap_or(inner));
    serde_json::from_str(text.trim()).ok()
}
