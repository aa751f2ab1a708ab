//! Starting and ending a coordinator.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::OptionFuture;
use greenroom_core::Principal;
use greenroom_protocol::token::Role;
use greenroom_store::{Store, TokenRow};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::app::{App, fresh};
use crate::auth::Auth;
use crate::clock::{SharedClock, SystemClock};
use crate::config::{Config, StartError};
use crate::error::ApiError;
use crate::guard::Hosts;
use crate::hub::Hub;
use crate::lives::Lives;
use crate::presence::Runners;
use crate::serve::serve;
use crate::service::agents::Agents;
use crate::service::streams::Streams;
use crate::service::tokens;
use crate::socket::Socket;
use crate::sources::{self, Reference, Sources};
use crate::timers::{Deadlines, Expiries, IdleLimits};
use crate::{api, doors, figures, secret, tasks};

/// Open requests get this long to end after a shutdown has begun.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// Sources that are not on this machine get this long to answer before it serves.
const FIRST_ANSWERS: Duration = Duration::from_secs(3);

/// A coordinator that serves.
pub struct Coordinator {
    app: Arc<App>,
    admin_token: String,
    socket: Option<PathBuf>,
    serving: JoinHandle<()>,
    tasks: JoinSet<()>,
}

/// Starts a coordinator on a store. Returns once it serves.
pub async fn start(config: Config, store: Arc<dyn Store>) -> Result<Coordinator, StartError> {
    start_with(config, store, Arc::new(SystemClock)).await
}

/// Like [`start`], with clocks of one's own.
pub async fn start_with(
    config: Config,
    store: Arc<dyn Store>,
    clock: SharedClock,
) -> Result<Coordinator, StartError> {
    if config.no_auth && !config.listen.ip().is_loopback() {
        return Err(StartError::NoAuthBeyondLoopback(config.listen));
    }
    let references = references(&config)?;
    let listen = |source| StartError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let socket = config.listen_unix.as_deref().map(socket).transpose()?;
    let socket_path = socket.as_ref().map(|socket| socket.path().to_owned());
    figures::install();

    let identity = store.identity();
    let admin_token = admin_token(&*store, &config.data, &clock).await?;
    let lives = Arc::new(Lives::begin(&*store, Arc::clone(&clock)).await?);
    let app = Arc::new(App {
        lives,
        hub: Arc::new(Hub::new(identity.era)),
        runners: Runners::new(store.runners().await?),
        streams: Streams::default(),
        activities: Default::default(),
        auth: Auth::default(),
        agents: Agents::default(),
        sources: Sources::new(config.agents_tokens, config.offered),
        deadlines: Deadlines::default(),
        idle: IdleLimits::default(),
        expiries: Expiries::default(),
        wakes: Default::default(),
        no_auth: config.no_auth,
        address,
        runner_ttl: config.runner_ttl.into(),
        quotas: config.quotas,
        agents_refresh: config.agents_refresh.into(),
        ending: CancellationToken::new(),
        openapi: api::spec::document().to_string().into(),
        exposed_env: config.exposed_env,
        orchestrator: Default::default(),
        enrolling: tokio::sync::Mutex::new(()),
        clock,
        identity,
        store: Arc::clone(&store),
    });
    // A weak one: the store must not keep alive what holds the store.
    let told = Arc::downgrade(&app);
    store.on_commit(Arc::new(move |commit| {
        if let Some(app) = told.upgrade() {
            app.committed(commit);
        }
    }));
    tasks::restore(&app).await.map_err(failed)?;
    load_agents(&app, references).await?;

    let hosts = Hosts::new(address, &config.allowed_hosts);
    let router = api::router(Arc::clone(&app), hosts, &config.doors, &config.door_origins);
    let mut tasks = tasks::start(&app);
    doors::start(&app, &config.doors, &mut tasks);
    let by_socket = socket.map(|socket| serve(socket, router.clone(), app.ending.clone()));
    let by_network = serve(listener, router, app.ending.clone());
    let serving = tokio::spawn(async move {
        tokio::join!(by_network, OptionFuture::from(by_socket));
    });
    if config.no_auth {
        tracing::warn!(%address, "--no-auth: every process of this machine may do everything");
    }
    tracing::info!(%address, "the coordinator serves");
    Ok(Coordinator { app, admin_token, socket: socket_path, serving, tasks })
}

fn socket(path: &Path) -> Result<Socket, StartError> {
    Socket::listen(path).map_err(|reason| StartError::Socket { path: path.to_owned(), reason })
}

fn failed(error: ApiError) -> StartError {
    StartError::Store(greenroom_store::StoreError::Database(error.0.detail))
}

/// The references of the command line. They need not exist yet, but must be of a kind
/// that is supported.
fn references(config: &Config) -> Result<Vec<Reference>, StartError> {
    let read = |text: &String| {
        let bad = |reason| StartError::Source { reference: sources::shown(text), reason };
        let reference = Reference::parse(text).map_err(bad)?;
        if reference.is_missing() {
            return Err(bad("there is no such file or folder".to_owned()));
        }
        Ok(reference)
    };
    config.agents.iter().map(read).collect()
}

async fn load_agents(app: &App, references: Vec<Reference>) -> Result<(), StartError> {
    app.agents.recall(&*app.store).await.map_err(failed)?;
    app.sources.load_builtin(app).await.map_err(failed)?;
    for reference in references {
        app.sources.add(reference, false);
    }
    for text in app.store.sources().await? {
        match Reference::parse(&text) {
            Ok(reference) => app.sources.add(reference, true),
            Err(reason) => {
                tracing::warn!(source = %sources::shown(&text), %reason, "a source is not usable any more")
            }
        }
    }
    for reference in app.sources.references() {
        app.sources.recall(app, &reference).await.map_err(failed)?;
    }
    // Those that take longer are asked again in the background, and their copies serve.
    let _ = tokio::time::timeout(FIRST_ANSWERS, app.sources.ask_all(app)).await;
    app.sources.load_all(app).await.map_err(failed)?;
    app.sources.load_offered(app).await.map_err(failed)
}

/// The admin token of `DATA/token`, made where there is none.
async fn admin_token(
    store: &dyn Store,
    data: &Path,
    clock: &SharedClock,
) -> Result<String, StartError> {
    let path = data.join("token");
    let failed = |source| StartError::TokenFile { path: path.clone(), source };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => {
            keep_private(&path).map_err(failed)?;
            text.trim().to_owned()
        }
        Ok(_) => write_token(&path).map_err(failed)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            write_token(&path).map_err(failed)?
        }
        Err(error) => return Err(failed(error)),
    };
    let hash = secret::hash(&text);
    if store.token_by_hash(hash).await?.is_none() {
        let row = TokenRow {
            id: fresh::token(),
            hash,
            role: Role::Admin,
            principal: Principal("admin".to_owned()),
            once: false,
            created_at: clock.wall(),
        };
        store.put_token(row).await?;
    }
    Ok(text)
}

fn write_token(path: &Path) -> std::io::Result<String> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let token = secret::new_token();
    // Written beside and renamed, so that nobody ever reads half a token.
    let beside = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    keep_private(&beside)?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    Ok(token)
}

fn keep_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "the token file could be read by others; now it cannot");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

impl Coordinator {
    /// Where it listens, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.app.address
    }

    /// `http://ADDRESS:PORT`.
    pub fn url(&self) -> String {
        self.app.url()
    }

    /// The socket it listens on besides, where there is one.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// The admin token, as it is in `DATA/token`.
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// A token with which one runner can join. It takes the place of one made here before.
    pub async fn join_token(&self) -> Result<String, StartError> {
        self.one_use(Role::Runner, "join").await
    }

    /// A link that logs one browser in as admin, once. It takes the place of one made here
    /// before.
    pub async fn login_link(&self) -> Result<String, StartError> {
        let code = self.one_use(Role::Admin, "admin").await?;
        Ok(format!("{}/login?code={code}", self.url()))
    }

    /// Makes a token for one use, and takes back those that nobody used.
    async fn one_use(&self, role: Role, principal: &str) -> Result<String, StartError> {
        for row in self.app.store.tokens().await? {
            if row.once && row.role == role && row.principal.0 == principal {
                self.app.store.revoke_token(row.id).await?;
                self.app.auth.revoke(row.id);
            }
        }
        let name = Some(principal.to_owned());
        let (_, secret) = tokens::make(&self.app, role, name, true).await.map_err(failed)?;
        Ok(secret)
    }

    /// Ends: long polls and streams at once, other requests within a few seconds. No agent
    /// is touched.
    pub async fn shutdown(mut self) {
        self.app.ending.cancel();
        let mut serving = self.serving;
        if tokio::time::timeout(LAST_REQUESTS, &mut serving).await.is_err() {
            tracing::warn!("some requests did not end in time");
            serving.abort();
        }
        if tokio::time::timeout(LAST_REQUESTS, async {
            while self.tasks.join_next().await.is_some() {}
        })
        .await
        .is_err()
        {
            self.tasks.shutdown().await;
        }
    }
}
