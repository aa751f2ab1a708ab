//! One call: sent, answered, and understood.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Once};
use std::time::Duration;

use greenroom_protocol::Problem;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::ClientError;
use crate::error::innermost;
use crate::route::Route;

/// What calls are answered with.
const JSON: &str = "application/json";
/// What a request by a socket is addressed to: its server asks for no name.
const BY_SOCKET: &str = "http://localhost";
/// Time to reach a coordinator.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for an answer, beyond what the call asks to wait for.
const ANSWER: Duration = Duration::from_secs(40);
/// Pauses before a call that may be repeated is repeated.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(300),
    Duration::from_millis(1000),
    Duration::from_millis(2000),
];

/// A bearer's secret. It does not print.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// From its text, without the blanks around it.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A typed body, with the body as it was sent.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    json: Box<RawValue>,
    value: T,
}

impl<T: DeserializeOwned> Answer<T> {
    pub(crate) fn read(json: Box<RawValue>) -> Result<Self, serde_json::Error> {
        let value = serde_json::from_str(json.get())?;
        Ok(Self { json, value })
    }
}

impl<T> Answer<T> {
    /// The body as it was sent.
    pub fn json(&self) -> &RawValue {
        &self.json
    }

    /// The typed body.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for Answer<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Listing<T> {
    /// Its entries.
    pub items: Vec<Answer<T>>,
    /// Where the next page begins.
    pub next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct RawListing {
    items: Vec<Box<RawValue>>,
    #[serde(default)]
    next_cursor: Option<String>,
}

/// A coordinator's API. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
    /// For which of its users it acts.
    user: Option<HeaderValue>,
}

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    /// Without a slash at its end.
    base: String,
    /// The address as it is said to people: that of a socket is no address of HTTP.
    shown: String,
}

/// What a call sends besides its address.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) body: Option<Vec<u8>>,
    /// Makes a repetition answer the same.
    pub(crate) key: Option<Uuid>,
    /// How long the coordinator is asked to wait.
    pub(crate) wait: Duration,
    /// Repeating it changes nothing.
    pub(crate) repeatable: bool,
}

impl Call {
    /// A call that only looks.
    pub(crate) fn look() -> Self {
        Self { repeatable: true, ..Self::default() }
    }

    /// With a JSON body.
    pub(crate) fn json(body: &impl Serialize) -> Self {
        // The protocol's types have no maps with keys that are not text.
        Self { body: serde_json::to_vec(body).ok(), ..Self::default() }
    }

    /// Made repeatable by an idempotency key of its own.
    pub(crate) fn keyed(self) -> Self {
        Self { key: Some(Uuid::now_v7()), repeatable: true, ..self }
    }

    /// Repeating it changes nothing.
    pub(crate) fn repeatable(self) -> Self {
        Self { repeatable: true, ..self }
    }

    /// The coordinator is asked to wait so long.
    pub(crate) fn waiting(self, wait: Option<Duration>) -> Self {
        Self { wait: wait.unwrap_or_default(), ..self }
    }
}

/// The process's TLS, chosen once.
fn choose_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that the program has chosen already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

fn is_local(host: &str) -> bool {
    let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

impl Client {
    /// The API of the coordinator at `url`, in the name of `token`.
    pub fn new(url: &str, token: Option<&Secret>) -> Result<Self, ClientError> {
        let bad = |why: String| ClientError::BadUrl { url: url.to_owned(), why };
        let socket = url.strip_prefix("unix://");
        if socket.is_some_and(|path| !path.starts_with('/')) {
            return Err(bad("write it like unix:///run/greenroom.sock".to_owned()));
        }
        let parsed =
            reqwest::Url::parse(if socket.is_some() { BY_SOCKET } else { url }).map_err(|e| {
                bad(format!("{e}; write it like http://127.0.0.1:7070, or unix:///PATH"))
            })?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(bad(format!("{}: is neither http: nor https:", parsed.scheme())));
        }
        let mut headers = HeaderMap::new();
        if let Some(Secret(token)) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| bad("the token holds characters no token has".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        choose_tls();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(CONNECT)
            // A redirect could carry the token elsewhere.
            .redirect(reqwest::redirect::Policy::none());
        if parsed.scheme() == "http" {
            // Nothing to verify: don't spend milliseconds on reading the system's roots.
            builder = builder.tls_certs_only([]);
        }
        if parsed.host_str().is_some_and(is_local) {
            builder = builder.no_proxy();
        }
        if let Some(path) = socket {
            builder = builder.unix_socket(path);
        }
        let http = builder.build().map_err(|e| bad(innermost(&e)))?;
        let base = parsed.as_str().trim_end_matches('/').to_owned();
        let shown = if socket.is_some() { url.to_owned() } else { base.clone() };
        Ok(Self { inner: Arc::new(Inner { http, base, shown }), user: None })
    }

    /// The same API, for one of its users: their sessions, and no others.
    pub fn for_user(self, user: &str) -> Result<Self, ClientError> {
        let value = HeaderValue::from_str(user).map_err(|_| {
            let detail = format!("{user:?} cannot be a user: printable ASCII only");
            ClientError::Problem(Box::new(Problem::invalid(detail)))
        })?;
        Ok(Self { user: Some(value), ..self })
    }

    /// The coordinator's address.
    pub fn url(&self) -> &str {
        &self.inner.shown
    }

    /// Calls, and reads a JSON body.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        route: Route,
    ) -> Result<Answer<T>, ClientError> {
        self.call(Method::GET, route, Call::look()).await
    }

    /// Calls, and reads a page.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        route: Route,
    ) -> Result<Listing<T>, ClientError> {
        let page: Answer<RawListing> = self.get(route.clone()).await?;
        let RawListing { items, next_cursor } = page.into_inner();
        let items: Result<Vec<_>, _> = items.into_iter().map(Answer::read).collect();
        let items = items.map_err(|error| ClientError::Unexpected {
            url: self.address(&route),
            status: 200,
            what: error.to_string(),
        })?;
        Ok(Listing { items, next_cursor })
    }

    /// Calls, and reads a JSON body.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        route: Route,
        call: Call,
    ) -> Result<Answer<T>, ClientError> {
        Ok(self.call_for(method, route, call).await?.1)
    }

    /// Calls, and reads a JSON body together with the status.
    pub(crate) async fn call_for<T: DeserializeOwned>(
        &self,
        method: Method,
        route: Route,
        call: Call,
    ) -> Result<(StatusCode, Answer<T>), ClientError> {
        let (status, body) = self.exchange(method, &route, &call).await?;
        let read = serde_json::from_slice::<Box<RawValue>>(&body).and_then(Answer::read);
        match read {
            Ok(answer) => Ok((status, answer)),
            Err(error) => Err(ClientError::Unexpected {
                url: self.address(&route),
                status: status.as_u16(),
                what: format!("{error}: {}", beginning(&body)),
            }),
        }
    }

    /// Calls; whatever body there is does not matter.
    pub(crate) async fn call_plain(
        &self,
        method: Method,
        route: Route,
        call: Call,
    ) -> Result<StatusCode, ClientError> {
        Ok(self.exchange(method, &route, &call).await?.0)
    }

    /// Calls until there is an answer, where the call may be repeated.
    async fn exchange(
        &self,
        method: Method,
        route: &Route,
        call: &Call,
    ) -> Result<(StatusCode, Vec<u8>), ClientError> {
        let mut pauses = PAUSES.iter();
        let mut tried = false;
        loop {
            let error = match self.exchange_once(method.clone(), route, call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // A coordinator that was never there is no reason to wait for it; one that
            // went away in mid-call may be on its way back.
            let gone = matches!(error, ClientError::Broken { .. });
            let away = tried && matches!(error, ClientError::Unreachable { .. });
            let pause = pauses.next().filter(|_| call.repeatable && (gone || away));
            let Some(pause) = pause else { return Err(error) };
            tried = true;
            tokio::time::sleep(*pause).await;
        }
    }

    async fn exchange_once(
        &self,
        method: Method,
        route: &Route,
        call: &Call,
    ) -> Result<(StatusCode, Vec<u8>), ClientError> {
        let mut request = self.request(method, route, JSON);
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, JSON).body(body.clone());
        }
        if let Some(key) = call.key {
            request = request.header("Idempotency-Key", key.to_string());
        }
        let limit = call.wait + ANSWER;
        let exchange = async {
            let response = self.accepted(request).await?;
            let status = response.status();
            let body = response.bytes().await.map_err(|e| self.broken(&e))?;
            Ok((status, body.to_vec()))
        };
        let silent = || ClientError::Silent { url: self.inner.shown.clone(), after: limit };
        tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| Err(silent()))
    }

    /// A request in the making, for an answer of the media type `accept`.
    pub(crate) fn request(
        &self,
        method: Method,
        route: &Route,
        accept: &str,
    ) -> reqwest::RequestBuilder {
        let request = self.inner.http.request(method, self.address(route)).header(ACCEPT, accept);
        match &self.user {
            Some(user) => request.header("X-Greenroom-User", user),
            None => request,
        }
    }

    /// Sends, and takes nothing but a success for an answer.
    pub(crate) async fn accepted(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<Response, ClientError> {
        let response = self.answered(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    /// Sends, and takes whatever the answer is.
    pub(crate) async fn answered(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<Response, ClientError> {
        request.send().await.map_err(|error| {
            let url = self.inner.shown.clone();
            match error.is_connect() {
                true => ClientError::Unreachable { url, why: innermost(&error) },
                false => self.broken(&error),
            }
        })
    }

    /// What an answer that is no success says.
    pub(crate) async fn refusal(&self, response: Response) -> ClientError {
        let (status, url) = (response.status().as_u16(), response.url().to_string());
        let body = match response.bytes().await {
            Ok(body) => body,
            Err(error) => return self.broken(&error),
        };
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => ClientError::Problem(Box::new(problem)),
            Err(_) => ClientError::Unexpected { url, status, what: beginning(&body) },
        }
    }

    /// The connection broke.
    pub(crate) fn broken(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Broken { url: self.inner.shown.clone(), why: innermost(error) }
    }

    fn address(&self, route: &Route) -> String {
        format!("{}{}", self.inner.base, route.address())
    }
}

/// The beginning of a body, for an error.
fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]);
    match text.trim() {
        "" => "an empty body".to_owned(),
        text => text.chars().take(200).collect(),
    }
}
