//! What an agent can do with sessions.

use std::time::Duration;

use greenroom_client::{Client, ClientError, Live, SessionFilter};
use greenroom_core::{Seq, Status};
use greenroom_protocol::v1::{CreateRun, CreateSession, Session, StopRequest};
use serde::Deserialize;
use serde_json::{Value, json};

/// What a model is told of all of them.
pub(super) const INSTRUCTIONS: &str = "Greenroom keeps agent sessions. Start a session for a piece of work that another agent should do, \
    wait for it, read what it said, and stop it when it is not needed any more. A stop is proven: \
    no process of the session is left.";

/// One wait is this long at most.
const LONGEST_WAIT: u64 = 300;
/// What is read at once, at most.
const LONGEST_TEXT: usize = 32 << 10;

/// A tool.
pub(super) struct About {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) schema: fn() -> Value,
}

/// All of them.
pub(super) const LIST: [About; 7] = [
    About {
        name: "list_agents",
        about: "List the agents that sessions can be started with",
        schema: || json!({ "type": "object", "properties": {} }),
    },
    About {
        name: "start_session",
        about: "Start a session with an agent and give it a prompt. Answers at once with its id.",
        schema: || {
            json!({ "type": "object", "required": ["agent", "prompt"], "properties": {
                "agent": { "type": "string", "description": "Name of the agent" },
                "prompt": { "type": "string" },
                "title": { "type": "string", "description": "A line for people" },
                "id": { "type": "string", "description": "A name for it; made up if absent" },
            } })
        },
    },
    About {
        name: "send_prompt",
        about: "Send another prompt to a session; it goes on with its files and its memory",
        schema: || {
            json!({ "type": "object", "required": ["session", "prompt"], "properties": {
                "session": { "type": "string" }, "prompt": { "type": "string" },
            } })
        },
    },
    About {
        name: "wait_for_session",
        about: "Wait until a session has nothing more to do, or waits for a person",
        schema: || {
            json!({ "type": "object", "required": ["session"], "properties": {
                "session": { "type": "string" },
                "seconds": { "type": "integer", "minimum": 0, "maximum": LONGEST_WAIT, "default": 60 },
            } })
        },
    },
    About {
        name: "read_session",
        about: "Read what a session has said and done, from an entry of its log on",
        schema: || {
            json!({ "type": "object", "required": ["session"], "properties": {
                "session": { "type": "string" },
                "from": { "type": "integer", "minimum": 1, "default": 1,
                    "description": "`next` of the read before" },
            } })
        },
    },
    About {
        name: "list_sessions",
        about: "List the sessions there are: inside a session, its children",
        schema: || json!({ "type": "object", "properties": {} }),
    },
    About {
        name: "stop_session",
        about: "Stop a session for certain. Its files and its log stay.",
        schema: || {
            json!({ "type": "object", "required": ["session"], "properties": {
                "session": { "type": "string" },
                "reason": { "type": "string" },
            } })
        },
    },
];

/// What they are done with.
pub(super) struct Tools {
    pub(super) client: Client,
    /// The session whose agent calls.
    pub(super) parent: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    agent: String,
    prompt: String,
    title: Option<String>,
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Send {
    session: String,
    prompt: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    session: String,
    #[serde(default = "a_minute")]
    seconds: u64,
}

fn a_minute() -> u64 {
    60
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    session: String,
    #[serde(default = "the_first")]
    from: Seq,
}

fn the_first() -> Seq {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stop {
    session: String,
    reason: Option<String>,
}

fn arguments<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| format!("the arguments do not fit: {error}"))
}

fn said(error: ClientError) -> String {
    error.to_string()
}

fn shown(session: &Session) -> Value {
    json!({
        "session": session.id, "agent": session.agent.name, "status": session.status,
        "reason": session.status_reason, "title": session.title,
        "waiting_prompts": session.pending.runs, "waits_for_a_person": session.pending.approvals > 0,
    })
}

impl Tools {
    /// Does one of them. An error is words for the model.
    pub(super) async fn call(&self, name: &str, given: Value) -> Result<Value, String> {
        match name {
            "list_agents" => self.agents().await,
            "start_session" => self.start(arguments(given)?).await,
            "send_prompt" => self.send(arguments(given)?).await,
            "wait_for_session" => self.wait(arguments(given)?).await,
            "read_session" => self.read(arguments(given)?).await,
            "list_sessions" => self.list().await,
            "stop_session" => self.stop(arguments(given)?).await,
            other => Err(format!("there is no tool {other:?}")),
        }
    }

    async fn agents(&self) -> Result<Value, String> {
        let agents = self.client.agents().await.map_err(said)?;
        let agents: Vec<_> = agents
            .items
            .iter()
            .map(|agent| json!({ "name": agent.name, "description": agent.description }))
            .collect();
        Ok(json!({ "agents": agents }))
    }

    async fn start(&self, start: Start) -> Result<Value, String> {
        let Start { agent, prompt, title, id } = start;
        let body = CreateSession {
            agent,
            id,
            title,
            prompt: Some(prompt),
            parent: self.parent.clone(),
            labels: None,
            input: None,
            callback: None,
            limits: None,
            shared: None,
            agent_policy: None,
            approvals: None,
            runner_labels: None,
        };
        let session = self.client.create_session(&body).await.map_err(said)?;
        Ok(shown(&session))
    }

    async fn send(&self, send: Send) -> Result<Value, String> {
        let body = CreateRun { prompt: Some(send.prompt), ..CreateRun::default() };
        let run = self.client.create_run(&send.session, &body).await.map_err(said)?;
        Ok(json!({ "run": run.run.id, "ahead": run.ahead, "held": run.held }))
    }

    async fn wait(&self, wait: Wait) -> Result<Value, String> {
        let limit = Duration::from_secs(wait.seconds.min(LONGEST_WAIT));
        let settled = |session: &Session| {
            let idle = session.status == Status::Idle && session.pending.runs == 0;
            let stuck = matches!(
                session.status,
                Status::Waiting | Status::Unreachable | Status::StopUnconfirmed
            );
            idle || stuck || session.status.is_at_rest()
        };
        let begun = std::time::Instant::now();
        let mut session = self.client.session(&wait.session).await.map_err(said)?;
        let mut follow = self.client.follow(&wait.session, session.last_seq + 1, limit);
        while !settled(&session) {
            let left = limit.saturating_sub(begun.elapsed());
            match tokio::time::timeout(left, follow.next()).await {
                Err(_) => break,
                Ok(Ok(None)) => return Err(format!("session {:?} was deleted", wait.session)),
                Ok(Err(error)) => return Err(said(error)),
                Ok(Ok(Some(Live::Event(event)))) if event.kind != "session.status" => {}
                Ok(Ok(Some(_))) => {
                    session = self.client.session(&wait.session).await.map_err(said)?;
                }
            }
        }
        let mut answer = shown(&session);
        answer["done"] = settled(&session).into();
        Ok(answer)
    }

    async fn read(&self, read: Read) -> Result<Value, String> {
        let page = self.client.events(&read.session, read.from.max(1), 1000).await.map_err(said)?;
        let (mut lines, mut length, mut next) = (Vec::new(), 0, read.from.max(1));
        for event in &page.items {
            if length > LONGEST_TEXT {
                break;
            }
            next = event.seq + 1;
            let text = match event.kind.as_str() {
                "session.status" | "session.placed" | "run.dispatched" | "session.ready" => {
                    continue;
                }
                "message" => event.data["text"].as_str().unwrap_or_default().to_owned(),
                kind => format!("[{kind}] {}", crate::show::summary(event)),
            };
            length += text.len();
            lines.push(text.trim_end_matches('\n').to_owned());
        }
        let more = next <= page.items.last().map_or(0, |event| event.seq);
        Ok(
            json!({ "text": lines.join("\n"), "next": next, "more": more || page.next_cursor.is_some() }),
        )
    }

    async fn list(&self) -> Result<Value, String> {
        let filter = SessionFilter { parent: self.parent.clone(), ..SessionFilter::default() };
        let page = self.client.sessions(&filter, 100, None).await.map_err(said)?;
        let sessions: Vec<_> = page.items.iter().map(|session| shown(session)).collect();
        Ok(json!({ "sessions": sessions }))
    }

    async fn stop(&self, stop: Stop) -> Result<Value, String> {
        let body = StopRequest { reason: stop.reason, tree: Some(true), ..StopRequest::default() };
        let wait = Some(Duration::from_secs(60));
        let done = self.client.stop_session(&stop.session, &body, wait).await.map_err(said)?;
        let receipt = done.reply.receipt.as_ref();
        Ok(json!({
            "status": done.reply.status, "already_stopped": done.reply.already_stopped,
            "processes": receipt.map(|receipt| receipt.processes_seen),
            "survivors": receipt.map(|receipt| receipt.survivors),
        }))
    }
}
