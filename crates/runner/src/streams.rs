//! Transfers the coordinator asks for: each is dialled from here, in two plain halves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use greenroom_protocol::Problem;
use greenroom_protocol::link::{OpenStream, StreamHead, StreamKind};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use crate::beneath::RelPath;
use crate::files::{self, Files, Upload};
use crate::host::Host;
use crate::hosted;
use crate::http::Api;
use crate::kept::PATIENCE;
use crate::kept::look::{self, Seen};

/// Bytes of a file that travel at once.
const CHUNK: usize = 256 << 10;

/// A push that takes longer is given up.
const PUSH: Duration = Duration::from_secs(300);

/// Serves one transfer from beginning to end.
pub(crate) async fn serve(host: Arc<Host>, open: OpenStream) {
    let api = &host.api;
    let reply_to = open.reply_to.clone();
    let stream = open.stream;
    let body = match answer(&host, open).await {
        Ok((head, body)) => framed(head, Some(body)),
        Err(problem) => {
            framed(StreamHead { problem: Some(*problem), ..StreamHead::default() }, None)
        }
    };
    if let Err(error) = api.stream_out(reply_to.as_deref(), stream, body).await {
        tracing::debug!(%stream, %error, "a transfer was given up");
    }
}

type Bytestream = std::pin::Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

fn framed(head: StreamHead, body: Option<Bytestream>) -> reqwest::Body {
    // A head is plain data and always has a form.
    let mut line = serde_json::to_vec(&head).unwrap_or_default();
    line.push(b'\n');
    let head = futures::stream::once(std::future::ready(Ok(Bytes::from(line))));
    match body {
        Some(body) => reqwest::Body::wrap_stream(head.chain(body)),
        None => reqwest::Body::wrap_stream(head),
    }
}

fn sized(length: u64) -> StreamHead {
    StreamHead { length: Some(length), ..StreamHead::default() }
}

fn json(value: &impl Serialize) -> Files<(StreamHead, Bytestream)> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| Problem::new(500, "file_error", error.to_string()))?;
    let length = bytes.len() as u64;
    let body = futures::stream::once(std::future::ready(Ok(Bytes::from(bytes))));
    Ok((sized(length), Box::pin(body)))
}

/// Runs something that waits for the disk.
async fn blocking<T: Send + 'static>(f: impl FnOnce() -> Files<T> + Send + 'static) -> Files<T> {
    tokio::task::spawn_blocking(f).await.unwrap_or_else(|error| {
        Err(Problem::new(500, "file_error", format!("the operation broke: {error}")).into())
    })
}

async fn answer(host: &Host, open: OpenStream) -> Files<(StreamHead, Bytestream)> {
    let OpenStream { stream, uid, reply_to, kind } = open;
    let (api, folder) = (&host.api, host.folder.clone());
    let whole = folder.clone();
    let root = move || files::workspace(&folder, uid);
    match kind {
        StreamKind::List { path } => {
            json(&blocking(move || files::list(&root()?, &RelPath::parse(&path)?)).await?)
        }
        StreamKind::Stat { path } => {
            json(&blocking(move || files::stat(&root()?, &RelPath::parse(&path)?)).await?)
        }
        StreamKind::Mkdir { path } => {
            json(&blocking(move || files::mkdir(&root()?, &RelPath::parse(&path)?)).await?)
        }
        StreamKind::Remove { path, recursive } => {
            blocking(move || files::delete(&root()?, &RelPath::parse(&path)?, recursive)).await?;
            Ok((sized(0), Box::pin(futures::stream::empty())))
        }
        StreamKind::Read { path } => {
            let (file, length) =
                blocking(move || files::read(&root()?, &RelPath::parse(&path)?)).await?;
            let file = tokio::fs::File::from_std(file).take(length);
            Ok((sized(length), Box::pin(exactly(ReaderStream::with_capacity(file, CHUNK), length))))
        }
        StreamKind::Diff => {
            let patch = blocking(move || files::diff(&whole, uid)).await?;
            let length = patch.len() as u64;
            let body = futures::stream::once(std::future::ready(Ok(Bytes::from(patch))));
            Ok((sized(length), Box::pin(body)))
        }
        StreamKind::Kept { run, look } => {
            let once = || {
                let (folder, look) = (whole.clone(), look.clone());
                let cancel = host.cancel.child_token();
                blocking(move || look::look(&folder, uid, run, &look, &cancel))
            };
            let on_its_way = host.kept.is_open(uid);
            match once().await {
                // It may be there soon.
                Err(problem) if on_its_way && problem.code == look::NOT_KEPT => {
                    let _ = tokio::time::timeout(PATIENCE, host.kept.settled(uid)).await;
                    seen(once().await?)
                }
                done => seen(done?),
            }
        }
        StreamKind::Push(request) => {
            let cancel = CancellationToken::new();
            let given_up = cancel.clone();
            let push = blocking(move || files::push(&whole, uid, &request, &given_up));
            tokio::pin!(push);
            let pushed = match tokio::time::timeout(PUSH, &mut push).await {
                Ok(pushed) => pushed,
                // It ends at once, and says so.
                Err(_) => {
                    cancel.cancel();
                    push.await
                }
            };
            json(&pushed?)
        }
        StreamKind::Http(request) => {
            let (http, body) =
                hosted::ask(api, &whole, uid, stream, reply_to.as_deref(), request).await?;
            Ok((StreamHead { http: Some(http), ..StreamHead::default() }, body))
        }
        StreamKind::Write { path } => {
            let (upload, file) =
                blocking(move || Upload::begin(&root()?, &RelPath::parse(&path)?)).await?;
            let file = receive(api, reply_to.as_deref(), stream, file).await?;
            json(&blocking(move || upload.finish(&file)).await?)
        }
    }
}

fn seen(seen: Seen) -> Files<(StreamHead, Bytestream)> {
    match seen {
        Seen::List(list) => json(&list),
        Seen::Stat(info) => json(&info),
        Seen::Diff(patch) => {
            let length = patch.len() as u64;
            let body = futures::stream::once(std::future::ready(Ok(Bytes::from(patch))));
            Ok((sized(length), Box::pin(body)))
        }
        Seen::File(mut child, length) => {
            let printed = child.stdout.take().map(|out| ReaderStream::with_capacity(out, CHUNK));
            let printed = futures::stream::iter(printed).flatten();
            // It ends with whoever reads it.
            let printed = printed.inspect(move |_| _ = &child);
            Ok((sized(length), Box::pin(exactly(printed, length))))
        }
    }
}

/// A file that became shorter meanwhile must not look whole.
fn exactly<S>(body: S, length: u64) -> impl Stream<Item = std::io::Result<Bytes>> + Send
where
    S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
{
    let short = move |seen: u64| {
        (seen < length).then(|| {
            let text = format!("the file became shorter while it was read: {seen} of {length}");
            std::io::Error::other(text)
        })
    };
    futures::stream::unfold(Some((Box::pin(body), 0)), move |state| async move {
        let (mut body, seen) = state?;
        match body.next().await {
            Some(Ok(bytes)) => {
                let seen = seen + bytes.len() as u64;
                Some((Ok(bytes), Some((body, seen))))
            }
            Some(Err(error)) => Some((Err(error), None)),
            None => short(seen).map(|error| (Err(error), None)),
        }
    })
}

async fn receive(
    api: &Api,
    reply_to: Option<&str>,
    stream: greenroom_core::StreamId,
    file: std::fs::File,
) -> Files<std::fs::File> {
    let cut = |error: String| {
        Problem::new(409, "upload_cut", format!("the upload ended early: {error}"))
            .hint("nothing was changed; send it again")
    };
    let response = api.stream_in(reply_to, stream).await.map_err(|error| cut(error.to_string()))?;
    let mut bytes = response.bytes_stream();
    let mut file = tokio::fs::File::from_std(file);
    while let Some(chunk) = bytes.next().await {
        let chunk = chunk.map_err(|error| cut(error.to_string()))?;
        file.write_all(&chunk).await.map_err(|error| on_disk(&error))?;
    }
    file.flush().await.map_err(|error| on_disk(&error))?;
    Ok(file.into_std().await)
}

fn on_disk(error: &std::io::Error) -> Box<Problem> {
    let problem = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            Problem::new(507, "no_space", "no space is left on the runner; nothing was changed")
        }
        _ => Problem::new(500, "file_error", format!("writing failed: {error}")),
    };
    Box::new(problem)
}
