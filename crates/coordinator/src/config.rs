//! What a coordinator is started with, and why it may refuse to start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use greenroom_core::{AgentSpec, Ms};
use greenroom_store::{Quotas, StoreError};
use http::HeaderValue;

use crate::doors::Doors;

/// What a coordinator is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// A Unix socket to listen on besides, for the server's own user.
    pub listen_unix: Option<PathBuf>,
    /// The data folder, for `token`.
    pub data: PathBuf,
    /// Sources of agents: files, folders, URLs.
    pub agents: Vec<String>,
    /// Agents that were found on this machine and need no file. A file's agent of the same
    /// name goes before.
    pub offered: Vec<Offered>,
    /// How often a source that is not on this machine is asked again.
    pub agents_refresh: Ms,
    /// Files with the tokens that the hosts of sources are sent; nobody else gets any.
    pub agents_tokens: BTreeMap<String, PathBuf>,
    /// No token is asked for. On loopback only.
    pub no_auth: bool,
    /// Names under which it is reached besides its own address: `name` or `name:port`.
    pub allowed_hosts: Vec<String>,
    /// How long a runner may be silent before its computes are `unreachable`.
    pub runner_ttl: Ms,
    /// How many sessions there may be.
    pub quotas: Quotas,
    /// The doors that are open.
    pub doors: Doors,
    /// Origins whose pages may use the doors, with a token.
    pub door_origins: Vec<HeaderValue>,
    /// Variables of this process that descriptions of a door may name; nobody reads others.
    pub exposed_env: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7070)),
            listen_unix: None,
            data: PathBuf::from("."),
            agents: Vec::new(),
            offered: Vec::new(),
            agents_refresh: Ms::secs(30),
            agents_tokens: BTreeMap::new(),
            no_auth: false,
            allowed_hosts: Vec::new(),
            runner_ttl: Ms::secs(20),
            quotas: Quotas::default(),
            doors: Doors::new(),
            door_origins: Vec::new(),
            exposed_env: Vec::new(),
        }
    }
}

/// An agent that was found on this machine.
#[derive(Debug, Clone)]
pub struct Offered {
    /// How it is run.
    pub spec: AgentSpec,
    /// What it lacks to work, for people.
    pub needs: Option<String>,
    /// The version of its program, once that has said it.
    pub version: Arc<OnceLock<String>>,
}

/// Why a coordinator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Without tokens, only this machine may reach it.
    #[error(
        "--no-auth works on loopback only, and {0} is not: leave --no-auth out, or listen on 127.0.0.1"
    )]
    NoAuthBeyondLoopback(SocketAddr),
    /// The address is taken, or not this machine's.
    #[error(
        "cannot listen on {address}: {source}; choose another with --listen, or end what has it"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The socket is in use, or cannot be made.
    #[error("--listen-unix {}: {reason}", path.display())]
    Socket {
        /// Where it was to be.
        path: PathBuf,
        /// What is in the way, and what to do.
        reason: String,
    },
    /// The admin token cannot be read or written.
    #[error("cannot keep the admin token in {path}: {source}")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A reference of `--agents` is of a kind that is not supported.
    #[error("--agents {reference}: {reason}")]
    Source {
        /// The reference.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store failed.
    #[error("the store is not usable: {0}")]
    Store(#[from] StoreError),
}
