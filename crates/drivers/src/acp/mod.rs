//! Agents that speak the Agent Client Protocol (version 1) on their standard streams.
//!
//! * `wire`: JSON-RPC, and the protocol's crate
//! * `session`: from the first word to a session that takes prompts
//! * `updates`: what the agent says, in our words
//! * `requests`: what the agent asks of us: permission, files, terminals, questions

mod files;
mod requests;
mod session;
mod terminals;
mod updates;
pub mod wire;

use std::pin::Pin;
use std::time::Duration;

use greenroom_core::RunId;
use greenroom_core::agent::AcpSpec;
use greenroom_core::drive::Open;
use greenroom_core::record::{Outcome, OutputKind, RunError};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use self::requests::Requests;
use self::session::Session;
use self::updates::Said;
use self::wire::{Connection, Incoming, RpcError};
use crate::Failure;
use crate::process::{Agent, Start};
use crate::shim::{Input, Shim, Wish, Wishes};

/// Thinking is said in pieces of about so many bytes.
const THOUGHT: usize = 4 << 10;
/// How long an agent that was asked to end may take before the shim's ladder goes on.
const FAREWELL: Duration = Duration::from_secs(600);

/// Drives one.
pub async fn drive(shim: Shim, wishes: Wishes, open: Open, spec: AcpSpec) -> Result<(), Failure> {
    let start = Start { command: &spec.command, env: &[], workspace: &open.workspace };
    let requests = Requests::new(shim.clone(), &open)?;
    let (mut process, stdin, stdout) = Agent::start(&start)?;
    let talk = wire::connect(stdin, stdout, async |agent, incoming| {
        let mut turns = Turns {
            agent: agent.clone(),
            requests,
            shim: shim.clone(),
            session: Session::default(),
            thought: String::new(),
            turn: None,
        };
        turns.serve(&mut process, wishes, incoming, &open, &spec).await
    });
    // The connection ends with the talk; a connection that breaks is the agent's end.
    let done = talk.await;
    match done {
        Ok(done) => done,
        Err(error) => {
            let text = match tokio::time::timeout(Duration::from_secs(5), process.ended()).await {
                Ok(Err(how)) => how,
                Ok(Ok(())) => "the agent ended by itself".to_owned(),
                Err(_) => format!("the connection with the agent broke: {error}"),
            };
            Err(Failure::new("protocol", text))
        }
    }
}

/// A turn in progress.
struct Turn {
    run: RunId,
    answer: Pin<Box<dyn Future<Output = Result<Value, RpcError>>>>,
    cancelled: bool,
}

struct Turns {
    agent: Connection,
    requests: Requests,
    shim: Shim,
    session: Session,
    thought: String,
    turn: Option<Turn>,
}

impl Turns {
    async fn serve(
        &mut self,
        process: &mut Agent,
        mut wishes: Wishes,
        mut incoming: mpsc::UnboundedReceiver<Incoming>,
        open: &Open,
        spec: &AcpSpec,
    ) -> Result<(), Failure> {
        let (agent, shim) = (self.agent.clone(), self.shim.clone());
        let mut meanwhile = Vec::new();
        self.session = {
            let opened = session::open(&agent, &shim, open, spec);
            tokio::pin!(opened);
            loop {
                tokio::select! {
                    biased;
                    wish = wishes.next() => if wish == Wish::End {
                        return farewell(process).await;
                    },
                    Some(said) = incoming.recv() => match said {
                        Incoming::Request { method, params, reply } => {
                            self.requests.take(&method, params, reply);
                        }
                        told => meanwhile.push(told),
                    },
                    session = &mut opened => break session?,
                    how = process.ended() => {
                        return Err(Failure::new("start_error", ended_early(how)));
                    }
                }
            }
        };
        while let Ok(said) = incoming.try_recv() {
            meanwhile.push(said);
        }
        for said in meanwhile {
            // What a conversation that is loaded replays is in the log already.
            let replay = self.session.replayed && matches!(said, Incoming::Notification { .. });
            if !replay {
                self.hear(said);
            }
        }
        self.shim.ready();
        loop {
            tokio::select! {
                // Wishes first: a stop never waits behind what an agent says.
                biased;
                wish = wishes.next() => match wish {
                    Wish::Run { run, input } => self.begin(run, &input),
                    Wish::Cancel => self.cancel(),
                    Wish::End => break,
                },
                Some(said) = incoming.recv() => self.hear(said),
                answer = turn_over(&mut self.turn) => {
                    // What it said before its answer is part of the turn.
                    while let Ok(said) = incoming.try_recv() {
                        self.hear(said);
                    }
                    self.end_turn(answer);
                }
                how = process.ended() => {
                    while let Ok(said) = incoming.try_recv() {
                        self.hear(said);
                    }
                    self.flush_thought();
                    return Err(Failure::new("protocol", ended_early(how)));
                }
            }
        }
        farewell(process).await
    }

    fn begin(&mut self, run: RunId, input: &Input) {
        let mut prompt = Vec::new();
        if let Some(reason) = self.session.forgot.take() {
            let note = format!(
                "[Note from Greenroom: your earlier conversation in this session could not be \
                 restored ({reason}). The files in the working directory are as you left them.]"
            );
            prompt.push(json!({ "type": "text", "text": note }));
        }
        prompt.push(json!({ "type": "text", "text": input.text() }));
        let params = json!({ "sessionId": self.session.id, "prompt": prompt });
        let agent = self.agent.clone();
        let answer = Box::pin(async move { agent.call("session/prompt", params).await });
        self.turn = Some(Turn { run, answer, cancelled: false });
    }

    fn cancel(&mut self) {
        let Some(turn) = &mut self.turn else { return };
        turn.cancelled = true;
        self.requests.cancel();
        // An agent that cannot be told is ended by the shim.
        let _ = self.agent.tell("session/cancel", json!({ "sessionId": self.session.id }));
    }

    fn hear(&mut self, said: Incoming) {
        match said {
            Incoming::Request { method, params, reply } => {
                self.flush_thought();
                self.requests.take(&method, params, reply);
            }
            Incoming::Notification { method, params } if method == "session/update" => {
                self.say(updates::read(&params["update"]));
            }
            Incoming::Notification { .. } => {}
        }
    }

    fn say(&mut self, said: Said) {
        if let Said::Thought(text) = said {
            self.thought.push_str(&text);
            if self.thought.len() >= THOUGHT {
                self.flush_thought();
            }
            return;
        }
        self.flush_thought();
        match said {
            Said::Text(text) => self.shim.text(&text),
            Said::Event(kind, data) => self.shim.event(kind, data),
            Said::Thought(_) | Said::Nothing => {}
        }
    }

    fn flush_thought(&mut self) {
        if !self.thought.is_empty() {
            let text = std::mem::take(&mut self.thought);
            self.shim.event(OutputKind::Thought, json!({ "text": text }));
        }
    }

    fn end_turn(&mut self, answer: Result<Value, RpcError>) {
        self.flush_thought();
        let Some(turn) = self.turn.take() else { return };
        self.requests.cancel();
        if let Ok(answer) = &answer
            && answer["usage"].is_object()
        {
            self.shim.event(OutputKind::Usage, usage(&answer["usage"]));
        }
        self.shim.ended(turn.run, outcome(answer, turn.cancelled));
    }
}

/// Asks the agent to end, and waits for it: its end is this process's own.
async fn farewell(process: &mut Agent) -> Result<(), Failure> {
    process.terminate();
    let _ = tokio::time::timeout(FAREWELL, process.ended()).await;
    Ok(())
}

async fn turn_over(turn: &mut Option<Turn>) -> Result<Value, RpcError> {
    match turn {
        Some(turn) => turn.answer.as_mut().await,
        None => std::future::pending().await,
    }
}

fn ended_early(how: Result<(), String>) -> String {
    match how {
        Ok(()) => "the agent ended by itself, with exit code 0".to_owned(),
        Err(how) => how,
    }
}

fn usage(usage: &Value) -> Value {
    json!({
        "input_tokens": usage["inputTokens"], "output_tokens": usage["outputTokens"],
        "cached_input_tokens": usage["cachedReadTokens"], "thought_tokens": usage["thoughtTokens"],
    })
}

/// How a turn ended, from its `stopReason`.
fn outcome(answer: Result<Value, RpcError>, cancelled: bool) -> Outcome {
    let failed =
        |code: &str, message: String| Outcome::Failed { error: RunError::new(code, message) };
    match answer {
        // Some agents answer a cancelled turn with an error.
        Err(_) if cancelled => Outcome::Stopped { error: None },
        Err(error) if error.code == wire::AUTH_REQUIRED => failed("auth", error.to_string()),
        Err(error) => failed("agent_error", error.to_string()),
        Ok(answer) => match answer["stopReason"].as_str().unwrap_or_default() {
            "end_turn" => Outcome::Completed { result: None },
            "cancelled" => Outcome::Stopped { error: None },
            "refusal" => failed("refused", "the agent refused to go on".to_owned()),
            "max_tokens" => {
                failed("model_error", "the model's answer reached its limit of tokens".to_owned())
            }
            "max_turn_requests" => {
                failed("agent_error", "the turn reached the agent's limit of requests".to_owned())
            }
            other => failed("agent_error", format!("the agent ended its turn with {other:?}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_ends_as_its_agent_says() {
        let ended = |reason: &str| outcome(Ok(json!({ "stopReason": reason })), false);
        assert_eq!(ended("end_turn"), Outcome::Completed { result: None });
        assert_eq!(ended("cancelled"), Outcome::Stopped { error: None });
        let code = |outcome| match outcome {
            Outcome::Failed { error } => error.code,
            other => panic!("it is {other:?}"),
        };
        assert_eq!(code(ended("refusal")), "refused");
        assert_eq!(code(ended("max_tokens")), "model_error");
        assert_eq!(code(ended("of tomorrow")), "agent_error");
        let error = |code| Err(RpcError { code, message: "no".into() });
        assert_eq!(code(outcome(error(-32603), false)), "agent_error");
        assert_eq!(code(outcome(error(wire::AUTH_REQUIRED), false)), "auth");
        assert_eq!(outcome(error(-32603), true), Outcome::Stopped { error: None });
    }
}
