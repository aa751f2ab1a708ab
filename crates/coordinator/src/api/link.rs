//! The link with runners.

use std::sync::Arc;

use axum::body::Body as Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use greenroom_core::{ApprovalId, Epoch, SessionUid, StreamId};
use greenroom_protocol::Problem;
use greenroom_protocol::link::*;
use http::{HeaderMap, StatusCode, header};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::json;
use crate::app::App;
use crate::auth::{JoinToken, LinkCaller};
use crate::error::ApiResult;
use crate::extract::{Body, Path};
use crate::service::reports::{Line, Upload, read_line};
use crate::service::streams;
use crate::service::{approvals, link};

/// A line of an upload has so many bytes at most: a megabyte of text, escaped at its worst.
const MAX_LINE: usize = 16 << 20;
/// Records are appended when so many bytes of them are there.
const BATCH: usize = 1 << 20;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default()
        .routes(routes!(enroll))
        .routes(routes!(sync))
        .routes(routes!(records))
        .routes(routes!(compute))
        .routes(routes!(answer))
        .routes(routes!(settings))
        .routes(routes!(run))
        .routes(routes!(stream_upload, stream_answer))
}

/// A runner joins
///
/// The bearer is a join token; the answer has the runner's own credential, said once.
#[utoipa::path(post, path = "/v1/link/enroll", tag = "link",
    request_body = EnrollRequest,
    responses(
        (status = 200, description = "The credential", body = EnrollReply),
        (status = 409, description = "`runner_exists`", body = Problem, content_type = "application/problem+json")))]
async fn enroll(
    State(app): State<Arc<App>>,
    JoinToken(token): JoinToken,
    Body(request): Body<EnrollRequest>,
) -> ApiResult<Response> {
    Ok(json(StatusCode::OK, &link::enroll(&app, &token, request).await?))
}

/// Long poll: heartbeat, acknowledgement, list and wake-up in one
#[utoipa::path(post, path = "/v1/link/sync", tag = "link",
    request_body = SyncRequest,
    responses(
        (status = 200, description = "What has changed", body = SyncReply),
        (status = 409, description = "`foreign_store`, `old_instance`", body = Problem, content_type = "application/problem+json")))]
async fn sync(
    State(app): State<Arc<App>>,
    LinkCaller(id): LinkCaller,
    Body(request): Body<SyncRequest>,
) -> ApiResult<Response> {
    Ok(json(StatusCode::OK, &link::sync(&app, id, request).await?))
}

/// Journal records
///
/// The body is NDJSON: one record or live frame on each line. Lines that are neither are
/// left out.
#[utoipa::path(post, path = "/v1/link/records", tag = "link",
    request_body(content = Option<String>, content_type = "application/octet-stream"),
    responses((status = 200, description = "What is durable", body = RecordsReply)))]
async fn records(
    State(app): State<Arc<App>>,
    LinkCaller(id): LinkCaller,
    body: Bytes,
) -> ApiResult<Response> {
    let mut upload = Upload::new(&app, id);
    let mut stream = body.into_data_stream();
    let mut buffer: Vec<u8> = Vec::new();
    let mut batch = Vec::new();
    let mut batched = 0;
    loop {
        let part = match stream.next().await {
            Some(Ok(part)) => Some(part),
            Some(Err(error)) => {
                return Err(Problem::invalid(format!("the upload broke off: {error}")).into());
            }
            None => None,
        };
        let last = part.is_none();
        buffer.extend_from_slice(part.as_deref().unwrap_or_default());
        let whole = if last {
            buffer.len()
        } else {
            buffer.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)
        };
        for line in buffer[..whole].split(|byte| *byte == b'\n') {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match read_line(line) {
                None => {}
                Some(Line::Delta(delta)) => upload.delta(&delta).await?,
                Some(Line::Record(record)) => {
                    batched += line.len();
                    batch.push(*record);
                }
            }
            if batched >= BATCH {
                batched = 0;
                upload.records(std::mem::take(&mut batch)).await?;
            }
        }
        buffer.drain(..whole);
        if buffer.len() > MAX_LINE {
            return Err(Problem::new(
                413,
                "too_large",
                "a line of the upload is longer than 16 MiB",
            )
            .into());
        }
        if last {
            upload.records(batch).await?;
            return Ok(json(StatusCode::OK, &upload.reply()));
        }
    }
}

/// The body of an assignment
#[utoipa::path(get, path = "/v1/link/computes/{uid}/{epoch}", tag = "link",
    params(("uid" = uuid::Uuid, Path, description = "The session"), ("epoch" = u32, Path, description = "Its compute")),
    responses((status = 200, description = "The body", body = ComputeBody)))]
async fn compute(
    State(app): State<Arc<App>>,
    LinkCaller(id): LinkCaller,
    Path((uid, epoch)): Path<(SessionUid, u32)>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    // The name under which this runner reaches us is the one its agents can use, too.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let body = link::compute_body(&app, id, uid, Epoch(epoch), host).await?;
    Ok(json(StatusCode::OK, &body))
}

/// What was answered to a question of an agent
#[utoipa::path(get, path = "/v1/link/computes/{uid}/{epoch}/answers/{id}", tag = "link",
    params(
        ("uid" = uuid::Uuid, Path, description = "The session"),
        ("epoch" = u32, Path, description = "Its compute"),
        ("id" = uuid::Uuid, Path, description = "What was asked")),
    responses((status = 200, description = "The answer", body = AnswerBody)))]
async fn answer(
    State(app): State<Arc<App>>,
    LinkCaller(runner): LinkCaller,
    Path((uid, epoch, id)): Path<(SessionUid, u32, ApprovalId)>,
) -> ApiResult<Response> {
    let body = approvals::body(&app, runner, uid, Epoch(epoch), id).await?;
    Ok(json(StatusCode::OK, &body))
}

/// The settings that a compute goes by now
///
/// What of its session can be edited while it lives: approvals and models.
#[utoipa::path(get, path = "/v1/link/computes/{uid}/{epoch}/settings", tag = "link",
    params(("uid" = uuid::Uuid, Path, description = "The session"), ("epoch" = u32, Path, description = "Its compute")),
    responses((status = 200, description = "All of them", body = SettingsBody)))]
async fn settings(
    State(app): State<Arc<App>>,
    LinkCaller(runner): LinkCaller,
    Path((uid, epoch)): Path<(SessionUid, u32)>,
) -> ApiResult<Response> {
    let body = link::settings_body(&app, runner, uid, Epoch(epoch)).await?;
    Ok(json(StatusCode::OK, &body))
}

/// The body of a dispatched run
#[utoipa::path(get, path = "/v1/link/runs/{run}", tag = "link",
    params(("run" = uuid::Uuid, Path, description = "The run")),
    responses((status = 200, description = "The body", body = RunBody)))]
async fn run(
    State(app): State<Arc<App>>,
    LinkCaller(id): LinkCaller,
    Path(run): Path<String>,
) -> ApiResult<Response> {
    Ok(json(StatusCode::OK, &link::run_body(&app, id, &run).await?))
}

/// The bytes a client sends
#[utoipa::path(get, path = "/v1/link/streams/{id}", tag = "link",
    params(("id" = uuid::Uuid, Path, description = "The transfer")),
    responses((status = 200, description = "The bytes", body = String, content_type = "application/octet-stream")))]
async fn stream_upload(
    State(app): State<Arc<App>>,
    LinkCaller(id): LinkCaller,
    Path(stream): Path<StreamId>,
) -> ApiResult<Response> {
    let body = streams::upload(&app, id, stream)?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response())
}

/// The bytes a client gets, after a line with their `StreamHead`
#[utoipa::path(post, path = "/v1/link/streams/{id}", tag = "link",
    params(("id" = uuid::Uuid, Path, description = "The transfer")),
    request_body(content = Option<String>, content_type = "application/octet-stream"),
    responses((status = 204, description = "They are through")))]
async fn stream_answer(
    State(app): State<Arc<App>>,
    LinkCaller(id): LinkCaller,
    Path(stream): Path<StreamId>,
    body: Bytes,
) -> ApiResult<Response> {
    streams::answer(&app, id, stream, body).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
