//! Sessions.

use std::time::Duration;

use greenroom_core::{Event, Seq};
use greenroom_protocol::v1::{
    AbandonRequest, CreateSession, ForkSession, PatchSession, Session, StopReply, StopRequest,
};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::http::{Answer, Call, Listing};
use crate::route::Route;
use crate::{Client, ClientError};

/// Which sessions.
#[derive(Debug, Clone, Default)]
pub struct SessionFilter {
    /// Of any of these statuses; all where empty.
    pub status: Vec<String>,
    /// Of this agent.
    pub agent: Option<String>,
    /// With these labels, each as `key=value`.
    pub labels: Vec<String>,
    /// At home on this runner.
    pub runner: Option<String>,
    /// Children of this session.
    pub parent: Option<String>,
    /// With this text in id, title or agent.
    pub text: Option<String>,
    /// In this order: `created`, `active`, `id`.
    pub sort: Option<String>,
}

/// What became of a stop.
#[derive(Debug)]
pub struct StopOutcome {
    /// The session is at rest; otherwise the stop goes on.
    pub at_rest: bool,
    /// What the coordinator says.
    pub reply: Answer<StopReply>,
}

/// What became of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// The session is gone, with its log and files.
    Gone,
    /// It is being removed.
    UnderWay,
}

fn session(id: &str) -> Result<Route, ClientError> {
    Route::to("v1/sessions").name("session", id)
}

/// A duration in a query.
fn span(wait: Duration) -> String {
    format!("{}ms", wait.as_millis())
}

impl Client {
    /// Creates a session, with its first run where the body has a prompt or an input.
    pub async fn create_session(
        &self,
        body: &CreateSession,
    ) -> Result<Answer<Session>, ClientError> {
        self.call(Method::POST, Route::to("v1/sessions"), Call::json(body).keyed()).await
    }

    /// A page of sessions.
    pub async fn sessions(
        &self,
        filter: &SessionFilter,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<Listing<Session>, ClientError> {
        let mut route = Route::to("v1/sessions");
        if !filter.status.is_empty() {
            route = route.ask("status", filter.status.join(","));
        }
        for label in &filter.labels {
            route = route.ask("label", label);
        }
        let route = route
            .maybe("agent", filter.agent.as_ref())
            .maybe("runner", filter.runner.as_ref())
            .maybe("parent", filter.parent.as_ref())
            .maybe("q", filter.text.as_ref())
            .maybe("sort", filter.sort.as_ref())
            .ask("limit", limit)
            .maybe("cursor", cursor);
        self.list(route).await
    }

    /// One session.
    pub async fn session(&self, id: &str) -> Result<Answer<Session>, ClientError> {
        self.get(session(id)?).await
    }

    /// Changes title, labels or limits.
    pub async fn patch_session(
        &self,
        id: &str,
        body: &PatchSession,
    ) -> Result<Answer<Session>, ClientError> {
        self.call(Method::PATCH, session(id)?, Call::json(body).repeatable()).await
    }

    /// Stops a session, proves it, and removes it with its log and files.
    pub async fn delete_session(&self, id: &str, wait: Duration) -> Result<Deletion, ClientError> {
        let route = session(id)?.ask("wait", span(wait));
        let call = Call::default().waiting(Some(wait));
        Ok(match self.call_plain(Method::DELETE, route, call).await? {
            StatusCode::ACCEPTED => Deletion::UnderWay,
            _ => Deletion::Gone,
        })
    }

    /// Stops a session; waits for the proof where `wait` is given.
    pub async fn stop_session(
        &self,
        id: &str,
        body: &StopRequest,
        wait: Option<Duration>,
    ) -> Result<StopOutcome, ClientError> {
        let route = session(id)?.then("stop").maybe("wait", wait.map(span));
        let call = Call::json(body).repeatable().waiting(wait);
        let (status, reply) = self.call_for(Method::POST, route, call).await?;
        Ok(StopOutcome { at_rest: status == StatusCode::OK, reply })
    }

    /// Lifts the hold; brings a persistent agent up. Answers what the coordinator says.
    pub async fn resume_session(&self, id: &str) -> Result<Answer<Value>, ClientError> {
        self.call(Method::POST, session(id)?.then("resume"), Call::default()).await
    }

    /// Makes a session that begins with the conversation of this one.
    pub async fn fork_session(
        &self,
        id: &str,
        body: &ForkSession,
    ) -> Result<Answer<Session>, ClientError> {
        self.call(Method::POST, session(id)?.then("fork"), Call::json(body).keyed()).await
    }

    /// Closes a compute by a person's word. Answers what the coordinator says.
    pub async fn abandon_session(
        &self,
        id: &str,
        reason: &str,
    ) -> Result<Answer<Value>, ClientError> {
        let body = AbandonRequest { reason: reason.to_owned() };
        self.call(Method::POST, session(id)?.then("abandon"), Call::json(&body)).await
    }

    /// A page of a session's log.
    pub async fn events(
        &self,
        id: &str,
        from: Seq,
        limit: u32,
    ) -> Result<Listing<Event>, ClientError> {
        self.list(session(id)?.then("events").ask("from", from).ask("limit", limit)).await
    }
}
