//! Runs.

use greenroom_protocol::v1::{AcceptedRun, CreateRun, Run};
use reqwest::Method;
use serde_json::Value;

use crate::http::{Answer, Call, Listing};
use crate::route::Route;
use crate::{Client, ClientError};

impl Client {
    /// Asks something of a session.
    pub async fn create_run(
        &self,
        session: &str,
        run: &CreateRun,
    ) -> Result<Answer<AcceptedRun>, ClientError> {
        let route = Route::to("v1/sessions").name("session", session)?.then("runs");
        self.call(Method::POST, route, Call::json(run).keyed()).await
    }

    /// A page of a session's runs.
    pub async fn runs(
        &self,
        session: &str,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<Listing<Run>, ClientError> {
        let route = Route::to("v1/sessions").name("session", session)?.then("runs");
        self.list(route.ask("limit", limit).maybe("cursor", cursor)).await
    }

    /// One run.
    pub async fn run(&self, id: &str) -> Result<Answer<Run>, ClientError> {
        self.get(Route::to("v1/runs").name("run", id)?).await
    }

    /// Stops a run; answers what the coordinator says of it.
    pub async fn stop_run(&self, id: &str) -> Result<Answer<Value>, ClientError> {
        let route = Route::to("v1/runs").name("run", id)?.then("stop");
        self.call(Method::POST, route, Call::default().repeatable()).await
    }

    /// Takes a run back that was not dispatched yet; answers what the coordinator says of it.
    pub async fn withdraw_run(&self, id: &str) -> Result<Answer<Value>, ClientError> {
        let route = Route::to("v1/runs").name("run", id)?.then("withdraw");
        self.call(Method::POST, route, Call::default().repeatable()).await
    }
}
