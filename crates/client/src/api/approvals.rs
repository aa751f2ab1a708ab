//! Approvals and questions.

use greenroom_protocol::v1::{AnswerRequest, Approval};
use reqwest::Method;

use crate::http::{Answer, Call, Listing};
use crate::route::Route;
use crate::{Client, ClientError};

impl Client {
    /// What waits for a person, in all sessions one may see.
    pub async fn approvals(
        &self,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<Listing<Approval>, ClientError> {
        let route = Route::to("v1/approvals").ask("limit", limit);
        self.list(route.maybe("cursor", cursor)).await
    }

    /// What the agent of a session asks, answered or not.
    pub async fn session_approvals(&self, session: &str) -> Result<Listing<Approval>, ClientError> {
        self.list(Route::to("v1/sessions").name("session", session)?.then("approvals")).await
    }

    /// Answers one.
    pub async fn answer(
        &self,
        session: &str,
        approval: &str,
        answer: &AnswerRequest,
    ) -> Result<Answer<Approval>, ClientError> {
        let route = Route::to("v1/sessions").name("session", session)?.then("approvals");
        self.call(Method::POST, route.name("approval", approval)?, Call::json(answer)).await
    }
}
