//! `/api/v2/sessions`: a session and its first input at once. Bodies are strict there, and
//! refusals have a form of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use greenroom_core::{RunId, Session};
use greenroom_protocol::{Problem, v1};
use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::Deserialize;
use serde_json::{Value, json};

use super::agents::{resolve, team_member};
use super::asked::{Body, Message, Part, bad};
use super::policy::Permissions;
use super::sessions::Template;
use super::shown::{MEMBER, SOURCE};
use crate::api::json as answer;
use crate::app::App;
use crate::auth::{Allowed, Caller, ToUse};
use crate::error::{ApiError, ApiResult};
use crate::service::sessions::{self, Answered, IdempotencyKey};

/// The label that says by what request a session was started: SHA-256 of it.
const PROOF: &str = "docker-agent.start";
/// The label that says which agent of its source a session was started with.
const ACTOR: &str = "docker-agent.actor.agent";
/// The first run is among so many first entries of a log.
const FIRST: u32 = 16;

/// A session and its first input. What is not known is refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    session_id: String,
    agent_name: String,
    input: Input,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    working_dir: Option<String>,
    #[serde(default)]
    max_iterations: Option<i64>,
    #[serde(default)]
    tools_approved: Option<bool>,
    #[serde(default)]
    permissions: Option<Permissions>,
    #[serde(default)]
    safety_policy: Option<String>,
    #[serde(default)]
    attributes: Option<BTreeMap<String, String>>,
    #[serde(default)]
    starred: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    request_id: String,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    multi_content: Option<Vec<Part>>,
    #[serde(default)]
    mode: Option<String>,
    /// Titles are said by clients, and made up by nobody here.
    #[serde(default, rename = "generate_title")]
    _generate_title: Option<bool>,
}

impl Start {
    fn read(body: &Value) -> Result<Self, Box<Problem>> {
        let start: Self = serde_path_to_error::deserialize(body).map_err(|error| {
            let place = error.path().to_string();
            let place = if place == "." { String::new() } else { format!("{place}: ") };
            bad(format!("the body does not parse: {place}{}", error.inner()))
        })?;
        for (name, text) in [
            ("session_id", &start.session_id),
            ("agent_name", &start.agent_name),
            ("input.request_id", &start.input.request_id),
        ] {
            if text.trim().is_empty() {
                return Err(bad(format!("{name} is required")));
            }
        }
        match start.input.mode.as_deref() {
            None | Some("" | "submit") => Ok(start),
            Some(_) => Err(bad("input.mode: a first input is submitted; nothing can be steered")),
        }
    }
}

/// `POST /api/v2/sessions/start`: a session with its first input, in one commit. The same
/// request once more is answered as before; another one for that session is a conflict.
pub(super) async fn start(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    body: Result<Body<Value>, ApiError>,
) -> Response {
    let named = match &body {
        Ok(Body(body)) => body["session_id"].as_str().map(|id| id.chars().take(200).collect()),
        Err(_) => None,
    };
    let started = async {
        let Body(body) = body?;
        begin(&app, &caller, &body).await
    };
    match started.await {
        Ok((session, turn)) => answer(
            StatusCode::ACCEPTED,
            &json!({ "session_id": session, "turn_id": turn, "disposition": "submitted" }),
        ),
        Err(error) => refusal("start", named, &error.0),
    }
}

async fn begin(app: &App, caller: &Caller, body: &Value) -> ApiResult<(String, RunId)> {
    let start = Start::read(body)?;
    let proof = hex(&sessions::digest(body));
    // Whatever has become of its agent since: what was started is started.
    match sessions::find(app, caller, &start.session_id).await {
        Ok(session) if session.labels.get(PROOF) == Some(&proof) => {
            let run = first_run(app, &session).await?;
            return Ok((session.id.to_string(), run));
        }
        Ok(_) => return Err(conflict(&start.session_id, "exists, by another request").into()),
        Err(error) if error.0.status == 404 => {}
        Err(error) => return Err(error),
    }
    let scope = format!("{} POST /docker-agent/api/v2/sessions/start", caller.scope());
    let key = IdempotencyKey { key: start.session_id.clone(), scope };
    let id = start.session_id.clone();
    let request = request(app, start, proof).await?;
    match sessions::create(app, caller, request, Some(key)).await {
        Ok(Answered::Now(session)) => begun(&session),
        Ok(Answered::Before(before)) => {
            let session: v1::Session = serde_json::from_slice(&before.body)
                .map_err(|error| Problem::new(500, "internal", error.to_string()))?;
            match sessions::find(app, caller, &id).await {
                Ok(_) => begun(&session),
                Err(error) if error.0.status == 404 => {
                    Err(conflict(&id, "was started by this request, and deleted since").into())
                }
                Err(error) => Err(error),
            }
        }
        Err(error) if error.0.code == "idempotency_conflict" => {
            Err(conflict(&id, "was started by another request").into())
        }
        Err(error) => Err(error),
    }
}

/// The session that is asked for, with its first run.
async fn request(app: &App, start: Start, proof: String) -> ApiResult<v1::CreateSession> {
    let Start { input, agent_name, source, .. } = start;
    let message = Message::of_user(input.content, input.multi_content);
    let prompt = message.text()?;
    if prompt.trim().is_empty() {
        return Err(bad("input: there is nothing to ask; send content").into());
    }
    let source = source.filter(|source| !source.is_empty());
    let agent = resolve(app, source.as_deref().unwrap_or(&agent_name)).await?;
    let member = match &source {
        Some(_) => team_member(&agent, &agent_name)?,
        None => None,
    };
    let template = Template {
        id: Some(start.session_id),
        title: start.title,
        working_dir: start.working_dir,
        max_iterations: start.max_iterations,
        tools_approved: start.tools_approved,
        permissions: start.permissions,
        safety_policy: start.safety_policy,
        attributes: start.attributes,
        starred: start.starred,
        ..Template::default()
    };
    let mut request = template.request()?;
    request.agent = agent.row.name.to_string();
    let labels = request.labels.get_or_insert_default();
    labels.insert(PROOF.to_owned(), proof);
    labels.insert(ACTOR.to_owned(), agent_name);
    labels.extend(source.map(|source| (SOURCE.to_owned(), source)));
    match member {
        Some(member) => {
            labels.insert(MEMBER.to_owned(), member.clone());
            request.input = Some(json!({ "agent": member, "task": prompt }));
        }
        None => request.prompt = Some(prompt),
    }
    Ok(request)
}

fn begun(session: &v1::Session) -> ApiResult<(String, RunId)> {
    match session.run_id {
        Some(run) => Ok((session.id.to_string(), run)),
        None => Err(Problem::new(500, "internal", "a session was started without a run").into()),
    }
}

/// The run that a session was started with.
async fn first_run(app: &App, session: &Session) -> ApiResult<RunId> {
    let events = app.store.events(session.uid, 1, FIRST).await?;
    let queued = events.iter().find(|event| event.kind == "run.queued");
    match queued.and_then(|event| event.run) {
        Some(run) => Ok(run),
        None => Err(conflict(session.id.as_str(), "exists, and was started without input").into()),
    }
}

fn conflict(id: &str, what: &str) -> Problem {
    let detail = format!("session {id:?} {what}; start another one under another session_id");
    Problem::new(409, "session_exists", detail)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A refusal, as it is said there: what was tried, with what, and of which kind it is.
fn refusal(operation: &str, session: Option<String>, problem: &Problem) -> Response {
    let (status, reason) = match (problem.status, problem.code.as_str()) {
        (400 | 422, _) | (403, "working_dir_not_allowed") => (400, "invalid"),
        (413, _) => (413, "invalid"),
        (401 | 403, _) => (403, "forbidden"),
        (404, _) | (409, "agent_ambiguous") => (404, "not_found"),
        (409, _) => (409, "conflict"),
        (429, _) => (429, "capacity"),
        (503, "source_unavailable") => (502, "unavailable"),
        _ => (503, "persistence"),
    };
    let body = json!({
        "error": problem.detail, "message": problem.detail, "operation": operation,
        "reason": reason, "session_id": session.unwrap_or_default(), "detail": problem.code,
    });
    let mut said = answer(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), &body);
    if let Some(seconds) = problem.retry_after {
        said.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    said
}
