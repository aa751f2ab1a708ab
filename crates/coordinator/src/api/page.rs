//! A page for people who open the address in a browser, and the login it comes with.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use greenroom_protocol::Problem;
use greenroom_protocol::token::Role;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::login;
use crate::app::App;
use crate::auth::COOKIE;
use crate::error::ApiResult;
use crate::extract::Query;
use crate::service::tokens;

const PAGE: &str = include_str!("page.html");

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default().routes(routes!(page)).routes(routes!(open_link))
}

/// What runs here, for people
#[utoipa::path(get, path = "/", tag = "page", security(()),
    responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
async fn page() -> Response {
    let mut response = PAGE.replace("{version}", env!("CARGO_PKG_VERSION")).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    );
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct LoginQuery {
    /// The code of the link that `greenroom up` has printed. Good once.
    #[serde(default)]
    code: String,
}

/// Log a browser in
///
/// A one-time code becomes a cookie, which only pages of this address can use.
#[utoipa::path(get, path = "/login", tag = "page", security(()), params(LoginQuery),
    responses(
        (status = 303, description = "Logged in: go to the page"),
        (status = 401, description = "The code is not known, or was used", body = Problem, content_type = "application/problem+json")))]
async fn open_link(
    State(app): State<Arc<App>>,
    Query(query): Query<LoginQuery>,
) -> ApiResult<Response> {
    let found = app.auth.token(&*app.store, &query.code).await?;
    let Some((row, _)) = found.filter(|(row, _)| row.once && row.role != Role::Runner) else {
        return Err(login::refused().into());
    };
    // Whoever revokes it first has it: a code is good once, also in the same moment.
    if !app.store.revoke_token(row.id).await? {
        return Err(login::refused().into());
    }
    app.auth.revoke(row.id);
    let (_, secret) = tokens::make(&app, row.role, Some(row.principal.0), false).await?;
    let cookie = format!("{COOKIE}={secret}; HttpOnly; SameSite=Strict; Path=/");
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::from_static("/"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    login::set_cookie(&mut response, &cookie)?;
    Ok(response)
}
