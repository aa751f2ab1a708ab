//! Runners.

use greenroom_protocol::v1::Runner;
use reqwest::Method;

use crate::http::{Answer, Call, Listing};
use crate::route::Route;
use crate::{Client, ClientError};

impl Client {
    /// All runners.
    pub async fn runners(&self) -> Result<Listing<Runner>, ClientError> {
        self.list(Route::to("v1/runners")).await
    }

    /// One runner.
    pub async fn runner(&self, id: &str) -> Result<Answer<Runner>, ClientError> {
        self.get(Route::to("v1/runners").name("runner", id)?).await
    }

    /// A runner takes nothing new from now on.
    pub async fn drain_runner(&self, id: &str) -> Result<(), ClientError> {
        let route = Route::to("v1/runners").name("runner", id)?.then("drain");
        self.call_plain(Method::POST, route, Call::default().repeatable()).await.map(drop)
    }

    /// Forgets a runner; with `force` also one that has sessions' files, which are lost.
    pub async fn remove_runner(&self, id: &str, force: bool) -> Result<(), ClientError> {
        let route = Route::to("v1/runners").name("runner", id)?;
        let route = route.maybe("force", force.then_some(true));
        self.call_plain(Method::DELETE, route, Call::default().repeatable()).await.map(drop)
    }
}
