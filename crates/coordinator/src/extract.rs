//! Extractors whose rejections are problems like all others.

use std::str::FromStr;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use greenroom_core::Ms;
use greenroom_protocol::Problem;
use http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::error::ApiError;

/// A JSON body. What does not parse is 422, with the place in the body.
///
/// A body is JSON whatever it is labelled as: many tools label a bare body as a form, and
/// what a foreign page may send is settled by its Origin.
#[derive(Debug)]
pub(crate) struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        read_json(&read_bytes(request, state).await?).map(Self)
    }
}

/// A JSON body that may be absent altogether.
#[derive(Debug)]
pub(crate) struct MaybeBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for MaybeBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = read_bytes(request, state).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(T::default()));
        }
        read_json(&bytes).map(Self)
    }
}

async fn read_bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        let problem = match rejection.status().as_u16() {
            413 => Problem::new(413, "too_large", "the body is larger than this call takes")
                .hint("send files through /files/content, which takes any size"),
            _ => Problem::invalid(format!("the body cannot be read: {}", rejection.body_text())),
        };
        problem.into()
    })
}

fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut document: Value =
        serde_json::from_slice(bytes).map_err(|error| json_problem(String::new(), &error))?;
    no_lists(&document)?;
    whole_numbers(&mut document);
    serde_path_to_error::deserialize(document).map_err(|error| {
        let path: String = error.path().iter().map(pointer_part).collect();
        json_problem(path, error.inner())
    })
}

/// Bodies and limits are objects, and are not read from the bare list of their values.
fn no_lists(document: &Value) -> Result<(), ApiError> {
    let places = [("", Some(document)), ("/limits", document.get("limits"))];
    for (place, value) in places {
        if value.is_some_and(Value::is_array) {
            let named = if place.is_empty() { "the body" } else { place };
            let at = if place.is_empty() { "/" } else { place };
            return Err(Problem::invalid(format!("{named}: a list, expected an object"))
                .at(at)
                .into());
        }
    }
    Ok(())
}

/// JSON has one kind of number, and some languages write 100 as 100.0. What is meant for an
/// agent, or comes from one, stays as it is written.
fn whole_numbers(document: &mut Value) {
    match document {
        Value::Object(fields) => {
            let ours =
                fields.iter_mut().filter(|(name, _)| !matches!(name.as_str(), "input" | "result"));
            ours.for_each(|(_, value)| whole_numbers(value));
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Number(number) if number.is_f64() => {
            // The first floats that are beyond 64 bits, on either side.
            let (most, least) = (2f64.powi(64), -(2f64.powi(63)));
            match number.as_f64().filter(|n| n.fract() == 0.0) {
                Some(n) if (0.0..most).contains(&n) => *document = (n as u64).into(),
                Some(n) if (least..0.0).contains(&n) => *document = (n as i64).into(),
                _ => {}
            }
        }
        _ => {}
    }
}

fn json_problem(path: String, error: &serde_json::Error) -> ApiError {
    let problem = if error.is_data() {
        let mut detail = error.to_string();
        if let Some(cut) = detail.rfind(" at line ") {
            detail.truncate(cut);
        }
        let place = if path.is_empty() { "the body" } else { &path };
        Problem::invalid(format!("{place}: {detail}"))
    } else {
        Problem::invalid(format!("the body is not JSON: {error}"))
    };
    problem.at(if path.is_empty() { "/".to_owned() } else { path }).into()
}

fn pointer_part(segment: &serde_path_to_error::Segment) -> String {
    use serde_path_to_error::Segment;
    match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { variant } => format!("/{variant}"),
        Segment::Unknown => String::new(),
    }
}

/// Parameters of the query. What does not parse is 422, and names the parameter.
#[derive(Debug)]
pub(crate) struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(QueryRejection::FailedToDeserializeQueryString(error)) => {
                Err(query_problem(&innermost(&error)).into())
            }
            Err(other) => Err(Problem::invalid(other.body_text()).at("query").into()),
        }
    }
}

/// Parts of the path, as text. What cannot be a name of anything is 404.
#[derive(Debug)]
pub(crate) struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(_)) => {
                Err(Problem::new(404, "not_found", "nothing has this path").into())
            }
            Err(other) => Err(Problem::new(404, "not_found", other.body_text()).into()),
        }
    }
}

/// The error begins with the parameter's name, where it is about one.
fn query_problem(error: &str) -> Problem {
    let named =
        error.split_once(": ").filter(|(name, _)| name.bytes().all(|b| b.is_ascii_lowercase()));
    match named {
        Some((name, _)) => Problem::invalid(error).at(name),
        None => Problem::invalid(format!("the query does not parse: {error}")).at("query"),
    }
}

/// The text of the error at the bottom of the chain: the others only say that there is one.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// A duration of the query, as text: `30s`.
pub(crate) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Ms>, D::Error> {
    parsed::<D, Ms>(from)
}

/// A parameter that reads with `FromStr`. Absent and empty are `None`.
pub(crate) fn parsed<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: std::fmt::Display,
{
    let text: Option<String> = Option::deserialize(from)?;
    match text.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

/// A cursor of a list, if it can be one. Empty is none.
pub(crate) fn cursor(text: Option<String>) -> Result<Option<String>, ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if hex && text.len().is_multiple_of(2) {
        return Ok(Some(text));
    }
    Err(Problem::invalid("cursor is not one: pass next_cursor of the page before as it is")
        .at("cursor")
        .into())
}

/// How many entries a page has: 1 to 1000, larger is clamped, 100 by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageSize(pub u32);

impl Default for PageSize {
    fn default() -> Self {
        Self(100)
    }
}

impl<'de> Deserialize<'de> for PageSize {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // More digits than fit is still a number, and is clamped like one.
        let number = if digits { text.parse().unwrap_or(u64::MAX) } else { 0 };
        match number {
            0 => Err(serde::de::Error::custom(format!(
                "limit {text:?} is not a number from 1 to 1000"
            ))),
            n => Ok(Self(n.min(1000) as u32)),
        }
    }
}
