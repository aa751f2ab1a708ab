//! `/v1/sessions`

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use greenroom_core::{Principal, RunnerId, Session, Status};
use greenroom_protocol::token::Role;
use greenroom_protocol::{Problem, v1};
use greenroom_store::{SessionQuery, Sort};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Wait, idempotency_key, json, kept};
use crate::app::App;
use crate::auth::{Allowed, Caller, ToDecide, ToRead, ToUse, Who};
use crate::error::ApiResult;
use crate::extract::{Body, PageSize, Path, Query, cursor, parsed};
use crate::service::sessions::{self, Answered, IdempotencyKey};
use crate::service::views;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default().routes(routes!(list, create)).routes(routes!(get, patch, delete))
}

/// Create a session
///
/// With `prompt` or `input` its first run is created in the same transaction.
#[utoipa::path(post, path = "/v1/sessions", tag = "sessions",
    request_body = v1::CreateSession,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition answer the same for 7 days", min_length = 1, max_length = 255)),
    responses(
        (status = 201, description = "The session", body = v1::Session),
        (status = 403, description = "A missing right, or a foreign Origin; `working_dir_not_allowed`: no runner allows the folder of `workspace`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such agent or parent", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`source_unavailable`: the source of the agent has not answered yet", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`agent_ambiguous`, with `candidates`; `session_exists`, `idempotency_conflict`, `parent_stopping`, `tree_too_deep`, `too_many_children`, `session_deleting`, `no_parent`", body = Problem, content_type = "application/problem+json")))]
async fn create(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    headers: HeaderMap,
    Body(request): Body<v1::CreateSession>,
) -> ApiResult<Response> {
    let key = idempotency_key(&headers)?
        .map(|key| IdempotencyKey { key, scope: format!("{} POST /v1/sessions", caller.scope()) });
    Ok(match sessions::create(&app, &caller, request, key).await? {
        Answered::Now(session) => json(StatusCode::CREATED, &session),
        Answered::Before(answer) => kept(answer),
    })
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Any of these statuses, with commas between.
    status: Option<String>,
    /// Of this agent.
    agent: Option<String>,
    /// At home on this runner.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<uuid::Uuid>)]
    runner: Option<RunnerId>,
    /// Children of this session.
    parent: Option<String>,
    /// Only those whose parent is not listed itself: the tops of the trees.
    #[serde(default)]
    roots: bool,
    /// For this user of the owner's.
    user: Option<String>,
    /// With this text in id, title or agent.
    q: Option<String>,
    /// `created` (default; newest first), `active` (last active first) or `id`.
    sort: Option<String>,
    /// Entries of a page, 1 to 1000; larger is clamped. Default 100.
    #[serde(default)]
    #[param(value_type = Option<u64>, minimum = 1)]
    limit: PageSize,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List sessions
///
/// Newest first; never reads logs. An agent sees its own session and its children.
#[utoipa::path(get, path = "/v1/sessions", tag = "sessions",
    params(ListQuery, ("label" = Option<Vec<String>>, Query, description = "With this label, as `key=value`; may be given several times")),
    responses((status = 200, description = "A page of sessions", body = v1::List<v1::Session>)))]
async fn list(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    RawQuery(raw): RawQuery,
    Query(query): Query<ListQuery>,
) -> ApiResult<Response> {
    let page = visible(&caller, query.limit.0, cursor(query.cursor)?);
    let user = query.user.filter(|user| !user.is_empty());
    if user.is_some() && page.user.is_some() && user != page.user {
        // Those of another user are not there for who acts for this one.
        return Ok(json(StatusCode::OK, &v1::List::<v1::Session>::whole(Vec::new())));
    }
    let mut wanted = SessionQuery {
        statuses: statuses(query.status.as_deref())?,
        user: user.or_else(|| page.user.clone()),
        agent: query.agent.filter(|agent| !agent.is_empty()),
        labels: labels(raw.as_deref().unwrap_or(""))?,
        runner: query.runner,
        roots: query.roots,
        text: query.q.filter(|text| !text.is_empty()),
        sort: sort(query.sort.as_deref())?,
        ..page
    };
    if let Some(name) = query.parent.as_deref().filter(|name| !name.is_empty()) {
        match sessions::find(&app, &caller, name).await {
            Ok(parent) => wanted.parent = Some(parent.uid),
            // Children of what isn't there, or isn't the caller's, are none.
            Err(error) if error.0.status == 404 => {
                return Ok(json(StatusCode::OK, &v1::List::<v1::Session>::whole(Vec::new())));
            }
            Err(error) => return Err(error),
        }
    }
    let page = app.store.sessions(wanted).await?;
    let items = page.items.iter().map(|session| shown(&app, session)).collect();
    Ok(json(StatusCode::OK, &v1::List { items, next_cursor: page.next }))
}

/// A session with what it is doing.
fn shown(app: &App, session: &Session) -> v1::Session {
    let activity = app.activities.of(session.uid);
    v1::Session { activity, ..views::session(session, &app.lives) }
}

/// A page of all that a caller may see.
pub(crate) fn visible(caller: &Caller, limit: u32, cursor: Option<String>) -> SessionQuery {
    SessionQuery {
        family: match &caller.who {
            Who::Agent { uid, .. } => Some(*uid),
            _ => None,
        },
        visible_to: visible_to(caller),
        user: caller.user.clone(),
        limit,
        cursor,
        ..SessionQuery::default()
    }
}

/// Whose sessions a list is of; all where absent. Those of an agent are its family.
fn visible_to(caller: &Caller) -> Option<Principal> {
    let everything = caller.role == Role::Admin || matches!(caller.who, Who::Agent { .. });
    (!everything).then(|| caller.principal.clone())
}

fn statuses(text: Option<&str>) -> ApiResult<Vec<Status>> {
    let words = text.unwrap_or("").split(',').map(|word| word.trim_matches(' '));
    let words = words.filter(|word| !word.is_empty());
    let read = |word: &str| {
        Status::of(word).ok_or_else(|| {
            let all: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
            Problem::invalid(format!("status is one of {}", all.join(", "))).at("status").into()
        })
    };
    words.map(read).collect()
}

fn sort(word: Option<&str>) -> ApiResult<Sort> {
    match word {
        None | Some("" | "created") => Ok(Sort::Created),
        Some("active") => Ok(Sort::Active),
        Some("id") => Ok(Sort::Id),
        Some(_) => Err(Problem::invalid("sort is one of created, active, id").at("sort").into()),
    }
}

/// Every `label=key=value` of the query.
fn labels(raw: &str) -> ApiResult<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for pair in raw.split('&') {
        let Some(value) = pair.strip_prefix("label=") else { continue };
        let value = value.replace('+', " ");
        let value = percent_encoding::percent_decode_str(&value).decode_utf8();
        let value = value.map_err(|_| Problem::invalid("label is not UTF-8").at("label"))?;
        if value.is_empty() {
            continue;
        }
        let pair = value.split_once('=').filter(|(key, _)| !key.is_empty());
        let Some((key, value)) = pair else {
            return Err(Problem::invalid("label is written key=value").at("label").into());
        };
        labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(labels)
}

/// Show a session
#[utoipa::path(get, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "The session's name")),
    responses((status = 200, description = "The session", body = v1::Session)))]
async fn get(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let session = sessions::find(&app, &caller, &id).await?;
    Ok(json(StatusCode::OK, &shown(&app, &session)))
}

/// Change title, labels, limits, sharing, agent
#[utoipa::path(patch, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "The session's name")),
    request_body = v1::PatchSession,
    responses(
        (status = 200, description = "The session", body = v1::Session),
        (status = 404, description = "`session_not_found`, `agent_not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`source_unavailable`: the source of the chosen agent has not answered yet", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`session_deleting`, `agent_in_use`; `agent_ambiguous`, with `candidates`", body = Problem, content_type = "application/problem+json")))]
async fn patch(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToDecide>,
    Path(id): Path<String>,
    Body(request): Body<v1::PatchSession>,
) -> ApiResult<Response> {
    Ok(json(StatusCode::OK, &sessions::update(&app, &caller, &id, request).await?))
}

/// Remove a session
///
/// Stops it first, proves it, then removes log and files. Waits 30 s unless told otherwise.
#[utoipa::path(delete, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "The session's name"), Wait),
    responses(
        (status = 204, description = "It is gone"),
        (status = 202, description = "It is being removed")))]
async fn delete(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    Path(id): Path<String>,
    Query(wait): Query<Wait>,
) -> ApiResult<Response> {
    let wait = wait.span().unwrap_or(Duration::from_secs(30));
    let gone = sessions::delete(&app, &caller, &id, wait).await?;
    Ok(if gone { StatusCode::NO_CONTENT } else { StatusCode::ACCEPTED }.into_response())
}
