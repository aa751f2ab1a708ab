//! Requests for a session's agent, where that serves HTTP.

use bytes::Bytes;
use greenroom_protocol::Problem;
use reqwest::{Method, Response};

use crate::ClientError;
use crate::http::Client;
use crate::route::Route;

/// Says that an answer is the agent's own.
const EPOCH: &str = "x-greenroom-epoch";

/// What is asked of an agent.
#[derive(Debug, Clone, Default)]
pub struct AgentRequest {
    /// Its method; `GET` where empty.
    pub method: String,
    /// Path and query at the agent.
    pub target: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Option<Vec<u8>>,
}

/// What an agent answers, as it comes.
#[derive(Debug)]
pub struct AgentAnswer {
    response: Response,
    client: Client,
}

impl AgentAnswer {
    /// Its status.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Its headers, as far as they are text.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.response.headers().iter();
        all.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
    }

    /// The next piece of its body.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        self.response.chunk().await.map_err(|error| self.client.broken(&error))
    }
}

impl Client {
    /// Asks the session's agent. Whatever it answers is an answer, errors too; an error is
    /// only what Greenroom itself says.
    pub async fn ask_agent(
        &self,
        session: &str,
        request: AgentRequest,
    ) -> Result<AgentAnswer, ClientError> {
        let method = match request.method.as_str() {
            "" => Method::GET,
            named => Method::from_bytes(named.as_bytes()).map_err(|_| {
                let detail = format!("{named:?} is no method of HTTP");
                ClientError::Problem(Box::new(Problem::invalid(detail)))
            })?,
        };
        let route = Route::to("v1/sessions").name("session", session)?.then("http");
        let mut asked = self.request(method, &route.raw(&request.target)?, "*/*");
        for (name, value) in &request.headers {
            asked = asked.header(name, value);
        }
        if let Some(body) = request.body {
            asked = asked.body(body);
        }
        let response = self.answered(asked).await?;
        if response.headers().contains_key(EPOCH) {
            return Ok(AgentAnswer { response, client: self.clone() });
        }
        Err(self.refusal(response).await)
    }
}
