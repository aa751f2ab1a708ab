//! Agents that are a process serving HTTP on `$PORT`: the Azure AI agent server's contract
//! (`/readiness`, `/invocations`, `/responses`), Amazon Bedrock AgentCore's (`/ping`,
//! `/invocations`), or any server with paths of its own.
//!
//! * `place`: its port and its environment
//! * `door`: requests of clients, passed on to it
//! * `busy`: whether it works, and what it still has in progress
//! * `invocations`, `responses`: how a run is put to it
//! * `reply`: what it answers

mod busy;
mod door;
mod invocations;
mod place;
mod reply;
mod responses;

use std::pin::Pin;
use std::time::Duration;

use greenroom_core::RunId;
use greenroom_core::agent::{HostedProtocol, HostedSpec};
use greenroom_core::drive::Open;
use greenroom_core::record::{Outcome, OutputKind, RunError};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::busy::Busy;
use self::place::Place;
use crate::Failure;
use crate::process::{Agent, Start};
use crate::shim::{Input, Shim, Wish, Wishes};

/// How often it is asked whether it is ready. Nothing tells when it is.
const READY_EVERY: Duration = Duration::from_millis(50);
/// How long the shim's ladder may take to end this process after the agent was asked to end.
const FAREWELL: Duration = Duration::from_secs(600);

/// Where the agent is spoken to, by whoever speaks to it.
#[derive(Clone)]
struct Agents {
    shim: Shim,
    http: reqwest::Client,
    /// `http://127.0.0.1:PORT`
    base: String,
    busy: Busy,
    /// Whether it says by itself whether it is busy.
    tells: bool,
}

/// Drives one.
pub async fn drive(
    shim: Shim,
    mut wishes: Wishes,
    open: Open,
    spec: HostedSpec,
) -> Result<(), Failure> {
    let place = Place::choose(&open)?;
    let start = Start { command: &spec.command, env: &place.env, workspace: &open.workspace };
    // It is told everything over HTTP, and what it prints is no answer to anybody.
    let mut process = Agent::start_server(&start)?;
    let http = crate::looping::http::client(|builder| {
        builder.no_proxy().http1_only().no_gzip().redirect(reqwest::redirect::Policy::none())
    })
    .map_err(|text| Failure::new("start_error", text))?;
    let agents = Agents {
        base: format!("http://127.0.0.1:{}", place.port),
        busy: Busy::new(shim.clone()),
        shim,
        http,
        tells: spec.protocol == HostedProtocol::Agentcore,
    };
    let path = spec.ready.as_deref().unwrap_or(spec.protocol.ready_path());
    tokio::select! {
        biased;
        wish = until_end(&mut wishes) => {
            debug_assert_eq!(wish, Wish::End);
            return farewell(&mut process).await;
        }
        how = process.ended() => return Err(Failure::new("start_error", ended_early(how))),
        () = ready(&agents, path) => {}
    }
    if let Some(address) = place::heard_outside(place.port) {
        let text = format!(
            "the agent listens on {address}, where other machines can reach it; \
             it should listen on 127.0.0.1\n"
        );
        agents.shim.event(OutputKind::Log, json!({ "stream": "greenroom", "text": text }));
    }
    if let Some(path) = &open.door {
        door::open(agents.clone(), path)
            .map_err(|error| Failure::new("start_error", format!("no door for HTTP: {error}")))?;
    }
    let left = busy::watch(&agents, &open);
    let conversation = match spec.protocol {
        HostedProtocol::Responses => responses::Conversation::take_up(&agents, &open, left).await,
        _ => responses::Conversation::default(),
    };
    agents.shim.ready();
    let mut served = Served { agents, protocol: spec.protocol, conversation, open, turn: None };
    served.serve(&mut process, wishes).await
}

/// A run in progress.
struct Turn {
    run: RunId,
    outcome: Pin<Box<dyn Future<Output = Outcome> + Send>>,
    end: End,
}

/// How a turn is asked to end.
#[derive(Clone, Default)]
struct End {
    /// Its run is to be stopped.
    cancelled: CancellationToken,
    /// The agent is to end: what it can go on with later is let go.
    leaving: CancellationToken,
}

struct Served {
    agents: Agents,
    protocol: HostedProtocol,
    conversation: responses::Conversation,
    open: Open,
    turn: Option<Turn>,
}

impl Served {
    async fn serve(&mut self, process: &mut Agent, mut wishes: Wishes) -> Result<(), Failure> {
        let mut ending = false;
        loop {
            tokio::select! {
                // Wishes first: a stop never waits behind what an agent says.
                biased;
                wish = wishes.next(), if !ending => match wish {
                    Wish::Run { run, input } => self.begin(run, input),
                    Wish::Cancel => {
                        if let Some(turn) = &self.turn {
                            turn.end.cancelled.cancel();
                        }
                    }
                    // What is in progress goes on while the agent drains it.
                    Wish::End => {
                        if let Some(turn) = &self.turn {
                            turn.end.leaving.cancel();
                        }
                        process.terminate();
                        ending = true;
                    }
                },
                outcome = turn_over(&mut self.turn) => {
                    if let Some(turn) = self.turn.take() {
                        busy::look(&self.agents).await;
                        self.agents.shim.ended(turn.run, outcome);
                    }
                }
                how = process.ended() => {
                    if ending {
                        return Ok(());
                    }
                    return Err(Failure::new("protocol", ended_early(how)));
                }
            }
        }
    }

    fn begin(&mut self, run: RunId, input: Input) {
        let end = End::default();
        let (agents, asked) = (self.agents.clone(), end.clone());
        let schema = self.open.output_schema.is_some();
        let outcome: Pin<Box<dyn Future<Output = Outcome> + Send>> = match self.protocol {
            HostedProtocol::Responses => {
                let conversation = self.conversation.clone();
                Box::pin(responses::run(agents, conversation, input, schema, asked))
            }
            protocol => Box::pin(invocations::run(
                agents,
                protocol,
                self.open.session.clone(),
                run,
                input,
                asked.cancelled,
            )),
        };
        self.turn = Some(Turn { run, outcome, end });
    }
}

async fn turn_over(turn: &mut Option<Turn>) -> Outcome {
    match turn {
        Some(turn) => turn.outcome.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Before it is ready there is nothing to do but to end.
async fn until_end(wishes: &mut Wishes) -> Wish {
    loop {
        if wishes.next().await == Wish::End {
            return Wish::End;
        }
    }
}

async fn ready(agents: &Agents, path: &str) {
    loop {
        let asked = agents.http.get(format!("{}{path}", agents.base));
        let answered = asked.timeout(Duration::from_secs(5)).send().await;
        if answered.is_ok_and(|answer| answer.status() == reqwest::StatusCode::OK) {
            return;
        }
        tokio::time::sleep(READY_EVERY).await;
    }
}

/// Asks it to end, and waits for it: its end is this process's own.
async fn farewell(process: &mut Agent) -> Result<(), Failure> {
    process.terminate();
    let _ = tokio::time::timeout(FAREWELL, process.ended()).await;
    Ok(())
}

fn ended_early(how: Result<(), String>) -> String {
    how.err().unwrap_or_else(|| "the agent ended by itself, with exit code 0".to_owned())
}

/// A run that the agent did not do.
fn failed(code: &str, message: impl Into<String>) -> Outcome {
    Outcome::Failed { error: RunError::new(code, message) }
}
