//! A run as an invocation: one `POST /invocations`. The agent answers with a document, with
//! a stream, or with 202 and a place to ask. What it takes and says is its own affair, so a
//! document goes in as it is, and what comes back is read in the forms that are usual.

use std::time::Duration;

use futures::StreamExt;
use greenroom_core::agent::HostedProtocol;
use greenroom_core::record::Outcome;
use greenroom_core::{RunId, SessionId};
use http::header;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::reply::{self, complaint, text_of};
use super::{Agents, failed};
use crate::looping::http::causes;
use crate::shim::Input;

/// How often work that was accepted is asked about, unless the agent says how often.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ASK_SELDOM: Duration = Duration::from_secs(30);

/// The last line of some streams.
const DONE: &str = "[DONE]";

/// Takes the run to its end.
pub(super) async fn run(
    agents: Agents,
    protocol: HostedProtocol,
    session: SessionId,
    run: RunId,
    input: Input,
    cancelled: CancellationToken,
) -> Outcome {
    let id = run.to_string();
    let agentcore = protocol == HostedProtocol::Agentcore;
    let request = agents.http.post(format!("{}/invocations", agents.base));
    let request = match agentcore {
        true => {
            request.header("x-amzn-bedrock-agentcore-runtime-session-id", long_enough(&session))
        }
        false => request.header("x-agent-invocation-id", &id),
    };
    let (kind, body) = body(input, agentcore);
    let answer = {
        let sent = request.header(header::CONTENT_TYPE, kind).body(body).send();
        tokio::pin!(sent);
        tokio::select! {
            answer = &mut sent => answer,
            // The agent is told, and goes on with the request until it obeys; one that
            // cannot be told loses its compute.
            () = told(&agents, &id, agentcore, &cancelled) => sent.await,
        }
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return ended(&cancelled, failed("agent_error", causes(&error))),
    };
    let outcome = match answer.status().as_u16() {
        202 => later(&agents, answer, &id, &cancelled).await,
        200..=299 if reply::is_stream(&answer) => stream(&agents, answer, &cancelled).await,
        200..=299 => document(&agents, answer, &id, &cancelled).await,
        status => {
            let said: Value = answer.json().await.unwrap_or_default();
            failed("agent_error", complaint(Some(status), &said))
        }
    };
    ended(&cancelled, outcome)
}

/// A turn that was cancelled has ended as asked, however the agent calls it.
fn ended(cancelled: &CancellationToken, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Failed { .. } if cancelled.is_cancelled() => Outcome::Stopped { error: None },
        other => other,
    }
}

/// A document goes in as it is. So does text, as azd's `invoke` sends it; but AgentCore's
/// own clients put it in `prompt`.
fn body(input: Input, agentcore: bool) -> (&'static str, String) {
    match input {
        Input::Document(document) => ("application/json", document.to_string()),
        Input::Prompt(text) if agentcore => {
            ("application/json", json!({ "prompt": text }).to_string())
        }
        Input::Prompt(text) if serde_json::from_str::<Value>(&text).is_ok() => {
            ("application/json", text)
        }
        Input::Prompt(text) => ("text/plain; charset=utf-8", text),
    }
}

/// AgentCore's session ids have 33 characters at least.
fn long_enough(session: &SessionId) -> String {
    format!("{:-<33}", session.as_str())
}

/// Once the turn is cancelled: tells the agent.
async fn told(agents: &Agents, id: &str, agentcore: bool, cancelled: &CancellationToken) {
    cancelled.cancelled().await;
    if !agentcore {
        let url = format!("{}/invocations/{id}/cancel", agents.base);
        let _ = agents.http.post(url).timeout(Duration::from_secs(30)).send().await;
    }
}

async fn document(
    agents: &Agents,
    answer: reqwest::Response,
    id: &str,
    cancelled: &CancellationToken,
) -> Outcome {
    let text = match answer.text().await {
        Ok(text) => text,
        Err(error) => return failed("agent_error", causes(&error)),
    };
    let Ok(said) = serde_json::from_str::<Value>(&text) else {
        agents.shim.text(&text);
        return Outcome::Completed { result: None };
    };
    if super::busy::is_in_progress(&said["status"]) && said["invocation_id"].is_string() {
        return poll(agents, named(&said, id), ASK_EVERY, cancelled).await;
    }
    result(agents, said)
}

/// A document that is the answer, or says that there is none.
fn result(agents: &Agents, said: Value) -> Outcome {
    if said["error"].is_object() || said["status"] == "failed" {
        return failed("agent_error", complaint(None, &said));
    }
    if said["status"] == "cancelled" {
        return Outcome::Stopped { error: None };
    }
    match text_of(&said) {
        Some(text) => agents.shim.text(&with_end(text)),
        None => agents.shim.text(&with_end(&said.to_string())),
    }
    Outcome::Completed { result: Some(said) }
}

fn with_end(text: &str) -> String {
    if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
}

/// Letting go of a stream cancels its handler, in this contract.
async fn stream(
    agents: &Agents,
    answer: reqwest::Response,
    cancelled: &CancellationToken,
) -> Outcome {
    let mut events = reply::events(answer);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = cancelled.cancelled() => return Outcome::Stopped { error: None },
        };
        let data = match event {
            None => return Outcome::Completed { result: None },
            Some(Ok(data)) if data.trim() == DONE => return Outcome::Completed { result: None },
            Some(Ok(data)) => data,
            Some(Err(text)) => return failed("agent_error", text),
        };
        match serde_json::from_str::<Value>(&data) {
            Ok(said) if said["error"].is_object() => {
                return failed("agent_error", complaint(None, &said));
            }
            Ok(said) => match text_of(&said) {
                Some(text) => agents.shim.text(text),
                None => agents.shim.text(&with_end(&data)),
            },
            Err(_) => agents.shim.text(&with_end(&data)),
        }
    }
}

/// The invocation's own name: the agent's, or the one it was given.
fn named<'a>(said: &'a Value, id: &'a str) -> &'a str {
    said["invocation_id"].as_str().filter(|said| reply::is_id(said)).unwrap_or(id)
}

async fn later(
    agents: &Agents,
    answer: reqwest::Response,
    id: &str,
    cancelled: &CancellationToken,
) -> Outcome {
    let header = answer.headers().get("x-agent-invocation-id");
    let header = header.and_then(|id| id.to_str().ok()).unwrap_or(id).to_owned();
    let every = retry_after(&answer).unwrap_or(ASK_EVERY);
    let said: Value = answer.json().await.unwrap_or_default();
    poll(agents, named(&said, &header), every, cancelled).await
}

fn retry_after(answer: &reqwest::Response) -> Option<Duration> {
    let seconds = answer.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).clamp(ASK_EVERY, ASK_SELDOM))
}

/// Asks until there is an answer. A 404 comes from agents that have not yet registered what
/// they have accepted, for a while.
async fn poll(
    agents: &Agents,
    id: &str,
    every: Duration,
    cancelled: &CancellationToken,
) -> Outcome {
    let url = format!("{}/invocations/{id}", agents.base);
    let (mut every, mut missing) = (every, 0);
    let mut told = std::pin::pin!(told(agents, id, false, cancelled));
    let mut is_told = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = &mut told, if !is_told => is_told = true,
        }
        let answer = match agents.http.get(&url).timeout(ASK_SELDOM).send().await {
            Ok(answer) => answer,
            Err(error) if error.is_timeout() => continue,
            Err(error) => return failed("agent_error", causes(&error)),
        };
        every = retry_after(&answer).unwrap_or(every);
        let status = answer.status().as_u16();
        let said: Value = answer.json().await.unwrap_or_default();
        match status {
            404 if missing < 30 => missing += 1,
            200..=299 if !super::busy::is_in_progress(&said["status"]) => {
                return result(agents, said);
            }
            200..=299 => {}
            status => return failed("agent_error", complaint(Some(status), &said)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_goes_in_as_the_protocols_own_clients_send_it() {
        let prompt = |text: &str| Input::Prompt(text.to_owned());
        let plain = "text/plain; charset=utf-8";
        assert_eq!(body(prompt("say hi"), false), (plain, "say hi".to_owned()));
        let json = "application/json";
        assert_eq!(body(prompt(r#"{"a":1}"#), false), (json, r#"{"a":1}"#.to_owned()));
        assert_eq!(body(prompt("hi"), true), (json, r#"{"prompt":"hi"}"#.to_owned()));
        let document = Input::Document(json!({ "a": 1 }));
        assert_eq!(body(document, true), (json, r#"{"a":1}"#.to_owned()));
    }

    #[test]
    fn short_names_are_filled_up_for_agentcore() {
        let id: SessionId = "s1".parse().unwrap();
        assert_eq!(long_enough(&id).len(), 33);
    }
}
