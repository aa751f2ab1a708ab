//! The seven tools of the orchestrator, served as MCP over streamable HTTP. Each request is
//! answered by itself, with one JSON document; nothing is kept between them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use greenroom_core::RunId;
use greenroom_core::run::RunStatus;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::demands::Demands;
use super::fault::{Done, Fault, stored};
use super::registry::blueprints;
use super::start::{self, ExecutionMode, Kind, RunCreate};
use super::{sessions, view, words};
use crate::app::App;
use crate::auth::{Caller, Right};
use crate::extract::Body;
use crate::service::wait::Waiter;

/// Versions of the protocol that are spoken, the newest first.
const VERSIONS: [&str; 3] = ["2025-06-18", "2025-03-26", "2024-11-05"];
/// Parameters have so many characters at most.
const PARAMETERS: usize = 100_000;
/// Characters of a result's text.
const TEXT: usize = 50_000;
/// One wait for a run is this long at most.
const LONGEST: Duration = Duration::from_secs(600);

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/mcp", post(answer).get(no_stream).delete(no_stream))
}

/// There is nothing that would be said by itself.
async fn no_stream() -> Response {
    let mut response = Fault::new(405, "Method Not Allowed").into_response();
    response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static("POST"));
    response
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Value,
}

async fn answer(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    Body(message): Body<Message>,
) -> Response {
    let (Some(id), Some(method)) = (message.id, message.method) else {
        // A notification, or an answer to a question that was never asked.
        return StatusCode::ACCEPTED.into_response();
    };
    let result = match method.as_str() {
        "initialize" => Ok(hello(&message.params)),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({ "tools": tools() })),
        "tools/call" => call(&app, &caller, &headers, message.params).await,
        other => Err((-32601, format!("there is no method {other:?}"))),
    };
    Json(match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err((code, text)) => {
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": text } })
        }
    })
    .into_response()
}

fn hello(params: &Value) -> Value {
    let asked = params["protocolVersion"].as_str().unwrap_or_default();
    let version = VERSIONS.iter().find(|version| **version == asked).unwrap_or(&VERSIONS[0]);
    json!({
        "protocolVersion": version,
        "capabilities": { "tools": { "listChanged": false } },
        "serverInfo": { "name": "agent-orchestrator", "version": env!("CARGO_PKG_VERSION") },
        "instructions": "Start agent sessions, ask how they stand, and read their results.",
    })
}

fn tools() -> Value {
    let mode = json!({ "type": "string", "enum": ["sync", "async_poll", "async_callback"],
        "default": "sync" });
    let session = json!({ "type": "string", "description": "The session's id" });
    let one = json!({ "type": "object", "properties": { "session_id": session },
        "required": ["session_id"] });
    let none = json!({ "type": "object", "properties": {} });
    json!([
        { "name": "list_agent_blueprints", "inputSchema": none,
          "description": "List the agents that sessions can be started with" },
        { "name": "list_agent_sessions", "inputSchema": none,
          "description": "List the sessions there are" },
        { "name": "start_agent_session",
          "description": "Start a session. sync waits for its result; async_poll answers at once; async_callback answers at once and tells the calling session of the end",
          "inputSchema": { "type": "object", "required": ["parameters"], "properties": {
              "parameters": { "type": "object", "description": "Input of the agent: {\"prompt\": …} unless its parameters_schema says something else" },
              "agent_name": { "type": "string" }, "project_dir": { "type": "string" },
              "mode": mode } } },
        { "name": "resume_agent_session",
          "description": "Send another prompt to a session",
          "inputSchema": { "type": "object", "required": ["session_id", "parameters"], "properties": {
              "session_id": session, "parameters": { "type": "object", "description": "{\"prompt\": …}" },
              "mode": mode } } },
        { "name": "get_agent_session_status", "inputSchema": one,
          "description": "How a session stands" },
        { "name": "get_agent_session_result", "inputSchema": one,
          "description": "What a session that is finished or idle came to" },
        { "name": "delete_all_agent_sessions", "inputSchema": none,
          "description": "Delete all sessions that are at rest" },
    ])
}

async fn call(
    app: &Arc<App>,
    caller: &Caller,
    headers: &HeaderMap,
    params: Value,
) -> Result<Value, (i32, String)> {
    let name = params["name"].as_str().unwrap_or_default().to_owned();
    let known = tools();
    if !known.as_array().is_some_and(|all| all.iter().any(|tool| tool["name"] == name.as_str())) {
        return Err((-32602, format!("there is no tool {name:?}")));
    }
    let arguments = match params.get("arguments").cloned() {
        None | Some(Value::Null) => json!({}),
        Some(arguments) => arguments,
    };
    let context = match Context::read(app, caller, headers) {
        Ok(context) => context,
        Err(fault) => return Ok(said(&json!({ "error": fault.text() }))),
    };
    let done = context.call(&name, arguments).await;
    Ok(said(&done.unwrap_or_else(|fault| json!({ "error": fault.text() }))))
}

fn said(value: &Value) -> Value {
    let structured = match value {
        Value::Object(_) => value.clone(),
        other => json!({ "result": other }),
    };
    json!({ "content": [{ "type": "text", "text": value.to_string() }],
        "structuredContent": structured, "isError": false })
}

/// Who calls, and from where.
struct Context<'a> {
    app: &'a Arc<App>,
    caller: &'a Caller,
    session: Option<String>,
    tags: Vec<String>,
    demands: Option<Demands>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    session_id: Option<String>,
    #[serde(default)]
    parameters: Map<String, Value>,
    agent_name: Option<String>,
    project_dir: Option<String>,
    mode: Option<ExecutionMode>,
}

impl<'a> Context<'a> {
    fn read(app: &'a Arc<App>, caller: &'a Caller, headers: &HeaderMap) -> Done<Self> {
        let text = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned)
        };
        let demands = match text("x-additional-demands") {
            None => None,
            Some(text) => Some(serde_json::from_str(&text).map_err(|error| {
                Fault::new(400, format!("X-Additional-Demands does not read: {error}"))
            })?),
        };
        let tags = text("x-agent-tags").unwrap_or_default();
        let tags = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty());
        Ok(Self {
            app,
            caller,
            session: text("x-agent-session-id"),
            tags: tags.map(str::to_owned).collect(),
            demands,
        })
    }

    async fn call(&self, name: &str, arguments: Value) -> Done<Value> {
        let asked: Asked = serde_json::from_value(arguments)
            .map_err(|error| Fault::new(400, format!("the arguments do not fit: {error}")))?;
        match name {
            "list_agent_blueprints" => self.blueprints().await,
            "list_agent_sessions" => self.sessions().await,
            "start_agent_session" => self.begin(Kind::StartSession, asked).await,
            "resume_agent_session" => self.begin(Kind::ResumeSession, asked).await,
            "get_agent_session_status" => self.status(asked).await,
            "get_agent_session_result" => self.result(asked).await,
            _ => self.delete_all().await,
        }
    }

    async fn blueprints(&self) -> Done<Value> {
        self.caller.require(Right::Read)?;
        let has = |agent: &Value| {
            self.tags.iter().all(|tag| {
                agent["tags"].as_array().is_some_and(|tags| tags.iter().any(|one| one == tag))
            })
        };
        let all = blueprints::listed(self.app).await?.into_iter();
        let active = all.filter(|agent| agent["status"] == "active" && has(agent));
        Ok(active
            .map(|agent| {
                json!({ "name": agent["name"], "description": agent["description"],
                    "type": agent["type"], "tags": agent["tags"],
                    "parameters_schema": agent.get("parameters_schema") })
            })
            .collect())
    }

    async fn sessions(&self) -> Done<Value> {
        self.caller.require(Right::Read)?;
        let mut all = Vec::new();
        for session in sessions::visible(self.app, self.caller).await? {
            let shown = view::session(self.app, &session).await?;
            let fields = ["session_id", "status", "agent_name", "created_at", "last_resumed_at"];
            let shown: Map<String, Value> =
                fields.iter().map(|key| ((*key).to_owned(), shown[*key].clone())).collect();
            all.push(Value::Object(shown));
        }
        Ok(Value::Array(all))
    }

    async fn begin(&self, kind: Kind, asked: Asked) -> Done<Value> {
        let parameters = asked.parameters;
        if Value::Object(parameters.clone()).to_string().chars().count() > PARAMETERS {
            return Err(Fault::new(
                400,
                format!("parameters have {PARAMETERS} characters at most"),
            ));
        }
        let mode = asked.mode.unwrap_or_default();
        let own = matches!(self.caller.who, crate::auth::Who::Agent { .. });
        if mode == ExecutionMode::AsyncCallback && self.session.is_none() && !own {
            return Err(Fault::new(
                400,
                "async_callback needs the header X-Agent-Session-Id: the session that is to be told",
            ));
        }
        let begun = start::create(
            self.app,
            self.caller,
            RunCreate {
                kind,
                parameters,
                session_id: asked.session_id,
                agent_name: asked.agent_name,
                project_dir: asked.project_dir,
                parent_session_id: self
                    .session
                    .clone()
                    .filter(|_| kind == Kind::StartSession || mode == ExecutionMode::AsyncCallback),
                execution_mode: Some(mode),
                additional_demands: self.demands.clone(),
                scope: None,
            },
        )
        .await?;
        let id = begun.session.to_string();
        if mode != ExecutionMode::Sync {
            return Ok(json!({ "session_id": id, "status": "pending" }));
        }
        self.wait(&id, begun.run).await
    }

    /// Waits for the end of a run.
    async fn wait(&self, id: &str, run: RunId) -> Done<Value> {
        let session = sessions::find(self.app, self.caller, id).await?;
        let waiter = Waiter::new(self.app, session.uid, LONGEST);
        let pending = super::hooks::is_waiting(self.app, run).await?;
        let over = waiter.until(self.app, |session, _| {
            let Some(session) = session else { return Some(()) };
            let has = session.current_run().is_some_and(|(head, _)| head == run)
                || session.queue.iter().any(|waiting| waiting.id == run);
            // One that waits for its hook is not asked of its session yet.
            let hooked = pending && session.status() == greenroom_core::Status::New;
            (!has && !hooked).then_some(())
        });
        if over.await?.is_none() {
            return Err(Fault::new(
                504,
                format!("Session {id} is not done after {} s; ask for it later", LONGEST.as_secs()),
            ));
        }
        let row = stored(self.app.store.run(run).await)?;
        let session = sessions::find(self.app, self.caller, id).await?;
        match row.as_ref().map(|row| row.status) {
            Some(RunStatus::Completed) => {}
            Some(status) => {
                let error = row.and_then(|row| row.error).map(|(_, message)| message);
                let why = error.unwrap_or_else(|| format!("Run {}", status.as_str()));
                return Ok(json!({ "error": why, "session_id": id }));
            }
            None => return Err(Fault::new(404, "Run not found")),
        }
        let Some(row) = row else { return Err(Fault::new(404, "Run not found")) };
        let found = sessions::result_of_run(self.app, &session, &row).await?;
        Ok(json!({ "session_id": id, "result_text": found.result_text.map(shortened),
            "result_data": found.result_data }))
    }

    async fn status(&self, asked: Asked) -> Done<Value> {
        let id = named(&asked)?;
        Ok(match sessions::find(self.app, self.caller, id).await {
            Ok(session) => json!({ "status": view::status(self.app, &session).await? }),
            Err(error) if error.0.status == 404 => json!({ "status": "not_existent" }),
            Err(error) => return Err(error.into()),
        })
    }

    async fn result(&self, asked: Asked) -> Done<Value> {
        let id = named(&asked)?;
        let session = sessions::find(self.app, self.caller, id).await?;
        let found = sessions::result_of(self.app, &session).await?;
        Ok(json!({ "session_id": id, "result_text": found.result_text.map(shortened),
            "result_data": found.result_data }))
    }

    /// Those that work stay, and are named.
    async fn delete_all(&self) -> Done<Value> {
        self.caller.require(Right::Use)?;
        let (mut deleted, mut kept) = (0, Vec::new());
        for session in sessions::visible(self.app, self.caller).await? {
            if matches!(words::session_status(&session), "running" | "idle" | "stopping") {
                kept.push(session.id.to_string());
                continue;
            }
            match sessions::remove_one(self.app, self.caller, session.id.as_str()).await {
                Ok(_) => deleted += 1,
                Err(_) => kept.push(session.id.to_string()),
            }
        }
        Ok(json!({ "deleted_count": deleted, "kept": kept }))
    }
}

fn named(asked: &Asked) -> Done<&str> {
    asked.session_id.as_deref().ok_or_else(|| Fault::new(400, "session_id is required"))
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(TEXT) {
        Some((at, _)) => text[..at].to_owned(),
        None => text,
    }
}
