//! A session's files, wherever its home is.

use axum::body::Body;
use futures::StreamExt;
use greenroom_core::Session;
use greenroom_protocol::link::StreamKind;
use greenroom_protocol::{Problem, v1};
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::auth::{Caller, Right};
use crate::error::ApiResult;
use crate::service::sessions;
use crate::service::streams::{self, Reply};

/// A list of a folder has so many bytes at most.
const MAX_ANSWER: usize = 64 << 20;

/// Whether a call changes files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// It looks.
    Read,
    /// It changes.
    Write,
}

/// Refuses a path that leaves the workspace or cannot be one.
pub(crate) fn check_path(path: &str) -> ApiResult<String> {
    let bad = |detail: &str| Err(Problem::invalid(format!("path: {detail}")).at("path").into());
    if path.contains('\0') {
        return bad("must not contain NUL characters");
    }
    if path.starts_with('/') {
        return bad("is relative to the workspace and does not begin with /");
    }
    if path.split('/').any(|part| part == "..") {
        return bad("must not leave the workspace");
    }
    if path.chars().count() > 4096 {
        return bad("has 4096 characters at most");
    }
    let clean: Vec<&str> =
        path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    Ok(clean.join("/"))
}

/// Does something with the files of a session, and answers what its runner sends.
pub(crate) async fn transfer(
    app: &App,
    caller: &Caller,
    id: &str,
    access: Access,
    kind: StreamKind,
    upload: Option<Body>,
) -> ApiResult<Reply> {
    let session = find(app, caller, id, access).await?;
    let Some(home) = session.home else {
        return Err(nothing_yet(&session).into());
    };
    let Some(runner) = app.runners.get(home) else {
        return Err(Problem::new(
            504,
            "runner_unreachable",
            format!("runner {home}, which has the files, is not known"),
        )
        .into());
    };
    let reply = streams::transfer(app, &runner, session.uid, kind, upload).await?;
    match reply.head.problem {
        Some(problem) => Err(passed_on(problem).into()),
        None => Ok(reply),
    }
}

/// Finds a session whose files a caller may use in this way.
pub(crate) async fn find(
    app: &App,
    caller: &Caller,
    id: &str,
    access: Access,
) -> ApiResult<std::sync::Arc<Session>> {
    caller.require(Right::Read)?;
    let session = sessions::find(app, caller, id).await?;
    if access == Access::Write {
        caller.require(Right::Use)?;
    }
    Ok(session)
}

fn nothing_yet(session: &Session) -> Problem {
    Problem::new(
        404,
        "file_not_found",
        format!("session {:?} has no files yet: it was not started", session.id.as_str()),
    )
}

/// What a runner found wrong, with a status that is the caller's to understand.
pub(crate) fn passed_on(problem: Problem) -> Problem {
    match problem.status {
        404 | 409 | 413 | 422 | 507 => problem,
        _ => Problem { status: 500, title: "Internal error".to_owned(), ..problem },
    }
}

/// The whole of an answer, as JSON.
pub(crate) async fn read_json<T: DeserializeOwned>(reply: Reply) -> ApiResult<T> {
    let mut all = Vec::new();
    let mut body = reply.body;
    while let Some(part) = body.next().await {
        let part = part.map_err(|e| broken(&e.to_string()))?;
        if all.len() + part.len() > MAX_ANSWER {
            return Err(broken("it is too long").into());
        }
        all.extend_from_slice(&part);
    }
    Ok(serde_json::from_slice(&all).map_err(|e| broken(&e.to_string()))?)
}

fn broken(reason: &str) -> Problem {
    Problem::new(504, "runner_unreachable", format!("the runner's answer broke off: {reason}"))
}

/// A folder's entries.
pub(crate) async fn list(
    app: &App,
    caller: &Caller,
    id: &str,
    path: &str,
) -> ApiResult<v1::List<v1::FileInfo>> {
    let path = check_path(path)?;
    let session = find(app, caller, id, Access::Read).await?;
    if session.home.is_none() && path.is_empty() {
        return Ok(v1::List::whole(Vec::new()));
    }
    let kind = StreamKind::List { path };
    read_json(transfer(app, caller, id, Access::Read, kind, None).await?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_beneath_the_workspace() {
        for (given, clean) in [
            ("", ""),
            (".", ""),
            ("a//b/./c/", "a/b/c"),
            ("..a/b..", "..a/b.."),
            ("a b%c", "a b%c"),
        ] {
            assert_eq!(check_path(given).expect("a path"), clean);
        }
        for bad in ["/etc/passwd", "..", "a/../../b", "a/..", "a\0b"] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }
}
