//! Files of a session's workspace.

use std::time::Duration;

use futures::{Stream, StreamExt};
use greenroom_core::Seq;
use greenroom_protocol::v1::{FileInfo, Mkdir, PushRequest, Pushed};
use reqwest::{Body, Method, Response};

use crate::http::{Answer, Call, Listing};
use crate::route::Route;
use crate::{Bytes, Client, ClientError};

/// Files are of any type; problems are JSON.
const ANYTHING: &str = "*/*";
/// Time until a runner has begun to send a file.
const BEGIN: Duration = Duration::from_secs(60);
/// Time without a byte of a file after which its transfer has failed.
const STALL: Duration = Duration::from_secs(60);

/// Time a push may take.
const PUSH: Duration = Duration::from_secs(330);

/// The bytes of a file, as they come.
#[derive(Debug)]
pub struct FileBody {
    response: Response,
    client: Client,
}

impl FileBody {
    /// How long the file is, where that is known.
    pub fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next bytes; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        match tokio::time::timeout(STALL, self.response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| self.client.broken(&error)),
            Err(_) => Err(ClientError::Silent { url: self.client.url().to_owned(), after: STALL }),
        }
    }
}

/// What is sent as a file.
pub enum Upload {
    /// Bytes that are here.
    Bytes(Bytes),
    /// Bytes as they come.
    Stream(futures::stream::BoxStream<'static, std::io::Result<Bytes>>),
}

impl Upload {
    /// Bytes as they come.
    pub fn stream(bytes: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Self {
        Self::Stream(bytes.boxed())
    }
}

/// A past moment of a session, whose files its runner may have kept. Without either it is now.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    /// The end of this run.
    pub run: Option<String>,
    /// The end of the run that was the last to end by this entry of the log.
    pub seq: Option<Seq>,
}

impl Moment {
    fn ask(&self, route: Route) -> Route {
        route.maybe("run", self.run.as_ref()).maybe("seq", self.seq)
    }
}

fn files(session: &str) -> Result<Route, ClientError> {
    Ok(Route::to("v1/sessions").name("session", session)?.then("files"))
}

impl Client {
    /// What is in a folder; an empty path is the workspace itself.
    pub async fn files(
        &self,
        session: &str,
        path: &str,
        at: &Moment,
    ) -> Result<Listing<FileInfo>, ClientError> {
        self.list(at.ask(files(session)?.ask("path", path))).await
    }

    /// What a path is.
    pub async fn file_stat(
        &self,
        session: &str,
        path: &str,
        at: &Moment,
    ) -> Result<Answer<FileInfo>, ClientError> {
        self.get(at.ask(files(session)?.then("stat").ask("path", path))).await
    }

    /// The bytes of a file.
    pub async fn file(
        &self,
        session: &str,
        path: &str,
        at: &Moment,
    ) -> Result<FileBody, ClientError> {
        self.bytes(at.ask(files(session)?.then("content").file(path)?)).await
    }

    /// What a session has changed in its clone, as a patch; with `since` only what was
    /// changed after the end of that run.
    pub async fn diff(
        &self,
        session: &str,
        at: &Moment,
        since: Option<&str>,
    ) -> Result<FileBody, ClientError> {
        let route = Route::to("v1/sessions").name("session", session)?.then("diff");
        self.bytes(at.ask(route).maybe("since", since)).await
    }

    async fn bytes(&self, route: Route) -> Result<FileBody, ClientError> {
        let request = self.request(Method::GET, &route, ANYTHING);
        let silent = || ClientError::Silent { url: self.url().to_owned(), after: BEGIN };
        let sent = tokio::time::timeout(BEGIN, self.accepted(request)).await;
        let response = sent.unwrap_or_else(|_| Err(silent()))?;
        Ok(FileBody { response, client: self.clone() })
    }

    /// Pushes what a session has committed.
    pub async fn push(
        &self,
        session: &str,
        request: &PushRequest,
    ) -> Result<Answer<Pushed>, ClientError> {
        let route = Route::to("v1/sessions").name("session", session)?.then("push");
        let call = Call { wait: PUSH, ..Call::json(request) };
        self.call(Method::POST, route, call).await
    }

    /// Writes a file.
    pub async fn put_file(
        &self,
        session: &str,
        path: &str,
        upload: Upload,
    ) -> Result<(), ClientError> {
        let request =
            self.request(Method::PUT, &files(session)?.then("content").file(path)?, ANYTHING);
        let body = match upload {
            Upload::Bytes(bytes) => Body::from(bytes),
            Upload::Stream(stream) => Body::wrap_stream(stream),
        };
        let request = request.header("content-type", "application/octet-stream");
        self.accepted(request.body(body)).await.map(drop)
    }

    /// Removes a file or an empty folder; with `recursive` also a folder that is not empty.
    pub async fn remove_file(
        &self,
        session: &str,
        path: &str,
        recursive: bool,
    ) -> Result<(), ClientError> {
        let route = files(session)?.then("content").file(path)?;
        let route = route.maybe("recursive", recursive.then_some(true));
        self.call_plain(Method::DELETE, route, Call::default()).await.map(drop)
    }

    /// Makes a folder, and those above it.
    pub async fn make_dir(&self, session: &str, path: &str) -> Result<(), ClientError> {
        let body = Mkdir { path: path.to_owned() };
        let call = Call::json(&body).repeatable();
        self.call_plain(Method::POST, files(session)?.then("mkdir"), call).await.map(drop)
    }
}
