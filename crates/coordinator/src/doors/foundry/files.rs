//! A session's files: what is beneath its home, as clients call its workspace. They are there
//! while it is stopped, too.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use greenroom_protocol::link::StreamKind;
use greenroom_protocol::{Problem, v1};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::paging::{self, PageQuery};
use super::{Asked, json as answer, sessions};
use crate::auth::Right;
use crate::error::ApiResult;
use crate::service::files::{self, Access, check_path};

/// How clients may call the workspace.
const HOME: &str = "/home/session";

#[derive(Debug, Deserialize)]
struct PathQuery {
    path: Option<String>,
    recursive: Option<String>,
}

/// The path beneath the workspace that a client means. One from the root is beneath it too.
fn beneath(path: &str) -> ApiResult<String> {
    let rest = match path.strip_prefix(HOME) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => path,
    };
    check_path(rest.trim_start_matches('/')).map_err(|mut error| {
        error.0.code = "invalid_file_path".to_owned();
        error
    })
}

/// A path that names something in the workspace, and not the workspace itself.
fn inner(path: Option<&str>) -> ApiResult<String> {
    let path = beneath(path.unwrap_or_default())?;
    match path.is_empty() {
        true => {
            let detail = "path is required, and names something in the session's home";
            Err(Problem::new(400, "invalid_file_path", detail).at("path").into())
        }
        false => Ok(path),
    }
}

/// An entry, in the words of all clients.
fn entry(info: &v1::FileInfo) -> Value {
    let folder = info.kind == "dir";
    json!({
        "name": info.name, "path": info.path, "mode": info.mode,
        "size": if folder { 0 } else { info.size },
        "is_dir": folder, "is_directory": folder,
        "modified_time": info.modified_at.map_or(0, |at| at.unix_ms().div_euclid(1000)),
    })
}

async fn one(asked: &Asked, id: &str, access: Access, kind: StreamKind) -> ApiResult<Value> {
    let reply = files::transfer(&asked.app, &asked.caller, id, access, kind, None).await?;
    Ok(entry(&files::read_json::<v1::FileInfo>(reply).await?))
}

pub(super) async fn list(asked: Asked, agent: &str, id: &str) -> ApiResult<Response> {
    sessions::find(&asked.app, &asked.caller, agent, id).await?;
    let path = beneath(&asked.query::<PathQuery>()?.path.unwrap_or_default())?;
    let page = asked.query::<PageQuery>()?.page(true)?;
    let mut found = files::list(&asked.app, &asked.caller, id, &path).await?.items;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let all: Vec<Value> = found.iter().map(entry).collect();
    // Some clients take what they are given for all there is.
    let whole = !page.limited && page.beyond.is_none() && page.oldest_first;
    let (items, more) = if whole { (all, false) } else { paging::cut(all, "name", &page) };
    let mut listed = paging::answer(items, "name", more);
    listed["entries"] = listed["data"].clone();
    listed["path"] = path.into();
    Ok(answer(StatusCode::OK, &listed))
}

pub(super) async fn read(asked: Asked, agent: &str, id: &str) -> ApiResult<Response> {
    sessions::find(&asked.app, &asked.caller, agent, id).await?;
    let kind = StreamKind::Read { path: inner(asked.query::<PathQuery>()?.path.as_deref())? };
    let reply = files::transfer(&asked.app, &asked.caller, id, Access::Read, kind, None).await?;
    let length = reply.head.length;
    let mut response = Body::from_stream(reply.body).into_response();
    let headers = response.headers_mut();
    // Never shown as a page of ours, whatever an agent has written into it.
    for (name, value) in [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "sandbox"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

pub(super) async fn write(asked: Asked, agent: &str, id: &str) -> ApiResult<Response> {
    sessions::find(&asked.app, &asked.caller, agent, id).await?;
    asked.caller.require(Right::Use)?;
    let kind = StreamKind::Write { path: inner(asked.query::<PathQuery>()?.path.as_deref())? };
    let (app, caller) = (asked.app.clone(), asked.caller.clone());
    let body = Some(asked.into_request().into_body());
    let reply = files::transfer(&app, &caller, id, Access::Write, kind, body).await?;
    let written: v1::FileInfo = files::read_json(reply).await?;
    let said = json!({ "path": written.path, "bytes_written": written.size });
    Ok(answer(StatusCode::CREATED, &said))
}

pub(super) async fn remove(asked: Asked, agent: &str, id: &str) -> ApiResult<Response> {
    sessions::find(&asked.app, &asked.caller, agent, id).await?;
    let query: PathQuery = asked.query()?;
    let recursive = match query.recursive.as_deref() {
        None | Some("" | "false" | "False") => false,
        Some("true" | "True") => true,
        Some(_) => {
            let detail = "recursive is true or false";
            return Err(Problem::invalid(detail).at("recursive").into());
        }
    };
    let kind = StreamKind::Remove { path: inner(query.path.as_deref())?, recursive };
    files::transfer(&asked.app, &asked.caller, id, Access::Write, kind, None).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Debug, Default, Deserialize)]
struct Mkdir {
    path: Option<String>,
}

pub(super) async fn mkdir(asked: Asked, agent: &str, id: &str) -> ApiResult<Response> {
    sessions::find(&asked.app, &asked.caller, agent, id).await?;
    asked.caller.require(Right::Use)?;
    let (app, caller) = (asked.app.clone(), asked.caller.clone());
    let path = asked.json::<Mkdir>().await?.unwrap_or_default().path;
    let kind = StreamKind::Mkdir { path: inner(path.as_deref())? };
    let reply = files::transfer(&app, &caller, id, Access::Write, kind, None).await?;
    let made = entry(&files::read_json::<v1::FileInfo>(reply).await?);
    Ok(answer(StatusCode::CREATED, &made))
}

pub(super) async fn stat(asked: Asked, agent: &str, id: &str) -> ApiResult<Response> {
    sessions::find(&asked.app, &asked.caller, agent, id).await?;
    let path = beneath(&asked.query::<PathQuery>()?.path.unwrap_or_default())?;
    let found = one(&asked, id, Access::Read, StreamKind::Stat { path }).await?;
    Ok(answer(StatusCode::OK, &found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_beneath_the_workspace() {
        for (given, meant) in [
            ("", ""),
            ("/", ""),
            ("data/in put.txt", "data/in put.txt"),
            ("/abs/x.bin", "abs/x.bin"),
            ("/home/session", ""),
            ("/home/session/a", "a"),
            ("/home/sessions/a", "home/sessions/a"),
        ] {
            assert_eq!(beneath(given).expect("a path"), meant, "{given}");
        }
        for bad in ["..", "/../etc", "/home/session/../../etc/passwd", "a/../../b"] {
            assert_eq!(beneath(bad).expect_err("leaves it").0.code, "invalid_file_path", "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_path_leaves_it(path in "[/.a-c%\\PC]{0,40}") {
            if let Ok(clean) = beneath(&path) {
                prop_assert!(!clean.starts_with('/'));
                prop_assert!(clean.split('/').all(|part| part != ".."));
            }
        }
    }
}
