//! The supervisor: one poll loop. In each round signals and control come before what
//! the agent writes, so that a stop never waits behind output.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use greenroom_core::agent::CommandSpec;
use greenroom_core::receipt::{EndReason, LastRun};
use greenroom_core::{RecordBody, RunId};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::Value;

use crate::agent::Leader;
use crate::clock::{self, Moment};
use crate::control::{Control, Lock, Reserved};
use crate::driven::{Driven, command_of};
use crate::ending::{Closing, Ending};
use crate::log::Log;
use crate::output::Quota;
use crate::redact::Secrets;
use crate::socket::Server;
use crate::spec::{PROTOCOL, ShimSpec};
use crate::streams::Streams;
use crate::sys::{self, Reap, Signals};
use crate::tree::Tree;
use crate::wire::{FromShim, RunInput, ShimPhase};

/// How often the control folder, and what has no event of its own, is looked at.
const CHECK_EVERY: Moment = 5000;
/// How often memory is looked at while there is a limit.
const SAMPLE_EVERY: Moment = 1000;
/// How long a thing that the disk refused waits for its next try.
pub(crate) const RETRY: Moment = 1000;
/// Disk set aside for `closed`.
const CLOSED_RESERVE: u64 = 32 << 10;
/// No more children are reaped before other things have their turn.
const REAP_BUDGET: u32 = 4096;

/// A shim at work.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) spec: ShimSpec,
    pub(crate) command: CommandSpec,
    pub(crate) control: Control,
    lock: Lock,
    folder: (u64, u64),
    signals: Signals,
    pub(crate) server: Server,
    pub(crate) log: Log,
    pub(crate) closed_reserve: Option<Reserved>,
    pub(crate) tree: Tree,
    pub(crate) phase: Phase,
    pub(crate) env: BTreeMap<String, String>,
    /// What must not be said of it.
    pub(crate) secrets: Rc<Secrets>,
    pub(crate) leader: Option<Leader>,
    pub(crate) streams: Option<Streams>,
    /// Pipes of earlier leaders that something left behind still holds.
    pub(crate) strays: Vec<Streams>,
    pub(crate) run: Option<ActiveRun>,
    /// A run that was handed over and is not begun.
    pub(crate) pending: Option<PendingRun>,
    /// Every run that was ever handed over.
    pub(crate) given: Vec<RunId>,
    pub(crate) last_run: Option<LastRun>,
    pub(crate) quota: Quota,
    /// State the disk did not take yet, in order.
    pub(crate) owed: Vec<RecordBody>,
    pub(crate) owed_retry: Moment,
    /// What a driver adds to a compute, where there is one.
    pub(crate) driven: Option<Driven>,
    pub(crate) ending: Option<Ending>,
    pub(crate) closing: Option<Closing>,
    pub(crate) born: Moment,
    /// Priority of what is started here.
    pub(crate) nice: i32,
    next_check: Moment,
    next_sample: Moment,
    pub(crate) told_durable: u64,
    pub(crate) buffer: Vec<u8>,
    /// The control folder is gone: there is nowhere to put a receipt.
    pub(crate) lost: bool,
    /// Nothing is left to do.
    pub(crate) done: bool,
}

/// How far a compute that is not being ended has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    AwaitingEnv,
    /// The process that serves all runs is started, and not yet known to run.
    Starting,
    Up,
}

/// The run in progress.
#[derive(Debug)]
pub(crate) struct ActiveRun {
    pub(crate) id: RunId,
    pub(crate) begun: Moment,
    pub(crate) result: Option<Value>,
}

/// A run that was handed over and is not begun.
#[derive(Debug)]
pub(crate) struct PendingRun {
    pub(crate) id: RunId,
    pub(crate) input: RunInput,
    /// Its `RunStarted` is in the journal, but not on disk yet.
    pub(crate) logged: Option<u64>,
    pub(crate) retry_at: Moment,
}

/// The shim of the control folder `dir`, from beginning to end.
pub fn main(dir: &Path) -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    match begin(dir) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(mut supervisor)) => {
            supervisor.serve();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("greenroom shim {}: {error}", dir.display());
            ExitCode::FAILURE
        }
    }
}

/// Takes the folder; `None` if it is another's, or closed.
fn begin(dir: &Path) -> Result<Option<Supervisor>, Box<dyn std::error::Error>> {
    // Fails only for who leads a session already.
    let _ = rustix::process::setsid();
    let dir = std::fs::canonicalize(dir)?;
    std::env::set_current_dir(&dir)?;
    let control = Control::new(&dir);
    let Some(lock) = take_lock(&control)? else { return Ok(None) };
    fail::fail_point!("shim_after_lock");
    if control.closed_path().exists() {
        return Ok(None);
    }
    let spec = control.read_spec()?;
    sys::become_subreaper()?;
    sys::take_name();
    let nice = sys::make_haste();
    let signals = Signals::take()?;
    let server = Server::bind()?;
    fail::fail_point!("shim_after_socket");
    let log = Log::open(&dir)?;
    if log.last() > 0 || control.has_begun() {
        // Another shim was here. What it left is its runner's to close, never to repeat.
        return Err("this compute was begun before".into());
    }
    let reserved = Reserved::set_aside(dir.join("closed.reserve"), CLOSED_RESERVE);
    let command = command_of(&spec.driver);
    let (tree, broken) = match Tree::make(&spec.cgroups, &spec.limits) {
        Ok(tree) => (tree, None),
        Err(error) => (Tree::default(), Some(error)),
    };
    let born = clock::now();
    let mut supervisor = Supervisor {
        quota: Quota::new(spec.limits.output().0),
        driven: spec.driver.process().map(|_| Driven::default()),
        folder: identity(&dir)?,
        spec,
        command,
        control,
        lock,
        signals,
        server,
        log,
        closed_reserve: reserved.ok(),
        tree,
        phase: Phase::AwaitingEnv,
        env: BTreeMap::new(),
        secrets: Rc::default(),
        leader: None,
        streams: None,
        strays: Vec::new(),
        run: None,
        pending: None,
        given: Vec::new(),
        last_run: None,
        owed: Vec::new(),
        owed_retry: 0,
        ending: None,
        closing: None,
        born,
        nice,
        next_check: born + CHECK_EVERY,
        next_sample: born + SAMPLE_EVERY,
        told_durable: 0,
        buffer: vec![0; 64 << 10],
        lost: false,
        done: false,
    };
    if let Some(error) = broken {
        supervisor.end_by_itself(born, EndReason::StartError, 0, Some(error));
    }
    Ok(Some(supervisor))
}

/// Tries a few times: whoever only looks whether a shim lives holds the lock for a moment.
fn take_lock(control: &Control) -> io::Result<Option<Lock>> {
    for _ in 0..5 {
        if let Some(lock) = control.take_lock()? {
            return Ok(Some(lock));
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(None)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

impl Supervisor {
    fn serve(&mut self) {
        // Who started us hears of it before the disk is waited for.
        self.take_control(clock::now());
        self.server.send();
        self.log.begin();
        while !self.done {
            self.wait();
            let now = clock::now();
            let steps = [Self::take_signals, Self::take_control, Self::check_folder, Self::advance];
            for step in steps {
                // Any of them may have come to the end of everything.
                if !self.done {
                    step(self, now);
                }
            }
            if self.done {
                break;
            }
            self.take_output(now);
            self.obey_driver(now);
            if self.done {
                break;
            }
            self.log.sync_due(now);
            self.tell_durable();
            self.server.send();
        }
    }

    /// Sleeps until something happens, or must.
    fn wait(&self) {
        let now = clock::now();
        let left = self.deadline(now).saturating_sub(now).min(CHECK_EVERY);
        let timeout = rustix::time::Timespec {
            tv_sec: (left / 1000) as i64,
            tv_nsec: ((left % 1000) * 1_000_000) as i64,
        };
        let mut fds = vec![PollFd::new(self.signals.fd(), PollFlags::IN)];
        let mut watch = |fd, flags| fds.push(PollFd::from_borrowed_fd(fd, flags));
        self.server.interests().for_each(|(fd, flags)| watch(fd, flags));
        if let Some(report) = self.leader.as_ref().and_then(Leader::report) {
            watch(report.as_fd(), PollFlags::IN);
        }
        for streams in self.streams.iter().chain(&self.strays) {
            streams.interests().for_each(|(fd, flags)| watch(fd, flags));
        }
        // As long as there are children their signals tell more; and only a look at the group
        // lets it poll for the next change.
        if self.ending.is_some()
            && self.tree.childless
            && let Some(events) = self.tree.events()
        {
            watch(events.as_fd(), PollFlags::PRI);
        }
        // An interrupted or failed poll is a round without news.
        let _ = poll(&mut fds, Some(&timeout));
    }

    fn deadline(&self, now: Moment) -> Moment {
        let streams = self.streams.iter().chain(&self.strays).filter_map(Streams::deadline);
        let watched = [
            Some(self.next_check),
            self.watches_memory().then_some(self.next_sample),
            self.log.deadline(),
            (!self.owed.is_empty()).then_some(self.owed_retry),
            self.lifecycle_deadline(now),
            self.ending_deadline(),
        ];
        streams.chain(watched.into_iter().flatten()).min().unwrap_or(now)
    }

    fn take_signals(&mut self, now: Moment) {
        let came = self.signals.read();
        if came.child {
            self.reap(now);
        }
        if came.term {
            self.shut_down(now);
        }
    }

    /// Reaps all that has ended, and learns whether anything is left.
    pub(crate) fn reap(&mut self, now: Moment) {
        for _ in 0..REAP_BUDGET {
            match sys::reap() {
                Ok(Reap::Reaped(pid, exit)) => {
                    self.tree.childless = false;
                    // Once reaped, its number may be another's.
                    let leader = self.leader.as_mut();
                    let leader = leader.filter(|l| l.pid == pid && l.exit.is_none());
                    let is_leader = leader.is_some();
                    if let Some(leader) = leader {
                        leader.exit = Some((exit, now));
                    }
                    if is_leader || self.ending.is_some() {
                        self.tree.census.reaped(pid);
                    }
                }
                Ok(Reap::NoneEnded) => {
                    self.tree.childless = false;
                    return;
                }
                Ok(Reap::NoChild) => {
                    self.tree.childless = true;
                    return;
                }
                Err(error) => {
                    eprintln!("greenroom shim: waitpid: {error}");
                    self.tree.childless = false;
                    return;
                }
            }
        }
    }

    fn take_control(&mut self, now: Moment) {
        let hello = FromShim::Hello {
            protocol: PROTOCOL,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            uid: self.spec.uid,
            epoch: self.spec.epoch,
            pid: std::process::id(),
            phase: match self.phase {
                _ if self.is_ending() => ShimPhase::Ending,
                Phase::Up => ShimPhase::Up,
                Phase::AwaitingEnv | Phase::Starting => ShimPhase::AwaitingEnv,
            },
            run: self.given.last().copied(),
            durable: self.log.durable(),
        };
        for message in self.server.receive(|| hello.clone()) {
            self.told(message, now);
        }
    }

    /// A folder that is gone cannot be stopped through, nor adopted: its tree ends.
    fn check_folder(&mut self, now: Moment) {
        if now < self.next_check {
            return;
        }
        self.next_check = now + CHECK_EVERY;
        if self.folder_is_lost() {
            self.end_lost(now);
        } else if let Err(error) = self.server.rebind_if_lost() {
            eprintln!("greenroom shim: the socket cannot be bound again: {error}");
        }
    }

    /// Whether the folder's path no longer leads to the folder and the lock that we have.
    pub(crate) fn folder_is_lost(&self) -> bool {
        let lost = |path: &Path, own: io::Result<(u64, u64)>| match (identity(path), own) {
            (Ok(there), Ok(own)) => there != own,
            (Err(error), _) => {
                matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            }
            (_, Err(_)) => false,
        };
        let lock = self.control.lock_path();
        lost(self.control.dir(), Ok(self.folder)) || lost(&lock, self.lock.identity())
    }

    fn advance(&mut self, now: Moment) {
        self.pay_owed(now);
        if self.watches_memory() && now >= self.next_sample {
            self.next_sample = now + SAMPLE_EVERY;
            self.sample_memory(now);
        }
        if self.closing.is_some() {
            self.try_to_close(now);
        } else if self.ending.is_some() {
            self.go_on_ending(now);
        } else {
            self.advance_lifecycle(now);
        }
    }

    /// Whether it is too late for anything but a stop.
    pub(crate) fn is_ending(&self) -> bool {
        self.done || self.ending.is_some() || self.closing.is_some()
    }

    fn watches_memory(&self) -> bool {
        self.spec.limits.memory_bytes.is_some() && self.leader.is_some() && !self.is_ending()
    }

    fn sample_memory(&mut self, now: Moment) {
        let Some(limit) = self.spec.limits.memory_bytes else { return };
        if self.tree.limits_memory() {
            self.look_for_oom(now);
        } else if self.tree.sampled_memory() > limit.0 {
            let detail = format!("memory limit {limit} exceeded");
            self.end_by_itself(now, EndReason::Oom, 0, Some(detail));
        }
    }

    fn take_output(&mut self, now: Moment) {
        if let Some(mut streams) = self.streams.take() {
            streams.write();
            self.read_streams(&mut streams, now);
            self.streams = Some(streams);
        }
        let mut strays = std::mem::take(&mut self.strays);
        for stray in &mut strays {
            let mut emits = Vec::new();
            let skipped = stray.read(&mut self.buffer, self.quota.is_over(), now, &mut emits);
            self.quota.lose(skipped);
            stray.tick(now, &mut emits);
            if stray.is_closed() {
                stray.boundary(now, &mut emits);
            }
            self.keep(emits, true);
        }
        strays.retain(|stray| !stray.is_closed());
        self.strays = strays;
    }
}
