//! Agents.

use greenroom_protocol::v1::{AddAgent, Agent};
use reqwest::Method;
use serde_json::Value;

use crate::http::{Answer, Call, Listing};
use crate::route::Route;
use crate::{Client, ClientError};

impl Client {
    /// All agents in service.
    pub async fn agents(&self) -> Result<Listing<Agent>, ClientError> {
        self.list(Route::to("v1/agents")).await
    }

    /// One agent.
    pub async fn agent(&self, name: &str) -> Result<Answer<Agent>, ClientError> {
        self.get(Route::to("v1/agents").name("agent", name)?).await
    }

    /// Adds a source of agents; answers what the coordinator says of it.
    pub async fn add_agent(&self, source: &str) -> Result<Answer<Value>, ClientError> {
        let call = Call::json(&AddAgent { source: source.to_owned() }).keyed();
        self.call(Method::POST, Route::to("v1/agents"), call).await
    }

    /// Takes an agent out of service.
    pub async fn remove_agent(&self, name: &str) -> Result<(), ClientError> {
        let route = Route::to("v1/agents").name("agent", name)?;
        self.call_plain(Method::DELETE, route, Call::default().repeatable()).await.map(drop)
    }
}
