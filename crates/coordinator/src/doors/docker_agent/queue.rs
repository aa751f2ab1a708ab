//! What is said while a turn is in progress, or for after it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use greenroom_core::Session;
use greenroom_protocol::{Problem, v1};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::asked::{Body, Message, bad};
use super::names::Segments;
use crate::api::{idempotency_key, json as answer};
use crate::app::{App, fresh};
use crate::auth::{Allowed, ToRead, ToUse};
use crate::error::ApiResult;
use crate::service::runs;
use crate::service::sessions::{self, Answered};

/// So many wait for the turn in progress, and for their own.
const STEERS: usize = 5;
const FOLLOWUPS: usize = 20;

#[derive(Debug, Deserialize)]
pub(super) struct Said {
    #[serde(default)]
    messages: Vec<Message>,
    #[serde(default)]
    framing: Option<String>,
}

impl Said {
    fn text(&self) -> Result<String, Box<Problem>> {
        let texts = self.messages.iter().map(Message::text).collect::<Result<Vec<_>, _>>()?;
        let texts: Vec<String> = texts.into_iter().filter(|text| !text.trim().is_empty()).collect();
        if texts.is_empty() {
            return Err(bad("there is nothing to say: messages has no text"));
        }
        let text = texts.join("\n\n");
        Ok(match self.framing.as_deref() {
            None | Some("" | "plain") => text,
            Some("instruction") => format!("An instruction for what you are doing now:\n\n{text}"),
            Some("replacement") => {
                format!("Instead of what you were asked before, do this:\n\n{text}")
            }
            Some(_) => return Err(bad("framing is one of plain, instruction, replacement")),
        })
    }
}

/// How many wait for the turn in progress, and how many for their own.
fn depths(session: &Session) -> (usize, usize) {
    let head = session.compute.as_ref().and_then(|compute| compute.head.as_ref());
    let steers = head.map_or(0, |head| head.steers.len());
    (steers, session.queue.len().saturating_sub(steers))
}

fn full(what: &str, capacity: usize) -> Problem {
    let detail = format!("{capacity} messages wait for {what} already");
    let mut problem = Problem::new(429, "queue_full", detail);
    problem.retry_after = Some(1);
    problem
}

/// `POST /api/sessions/{id}/steer`
pub(super) async fn steer(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    path: Segments,
    headers: HeaderMap,
    Body(said): Body<Said>,
) -> ApiResult<Response> {
    let key = idempotency_key(&headers)?;
    let text = said.text()?;
    let session = sessions::find(&app, &caller, &path.session()).await?;
    let in_progress =
        session.compute.as_ref().and_then(|compute| compute.turn_in_progress()).is_some();
    if !in_progress {
        let detail = format!(
            "no turn is in progress in session {:?}: ask it, or send a follow-up",
            session.id.as_str()
        );
        return Err(Problem::new(409, "nothing_to_steer", detail).into());
    }
    if depths(&session).0 >= STEERS {
        return Err(full("the turn in progress", STEERS).into());
    }
    let request = v1::CreateRun {
        prompt: Some(text),
        mode: Some("steer".to_owned()),
        ..v1::CreateRun::default()
    };
    runs::accept(&app, &caller, &session, request, fresh::run(), key, None).await?;
    Ok(answer(StatusCode::ACCEPTED, &json!({ "status": "queued" })))
}

/// `POST /api/sessions/{id}/followup`
pub(super) async fn followup(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    path: Segments,
    headers: HeaderMap,
    Body(said): Body<Said>,
) -> ApiResult<Response> {
    let key = idempotency_key(&headers)?;
    let text = said.text()?;
    let session = sessions::find(&app, &caller, &path.session()).await?;
    let streaming = super::shown::is_streaming(&session);
    // What was sent before is answered as it was, also where no more is taken.
    let is_full = depths(&session).1 >= FOLLOWUPS;
    if is_full && key.is_none() {
        return Err(full("their turn", FOLLOWUPS).into());
    }
    let request = v1::CreateRun { prompt: Some(text), ..v1::CreateRun::default() };
    let duplicate =
        match runs::accept(&app, &caller, &session, request, fresh::run(), key, None).await? {
            Answered::Now(_) => false,
            Answered::Before(_) => true,
        };
    let status = match (duplicate, streaming) {
        (true, _) => "duplicate",
        (false, true) => "queued_streaming",
        (false, false) => "queued_idle",
    };
    Ok(answer(StatusCode::ACCEPTED, &json!({ "status": status, "duplicate": duplicate })))
}

/// `GET /api/sessions/{id}/queue`
pub(super) async fn queue(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    path: Segments,
) -> ApiResult<Response> {
    let session = sessions::find(&app, &caller, &path.session()).await?;
    let (steers, followups) = depths(&session);
    let view = json!({
        "steer": { "depth": steers, "capacity": STEERS },
        "followup": { "depth": followups, "capacity": FOLLOWUPS },
    });
    Ok(answer(StatusCode::OK, &view))
}
