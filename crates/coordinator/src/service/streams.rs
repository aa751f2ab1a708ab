//! Transfers between a client and a runner: the client waits, the runner dials, and the
//! bytes go through without being kept.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use greenroom_core::{RunnerId, SessionUid, StreamId};
use greenroom_protocol::Problem;
use greenroom_protocol::link::{OpenStream, StreamHead, StreamKind};
use tokio::sync::{oneshot, watch};

use crate::app::{App, fresh};
use crate::error::ApiResult;
use crate::hub::lock;
use crate::presence::Runner;

/// A transfer that no runner dials is given up after this time.
const DIAL: Duration = Duration::from_secs(30);
/// While it is under way, its runner is looked for this often.
const LOOK: Duration = Duration::from_secs(2);
/// The first line of an answer has so many bytes at most.
const MAX_HEAD: usize = 64 * 1024;

/// Bytes on their way.
pub(crate) type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, axum::Error>> + Send>>;

/// What a runner answers: what it is, and the bytes.
pub(crate) struct Reply {
    /// What went wrong, or how many bytes follow.
    pub head: StreamHead,
    /// The bytes.
    pub body: ByteStream,
}

struct Pending {
    runner: RunnerId,
    upload: Option<Body>,
    reply: Option<oneshot::Sender<Reply>>,
    dialled: watch::Sender<bool>,
}

/// Transfers under way.
#[derive(Default)]
pub struct Streams {
    pending: Mutex<HashMap<StreamId, Pending>>,
}

/// Forgets a transfer when its client is answered, or has gone.
struct Forget<'a> {
    app: &'a App,
    runner: &'a Runner,
    stream: StreamId,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(&self.app.streams.pending).remove(&self.stream);
        self.runner.close_open(self.stream);
    }
}

/// Has a runner do something with files, and answers what it sends.
pub(crate) async fn transfer(
    app: &App,
    runner: &Arc<Runner>,
    uid: SessionUid,
    kind: StreamKind,
    upload: Option<Body>,
) -> ApiResult<Reply> {
    if !runner.is_connected() {
        return Err(unreachable(runner).into());
    }
    let stream = fresh::stream();
    let (sender, reply) = oneshot::channel();
    let (dialled, mut is_dialled) = watch::channel(false);
    let pending = Pending { runner: runner.id, upload, reply: Some(sender), dialled };
    lock(&app.streams.pending).insert(stream, pending);
    let _forget = Forget { app, runner, stream };
    runner.open(OpenStream { stream, uid, reply_to: None, kind });
    let gone = async {
        if tokio::time::timeout(DIAL, is_dialled.wait_for(|dialled| *dialled)).await.is_err() {
            return;
        }
        // Under way there is no time limit, but for a runner that has gone.
        while runner.is_connected() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        reply = reply => reply.map_err(|_| unreachable(runner).into()),
        () = gone => Err(unreachable(runner).into()),
        () = app.ending.cancelled() => Err(ending().into()),
    }
}

fn unreachable(runner: &Runner) -> Problem {
    let mut problem = Problem::new(
        504,
        "runner_unreachable",
        format!("runner {}, which has the files, does not answer", runner.id),
    )
    .hint("see: greenroom runners ls");
    problem.retry_after = Some(5);
    problem
}

fn ending() -> Problem {
    let mut problem = Problem::new(503, "ending", "the coordinator is ending");
    problem.retry_after = Some(2);
    problem
}

fn no_stream() -> Problem {
    Problem::new(404, "stream_not_found", "no such transfer is open for this runner")
}

/// The bytes a client sends, for the runner that was asked to dial.
pub(crate) fn upload(app: &App, runner: RunnerId, stream: StreamId) -> ApiResult<Body> {
    let mut all = lock(&app.streams.pending);
    let pending = all.get_mut(&stream).filter(|pending| pending.runner == runner);
    let pending = pending.ok_or_else(no_stream)?;
    let body = pending.upload.take().ok_or_else(no_stream)?;
    pending.dialled.send_replace(true);
    Ok(body)
}

/// The bytes of a runner, for the client that waits. Returns when they are all through.
pub(crate) async fn answer(
    app: &App,
    runner: RunnerId,
    stream: StreamId,
    body: Body,
) -> ApiResult<()> {
    let reply = {
        let mut all = lock(&app.streams.pending);
        let pending = all.get_mut(&stream).filter(|pending| pending.runner == runner);
        let pending = pending.ok_or_else(no_stream)?;
        pending.dialled.send_replace(true);
        pending.reply.take().ok_or_else(no_stream)?
    };
    if let Some(runner) = app.runners.get(runner) {
        runner.close_open(stream);
    }
    let (head, rest) = read_head(body).await?;
    let (through, done) = oneshot::channel::<()>();
    let body = Box::pin(Through { inner: rest, _through: through });
    if reply.send(Reply { head, body }).is_err() {
        return Err(no_stream().into());
    }
    // The sender is dropped with the stream, at its end or with the client. Until then the
    // request must stay open, for its body is what the client reads.
    let _ = done.await;
    Ok(())
}

/// Reads the first line, which says what follows.
async fn read_head(body: Body) -> ApiResult<(StreamHead, ByteStream)> {
    let mut stream = body.into_data_stream();
    let mut line: Vec<u8> = Vec::new();
    loop {
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            let rest = Bytes::copy_from_slice(&line[end + 1..]);
            let head = serde_json::from_slice(&line[..end]).map_err(|e| {
                Problem::invalid(format!("the first line of a stream is not its head: {e}"))
            })?;
            let first = futures::stream::iter((!rest.is_empty()).then_some(Ok(rest)));
            return Ok((head, Box::pin(first.chain(stream))));
        }
        if line.len() > MAX_HEAD {
            return Err(Problem::invalid("the first line of a stream is too long").into());
        }
        match stream.next().await {
            Some(Ok(bytes)) => line.extend_from_slice(&bytes),
            Some(Err(error)) => {
                return Err(Problem::invalid(format!("the stream broke: {error}")).into());
            }
            None => return Err(Problem::invalid("the stream ended before its head").into()),
        }
    }
}

struct Through {
    inner: ByteStream,
    _through: oneshot::Sender<()>,
}

impl Stream for Through {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.inner.as_mut().poll_next(cx)
    }
}
