//! What `up` and `serve` share: the data folder's lock, the store, the coordinator.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;

use greenroom_coordinator::{Config, Coordinator, Door, Doors, Offered, StartError};
use greenroom_core::Ms;
use greenroom_store::{Quotas, SqliteStore, Store};
use http::{HeaderValue, Uri};
use tracing_subscriber::EnvFilter;

use crate::alias::{self, Meant};
use crate::args::Label;
use crate::context::Context;
use crate::data::{DataDir, ServerFile, ServerLock};
use crate::error::CliError;

/// Open files a server may need: one for each viewer and each compute.
const FILES: u64 = 65_536;

/// Options of a coordinator.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Options {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7070", value_parser = address)]
    listen: SocketAddr,
    /// Also listen on a Unix socket at this path, which only this user can open and needs no
    /// token on: --url unix://PATH
    #[arg(long, value_name = "PATH")]
    listen_unix: Option<PathBuf>,
    /// Agent files, folders of them, URLs, oci://IMAGE, or NAME (also alias:NAME) of an alias in
    /// docker-agent's configuration; may be repeated
    #[arg(long, value_name = "REF", num_args = 1..)]
    agents: Vec<String>,
    /// How often URLs and registries are asked for agents again
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = refresh)]
    agents_refresh: Ms,
    /// File with the token (or user:password, of a registry) that this host is sent, and no
    /// other; may be repeated
    #[arg(long = "agents-token", value_name = "HOST=FILE")]
    agents_tokens: Vec<Label>,
    /// Ask for no token; on loopback only
    #[arg(long)]
    no_auth: bool,
    /// Another name this server is reached by, as NAME or NAME:PORT; may be repeated
    #[arg(long = "allowed-host", value_name = "HOST")]
    allowed_hosts: Vec<String>,
    /// How long a runner may be silent before its sessions are unreachable
    #[arg(long, value_name = "TIME", default_value = "20s")]
    runner_ttl: Ms,
    #[command(flatten)]
    quotas: QuotaOptions,
    /// Doors for clients of other systems: foundry, orchestrator, docker-agent, or none. All of
    /// them with `up`, none with `serve`, where this is absent
    #[arg(long = "door", value_name = "DOOR", value_delimiter = ',', value_parser = door)]
    doors: Option<Vec<Option<Door>>>,
    /// Let pages of this origin use the doors, with a token; may be repeated
    #[arg(long = "door-origin", value_name = "ORIGIN", value_parser = origin)]
    door_origins: Vec<HeaderValue>,
    /// Let descriptions that come in by a door name this variable of the server, as ${env.NAME};
    /// may be repeated
    #[arg(long = "door-env", value_name = "NAME")]
    door_env: Vec<String>,
}

/// How many sessions there may be.
#[derive(Debug, clap::Args)]
#[group(skip)]
struct QuotaOptions {
    /// Sessions that may be active at once: up, or waiting for a place. One more is refused
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_active: Option<u32>,
    /// The same for each owner, and each user that an owner names
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_active_per_owner: Option<u32>,
    /// Sessions that each owner, and each user that an owner names, may have at all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_sessions_per_owner: Option<u32>,
}

impl From<QuotaOptions> for Quotas {
    fn from(options: QuotaOptions) -> Self {
        Self {
            active: options.max_active,
            active_per_owner: options.max_active_per_owner,
            sessions_per_owner: options.max_sessions_per_owner,
        }
    }
}

/// A door by its name; `none` for no door.
fn door(text: &str) -> Result<Option<Door>, String> {
    match text {
        "none" => Ok(None),
        name => name.parse().map(Some),
    }
}

/// An origin, as a browser writes it: nothing behind the port, and no port that is the scheme's.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let failed = || "write it like http://localhost:3000".to_owned();
    let uri: Uri = text.parse().map_err(|_| failed())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(failed());
    };
    let standard = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return Err(failed()),
    };
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.as_str().contains('@')
    {
        return Err(failed());
    }
    let authority = authority.as_str().to_ascii_lowercase();
    let authority = authority.strip_suffix(standard).unwrap_or(&authority);
    format!("{scheme}://{authority}").parse().map_err(|_| failed())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let failed = || "write it like 127.0.0.1:7070, or localhost:0".to_owned();
    text.to_socket_addrs().map_err(|_| failed())?.next().ok_or_else(failed)
}

fn refresh(text: &str) -> Result<Ms, String> {
    let refresh: Ms = text.parse().map_err(|error| format!("{error}"))?;
    match refresh < Ms(100) {
        true => Err("that is too often: 100ms at least".to_owned()),
        false => Ok(refresh),
    }
}

/// A coordinator that serves a data folder.
pub(crate) struct Serving {
    pub(crate) coordinator: Coordinator,
    store: Arc<SqliteStore>,
    data: DataDir,
    lock: ServerLock,
}

/// Where the log of a process goes, and how much of it: `GREENROOM_LOG`, in the usual form.
pub(crate) fn start_log() {
    let filter =
        EnvFilter::try_from_env("GREENROOM_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    // A second one in the same process is the first one's.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}

/// As many open files as the system lets us have.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(FILES, |maximum| maximum.min(FILES));
    if limit.current.is_some_and(|current| current < most) {
        limit.current = Some(most);
        // Without it there is room for fewer viewers, and nothing else is wrong.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// An address that this machine can dial, for one it listens on.
fn dial(listening: SocketAddr) -> SocketAddr {
    let mut address = listening;
    if address.ip().is_unspecified() {
        address.set_ip(match listening {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Why it does not start; where that is a word that is nothing, with the aliases there are.
fn with_aliases(error: StartError, agents: &[Meant]) -> CliError {
    let hint = match &error {
        StartError::Source { reference, .. } => agents
            .iter()
            .find(|meant| meant.source == *reference)
            .and_then(|meant| meant.hint.clone()),
        _ => None,
    };
    let error = CliError::from(error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

impl Serving {
    /// Takes the data folder and starts its coordinator.
    pub(crate) async fn start(
        context: &Context,
        options: Options,
        offered: Vec<Offered>,
        doors: Doors,
    ) -> Result<Self, CliError> {
        let meant = options.agents.iter().map(|word| alias::meant(&context.ui, word));
        let agents: Vec<Meant> = meant.collect::<Result<_, _>>()?;
        start_log();
        raise_file_limit();
        let data = context.data_dir()?;
        data.make()?;
        let lock = data.serve()?;
        let store = Arc::new(SqliteStore::open(&data.database()).await?);
        let no_auth = options.no_auth;
        let config = Config {
            listen: options.listen,
            listen_unix: options.listen_unix,
            data: data.path().to_owned(),
            agents: agents.iter().map(|meant| meant.source.clone()).collect(),
            offered,
            agents_refresh: options.agents_refresh,
            agents_tokens: Label::map(&options.agents_tokens)
                .into_iter()
                .map(|(host, file)| (host, file.into()))
                .collect(),
            no_auth,
            allowed_hosts: options.allowed_hosts,
            runner_ttl: options.runner_ttl,
            quotas: options.quotas.into(),
            exposed_env: options.door_env,
            door_origins: options.door_origins,
            doors: options.doors.map_or(doors, |named| named.into_iter().flatten().collect()),
        };
        let shared: Arc<dyn Store> = Arc::clone(&store) as _;
        let coordinator = greenroom_coordinator::start(config, shared)
            .await
            .map_err(|error| with_aliases(error, &agents))?;
        if no_auth {
            context
                .ui
                .warn("--no-auth: whoever can reach this machine's loopback can use every agent");
        }
        let serving = Self { coordinator, store, data, lock };
        let file = ServerFile {
            pid: std::process::id(),
            url: serving.url(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        serving.data.announce(&serving.lock, &file)?;
        Ok(serving)
    }

    /// Where it is reached from this machine.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", dial(self.coordinator.address()))
    }

    /// The data folder.
    pub(crate) fn data(&self) -> &DataDir {
        &self.data
    }

    /// Says that everything is ready: one line, and on a terminal the way into the
    /// dashboard.
    pub(crate) async fn say_ready(&self, context: &Context) -> Result<(), CliError> {
        context.ui.line(format!("greenroom is up at http://{}", self.coordinator.address()))?;
        if let Some(socket) = self.coordinator.socket() {
            context.ui.say(format!("and at unix://{}", socket.display()));
        }
        if context.ui.data_terminal {
            let link = self.coordinator.login_link().await?;
            context.ui.line(format!("dashboard: {link}"))?;
        }
        Ok(())
    }

    /// Ends the coordinator. No agent is touched.
    pub(crate) async fn end(self) {
        self.coordinator.shutdown().await;
        self.store.close().await;
        self.data.retract(&self.lock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_do() {
        let said =
            |text: &str| origin(text).map(|origin| origin.to_str().expect("text").to_owned());
        for (given, is) in [
            ("http://localhost:3000", "http://localhost:3000"),
            ("HTTP://LOCALHOST:3000/", "http://localhost:3000"),
            ("https://a.example:443", "https://a.example"),
            ("http://[::1]:5173", "http://[::1]:5173"),
        ] {
            assert_eq!(said(given).as_deref(), Ok(is), "{given}");
        }
        for wrong in
            ["*", "localhost:3000", "null", "file:///x", "http://a/b", "http://a?b", "http://u@a"]
        {
            assert!(said(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn doors_are_named() {
        #[derive(clap::Parser)]
        struct Up {
            #[command(flatten)]
            options: Options,
        }
        let doors = |words: &[&str]| {
            let up = <Up as clap::Parser>::try_parse_from(words).ok()?;
            Some(up.options.doors.map(|named| named.into_iter().flatten().collect::<Doors>()))
        };
        let two = Doors::from([Door::Foundry, Door::DockerAgent]);
        assert_eq!(doors(&["up"]), Some(None), "it is for the command to say");
        assert_eq!(doors(&["up", "--door", "foundry,docker-agent"]), Some(Some(two)));
        assert_eq!(doors(&["up", "--door", "none"]), Some(Some(Doors::new())));
        assert_eq!(doors(&["up", "--door", "garden"]), None);
    }

    #[test]
    fn addresses() {
        assert_eq!(address("127.0.0.1:0").expect("one").port(), 0);
        assert!(address("localhost:70").expect("one").ip().is_loopback());
        assert!(address("7070").is_err());
        assert_eq!(refresh("1m"), Ok(Ms::secs(60)));
        assert!(refresh("99ms").is_err() && refresh("often").is_err());
        let all = "0.0.0.0:70".parse().expect("one");
        assert_eq!(dial(all).to_string(), "127.0.0.1:70");
        let all = "[::]:70".parse().expect("one");
        assert_eq!(dial(all).to_string(), "[::1]:70");
    }
}
