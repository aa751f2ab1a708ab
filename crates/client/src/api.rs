//! The calls, one file a noun.

mod agents;
mod approvals;
mod files;
mod requests;
mod runners;
mod runs;
mod sessions;
mod tokens;

pub use bytes::Bytes;
pub use files::{FileBody, Moment, Upload};
pub use requests::{AgentAnswer, AgentRequest};
pub use sessions::{Deletion, SessionFilter, StopOutcome};

use greenroom_protocol::v1::Health;

use crate::http::Answer;
use crate::route::Route;
use crate::{Client, ClientError};

impl Client {
    /// Whether the coordinator runs. Needs no token.
    pub async fn health(&self) -> Result<Answer<Health>, ClientError> {
        self.get(Route::to("healthz")).await
    }

    /// Whether the coordinator could take a write now. Needs no token.
    pub async fn ready(&self) -> Result<Answer<Health>, ClientError> {
        self.get(Route::to("readyz")).await
    }
}
