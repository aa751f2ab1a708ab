//! What a loop asks of its coordinator: its own log, and sessions of its own.

use std::time::Duration;

use futures::StreamExt;
use greenroom_core::{AgentName, SessionId};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::history::History;
use super::http;
use super::retry::Backoff;

/// How long a coordinator that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(45);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(20);
/// A stream that says nothing for so long is dead: it would have had a heartbeat.
const SILENCE: Duration = Duration::from_secs(60);

/// The coordinator, in the name of this session.
#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    url: String,
    token: String,
    session: SessionId,
}

/// Who is to work in a child session.
#[derive(Debug, Clone, Copy)]
pub enum Worker<'a> {
    /// Another agent.
    Agent(&'a AgentName),
    /// A member of this agent's own team.
    Member(&'a AgentName),
}

/// How a child's run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildEnd {
    /// `run.completed`, `run.failed`, …
    pub kind: String,
    /// What it said last, or its structured answer.
    pub answer: String,
    /// Why it did not complete.
    pub error: Option<String>,
}

impl Api {
    /// The coordinator that this process's environment names.
    pub fn new(
        session: SessionId,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let need = |name: &str| {
            variable(name).filter(|value| !value.is_empty()).ok_or(format!("{name} is not set"))
        };
        let url = need("GREENROOM_URL")?.trim_end_matches('/').to_owned();
        let client = http::client(|builder| builder.redirect(reqwest::redirect::Policy::none()))?;
        Ok(Self { client, url, token: need("GREENROOM_TOKEN")?, session })
    }

    fn request(&self, method: Method, path: &[&str]) -> Result<reqwest::RequestBuilder, String> {
        let mut url = reqwest::Url::parse(&self.url)
            .map_err(|error| format!("the coordinator's address {:?}: {error}", self.url))?;
        // Names are escaped here, in one place.
        let parts = url.path_segments_mut();
        parts.map_err(|()| format!("the coordinator's address {:?}", self.url))?.extend(path);
        Ok(self.client.request(method, url).bearer_auth(&self.token))
    }

    /// Asks again while the coordinator is away; what it refuses is refused.
    async fn ask(
        &self,
        what: &str,
        make: impl Fn() -> Result<reqwest::RequestBuilder, String>,
    ) -> Result<Value, String> {
        let until = Instant::now() + PATIENCE;
        let mut backoff = Backoff::default();
        loop {
            let answer = make()?.timeout(ANSWER).send().await;
            let error = match answer {
                Ok(answer) if answer.status().is_success() => match answer.json::<Value>().await {
                    Ok(value) => return Ok(value),
                    Err(error) => http::causes(&error),
                },
                Ok(answer) => {
                    let status = answer.status();
                    let problem: Value = answer.json().await.unwrap_or_default();
                    let detail = problem.get("detail").and_then(Value::as_str).unwrap_or_default();
                    let error = format!("{status} {detail}");
                    if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS {
                        return Err(format!("{what}: the coordinator answered {error}"));
                    }
                    error
                }
                Err(error) => http::causes(&error),
            };
            let wait = backoff.wait();
            if Instant::now() + wait > until {
                return Err(format!("{what}: the coordinator at {} is away: {error}", self.url));
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// The conversation until now, from the session's own log.
    pub async fn history(&self) -> Result<History, String> {
        let mut history = History::default();
        let mut from = 1u64;
        loop {
            let page = self
                .ask("the session's log cannot be read", || {
                    let path = ["v1", "sessions", self.session.as_str(), "events"];
                    let query = [("from", from.to_string()), ("limit", "1000".to_owned())];
                    Ok(self.request(Method::GET, &path)?.query(&query))
                })
                .await?;
            let items = page.get("items").and_then(Value::as_array);
            let items = items.ok_or("the session's log cannot be read: a page has no items")?;
            for event in items {
                let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
                history.event(kind, event.get("data").unwrap_or(&Value::Null));
                from = from.max(seq(event) + 1);
            }
            if items.is_empty() || page.get("next_cursor").is_none_or(Value::is_null) {
                return Ok(history);
            }
        }
    }

    /// The name of the agent whose session this is.
    async fn own_agent(&self) -> Result<String, String> {
        let session = self
            .ask("this session cannot be read", || {
                self.request(Method::GET, &["v1", "sessions", self.session.as_str()])
            })
            .await?;
        let name = session.get("agent").and_then(|agent| agent.get("name")).and_then(Value::as_str);
        name.map(str::to_owned).ok_or_else(|| "this session has no agent's name".to_owned())
    }

    /// Makes a child session that works on a task. `key` makes asking twice the same as once.
    pub async fn create_child(
        &self,
        agent: &Worker<'_>,
        task: &str,
        key: &str,
    ) -> Result<String, String> {
        let title: String = task.lines().next().unwrap_or_default().chars().take(80).collect();
        let mut body = json!({ "title": title, "parent": self.session });
        let name = match agent {
            Worker::Agent(name) => {
                body["agent"] = json!(name);
                body["prompt"] = json!(task);
                name
            }
            Worker::Member(name) => {
                body["agent"] = json!(self.own_agent().await?);
                body["input"] = json!({ "agent": name, "task": task });
                name
            }
        };
        let what = format!("no session of agent {name} could be made");
        let made = self
            .ask(&what, || {
                let request = self.request(Method::POST, &["v1", "sessions"])?;
                Ok(request.header("Idempotency-Key", key).json(&body))
            })
            .await?;
        let id = made.get("id").and_then(Value::as_str);
        id.map(str::to_owned).ok_or_else(|| format!("{what}: the answer has no id"))
    }

    /// Follows a child until its first run has ended.
    pub async fn follow_child(&self, child: &str) -> Result<ChildEnd, String> {
        let mut history = History::default();
        let mut from = 1u64;
        let mut until = Instant::now() + PATIENCE;
        let mut backoff = Backoff::default();
        loop {
            let before = from;
            let error = match self.stream(child, &mut from, &mut history).await {
                Ok(Some(end)) => return Ok(end),
                Ok(None) => "its stream ended".to_owned(),
                Err(Broken::Refused(error)) => return Err(error),
                Err(Broken::Away(error)) => error,
            };
            if from > before {
                (until, backoff) = (Instant::now() + PATIENCE, Backoff::default());
            }
            let wait = backoff.wait();
            if Instant::now() + wait > until {
                return Err(format!("session {child} cannot be followed: {error}"));
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn stream(
        &self,
        child: &str,
        from: &mut u64,
        history: &mut History,
    ) -> Result<Option<ChildEnd>, Broken> {
        let path = ["v1", "sessions", child, "events"];
        let request = self.request(Method::GET, &path).map_err(Broken::Refused)?;
        let answer = request
            .query(&[("from", from.to_string())])
            .header("Accept", "text/event-stream")
            .send()
            .await
            .map_err(|error| Broken::Away(http::causes(&error)))?;
        let status = answer.status();
        if !status.is_success() {
            let error = format!("session {child}: the coordinator answered {status}");
            return Err(match status.is_server_error() {
                true => Broken::Away(error),
                false => Broken::Refused(error),
            });
        }
        let (mut pieces, mut buffer) = (answer.bytes_stream(), Vec::new());
        loop {
            let piece = tokio::time::timeout(SILENCE, pieces.next()).await;
            let piece = piece.map_err(|_| Broken::Away("its stream is silent".to_owned()))?;
            let Some(piece) = piece else { return Ok(None) };
            buffer.extend_from_slice(&piece.map_err(|e| Broken::Away(http::causes(&e)))?);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                // An event's data is one line; frames without a position are only live.
                let Some(data) = line.strip_prefix(b"data:") else { continue };
                let Ok(event) = serde_json::from_slice::<Value>(data) else { continue };
                let (seq, kind) = (seq(&event), event.get("type").and_then(Value::as_str));
                let Some(kind) = kind.filter(|_| seq >= *from) else { continue };
                *from = seq + 1;
                let data = event.get("data").unwrap_or(&Value::Null);
                history.event(kind, data);
                if let Some(end) = child_end(kind, data, history) {
                    return Ok(Some(end));
                }
            }
        }
    }

    /// Stops a child, since nobody waits for it any more.
    pub async fn stop_child(&self, child: &str) -> Result<(), String> {
        self.ask(&format!("session {child} could not be stopped"), || {
            let path = ["v1", "sessions", child, "stop"];
            let body = json!({ "reason": "its parent's turn was stopped", "tree": true });
            Ok(self.request(Method::POST, &path)?.json(&body))
        })
        .await
        .map(drop)
    }
}

enum Broken {
    /// It may come back.
    Away(String),
    /// It will not.
    Refused(String),
}

fn seq(event: &Value) -> u64 {
    event.get("seq").and_then(Value::as_u64).unwrap_or(0)
}

fn child_end(kind: &str, data: &Value, history: &mut History) -> Option<ChildEnd> {
    if !matches!(kind, "run.completed" | "run.failed" | "run.stopped" | "run.withdrawn") {
        return None;
    }
    let result = data.get("result").filter(|result| !result.is_null());
    let answer = match result {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => history.answer().to_owned(),
    };
    let error = data.get("error").and_then(|error| error.get("message")).and_then(Value::as_str);
    Some(ChildEnd { kind: kind.to_owned(), answer, error: error.map(str::to_owned) })
}
