//! Fetching a description by HTTP: where it may go, how long, how much.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use futures::StreamExt;
use reqwest::{Client, Response, StatusCode, Url, header};

use super::agent_file::MAX_BYTES;
use super::dial::{Guarded, Reach, is_loopback_host, literal};

/// Time to reach a server.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for everything, redirects and body included.
const TOTAL: Duration = Duration::from_secs(20);
/// Redirects that are followed.
const REDIRECTS: usize = 5;

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// What it said before.
    Same,
    /// This.
    New {
        text: String,
        /// Its ETag.
        tag: Option<String>,
    },
}

/// Fetches from where it may.
pub(crate) struct Fetcher {
    /// Files with the tokens of hosts. Nobody else gets any.
    tokens: BTreeMap<String, PathBuf>,
    /// For `http:` to this machine, `https:` to it, `https:` to the Internet.
    clients: [OnceLock<Result<Client, String>>; 3],
}

impl Fetcher {
    pub(crate) fn new(tokens: BTreeMap<String, PathBuf>) -> Self {
        Self { tokens, clients: Default::default() }
    }

    /// Fetches, unless the server says that nothing has changed since `tag`.
    pub(crate) async fn get(&self, url: &str, tag: Option<&str>) -> Result<Fetched, String> {
        match tokio::time::timeout(TOTAL, self.follow(url, tag)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(format!("no whole answer within {} s", TOTAL.as_secs())),
        }
    }

    async fn follow(&self, url: &str, tag: Option<&str>) -> Result<Fetched, String> {
        let mut url = Url::parse(url).map_err(|error| error.to_string())?;
        let near = is_loopback_host(&url);
        for _ in 0..=REDIRECTS {
            let response = self.send(url.clone(), near, tag).await?;
            let status = response.status();
            if status == StatusCode::NOT_MODIFIED && tag.is_some() {
                return Ok(Fetched::Same);
            }
            if status.is_redirection() {
                url = next(&url, &response)?;
                continue;
            }
            if !status.is_success() {
                return Err(format!("the server answered {status}"));
            }
            let tag = response.headers().get(header::ETAG);
            let tag = tag.and_then(|tag| tag.to_str().ok()).map(str::to_owned);
            return Ok(Fetched::New { text: body(response).await?, tag });
        }
        Err(format!("more than {REDIRECTS} redirects"))
    }

    /// One request, to where it may go. `near` is whether the operator has named this machine.
    async fn send(&self, url: Url, near: bool, tag: Option<&str>) -> Result<Response, String> {
        let reach = reach(&url, near)?;
        let client = self.client(reach, url.scheme() == "https")?;
        let mut request = client.get(url.clone());
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        if url.username().is_empty()
            && url.password().is_none()
            && let Some(token) = self.token(&url)?
        {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(|error| innermost(&error.without_url()))?;
        if let Some(address) = response.remote_addr() {
            reach.check(address.ip())?;
        }
        Ok(response)
    }

    /// The token of a URL's host, and of no other.
    fn token(&self, url: &Url) -> Result<Option<String>, String> {
        let host = url.host_str().unwrap_or_default();
        let named = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let Some(file) = self.secret(&named) else { return Ok(None) };
        let token = std::fs::read_to_string(file)
            .map_err(|error| format!("the token for {named} cannot be read: {error}"))?;
        Ok(Some(token.trim().to_owned()))
    }

    /// The file with what a host, named as in its URLs, is sent.
    pub(super) fn secret(&self, host: &str) -> Option<&PathBuf> {
        self.tokens.get(host)
    }

    fn client(&self, reach: Reach, tls: bool) -> Result<&Client, String> {
        let kept = match (reach, tls) {
            (Reach::Loopback, false) => &self.clients[0],
            (Reach::Loopback, true) => &self.clients[1],
            (Reach::Public, _) => &self.clients[2],
        };
        kept.get_or_init(|| client(reach, tls)).as_ref().map_err(String::clone)
    }
}

/// The process's TLS, chosen once.
pub(super) fn choose_tls() {
    static TLS: Once = Once::new();
    TLS.call_once(|| {
        // An error says that the program has chosen already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

fn client(reach: Reach, tls: bool) -> Result<Client, String> {
    choose_tls();
    let mut builder = Client::builder();
    if !tls {
        // Nothing to verify, so it works where the system has no roots.
        builder = builder.tls_certs_only([]);
    }
    builder
        .user_agent(concat!("greenroom/", env!("CARGO_PKG_VERSION")))
        // Each is checked, and a proxy would resolve names by itself.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .dns_resolver(Arc::new(Guarded(reach)))
        .connect_timeout(CONNECT)
        .build()
        .map_err(|error| innermost(&error))
}

/// Where a request for this URL may go.
fn reach(url: &Url, near: bool) -> Result<Reach, String> {
    let reach = match is_loopback_host(url) {
        true if near => Reach::Loopback,
        _ => Reach::Public,
    };
    if url.scheme() != "https" && (reach, url.scheme()) != (Reach::Loopback, "http") {
        return Err(format!("{}: is not fetched from there; only https: is", url.scheme()));
    }
    // A name is checked when it is resolved.
    literal(url).map_or(Ok(reach), |ip| reach.check(ip).map(|()| reach))
}

/// Where a redirect leads to.
fn next(from: &Url, response: &Response) -> Result<Url, String> {
    let status = response.status();
    let place = response.headers().get(header::LOCATION);
    let place = place.and_then(|place| place.to_str().ok());
    let place = place.ok_or_else(|| format!("the server answered {status} without a place"))?;
    let to = from.join(place).map_err(|error| format!("its redirect is no URL: {error}"))?;
    if from.scheme() == "https" && to.scheme() != "https" {
        return Err(format!("it redirects from https: to {}:", to.scheme()));
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err("it redirects to a URL with a user name".to_owned());
    }
    Ok(to)
}

async fn body(response: Response) -> Result<String, String> {
    let too_large = || "an agent file has 1 MiB at most".to_owned();
    if response.content_length().is_some_and(|length| length > MAX_BYTES as u64) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| innermost(&error.without_url()))?;
        if bytes.len() + chunk.len() > MAX_BYTES {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

/// The innermost cause: what the system said.
fn innermost(error: &dyn Error) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_checked() {
        let go = |url: &str, near| reach(&Url::parse(url).expect("a url"), near);
        assert_eq!(go("https://ex.com/", false), Ok(Reach::Public));
        assert_eq!(go("https://ex.com/", true), Ok(Reach::Public));
        assert_eq!(go("http://127.0.0.1/", true), Ok(Reach::Loopback));
        assert_eq!(go("https://localhost/", true), Ok(Reach::Loopback));
        assert_eq!(go("https://1.1.1.1/", false), Ok(Reach::Public));
        for (url, near) in [
            // Only an operator names this machine; a redirect from elsewhere does not.
            ("http://127.0.0.1/", false),
            ("https://127.0.0.1/", false),
            ("https://[::1]/", false),
            ("https://10.0.0.1/", true),
            ("https://169.254.169.254/latest", false),
            ("https://[::ffff:10.0.0.1]/", false),
            ("https://0x7f.1/", false),
            ("https://2130706433/", false),
            ("http://ex.com/", true),
            ("http://10.0.0.1/", true),
            ("ftp://127.0.0.1/", true),
            ("file:///etc/passwd", true),
        ] {
            assert!(go(url, near).is_err(), "{url} {near}");
        }
        // A name is let through here, and refused when it is resolved.
        assert_eq!(go("https://localhost/", false), Ok(Reach::Public));
    }

    #[test]
    fn tokens_are_of_one_host() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("t");
        std::fs::write(&file, "s3cret\n").expect("written");
        let hosts = ["ex.com", "127.0.0.1:80", "h:8443"].map(str::to_owned);
        let fetcher = Fetcher::new(hosts.into_iter().map(|host| (host, file.clone())).collect());
        let token = |url: &str| fetcher.token(&Url::parse(url).expect("a url")).expect("reads");
        assert_eq!(token("https://ex.com/a").as_deref(), Some("s3cret"));
        assert_eq!(token("https://ex.com:443/a").as_deref(), Some("s3cret"));
        assert_eq!(token("https://h:8443/a").as_deref(), Some("s3cret"));
        for url in
            ["https://ex.com:444/", "https://a.ex.com/", "https://ex.com.evil/", "https://h/"]
        {
            assert_eq!(token(url), None, "{url}");
        }
    }
}
