//! JSON-RPC of the Agent Client Protocol, from either side: with an agent, as its client, and
//! with a client, as an agent. The one module that knows the protocol's crate.

use std::sync::Arc;

use agent_client_protocol as acp;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

/// The version that is offered and spoken: 1 is what every agent answers.
pub const VERSION: u16 = 1;
/// The agent wants somebody to log in.
pub const AUTH_REQUIRED: i32 = -32000;

/// What the other side answers instead of a result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// Its JSON-RPC code.
    pub code: i32,
    /// What happened.
    pub message: String,
}

impl From<acp::Error> for RpcError {
    fn from(error: acp::Error) -> Self {
        let mut message = error.message.clone();
        // The short description is often "Internal error"; what happened is beside it.
        match &error.data {
            Some(Value::String(text)) => message = format!("{message}: {text}"),
            Some(data) => {
                let detail = ["details", "message", "error"];
                let detail = detail.iter().find_map(|key| data.get(key)?.as_str());
                let whole = data.to_string();
                message = format!("{message}: {}", detail.unwrap_or(&whole));
            }
            None => {}
        }
        Self { code: i32::from(error.code), message }
    }
}

/// What comes from the other side unasked.
#[derive(Debug)]
pub enum Incoming {
    /// It asks, and waits.
    Request {
        /// The method.
        method: String,
        /// Its parameters.
        params: Value,
        /// Where the answer goes.
        reply: Reply,
    },
    /// It tells.
    Notification {
        /// The method.
        method: String,
        /// Its parameters.
        params: Value,
    },
}

/// Where an answer goes.
pub struct Reply(Box<dyn FnOnce(Result<Value, acp::Error>) + Send>);

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reply")
    }
}

impl Reply {
    /// The result.
    pub fn ok(self, result: Value) {
        (self.0)(Ok(result));
    }

    /// An error, by its JSON-RPC code.
    pub fn error(self, code: i32, message: impl Into<String>) {
        (self.0)(Err(acp::Error::new(code, message)));
    }

    /// A result or an error.
    pub fn with(self, result: Result<Value, RpcError>) {
        match result {
            Ok(value) => self.ok(value),
            Err(error) => self.error(error.code, error.message),
        }
    }
}

/// A connection with the other side.
#[derive(Clone)]
pub struct Connection(Peer);

#[derive(Clone)]
enum Peer {
    Agent(Arc<acp::v1::ConnectionTo<acp::Agent>>),
    Client(Arc<acp::v1::ConnectionTo<acp::Client>>),
}

impl Connection {
    /// Asks, and waits for the answer. Dropped before there is one, the other side is told
    /// that none is needed any more.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let message = acp::UntypedMessage::new(method, params)?;
        let sent = match &self.0 {
            Peer::Agent(to) => to.send_request(message),
            Peer::Client(to) => to.send_request(message),
        };
        Ok(sent.block_task().await?)
    }

    /// Tells.
    pub fn tell(&self, method: &str, params: Value) -> Result<(), RpcError> {
        let message = acp::UntypedMessage::new(method, params)?;
        Ok(match &self.0 {
            Peer::Agent(to) => to.send_notification(message),
            Peer::Client(to) => to.send_notification(message),
        }?)
    }

    /// Until the other side has closed its end.
    pub async fn closed(&self) {
        match &self.0 {
            Peer::Agent(to) => to.incoming_closed().await,
            Peer::Client(to) => to.incoming_closed().await,
        }
    }
}

/// What a connection of either role hears, into a channel.
macro_rules! hearing {
    ($builder:expr, $say:expr) => {{
        let (asked, told) = ($say.clone(), $say);
        $builder
            .on_receive_request(
                async move |request: acp::UntypedMessage, responder: acp::v1::Responder, _to| {
                    let reply = Reply(Box::new(move |result| {
                        // A side that is gone needs no answer.
                        let _ = responder.respond_with_result(result);
                    }));
                    let acp::UntypedMessage { method, params } = request;
                    let _ = asked.send(Incoming::Request { method, params, reply });
                    Ok(())
                },
                acp::on_receive_request!(),
            )
            .on_receive_notification(
                async move |notification: acp::UntypedMessage, _to| {
                    let acp::UntypedMessage { method, params } = notification;
                    let _ = told.send(Incoming::Notification { method, params });
                    Ok(())
                },
                acp::on_receive_notification!(),
            )
    }};
}

/// Speaks with the agent at these pipes as long as `main` runs.
pub async fn connect<T>(
    stdin: ChildStdin,
    stdout: ChildStdout,
    main: impl AsyncFnOnce(Connection, mpsc::UnboundedReceiver<Incoming>) -> T,
) -> Result<T, RpcError> {
    let (say, said) = mpsc::unbounded_channel();
    let done = hearing!(acp::Client.v1(), say)
        .connect_with(
            acp::ByteStreams::new(stdin.compat_write(), stdout.compat()),
            async |to: acp::v1::ConnectionTo<acp::Agent>| {
                Ok(main(Connection(Peer::Agent(Arc::new(to))), said).await)
            },
        )
        .await?;
    Ok(done)
}

/// Speaks as an agent with the client at these streams as long as `main` runs.
pub async fn answer<T>(
    stdin: impl AsyncRead + Send + Unpin + 'static,
    stdout: impl AsyncWrite + Send + Unpin + 'static,
    main: impl AsyncFnOnce(Connection, mpsc::UnboundedReceiver<Incoming>) -> T,
) -> Result<T, RpcError> {
    let (say, said) = mpsc::unbounded_channel();
    let done = hearing!(acp::Agent.v1(), say)
        .connect_with(
            acp::ByteStreams::new(stdout.compat_write(), stdin.compat()),
            async |to: acp::v1::ConnectionTo<acp::Client>| {
                Ok(main(Connection(Peer::Client(Arc::new(to))), said).await)
            },
        )
        .await?;
    Ok(done)
}

/// What we are as a client, and what we can.
pub(super) fn initialize() -> Value {
    json!({
        "protocolVersion": VERSION,
        "clientInfo": {
            "name": "greenroom", "title": "Greenroom", "version": env!("CARGO_PKG_VERSION"),
        },
        "clientCapabilities": {
            "fs": { "readTextFile": true, "writeTextFile": true },
            "terminal": true,
            "elicitation": { "form": {}, "url": {} },
        },
    })
}
