//! Starting shims, and talking to them.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use greenroom_core::{Epoch, SessionUid};
use greenroom_protocol::link::Delta;
use greenroom_shim::control::Control;
use greenroom_shim::spec::PROTOCOL;
use greenroom_shim::wire::{FromShim, ToShim};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Command;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::hosted;
use crate::session::{Event, Inbox};
use crate::tail::Durable;
use crate::upload::Uploads;

/// The program that is started for a shim: this very build, also after its file was replaced.
const SELF: &str = "/proc/self/exe";
/// A socket's path has fewer bytes than this; a longer one is reached through its folder.
pub(crate) const MAX_SOCKET_PATH: usize = 108;
/// A shim that accepts and says nothing for so long is tried again.
const GREETING: Duration = Duration::from_secs(2);

/// A shim that was started here.
#[derive(Debug)]
pub(crate) struct Born {
    /// Whether it has ended.
    ended: watch::Receiver<bool>,
    /// The connection it was born with.
    stream: UnixStream,
}

/// Starts a shim for a control folder with a spec in it. Blocks for a moment; must be
/// called within the runtime.
pub(crate) fn spawn(control: &Control) -> io::Result<Born> {
    let (ours, theirs) = UnixStream::pair()?;
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(control.dir().join("shim.log"))?;
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let mut command = Command::new(SELF);
    // Faults are injected into shims as into everything else.
    #[cfg(feature = "failpoints")]
    let faults = std::env::var_os("FAILPOINTS").map(|faults| ("FAILPOINTS", faults));
    #[cfg(not(feature = "failpoints"))]
    let faults: Option<(&str, std::ffi::OsString)> = None;
    let mut child = command
        .arg("shim")
        .arg(control.dir())
        .env_clear()
        .env("PATH", path)
        .envs(faults)
        .stdin(OwnedFd::from(theirs.into_std()?))
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(false)
        .spawn()?;
    let (ended, is_ended) = watch::channel(false);
    tokio::spawn(async move {
        let _ = child.wait().await;
        ended.send_replace(true);
    });
    Ok(Born { ended: is_ended, stream: ours })
}

/// A conversation with a shim.
#[derive(Debug)]
pub(crate) struct Talk {
    /// Counts conversations, so that the end of an old one is not taken for this one's.
    pub(crate) id: u64,
    say: mpsc::UnboundedSender<ToShim>,
    _over: DropGuard,
}

impl Talk {
    /// Says something. If the conversation is over, its end is on the way as an event.
    pub(crate) fn say(&self, message: ToShim) {
        let _ = self.say.send(message);
    }
}

/// How a shim introduced itself.
#[derive(Debug)]
pub(crate) struct Met {
    pub(crate) hello: FromShim,
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

/// Connects to the shim of a control folder. Gives up (`None`) when the shim that was
/// started for it has ended, or, where another process started it, when its lock is free.
pub(crate) async fn connect(control: Control, born: Option<Born>) -> Option<Met> {
    let mut wait = Duration::from_millis(1);
    let mut ended = None;
    if let Some(born) = born {
        // Over that one it answers, or it ends.
        match greet(born.stream).await {
            Ok(met) => return Some(met),
            Err(error) => tracing::debug!(dir = %control.dir().display(), %error, "no greeting"),
        }
        ended = Some(born.ended);
    }
    loop {
        let greeting = async { greet(hosted::reach(&control.sock_path()).await?).await };
        match tokio::time::timeout(GREETING, greeting).await {
            Ok(Ok(met)) => return Some(met),
            Ok(Err(error)) => {
                tracing::trace!(dir = %control.dir().display(), %error, "no shim yet")
            }
            Err(_) => tracing::debug!(dir = %control.dir().display(), "a shim does not answer"),
        }
        match &mut ended {
            Some(ended) if *ended.borrow() => return None,
            Some(ended) => tokio::select! {
                _ = ended.changed() => {}
                () = tokio::time::sleep(wait) => {}
            },
            None => {
                if matches!(control.is_locked(), Ok(false)) || !control.dir().exists() {
                    return None;
                }
                tokio::time::sleep(wait).await;
            }
        }
        wait = (wait * 2).min(Duration::from_secs(1));
    }
}

async fn greet(stream: UnixStream) -> io::Result<Met> {
    let (read, mut write) = stream.into_split();
    let build = env!("CARGO_PKG_VERSION").to_owned();
    write.write_all(&line(&ToShim::Hello { protocol: PROTOCOL, build })?).await?;
    let mut read = BufReader::with_capacity(64 << 10, read);
    let mut greeting = Vec::new();
    read.read_until(b'\n', &mut greeting).await?;
    match serde_json::from_slice(&greeting)? {
        hello @ FromShim::Hello { .. } => Ok(Met { hello, read, write }),
        other => Err(io::Error::other(format!("it greets with {other:?}"))),
    }
}

fn line(message: &ToShim) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Where what a shim says goes.
#[derive(Debug, Clone)]
pub(crate) struct Ears {
    pub(crate) uid: SessionUid,
    pub(crate) epoch: Epoch,
    pub(crate) inbox: Inbox,
    pub(crate) durable: Durable,
    pub(crate) uploads: Uploads,
    pub(crate) deltas: mpsc::Sender<Delta>,
}

impl Met {
    /// Begins the conversation. Its end comes as [`Event::TalkEnded`].
    pub(crate) fn talk(self, id: u64, ears: Ears) -> Talk {
        let (say, mut said) = mpsc::unbounded_channel::<ToShim>();
        let Self { read, mut write, .. } = self;
        tokio::spawn(async move {
            while let Some(message) = said.recv().await {
                let mut bytes = line(&message).unwrap_or_default();
                // What is said together arrives together, and is obeyed with one wait for the disk.
                while let Ok(message) = said.try_recv() {
                    bytes.append(&mut line(&message).unwrap_or_default());
                }
                if write.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
        let over = CancellationToken::new();
        let ended = over.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = listen(read, &ears) => {}
                () = ended.cancelled() => return,
            }
            let _ = ears.inbox.send(Event::TalkEnded { epoch: ears.epoch, talk: id });
        });
        Talk { id, say, _over: over.drop_guard() }
    }
}

async fn listen(mut read: BufReader<OwnedReadHalf>, ears: &Ears) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match read.read_until(b'\n', &mut line).await {
            Ok(n) if n > 0 => {}
            _ => return,
        }
        match serde_json::from_slice(&line) {
            Ok(message) => ears.hear(message),
            Err(error) => tracing::warn!(uid = %ears.uid, %error, "a shim said what does not read"),
        }
    }
}

impl Ears {
    /// The journal is on disk up to this index.
    pub(crate) fn durable(&self, index: u64) {
        self.durable.fetch_max(index, Ordering::AcqRel);
        self.uploads.more();
    }

    fn hear(&self, message: FromShim) {
        let epoch = self.epoch;
        match message {
            FromShim::Durable { index } => self.durable(index),
            FromShim::Delta { run, part, offset, text } => {
                // The first thing to be dropped under pressure.
                let _ = self.deltas.try_send(Delta { uid: self.uid, run, part, offset, text });
            }
            FromShim::Closed { receipt } => {
                let _ = self.inbox.send(Event::ReceiptSeen { epoch, receipt });
            }
            FromShim::Unproven { evidence } => {
                let _ = self.inbox.send(Event::Unproven { epoch, evidence });
            }
            FromShim::Hello { .. } | FromShim::Unknown => {}
        }
    }
}
