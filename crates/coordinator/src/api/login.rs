//! A browser's login: a token, given once, becomes a cookie that only pages of this address
//! can use, and no script can read.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use greenroom_protocol::problem::QuotaUse;
use greenroom_protocol::{Problem, v1};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::json;
use crate::app::App;
use crate::auth::{COOKIE, Caller, Who, cookie_of};
use crate::error::ApiResult;
use crate::extract::Body;
use crate::service::{quotas, tokens};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default().routes(routes!(who, login, logout))
}

/// Show as whom one is logged in
#[utoipa::path(get, path = "/v1/login", tag = "login",
    responses((status = 200, description = "Who asks", body = v1::Login)))]
async fn who(State(app): State<Arc<App>>, caller: Caller) -> ApiResult<Response> {
    let quotas = quotas::of(&app, &caller).await?;
    Ok(json(StatusCode::OK, &view(&caller, quotas)))
}

/// Log a browser in
///
/// A token, or the code of a one-time link, becomes a cookie with the same rights. A code is
/// good once. The cookie is a token of its own: it is listed with the others, and can be revoked.
#[utoipa::path(post, path = "/v1/login", tag = "login", security(()),
    request_body = v1::LoginRequest,
    responses(
        (status = 200, description = "Who one is now", body = v1::Login),
        (status = 401, description = "It is not known, or was used", body = Problem, content_type = "application/problem+json")))]
async fn login(
    State(app): State<Arc<App>>,
    Body(request): Body<v1::LoginRequest>,
) -> ApiResult<Response> {
    let login = tokens::log_in(&app, request.token.trim(), tokens::Takes::Tokens).await?;
    let mut response = json(StatusCode::OK, &login.who);
    set_cookie(&mut response, &login.secret)?;
    Ok(response)
}

/// Log a browser out
///
/// What its login has made is revoked, and with it every stream that was opened by it.
#[utoipa::path(delete, path = "/v1/login", tag = "login",
    responses((status = 204, description = "Nobody is logged in any more")))]
async fn logout(State(app): State<Arc<App>>, _caller: Caller, parts: Parts) -> ApiResult<Response> {
    if let Some(secret) = cookie_of(&parts)
        && let Some((row, _)) = app.auth.token(&*app.store, secret).await?
    {
        app.store.revoke_token(row.id).await?;
        app.auth.revoke(row.id);
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    put_cookie(&mut response, &format!("{COOKIE}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0"))?;
    Ok(response)
}

/// Gives a browser the secret of its login.
pub(super) fn set_cookie(response: &mut Response, secret: &str) -> ApiResult<()> {
    put_cookie(response, &format!("{COOKIE}={secret}; HttpOnly; SameSite=Strict; Path=/"))
}

fn put_cookie(response: &mut Response, cookie: &str) -> ApiResult<()> {
    let cookie = HeaderValue::from_str(cookie)
        .map_err(|_| Problem::new(500, "internal", "a token could not be made into a cookie"))?;
    let headers = response.headers_mut();
    headers.insert(header::SET_COOKIE, cookie);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(())
}

fn view(caller: &Caller, quotas: Vec<QuotaUse>) -> v1::Login {
    let principal = match &caller.who {
        Who::Agent { id, .. } => format!("session {id}"),
        Who::Person | Who::Runner(_) => caller.principal.0.clone(),
    };
    v1::Login { principal, role: caller.role, quotas }
}
