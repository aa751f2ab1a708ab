//! Which addresses agents may be fetched from.
//!
//! The check is made on the addresses a name resolves to, and they are the ones that are
//! dialled: a name that means something else a moment later gains nothing.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Where a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This machine, because the operator has named it.
    Loopback,
    /// Addresses of the whole Internet.
    Public,
}

impl Reach {
    /// Refuses an address.
    pub(crate) fn check(self, ip: IpAddr) -> Result<(), String> {
        match self {
            Self::Loopback if ip.is_loopback() => Ok(()),
            Self::Loopback => Err(format!("{ip} is not this machine's loopback address")),
            Self::Public if is_public(ip) => Ok(()),
            Self::Public => Err(format!(
                "{ip} is an address of a private network or of this machine, and those are not fetched from"
            )),
        }
    }
}

/// Whether a URL names this machine itself. A name that merely resolves to it does not.
pub(crate) fn is_loopback_host(url: &Url) -> bool {
    url.host_str() == Some("localhost") || literal(url).is_some_and(|ip| ip.is_loopback())
}

/// The address that a URL has in the place of a name.
pub(crate) fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let reserved = match (a, b, c) {
        // This network, shared by carriers, protocols, benchmarks, what is left.
        (0, ..) | (100, 64..=127, _) | (192, 0, 0) | (198, 18..=19, _) | (240.., ..) => true,
        // Of documents, and of relays for version 6.
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) | (192, 88, 99) => true,
        _ => false,
    };
    let local = ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_multicast();
    !reserved && !local
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        // Addresses of version 4 in the clothes of version 6.
        [0, 0, 0, 0, 0, 0xffff, high, low] => inner(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => inner(high, low),
        [0x2002, high, low, ..] => inner(high, low),
        // Tunnels, and documents.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// Resolves names to the addresses that may be dialled.
pub(crate) struct Guarded(pub(crate) Reach);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            let refused = found.iter().find_map(|address| reach.check(address.ip()).err());
            let allowed: Vec<_> =
                found.into_iter().filter(|address| reach.check(address.ip()).is_ok()).collect();
            match refused {
                Some(refused) if allowed.is_empty() => {
                    let why = format!("{} is refused: {refused}", name.as_str());
                    Err(Box::<dyn Error + Send + Sync>::from(why))
                }
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        let public = [
            "1.1.1.1",
            "93.184.216.34",
            "172.32.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::1",
        ];
        for ip in public {
            assert_eq!(Reach::Public.check(ip.parse().expect("one")), Ok(()), "{ip}");
        }
        let private = [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:a00:1::1",
            "2002:7f00:1::1",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        for ip in private {
            assert!(Reach::Public.check(ip.parse().expect("one")).is_err(), "{ip}");
        }
        assert!(Reach::Loopback.check("127.0.0.1".parse().expect("one")).is_ok());
        assert!(Reach::Loopback.check("::1".parse().expect("one")).is_ok());
        assert!(Reach::Loopback.check("10.0.0.1".parse().expect("one")).is_err());
        assert!(Reach::Loopback.check("1.1.1.1".parse().expect("one")).is_err());
    }

    #[test]
    fn this_machine_is_named_by_its_address_or_as_localhost() {
        let is = |url: &str| is_loopback_host(&Url::parse(url).expect("a url"));
        for url in ["http://localhost/", "http://127.0.0.1:1/", "http://127.1/", "http://[::1]/"] {
            assert!(is(url), "{url}");
        }
        for url in ["http://localhost.ex.com/", "http://x@10.0.0.1/", "http://127.0.0.1.ex.com/"] {
            assert!(!is(url), "{url}");
        }
    }

    /// A name that resolves to this machine is refused where it was not named, and is the
    /// only thing reached where it was.
    #[tokio::test]
    async fn names_are_checked_by_their_addresses() {
        let ask = |reach| Guarded(reach).resolve("localhost".parse().expect("a name"));
        let refused = match ask(Reach::Public).await {
            Err(refused) => refused.to_string(),
            Ok(_) => panic!("a loopback address was let through"),
        };
        assert!(refused.starts_with("localhost is refused: "), "{refused}");
        let found: Vec<_> = ask(Reach::Loopback).await.expect("resolves").collect();
        assert!(!found.is_empty() && found.iter().all(|a| a.ip().is_loopback()), "{found:?}");
    }
}
