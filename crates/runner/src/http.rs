//! The calls of the link. Each is a plain request that the runner starts.

use std::sync::Arc;
use std::time::Duration;

use greenroom_core::{ApprovalId, Epoch, RunId, SessionUid, StreamId};
use greenroom_protocol::Problem;
use greenroom_protocol::link::{
    AnswerBody, ComputeBody, EnrollReply, EnrollRequest, RecordsReply, RunBody, RunnerInfo,
    SettingsBody, SyncReply, SyncRequest,
};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;

use crate::error::RunnerError;
use crate::identity::Identity;

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No answer came: nothing is known about what it did.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// The answer is no.
    #[error("{} {}: {}", .0.status, .0.code, .0.detail)]
    Refused(Box<Problem>),
    /// This runner has no credential yet.
    #[error("this runner has not joined yet")]
    NotJoined,
}

impl CallError {
    /// The status of a refusal.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(problem) => Some(problem.status),
            Self::Unreachable(_) | Self::NotJoined => None,
        }
    }

    /// Whether the coordinator itself has answered with this code: what stands between may
    /// answer with any status.
    pub(crate) fn is(&self, code: &str) -> bool {
        matches!(self, Self::Refused(problem) if problem.code == code)
    }
}

type Call<T> = Result<T, CallError>;

/// The calls of the link to one coordinator.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    base: String,
    identity: Arc<Identity>,
}

/// Time for a small answer.
const SHORT: Duration = Duration::from_secs(15);
/// Time for a batch of records to be stored.
const BATCH: Duration = Duration::from_secs(60);

impl Api {
    /// The calls to the coordinator at `base`.
    pub(crate) fn new(base: &str, identity: Arc<Identity>) -> Result<Self, RunnerError> {
        let bad = |reason: String| RunnerError::BadAddress { url: base.to_owned(), reason };
        let url = reqwest::Url::parse(base).map_err(|error| bad(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(bad("it must begin with http:// or https://".to_owned()));
        }
        // Whoever installed one first is right; the client only needs that there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder();
        if is_here(&url) {
            // No proxy leads to this very machine.
            builder = builder.no_proxy();
        }
        let http = builder
            .connect_timeout(Duration::from_secs(5))
            .tcp_keepalive(Duration::from_secs(15))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(RunnerError::Http)?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), identity })
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v1/link/{path}", self.base)
    }

    fn signed(&self, request: RequestBuilder) -> Call<RequestBuilder> {
        let joined = self.identity.joined().ok_or(CallError::NotJoined)?;
        Ok(request.bearer_auth(joined.credential))
    }

    /// Exchanges a join token for this runner's own credential.
    pub(crate) async fn enroll(&self, token: &str, info: &RunnerInfo) -> Call<EnrollReply> {
        let body = EnrollRequest { runner_id: self.identity.id(), info: info.clone() };
        let request = self.http.post(self.url("enroll")).bearer_auth(token).json(&body);
        json(answer(request.timeout(SHORT)).await?).await
    }

    /// Reports and asks for news.
    pub(crate) async fn sync(&self, body: &SyncRequest) -> Call<SyncReply> {
        let limit = SHORT + Duration::from_millis(body.wait_ms);
        let request = self.signed(self.http.post(self.url("sync")))?.json(body);
        json(answer(request.timeout(limit)).await?).await
    }

    /// Hands over journal records, or live text.
    pub(crate) async fn records(&self, ndjson: bytes::Bytes) -> Call<RecordsReply> {
        let request = self
            .signed(self.http.post(self.url("records")))?
            .header(reqwest::header::CONTENT_TYPE, "application/x-ndjson")
            .body(ndjson);
        json(answer(request.timeout(BATCH)).await?).await
    }

    /// The body of an assignment.
    pub(crate) async fn compute(&self, uid: SessionUid, epoch: Epoch) -> Call<ComputeBody> {
        let request = self.signed(self.http.get(self.url(&format!("computes/{uid}/{epoch}"))))?;
        json(answer(request.timeout(SHORT)).await?).await
    }

    /// What was answered to a question of an agent.
    pub(crate) async fn answer(
        &self,
        uid: SessionUid,
        epoch: Epoch,
        id: ApprovalId,
    ) -> Call<AnswerBody> {
        let path = format!("computes/{uid}/{epoch}/answers/{id}");
        let request = self.signed(self.http.get(self.url(&path)))?;
        json(answer(request.timeout(SHORT)).await?).await
    }

    /// The settings a compute goes by now.
    pub(crate) async fn settings(&self, uid: SessionUid, epoch: Epoch) -> Call<SettingsBody> {
        let path = format!("computes/{uid}/{epoch}/settings");
        let request = self.signed(self.http.get(self.url(&path)))?;
        json(answer(request.timeout(SHORT)).await?).await
    }

    /// The body of a run. Prompts can be large.
    pub(crate) async fn run(&self, run: RunId) -> Call<RunBody> {
        let request = self.signed(self.http.get(self.url(&format!("runs/{run}"))))?;
        json(answer(request.timeout(BATCH)).await?).await
    }

    fn stream_url(&self, reply_to: Option<&str>, stream: StreamId) -> String {
        let base = reply_to.map_or(self.base.as_str(), |base| base.trim_end_matches('/'));
        format!("{base}/v1/link/streams/{stream}")
    }

    /// The bytes a client sends.
    pub(crate) async fn stream_in(
        &self,
        reply_to: Option<&str>,
        stream: StreamId,
    ) -> Call<Response> {
        answer(self.signed(self.http.get(self.stream_url(reply_to, stream)))?).await
    }

    /// The bytes a client gets.
    pub(crate) async fn stream_out(
        &self,
        reply_to: Option<&str>,
        stream: StreamId,
        body: reqwest::Body,
    ) -> Call<()> {
        let request = self
            .signed(self.http.post(self.stream_url(reply_to, stream)))?
            .header(reqwest::header::CONTENT_TYPE, "application/octet-stream")
            .body(body);
        answer(request).await.map(|_| ())
    }
}

fn is_here(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// An error and its causes in one line: the outermost alone often says nothing.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn unreachable(error: &reqwest::Error) -> CallError {
    CallError::Unreachable(chain(error))
}

async fn answer(request: RequestBuilder) -> Call<Response> {
    let response = request.send().await.map_err(|error| unreachable(&error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.text().await.unwrap_or_default();
    Err(CallError::Refused(Box::new(problem(status, &text))))
}

fn problem(status: StatusCode, text: &str) -> Problem {
    serde_json::from_str(text).unwrap_or_else(|_| {
        let words: String = text.chars().take(200).collect();
        Problem::new(status.as_u16(), "not_a_problem", format!("{status} {words}"))
    })
}

async fn json<T: DeserializeOwned>(response: Response) -> Call<T> {
    let bytes = response.bytes().await.map_err(|error| unreachable(&error))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| CallError::Unreachable(format!("the answer does not read: {error}")))
}
