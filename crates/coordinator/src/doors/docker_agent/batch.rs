//! Several sessions at once, and copies of one.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use greenroom_protocol::{Problem, v1};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::{Body, bad};
use super::names::Segments;
use super::overrides;
use super::shown;
use crate::api::{idempotency_key, json as answer};
use crate::app::App;
use crate::auth::{Allowed, ToDecide, ToRead, ToUse};
use crate::error::ApiResult;
use crate::service::sessions::Answered;
use crate::service::{approvals, forks, sessions};

/// Sessions that one request names.
const MOST: usize = 100;
/// Each of several is waited for so long.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize)]
pub(super) struct Several {
    session_ids: Vec<String>,
}

impl Several {
    fn ids(self) -> Result<Vec<String>, Box<Problem>> {
        match self.session_ids.len() {
            0 => Err(bad("session_ids is empty")),
            n if n > MOST => Err(bad(format!("session_ids has {MOST} entries at most"))),
            _ => Ok(self.session_ids),
        }
    }
}

/// `POST /api/sessions/batch/delete`
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    Body(request): Body<Several>,
) -> ApiResult<Response> {
    let ids = request.ids()?;
    let each = ids.iter().map(|id| sessions::delete(&app, &caller, id, PATIENCE));
    let ends = futures::future::join_all(each).await;
    let (mut deleted, mut pending, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (id, end) in ids.iter().zip(ends) {
        match end {
            Ok(true) => deleted.push(id),
            Ok(false) => pending.push(id),
            Err(error) => failed.push(json!({ "id": id, "error": error.0.detail })),
        }
    }
    let status = if pending.is_empty() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let view = json!({ "deleted": deleted, "pending": pending, "failed": failed });
    Ok(answer(status, &view))
}

/// `POST /api/sessions/batch/export`
pub(super) async fn export(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    Body(request): Body<Several>,
) -> ApiResult<Response> {
    let (mut exported, mut failed) = (Vec::new(), Vec::new());
    for id in request.ids()? {
        match sessions::find(&app, &caller, &id).await {
            Ok(session) => {
                let items = shown::transcript(&app, &session).await?.items().to_vec();
                let view = shown::whole(&session, &items);
                exported.push(overrides::with(&app, &session, view).await?);
            }
            Err(error) => failed.push(json!({ "id": id, "error": error.0.detail })),
        }
    }
    Ok(answer(StatusCode::OK, &json!({ "sessions": exported, "failed": failed })))
}

#[derive(Debug, Deserialize)]
pub(super) struct Fork {
    user_message_index: i64,
    #[serde(default)]
    title: Option<String>,
}

/// `POST /api/sessions/{id}/fork`: what is before a message of the user.
pub(super) async fn fork(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToDecide>,
    path: Segments,
    headers: HeaderMap,
    Body(request): Body<Fork>,
) -> ApiResult<Response> {
    let key = idempotency_key(&headers)?;
    let index = u32::try_from(request.user_message_index)
        .map_err(|_| bad("user_message_index is a number from 0 on"))?;
    let wanted = v1::ForkSession {
        before_message: Some(index),
        title: request.title,
        ..v1::ForkSession::default()
    };
    let id = match forks::fork(&app, &caller, &path.session(), wanted, key).await? {
        Answered::Now(session) => session.id.to_string(),
        Answered::Before(answer) => {
            let before: v1::Session = serde_json::from_slice(&answer.body)
                .map_err(|error| Problem::new(500, "internal", error.to_string()))?;
            before.id.to_string()
        }
    };
    let session = sessions::find(&app, &caller, &id).await?;
    let items = shown::transcript(&app, &session).await?.items().to_vec();
    let view = shown::whole(&session, &items);
    Ok(answer(StatusCode::OK, &overrides::with(&app, &session, view).await?))
}

/// `GET /api/sessions/{id}/recovery`: all there is of a session, with what went wrong.
pub(super) async fn recovery(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    path: Segments,
) -> ApiResult<Response> {
    let session = sessions::find(&app, &caller, &path.session()).await?;
    let mut transcript = shown::transcript(&app, &session).await?;
    let items = transcript.items().to_vec();
    let open = approvals::of_session(&app, &caller, session.id.as_str()).await?;
    let waits: Vec<Value> = open
        .iter()
        .filter(|ask| ask.status == v1::ApprovalStatus::Open)
        .map(|ask| json!({ "confirmation_id": ask.id, "tool": ask.tool, "title": ask.title }))
        .collect();
    let view = json!({
        "session": overrides::with(&app, &session, shown::whole(&session, &items)).await?,
        "errors": transcript.errors(),
        "status": session.status(),
        "pending": waits,
        "queued": session.queue.len(),
        "last_event_seq": session.last_seq,
        "event_epoch": shown::epoch(&app, &session),
        "receipt": session.ended.as_ref().map(|ended| &ended.receipt),
    });
    Ok(answer(StatusCode::OK, &view))
}
