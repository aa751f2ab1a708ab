//! A model, whoever serves it: messages in, an answer in pieces out.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

/// Something that answers.
#[async_trait]
pub trait Model: Send + Sync {
    /// `PROVIDER/MODEL`, for the log.
    fn name(&self) -> &str;

    /// One call. Pieces are heard as they come; dropped, the call is given up at once.
    async fn call(&self, request: &Request<'_>, heard: Heard<'_>) -> Result<Reply, Fault>;
}

/// Who hears the pieces of an answer.
pub type Heard<'a> = &'a mut (dyn FnMut(Piece<'_>) + Send);

/// A piece of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Of what is said.
    Text(&'a str),
    /// Of what is thought.
    Thought(&'a str),
}

/// What a model is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What goes before the conversation.
    pub system: &'a str,
    /// The conversation.
    pub messages: &'a [Message],
    /// The tools it may use.
    pub tools: &'a [Tool],
    /// The form of its answer.
    pub form: Option<&'a Form>,
}

/// The form of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Form {
    /// Its name, for the provider.
    pub name: String,
    /// Its JSON Schema.
    pub schema: Value,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Of who asks.
    User(String),
    /// Of the model.
    Agent {
        /// What it said.
        text: String,
        /// What it wanted done.
        calls: Vec<Call>,
        /// What the provider wants back with it.
        state: Option<State>,
    },
    /// What came of the calls of the message before, in their order.
    Results(Vec<CallResult>),
}

/// What a provider wants back unchanged, such as signatures of thoughts.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct State {
    /// Whose: another model is not given it.
    pub model: String,
    /// What.
    pub parts: Value,
}

/// A tool the model wants used.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Its identity in the conversation.
    pub id: String,
    /// The tool.
    pub tool: String,
    /// What it is given. A string is an input that did not read.
    pub input: Value,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallResult {
    /// Of which call.
    pub id: String,
    /// The tool.
    pub tool: String,
    /// What it says.
    pub output: String,
    /// Whether it went wrong.
    pub is_error: bool,
}

/// A tool, as a model is told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// JSON Schema of its input.
    pub schema: Value,
}

/// A whole answer. Its text was heard.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// What it wants done.
    pub calls: Vec<Call>,
    /// What the provider wants back with it.
    pub state: Option<State>,
    /// Tokens used.
    pub usage: Usage,
    /// Why it ended.
    pub stop: Stop,
}

/// Tokens used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// That the model read.
    pub input: u64,
    /// That it wrote.
    pub output: u64,
    /// Of those it read, the ones it knew.
    pub cached: u64,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It is done, or wants tools used.
    Done,
    /// It was as long as it may be.
    Length,
    /// The provider did not let it say more.
    Filtered,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// What happened, to what.
    pub message: String,
}

/// Kinds of faults, by what helps against them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The key is not good.
    Auth,
    /// It refuses the request itself.
    Refused,
    /// It refuses the request because it is too long.
    TooLong,
    /// It wants to be left alone for a while.
    Limited(Option<Duration>),
    /// It is not well.
    Server,
    /// The connection broke, or what came does not read.
    Broken,
    /// Nothing came in time.
    Silent,
}

impl Fault {
    /// A fault from its parts.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The word for a run that fails because of it.
    pub fn code(&self) -> &'static str {
        match self.kind {
            FaultKind::Auth => "auth",
            FaultKind::Silent => "model_timeout",
            _ => "model_error",
        }
    }

    /// Whether the same call may go better later.
    pub fn may_pass(&self) -> bool {
        match self.kind {
            FaultKind::Limited(_) | FaultKind::Server | FaultKind::Broken | FaultKind::Silent => {
                true
            }
            FaultKind::Auth | FaultKind::Refused | FaultKind::TooLong => false,
        }
    }
}
