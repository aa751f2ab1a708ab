//! Where an agent that serves HTTP listens, and what it is told of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use greenroom_core::drive::Open;

use crate::Failure;

/// A port of the loopback interface, and the environment that names it.
pub(super) struct Place {
    pub(super) port: u16,
    pub(super) env: Vec<(String, String)>,
}

impl Place {
    /// Chooses a port that nobody has. Until the agent has taken it another program could;
    /// then the agent does not start, and says why.
    pub(super) fn choose(open: &Open) -> Result<Self, Failure> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .map_err(|error| {
                Failure::new("start_error", format!("no port of 127.0.0.1 is free: {error}"))
            })?
            .port();
        let own = |name: &str| std::env::var(name).unwrap_or_default();
        let state = open.home.join(".agentserver").to_string_lossy().into_owned();
        // What the agent's file says is stronger, but for the port.
        let told = [
            ("HOST", "127.0.0.1".to_owned()),
            ("AGENTSERVER_STATE_ROOT", state),
            ("FOUNDRY_AGENT_NAME", own("GREENROOM_AGENT")),
            ("FOUNDRY_AGENT_VERSION", own("GREENROOM_AGENT_VERSION")),
            ("FOUNDRY_AGENT_SESSION_ID", open.session.to_string()),
        ];
        let told = told
            .into_iter()
            .filter(|(name, value)| !value.is_empty() && std::env::var_os(name).is_none());
        let port_is = ("PORT", port.to_string());
        let env = told.chain([port_is]).map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Self { port, env })
    }
}

/// The address beyond loopback on which somebody listens on this port, as the kernel's
/// tables say (proc_net_tcp(5)).
pub(super) fn heard_outside(port: u16) -> Option<SocketAddr> {
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .into_iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .find_map(|table| table.lines().skip(1).find_map(|line| outside(line, port)))
}

fn outside(line: &str, port: u16) -> Option<SocketAddr> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
    let (address, local_port) = local.split_once(':')?;
    let listens = state == "0A" && u16::from_str_radix(local_port, 16) == Ok(port);
    let address = listens.then(|| address_of(address)).flatten()?;
    let loopback = match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(v6.is_loopback(), |v4| v4.is_loopback()),
    };
    (!loopback).then_some(SocketAddr::new(address, port))
}

/// An address as the table writes it: words of four bytes, each a number of this machine.
fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = hex.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (at, place) in bytes.chunks_exact_mut(4).enumerate() {
                place.copy_from_slice(&word(at)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn who_listens_outside_is_found_in_the_kernels_table() {
        let inside = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(heard_outside(inside.local_addr().unwrap().port()), None);
        let outside = TcpListener::bind("0.0.0.0:0").unwrap();
        let address = outside.local_addr().unwrap();
        assert_eq!(heard_outside(address.port()), Some(address));
    }

    #[test]
    fn addresses_read_as_the_table_writes_them() {
        let line = |address: &str| format!(" 0: {address}:1F90 00000000:0000 0A 0 0 0");
        let at = |address: &str| outside(&line(address), 8080).map(|found| found.ip().to_string());
        if cfg!(target_endian = "little") {
            assert_eq!(at("0100007F"), None);
            assert_eq!(at("0100A8C0").as_deref(), Some("192.168.0.1"));
            assert_eq!(at("00000000000000000000000001000000"), None);
            assert_eq!(at("0000000000000000FFFF00000100007F"), None);
        }
        assert_eq!(at("00000000").as_deref(), Some("0.0.0.0"));
        assert_eq!(at("00000000000000000000000000000000").as_deref(), Some("::"));
        assert_eq!(outside(&line("00000000"), 80), None);
    }

    proptest! {
        #[test]
        fn no_line_breaks_it(line in ".{0,120}", port in any::<u16>()) {
            outside(&line, port);
        }
    }
}
