//! Connections. An own loop instead of the framework's, because thousands of viewers may be
//! connected at once and each should cost little.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::socket::{BySocket, Socket};

/// A connection holds back so many bytes in each direction at most.
const MAX_BUFFER: usize = 64 * 1024;
/// A connection without a request ends after this. Longer than clients commonly keep one,
/// so that it is they who let go.
const HEADER_TIME: Duration = Duration::from_secs(120);
/// After a failure to accept, such as too many open files.
const BREATH: Duration = Duration::from_millis(50);

/// Where connections come from.
pub(crate) trait Accepts: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one; what is told of it goes with each of its requests.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Option<BySocket>)>> + Send;
}

impl Accepts for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Option<BySocket>)> {
        let (stream, _) = self.accept().await?;
        // Answers are small and awaited: they are not held back to be sent with others.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection sends with delay");
        }
        Ok((stream, None))
    }
}

impl Accepts for Socket {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Option<BySocket>)> {
        let (stream, by) = self.accept().await?;
        Ok((stream, Some(by)))
    }
}

/// Answers every connection until the end, and then until the last request is answered.
pub(crate) async fn serve(listener: impl Accepts, router: Router, ending: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = ending.cancelled() => break,
            accepted = listener.next() => accepted,
        };
        match accepted {
            Ok((stream, by)) => {
                connections.spawn(connection(stream, by, router.clone(), ending.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    by: Option<BySocket>,
    router: Router,
    ending: CancellationToken,
) {
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        if let Some(by) = by {
            request.extensions_mut().insert(by);
        }
        let answer = router.clone().oneshot(request.map(Body::new));
        // Boxed: only a request that is being answered has its memory.
        Box::pin(
            async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) },
        )
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = ending.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke");
    }
}
