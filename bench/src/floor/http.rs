//! An HTTP round trip with nothing behind it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use crate::http::Connection;
use crate::stats::since;

/// A server that reads a request and answers one line, on a thread of its own.
pub(crate) struct RoundTrip {
    connection: Connection,
}

impl RoundTrip {
    /// Starts it and connects to it.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        thread::spawn(move || serve(listener));
        Ok(Self { connection: open(address).await? })
    }

    /// One prompt's worth of bytes there and back, in milliseconds.
    pub(crate) async fn once(&mut self) -> anyhow::Result<f64> {
        let started = Instant::now();
        self.connection.json("POST", "/", Some(&json!({ "prompt": "begin" }))).await?;
        Ok(since(started))
    }
}

async fn open(address: SocketAddr) -> anyhow::Result<Connection> {
    Connection::open(address, "nobody").await
}

fn serve(listener: std::net::TcpListener) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async move {
        let Ok(listener) = TcpListener::from_std(listener) else { return };
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let connection =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
            tokio::spawn(connection);
        }
    });
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let _ = request.into_body().collect().await;
    // About as long as an accepted run.
    let body = format!("{{\"padding\":\"{}\"}}", "x".repeat(360));
    Ok(Response::new(Full::new(Bytes::from(body))))
}
