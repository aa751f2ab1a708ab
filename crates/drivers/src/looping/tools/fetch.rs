//! The tool `fetch`: one page, by GET. A redirect to another host is told, not followed:
//! who allowed this address did not allow that one.

use std::time::Duration;

use futures::StreamExt;
use serde::Deserialize;

/// Of a page, so much is told.
const MOST: usize = 200_000;
/// It may take so long.
const LONGEST: Duration = Duration::from_secs(30);
/// So many redirects are followed.
const MOST_REDIRECTS: usize = 5;

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    url: String,
}

pub(super) async fn run(input: Input) -> Result<String, String> {
    let url = input.url;
    let get = get(&url);
    match tokio::time::timeout(LONGEST, get).await {
        Ok(got) => got,
        Err(_) => Err(format!("{url} did not answer within {} s", LONGEST.as_secs())),
    }
}

async fn get(url: &str) -> Result<String, String> {
    let parsed = reqwest::Url::parse(url).map_err(|error| format!("{url:?}: {error}"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(format!("{url:?} is not an http address"));
    }
    let policy = reqwest::redirect::Policy::custom(|attempt| {
        let same =
            attempt.previous().last().is_some_and(|from| from.origin() == attempt.url().origin());
        match same && attempt.previous().len() <= MOST_REDIRECTS {
            true => attempt.follow(),
            false => attempt.stop(),
        }
    });
    let client = super::super::http::client(|builder| builder.redirect(policy))?;
    let response = client.get(parsed).send().await.map_err(|error| {
        format!("{url} cannot be reached: {}", super::super::http::causes(&error))
    })?;
    let status = response.status();
    let header =
        |name| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    if status.is_redirection() {
        let to = header(reqwest::header::LOCATION).unwrap_or_default();
        return Ok(format!("{url} is elsewhere now: {to}\nFetch that, if it is what you want."));
    }
    let kind = header(reqwest::header::CONTENT_TYPE).unwrap_or_default();
    let mut bytes = Vec::new();
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| format!("{url} broke off: {error}"))?);
        if bytes.len() > MOST {
            break;
        }
    }
    if bytes.iter().take(8192).any(|byte| *byte == 0) {
        return Err(format!("{url} is not text ({kind})"));
    }
    let cut = bytes.len() > MOST;
    bytes.truncate(MOST);
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if cut {
        text.push_str(&format!("\n[cut after {MOST} bytes]"));
    }
    match status.is_success() {
        true => Ok(text),
        false => Err(format!("{url} answered {status}\n{text}")),
    }
}
