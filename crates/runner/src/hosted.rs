//! Requests of clients for an agent that serves HTTP: passed on to the door of its compute,
//! a socket in the control folder on which the agent's driver listens.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use greenroom_core::{SessionUid, StreamId};
use greenroom_protocol::Problem;
use greenroom_protocol::link::{HttpReply, HttpRequest};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio_util::io::ReaderStream;

use crate::files::Files;
use crate::folder::Folder;
use crate::http::Api;
use crate::shims::MAX_SOCKET_PATH;

type Bytestream = std::pin::Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Asks the agent, and gives its answer as it comes.
pub(crate) async fn ask(
    api: &Api,
    folder: &Folder,
    uid: SessionUid,
    stream: StreamId,
    reply_to: Option<&str>,
    request: HttpRequest,
) -> Files<(HttpReply, Bytestream)> {
    let door = folder.compute(uid, request.epoch).door_path();
    let connection = reach(&door).await.map_err(|error| {
        let detail = format!("the agent of this compute does not take requests: {error}");
        Problem::new(409, "not_serving", detail).hint("send it again: it may be on its way down")
    })?;
    let asks_upgrade = request.headers.iter().any(|(name, _)| name == header::UPGRADE.as_str());
    let upload = match request.body {
        true => {
            let sent = api.stream_in(reply_to, stream).await;
            let sent = sent.map_err(|error| {
                Problem::new(409, "upload_cut", format!("the request's body did not come: {error}"))
            })?;
            Some(sent.bytes_stream().map_err(io::Error::other))
        }
        false => None,
    };
    let (body, after) = match upload {
        Some(upload) if !asks_upgrade => {
            (Either::Left(StreamBody::new(upload.map_ok(Frame::data))), None)
        }
        upload => (Either::Right(Empty::<Bytes>::new().map_err(|never| match never {})), upload),
    };
    let request = build(&request, body)?;
    let no_answer = |error: hyper::Error| {
        Problem::new(409, "not_serving", format!("the agent's door: {error}"))
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(connection)).await.map_err(no_answer)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a request's connection broke");
        }
    });
    let answer = sender.send_request(request).await.map_err(no_answer)?;
    let reply = head(&answer);
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok((reply, upgraded(answer, after)));
    }
    let body = answer.into_body().into_data_stream().map_err(io::Error::other);
    Ok((reply, Box::pin(body)))
}

/// A socket's path has 107 bytes at most; through its folder it is short.
pub(crate) async fn reach(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().len() < MAX_SOCKET_PATH {
        return UnixStream::connect(path).await;
    }
    let folder = File::open(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let near = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    UnixStream::connect(near).await
}

fn build<B>(request: &HttpRequest, body: B) -> Files<Request<B>> {
    let mut built = Request::builder().method(request.method.as_str()).uri(&request.target);
    for (name, value) in &request.headers {
        built = built.header(name, value);
    }
    // Its driver sets the one of the agent's own address.
    built = built.header(header::HOST, "agent");
    built.body(body).map_err(|error| {
        Problem::invalid(format!("this request cannot be passed on: {error}")).into()
    })
}

fn head(answer: &Response<Incoming>) -> HttpReply {
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        let goes_on = name != header::TRANSFER_ENCODING;
        goes_on.then(|| Some((name.to_string(), value.to_str().ok()?.to_owned()))).flatten()
    };
    let headers = answer.headers().iter().filter_map(text).collect();
    HttpReply { status: answer.status().as_u16(), headers }
}

/// After an upgrade both sides speak at will: what the client says comes from its upload,
/// what the agent says is the answer's body.
fn upgraded<S>(answer: Response<Incoming>, client: Option<S>) -> Bytestream
where
    S: Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
{
    let opened = async move {
        let opened = hyper::upgrade::on(answer).await.map_err(io::Error::other)?;
        let (read, mut write) = tokio::io::split(TokioIo::new(opened));
        tokio::spawn(async move {
            if let Some(mut client) = client {
                while let Some(Ok(bytes)) = client.next().await {
                    if write.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            }
            // The client is gone, or has said all.
            let _ = write.shutdown().await;
        });
        Ok::<_, io::Error>(ReaderStream::new(read))
    };
    Box::pin(futures::stream::once(opened).try_flatten())
}
