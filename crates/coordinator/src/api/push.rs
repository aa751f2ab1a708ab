//! What a session has committed, on its way to where others see it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use greenroom_protocol::link::StreamKind;
use greenroom_protocol::{Problem, v1};
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::json;
use crate::app::App;
use crate::auth::{Allowed, ToDecide};
use crate::error::ApiResult;
use crate::extract::{MaybeBody, Path};
use crate::service::files::{self, Access};
use crate::sources::workspace_file::{check_address, is_plain};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default().routes(routes!(push))
}

/// Push what a session has committed
///
/// The commits on its own branch, to the repository it was cloned from or to another one,
/// with the credentials of its runner's user. Never by force; what is not committed stays.
#[utoipa::path(post, path = "/v1/sessions/{id}/push", tag = "files",
    params(("id" = String, Path, description = "The session's name")),
    request_body = Option<v1::PushRequest>,
    responses(
        (status = 200, description = "What was pushed, and what was not", body = v1::Pushed),
        (status = 409, description = "`no_repository`, `nothing_to_push`, `already_there`; `push_failed`, with git's own words", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "`runner_unreachable`", body = Problem, content_type = "application/problem+json")))]
async fn push(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToDecide>,
    Path(id): Path<String>,
    MaybeBody(request): MaybeBody<Option<v1::PushRequest>>,
) -> ApiResult<Response> {
    let request = request.unwrap_or_default();
    check(&request)?;
    let kind = StreamKind::Push(request);
    let reply = files::transfer(&app, &caller, &id, Access::Write, kind, None).await?;
    Ok(json(StatusCode::OK, &files::read_json::<v1::Pushed>(reply).await?))
}

fn check(request: &v1::PushRequest) -> ApiResult<()> {
    let bad = |key: &str, text: &str| {
        Err(Problem::invalid(format!("/{key} {text}")).at(format!("/{key}")).into())
    };
    if request.branch.as_deref().is_some_and(|branch| !is_plain(branch)) {
        return bad("branch", "is the name of a branch");
    }
    let Some(remote) = &request.remote else { return Ok(()) };
    // A path would be a way to write wherever the runner may.
    if remote.starts_with('/') || remote.starts_with("file:") {
        return bad("remote", "is an address that is reached over a network");
    }
    match check_address(remote) {
        Ok(()) => Ok(()),
        Err(text) => bad("remote", text),
    }
}
