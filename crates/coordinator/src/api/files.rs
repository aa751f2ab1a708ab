//! A session's files.

use std::sync::Arc;

use axum::body::Body as Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use greenroom_core::RunId;
use greenroom_protocol::link::{Look, StreamKind};
use greenroom_protocol::{Problem, v1};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::json;
use crate::app::App;
use crate::auth::{Allowed, ToRead, ToUse};
use crate::error::ApiResult;
use crate::extract::{Body, Path, Query, parsed};
use crate::service::files::{self, Access, check_path};
use crate::service::kept::{self, Moment};

/// Which run's end an answer shows.
const RUN: HeaderName = HeaderName::from_static("greenroom-run");

fn of_run(mut response: Response, run: RunId) -> Response {
    if let Ok(run) = HeaderValue::from_str(&run.to_string()) {
        response.headers_mut().insert(RUN, run);
    }
    response
}

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(stat))
        .routes(routes!(mkdir))
        .routes(routes!(diff))
        .routes(routes!(read, write, remove))
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct PathQuery {
    /// Path beneath the workspace; the workspace itself where absent.
    path: Option<String>,
    /// As it was at the end of this run, where that was kept: `no_files_kept` else.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<uuid::Uuid>)]
    run: Option<RunId>,
    /// As it was at the end of the run that was the last to end by this entry of the log.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<u64>, minimum = 1)]
    seq: Option<u64>,
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct MomentQuery {
    /// As it was at the end of this run, where that was kept: `no_files_kept` else.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<uuid::Uuid>)]
    run: Option<RunId>,
    /// As it was at the end of the run that was the last to end by this entry of the log.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<u64>, minimum = 1)]
    seq: Option<u64>,
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct DiffQuery {
    /// Until the end of this run, where that was kept: `no_files_kept` else.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<uuid::Uuid>)]
    run: Option<RunId>,
    /// Until the end of the run that was the last to end by this entry of the log.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<u64>, minimum = 1)]
    seq: Option<u64>,
    /// Since the end of this run; only with `run` or `seq`.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<uuid::Uuid>)]
    since: Option<RunId>,
}

/// List a folder
#[utoipa::path(get, path = "/v1/sessions/{id}/files", tag = "files",
    params(("id" = String, Path, description = "The session's name"), PathQuery),
    responses(
        (status = 200, description = "Its entries", body = v1::List<v1::FileInfo>),
        (status = 404, description = "`no_files_kept`: nothing was kept of that moment; it says why, and what there is", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is not a folder", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "`runner_unreachable`", body = Problem, content_type = "application/problem+json")))]
async fn list(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    Path(id): Path<String>,
    Query(query): Query<PathQuery>,
) -> ApiResult<Response> {
    let path = query.path.unwrap_or_default();
    match Moment::of(query.run, query.seq)? {
        None => Ok(json(StatusCode::OK, &files::list(&app, &caller, &id, &path).await?)),
        Some(moment) => {
            let (run, list) = kept::list(&app, &caller, &id, moment, &path).await?;
            Ok(of_run(json(StatusCode::OK, &list), run))
        }
    }
}

/// Show one entry
#[utoipa::path(get, path = "/v1/sessions/{id}/files/stat", tag = "files",
    params(("id" = String, Path, description = "The session's name"), PathQuery),
    responses(
        (status = 200, description = "The entry", body = v1::FileInfo),
        (status = 404, description = "`no_files_kept`: nothing was kept of that moment; it says why, and what there is", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "A part of the path is not a folder", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "`runner_unreachable`", body = Problem, content_type = "application/problem+json")))]
async fn stat(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    Path(id): Path<String>,
    Query(query): Query<PathQuery>,
) -> ApiResult<Response> {
    let path = check_path(&query.path.unwrap_or_default())?;
    if let Some(moment) = Moment::of(query.run, query.seq)? {
        let (run, reply) = kept::look(&app, &caller, &id, moment, Look::Stat { path }).await?;
        let info = files::read_json::<v1::FileInfo>(reply).await?;
        return Ok(of_run(json(StatusCode::OK, &info), run));
    }
    let kind = StreamKind::Stat { path };
    let reply = files::transfer(&app, &caller, &id, Access::Read, kind, None).await?;
    Ok(json(StatusCode::OK, &files::read_json::<v1::FileInfo>(reply).await?))
}

/// Make a folder, and those above it
#[utoipa::path(post, path = "/v1/sessions/{id}/files/mkdir", tag = "files",
    params(("id" = String, Path, description = "The session's name")),
    request_body = v1::Mkdir,
    responses(
        (status = 201, description = "The folder", body = v1::FileInfo),
        (status = 409, description = "Something else is there", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "`runner_unreachable`", body = Problem, content_type = "application/problem+json")))]
async fn mkdir(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    Path(id): Path<String>,
    Body(request): Body<v1::Mkdir>,
) -> ApiResult<Response> {
    if request.path.is_empty() {
        return Err(Problem::invalid("/path names no folder").at("/path").into());
    }
    let path = check_path(&request.path)?;
    let kind = match path.is_empty() {
        // The workspace itself, which is there.
        true => StreamKind::Stat { path },
        false => StreamKind::Mkdir { path },
    };
    let reply = files::transfer(&app, &caller, &id, Access::Write, kind, None).await?;
    Ok(json(StatusCode::CREATED, &files::read_json::<v1::FileInfo>(reply).await?))
}

/// Read a file
#[utoipa::path(get, path = "/v1/sessions/{id}/files/content/{*path}", tag = "files",
    params(("id" = String, Path, description = "The session's name"), ("path" = String, Path, description = "Path beneath the workspace"), MomentQuery),
    responses(
        (status = 200, description = "Its bytes", body = String, content_type = "application/octet-stream"),
        (status = 404, description = "`no_files_kept`: nothing was kept of that moment; it says why, and what there is", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is not a regular file", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "`runner_unreachable`", body = Problem, content_type = "application/problem+json")))]
async fn read(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    Path((id, path)): Path<(String, String)>,
    Query(query): Query<MomentQuery>,
) -> ApiResult<Response> {
    let path = check_path(&path)?;
    let (run, reply) = match Moment::of(query.run, query.seq)? {
        None => {
            let kind = StreamKind::Read { path };
            (None, files::transfer(&app, &caller, &id, Access::Read, kind, None).await?)
        }
        Some(moment) => {
            let look = Look::Read { path };
            let (run, reply) = kept::look(&app, &caller, &id, moment, look).await?;
            (Some(run), reply)
        }
    };
    let length = reply.head.length;
    let mut response = Bytes::from_stream(reply.body).into_response();
    let headers = response.headers_mut();
    // Never shown as a page of ours, whatever an agent has written into it.
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(match run {
        Some(run) => of_run(response, run),
        None => response,
    })
}

/// Show what a session has changed
///
/// Since it began, in its clone of a git repository: committed or not, new files too. A
/// patch that `git apply` takes. With `run` or `seq` until that moment, as its runner has kept
/// it; with `since` only what was changed after the end of that run.
#[utoipa::path(get, path = "/v1/sessions/{id}/diff", tag = "files",
    params(("id" = String, Path, description = "The session's name"), DiffQuery),
    responses(
        (status = 200, description = "The patch", body = String, content_type = "text/x-diff"),
        (status = 404, description = "`no_files_kept`: nothing was kept of that moment; it says why, and what there is", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`no_repository`", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "`runner_unreachable`", body = Problem, content_type = "application/problem+json")))]
async fn diff(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    Path(id): Path<String>,
    Query(query): Query<DiffQuery>,
) -> ApiResult<Response> {
    let (run, reply) = match (Moment::of(query.run, query.seq)?, query.since) {
        (Some(moment), since) => {
            let look = Look::Diff { since };
            let (run, reply) = kept::look(&app, &caller, &id, moment, look).await?;
            (Some(run), reply)
        }
        (None, None) => {
            let kind = StreamKind::Diff;
            (None, files::transfer(&app, &caller, &id, Access::Read, kind, None).await?)
        }
        (None, Some(_)) => {
            let text = "since needs run or seq, which name the moment until which it goes";
            return Err(Problem::new(409, "no_moment", text).at("since").into());
        }
    };
    let mut response = Bytes::from_stream(reply.body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/x-diff"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(match run {
        Some(run) => of_run(response, run),
        None => response,
    })
}

/// Write a file
///
/// Streamed, without a limit but the disk's; whole or not at all.
#[utoipa::path(put, path = "/v1/sessions/{id}/files/content/{*path}", tag = "files",
    params(("id" = String, Path, description = "The session's name"), ("path" = String, Path, description = "Path beneath the workspace")),
    request_body(content = Option<String>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "The file", body = v1::FileInfo),
        (status = 409, description = "Something else is there", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "`runner_unreachable`", body = Problem, content_type = "application/problem+json")))]
async fn write(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    Path((id, path)): Path<(String, String)>,
    body: Bytes,
) -> ApiResult<Response> {
    let kind = StreamKind::Write { path: check_path(&path)? };
    let reply = files::transfer(&app, &caller, &id, Access::Write, kind, Some(body)).await?;
    Ok(json(StatusCode::OK, &files::read_json::<v1::FileInfo>(reply).await?))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct RemoveQuery {
    /// Also a folder that is not empty.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    recursive: bool,
}

/// Remove a file or folder
#[utoipa::path(delete, path = "/v1/sessions/{id}/files/content/{*path}", tag = "files",
    params(("id" = String, Path, description = "The session's name"), ("path" = String, Path, description = "Path beneath the workspace"), RemoveQuery),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "A folder that is not empty needs `recursive=true`", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "`runner_unreachable`", body = Problem, content_type = "application/problem+json")))]
async fn remove(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    Path((id, path)): Path<(String, String)>,
    Query(query): Query<RemoveQuery>,
) -> ApiResult<Response> {
    let path = check_path(&path)?;
    if path.is_empty() {
        return Err(Problem::invalid("path: the workspace itself cannot be removed")
            .at("path")
            .into());
    }
    let kind = StreamKind::Remove { path, recursive: query.recursive };
    files::transfer(&app, &caller, &id, Access::Write, kind, None).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
