//! A page for people who open the address in a browser, and the login it comes with.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use greenroom_protocol::Problem;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::login;
use crate::app::App;
use crate::error::ApiResult;
use crate::extract::Query;
use crate::service::tokens;

const PAGE: &str = include_str!("page.html");

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default().routes(routes!(page)).routes(routes!(open_link))
}

/// The dashboard as its own tools have built it; empty where they were not run.
#[derive(rust_embed::RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../../dashboard/dist"]
#[allow_missing = true]
struct Dashboard;

/// What its pages may do: nothing that does not come from here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; worker-src 'self'; \
    manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// A file of the dashboard, packed where the browser takes that.
fn file(path: &str, accepts: &HeaderMap) -> Option<Response> {
    let accepts = accepts.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let gzip = accepts.is_some_and(|accepts| accepts.contains("gzip"));
    let packed = gzip.then(|| Dashboard::get(&format!("{path}.gz"))).flatten();
    let is_packed = packed.is_some();
    let file = packed.or_else(|| Dashboard::get(path))?;
    let bytes = match file.data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    if let Ok(kind) = HeaderValue::from_str(kind.as_ref()) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    // Names of parts hold their own digests; these two are known by their names.
    let named = matches!(path, "assets/theme.js" | "assets/favicon.svg");
    let lasts = path.starts_with("assets/") && !named;
    let keep = if lasts { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if is_packed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(response)
}

/// What a browser asks for that is no operation: a file of the dashboard, or a place in it.
pub(super) fn elsewhere(method: &Method, path: &str, headers: &HeaderMap) -> Option<Response> {
    if method != Method::GET && method != Method::HEAD {
        return None;
    }
    let path = path.trim_start_matches('/');
    if let Some(found) = file(path, headers).filter(|_| !path.is_empty()) {
        return Some(found);
    }
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let is_page = accept.is_some_and(|accept| accept.contains("text/html"));
    let is_place = !path.starts_with("v1/") && !path.starts_with("assets/");
    (is_page && is_place).then(|| file("index.html", headers)).flatten()
}

/// The dashboard
#[utoipa::path(get, path = "/", tag = "page", security(()),
    responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
async fn page(headers: HeaderMap) -> Response {
    if let Some(dashboard) = file("index.html", &headers) {
        return dashboard;
    }
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
    headers: HeaderMap,
    Query(query): Query<LoginQuery>,
) -> ApiResult<Response> {
    if query.code.is_empty()
        && let Some(page) = elsewhere(&Method::GET, "/login", &headers)
    {
        // The place where a token is asked for.
        return Ok(page);
    }
    // A link goes through histories and logs, so a token that lasts is not taken from one.
    let login = tokens::log_in(&app, &query.code, tokens::Takes::CodesAlone).await?;
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::from_static("/"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    login::set_cookie(&mut response, &login.secret)?;
    Ok(response)
}
