//! Events: pages and streams.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use greenroom_core::Event;
use greenroom_protocol::{Problem, v1};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::json;
use crate::app::App;
use crate::auth::{Allowed, ToRead};
use crate::error::ApiResult;
use crate::extract::{PageSize, Path, Query, parsed};
use crate::feed::{self, Start};
use crate::hub::Cursor;
use crate::service::sessions;

/// Sessions one stream may watch.
const MAX_WATCHED: usize = 50;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default().routes(routes!(events)).routes(routes!(changes))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct EventsQuery {
    /// Begin with this position, 1 where absent.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>, example = "1")]
    from: Option<Cursor>,
    /// Entries of a page, 1 to 1000; larger is clamped. Default 100. A stream has no limit.
    #[serde(default)]
    #[param(value_type = Option<u64>, minimum = 1)]
    limit: PageSize,
}

/// A session's events
///
/// A JSON page; with `Accept: text/event-stream` replay, then live.
#[utoipa::path(get, path = "/v1/sessions/{id}/events", tag = "events",
    params(
        ("id" = String, Path, description = "The session's name"),
        EventsQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Of a stream: go on after this event. Stronger than `from`", example = "42")),
    responses((status = 200, description = "A page, or a stream", content(
        (v1::List<Event> = "application/json"),
        (String = "text/event-stream")))))]
async fn events(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    Path(id): Path<String>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let session = sessions::find(&app, &caller, &id).await?;
    let era = app.hub.era();
    let last_event = last_event_id(&headers)?;
    if wants_stream(&headers) {
        let start = match (last_event, query.from) {
            (Some(cursor), _) => Start::After(cursor),
            (None, Some(from)) if from.era != era && from.era != 0 => Start::After(from),
            (None, Some(from)) => Start::At(from.seq),
            (None, None) => Start::At(1),
        };
        return feed::session_stream(&app, &caller, &session, start).await;
    }
    let from = query.from.map_or(1, |from| from.seq).max(1);
    let limit = query.limit.0;
    let items = match i64::try_from(from) {
        Ok(_) => app.store.events(session.uid, from, limit).await?,
        // No log is so long.
        Err(_) => Vec::new(),
    };
    let full = items.len() == limit as usize;
    let next = items.last().filter(|_| full).map(|last| last.seq + 1);
    let next_cursor = next.filter(|next| *next <= session.last_seq).map(|next| next.to_string());
    Ok(json(StatusCode::OK, &v1::List { items, next_cursor }))
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let mut accepted =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.any(|value| value.to_ascii_lowercase().contains("text/event-stream"))
}

fn last_event_id(headers: &HeaderMap) -> ApiResult<Option<Cursor>> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    match value.to_str().map(str::trim) {
        // What a browser sends before it has seen an id.
        Ok("") => Ok(None),
        Ok(text) => {
            let read = text
                .parse()
                .map_err(|e| Problem::invalid(format!("Last-Event-ID: {e}")).at("Last-Event-ID"));
            Ok(Some(read?))
        }
        Err(_) => Err(Problem::invalid("Last-Event-ID is not text").at("Last-Event-ID").into()),
    }
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ChangesQuery {
    /// Also the events of these sessions after a position: `ID@SEQ`, with commas between.
    watch: Option<String>,
}

/// Changes of all sessions one may see
///
/// Frames `session`, `runner` and `agents` say what to list again. There is no cursor:
/// on (re)connect, list, then follow.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(ChangesQuery),
    responses(
        (status = 200, description = "A stream of changes", body = String, content_type = "text/event-stream"),
        (status = 404, description = "A session to watch isn't there, or isn't yours", body = Problem, content_type = "application/problem+json")))]
async fn changes(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    Query(query): Query<ChangesQuery>,
) -> ApiResult<Response> {
    let mut watched = Vec::new();
    let parts = query.watch.as_deref().filter(|watch| !watch.is_empty());
    for part in parts.into_iter().flat_map(|watch| watch.split(',')) {
        let bad = |detail: String| Problem::invalid(format!("watch: {detail}")).at("watch");
        if watched.len() == MAX_WATCHED {
            return Err(bad(format!("{MAX_WATCHED} sessions at most")).into());
        }
        let (id, position) = part.rsplit_once('@').unwrap_or((part, "0"));
        let cursor: Cursor = position.parse().map_err(bad)?;
        let session = sessions::find(&app, &caller, id).await?;
        let start = if cursor.seq == 0 { Start::At(1) } else { Start::After(cursor) };
        watched.push((session, start));
    }
    feed::change_stream(&app, &caller, &watched).await
}
