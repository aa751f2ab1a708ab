//! The thinnest client there can be: one connection, one request at a time.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// A connection to a server.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
    token: String,
}

impl Connection {
    /// Opens one.
    pub(crate) async fn open(address: SocketAddr, token: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("failed to connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, address, token: token.to_owned() })
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        accept: &str,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("authorization", format!("Bearer {}", self.token))
            .header("accept", accept);
        let bytes = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Bytes::from(serde_json::to_vec(body)?)
            }
            None => Bytes::new(),
        };
        self.sender.ready().await?;
        let request = request.body(Full::new(bytes))?;
        Ok(self.sender.send_request(request).await?)
    }

    /// A request and its answer, whatever that is.
    pub(crate) async fn raw(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(u16, Bytes)> {
        let response = self.send(method, path, body, "application/json").await?;
        let status = response.status().as_u16();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// A request that must succeed.
    pub(crate) async fn json(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let (status, bytes) = self.raw(method, path, body).await?;
        if !(200..300).contains(&status) {
            bail!("{method} {path} answered {status}: {}", String::from_utf8_lossy(&bytes));
        }
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// An event stream.
    pub(crate) async fn events(mut self, path: &str) -> anyhow::Result<Events> {
        let response = self.send("GET", path, None, "text/event-stream").await?;
        if response.status() != 200 {
            bail!("GET {path} answered {}", response.status());
        }
        Ok(Events { _connection: self, body: response.into_body(), buffer: Vec::new(), read: 0 })
    }
}

/// One frame of an event stream.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    /// Position in the log; a live frame has none.
    pub(crate) id: Option<u64>,
    /// Its type.
    pub(crate) event: String,
    /// What it carries.
    pub(crate) data: String,
}

/// An event stream.
pub(crate) struct Events {
    _connection: Connection,
    body: Incoming,
    buffer: Vec<u8>,
    read: usize,
}

impl Events {
    /// The next frame; `None` when the server has ended the stream.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Frame>> {
        let mut frame = Frame::default();
        loop {
            let Some(line) = self.line().await? else { return Ok(None) };
            let Some((key, value)) = line.split_once(':') else {
                if line.is_empty() && !frame.data.is_empty() {
                    return Ok(Some(frame));
                }
                continue;
            };
            let value = value.strip_prefix(' ').unwrap_or(value);
            match key {
                // A cursor may begin with the era of the store.
                "id" => frame.id = value.rsplit('.').next().and_then(|id| id.parse().ok()),
                "event" => frame.event = value.to_owned(),
                "data" => frame.data.push_str(value),
                _ => {}
            }
        }
    }

    async fn line(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer[self.read..].iter().position(|b| *b == b'\n') {
                let line = &self.buffer[self.read..self.read + end];
                let line = String::from_utf8_lossy(line).trim_end_matches('\r').to_owned();
                self.read += end + 1;
                return Ok(Some(line));
            }
            self.buffer.drain(..self.read);
            self.read = 0;
            let Some(part) = self.body.frame().await else { return Ok(None) };
            if let Some(bytes) = part?.data_ref() {
                self.buffer.extend_from_slice(bytes);
            }
        }
    }
}
