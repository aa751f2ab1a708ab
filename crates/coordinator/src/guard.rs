//! Who may speak to this address at all: pages of other origins may not, and a name
//! that was made to point here (DNS rebinding) may not either. An operator may let pages of
//! other origins in by the doors, where they bring a token; cookies are ours alone.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use greenroom_protocol::Problem;
use http::{HeaderMap, HeaderValue, Uri, header};

use crate::error::ApiResult;
use crate::socket::BySocket;

/// The names that are answered to at an address.
#[derive(Debug, Clone)]
pub struct Hosts {
    listen: SocketAddr,
    allowed: Vec<(String, Option<u16>)>,
    guests: Guests,
}

/// Pages of other origins that may come in, and where.
#[derive(Debug, Clone, Default)]
pub struct Guests {
    /// Their origins, as a browser writes them.
    pub origins: Vec<HeaderValue>,
    /// First parts of the paths that are open to them.
    pub beneath: Vec<&'static str>,
}

impl Guests {
    fn has(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let first = uri.path().split('/').nth(1).unwrap_or_default();
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let known = origins.next().is_some_and(|origin| self.origins.contains(origin));
        known && origins.next().is_none() && self.beneath.contains(&first)
    }
}

impl Hosts {
    /// The names for an address, and those that an operator has added.
    pub fn new(listen: SocketAddr, allowed: &[String]) -> Self {
        let allowed = allowed.iter().map(|host| split_port(&host.to_ascii_lowercase())).collect();
        Self { listen, allowed, guests: Guests::default() }
    }

    /// Lets these pages in, too.
    #[must_use]
    pub fn with_guests(self, guests: Guests) -> Self {
        Self { guests, ..self }
    }

    /// Whether a `host[:port]` is one of ours. `default_port` is that of the scheme.
    fn is_ours(&self, authority: &str, default_port: u16) -> bool {
        let (host, port) = split_port(&authority.to_ascii_lowercase());
        let added = self.allowed.iter().any(|(name, wanted)| {
            *name == host && wanted.is_none_or(|w| w == port.unwrap_or(default_port))
        });
        if added {
            return true;
        }
        if port.unwrap_or(default_port) != self.listen.port() {
            return false;
        }
        if host == "localhost" {
            return true;
        }
        // An address cannot be rebound, so any address of this machine is as good as ours.
        match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(ip) if self.listen.ip().is_loopback() => ip.is_loopback(),
            Ok(ip) => {
                self.listen.ip().is_unspecified() || ip == self.listen.ip() || ip.is_loopback()
            }
            Err(_) => false,
        }
    }

    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> ApiResult<()> {
        let said = match uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => headers.get(header::HOST).and_then(|host| host.to_str().ok()),
        };
        if said.is_some_and(|host| self.is_ours(host, 80) || self.is_ours(host, 443)) {
            return Ok(());
        }
        let said = said.unwrap_or("no host");
        Err(Problem::new(
            421,
            "foreign_host",
            format!("this is not {said}: the Host header must name the address it listens on"),
        )
        .hint(
            "use the address it has printed when it started, or start it with --allowed-host NAME",
        )
        .into())
    }

    fn check_origin(&self, headers: &HeaderMap) -> ApiResult<()> {
        let foreign = |what: &str| {
            Problem::new(403, "foreign_origin", format!("requests of {what} are not answered"))
                .hint(
                    "use the pages of this address, or the command line; pages of another origin \
                     may use a door that is opened to them with --door-origin",
                )
        };
        for origin in headers.get_all(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or("an unreadable origin");
            let ours = match origin.split_once("://") {
                Some(("http", authority)) => self.is_ours(authority, 80),
                Some(("https", authority)) => self.is_ours(authority, 443),
                _ => false,
            };
            if !ours {
                return Err(foreign(&format!("the origin {origin:?}")).into());
            }
        }
        let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
        match site {
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) => Err(foreign("pages of other sites").into()),
        }
    }
}

/// Splits `host:port`, with brackets around an IPv6 address.
fn split_port(authority: &str) -> (String, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => match port.parse() {
            Ok(port) => (host.to_owned(), Some(port)),
            Err(_) => (authority.to_owned(), None),
        },
        _ => (authority.to_owned(), None),
    }
}

/// Refuses foreign hosts and origins, on every method.
pub async fn guard(State(hosts): State<Arc<Hosts>>, mut request: Request, next: Next) -> Response {
    // No name leads a browser to a socket, and its clients say any host or none.
    let by_socket = request.extensions().get::<BySocket>().is_some();
    let guest = hosts.guests.has(request.uri(), request.headers());
    if guest {
        request.headers_mut().remove(header::COOKIE);
    }
    let host = match by_socket {
        true => Ok(()),
        false => hosts.check_host(request.uri(), request.headers()),
    };
    let checked = host.and_then(|()| match guest {
        true => Ok(()),
        false => hosts.check_origin(request.headers()),
    });
    match checked {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(listen: &str, allowed: &[&str]) -> Hosts {
        let allowed: Vec<String> = allowed.iter().map(|s| (*s).to_owned()).collect();
        Hosts::new(listen.parse().expect("an address"), &allowed)
    }

    #[test]
    fn only_our_own_names_with_our_own_port() {
        let loopback = hosts("127.0.0.1:7070", &["green.example", "proxy.example:443"]);
        for ours in [
            "127.0.0.1:7070",
            "localhost:7070",
            "LOCALHOST:7070",
            "[::1]:7070",
            "green.example",
            "green.example:1",
            "proxy.example:443",
            "proxy.example",
        ] {
            assert!(loopback.is_ours(ours, 443), "{ours}");
        }
        for foreign in [
            "127.0.0.1",
            "127.0.0.1:7071",
            "evil.example:7070",
            "10.0.0.1:7070",
            "",
            "localhost",
            "proxy.example:8443",
            "localhost.evil.example:7070",
        ] {
            assert!(!loopback.is_ours(foreign, 443), "{foreign}");
        }
        let open = hosts("0.0.0.0:7070", &[]);
        assert!(open.is_ours("10.0.0.1:7070", 80));
        assert!(!open.is_ours("evil.example:7070", 80));
    }

    #[test]
    fn guests_come_in_by_the_doors_alone() {
        let origins = vec![HeaderValue::from_static("http://localhost:3000")];
        let guests = Guests { origins, beneath: vec!["orchestrator"] };
        let may = |path: &str, origins: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for origin in origins {
                headers.append(header::ORIGIN, HeaderValue::from_static(origin));
            }
            guests.has(&path.parse().expect("a path"), &headers)
        };
        let known = "http://localhost:3000";
        assert!(may("/orchestrator/runs", &[known]) && may("/orchestrator", &[known]));
        for path in ["/v1/sessions", "/orchestrators", "/", "//orchestrator", "/foundry/x"] {
            assert!(!may(path, &[known]), "{path}");
        }
        let others: [&[&str]; 5] = [
            &[],
            &["null"],
            &["http://localhost:3001"],
            &["https://localhost:3000"],
            &[known, "http://evil.example"],
        ];
        for origins in others {
            assert!(!may("/orchestrator/runs", origins), "{origins:?}");
        }
    }

    #[test]
    fn origins_of_others_are_refused() {
        let hosts = hosts("127.0.0.1:7070", &[]);
        let with = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, http::HeaderValue::from_static(value));
            hosts.check_origin(&headers).is_ok()
        };
        assert!(with("origin", "http://127.0.0.1:7070"));
        assert!(with("origin", "http://localhost:7070"));
        assert!(!with("origin", "null"));
        assert!(!with("origin", "http://evil.example:7070"));
        assert!(!with("origin", "http://localhost:3000"));
        assert!(!with("origin", "file://"));
        assert!(!with("sec-fetch-site", "cross-site"));
        assert!(!with("sec-fetch-site", "same-site"));
        assert!(with("sec-fetch-site", "none"));
    }
}
