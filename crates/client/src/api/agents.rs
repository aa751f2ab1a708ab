//! Agents.

use std::time::Duration;

use greenroom_protocol::v1::{AddAgent, Agent};
use reqwest::Method;
use serde_json::Value;

use crate::http::{Answer, Call, Listing};
use crate::route::Route;
use crate::{Client, ClientError};

/// The sessions of an agent have so long to be proven stopped.
const REMOVAL: Duration = Duration::from_secs(120);

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

    /// Takes an agent out of service; with `force`, together with its sessions.
    pub async fn remove_agent(&self, name: &str, force: bool) -> Result<(), ClientError> {
        let route = Route::to("v1/agents").name("agent", name)?;
        let route = if force { route.ask("force", true) } else { route };
        let call = Call::default().repeatable().waiting(force.then_some(REMOVAL));
        self.call_plain(Method::DELETE, route, call).await.map(drop)
    }

    /// Has an agent take nothing new, or take it again.
    pub async fn disable_agent(&self, name: &str, disabled: bool) -> Result<(), ClientError> {
        let verb = if disabled { "disable" } else { "enable" };
        let route = Route::to("v1/agents").name("agent", name)?.then(verb);
        self.call_plain(Method::POST, route, Call::default().repeatable()).await.map(drop)
    }
}
