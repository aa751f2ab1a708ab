//! Closing a compute whose shim is dead, or never lived: from the outside, with the lock
//! in hand, by what disk and kernel still can prove.

use std::io;
use std::time::{Duration, Instant};

use greenroom_core::agent::Lifecycle;
use greenroom_core::assignment::StopOrder;
use greenroom_core::receipt::{Action, EndReason, LastRun, Means, Proof, Receipt, Step};
use greenroom_core::record::Writer;
use greenroom_core::{Epoch, RecordBody, RunId};

use crate::cgroup::{self, KillGroup};
use crate::clock;
use crate::control::{Control, ControlError, Lock};
use crate::journal::{self, JournalWriter, Reader};
use crate::proc;
use crate::spec::{HostIdentity, ShimSpec};

/// Time the kernel has to empty a killed group.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a compute could not be closed.
#[derive(Debug, thiserror::Error)]
pub enum Unproven {
    /// Nothing proves that it has ended.
    #[error("its end cannot be proven: {evidence}")]
    Evidence {
        /// What was found.
        evidence: String,
    },
    /// What is in the control folder does not read.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The disk said no.
    #[error("the receipt could not be written: {0}")]
    Io(#[from] io::Error),
}

/// What the journal of a dead shim tells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    /// Anything at all was written.
    pub any: bool,
    /// The run that was begun last, and its end if that was seen.
    pub last_run: Option<LastRun>,
    /// A run was begun, or entries are lost that may have said so.
    pub any_run: bool,
    /// The receipt, if the shim came so far.
    pub receipt: Option<Box<Receipt>>,
}

impl Told {
    /// Reads what the shim of this folder left.
    pub fn read(control: &Control) -> io::Result<Self> {
        let mut told = Self::default();
        let mut reader = Reader::open(control.dir(), Writer::Shim, 1);
        while let Some(entry) = reader.next()? {
            told.hear(entry.body);
        }
        Ok(told)
    }

    fn hear(&mut self, body: RecordBody) {
        self.any = true;
        match body {
            RecordBody::RunStarted { run } => self.begun(run),
            RecordBody::RunEnded { run, outcome } => {
                self.any_run = true;
                let steered = self.steered_into(run);
                self.last_run = Some(LastRun { run, outcome: Some(outcome), steered });
            }
            RecordBody::Steered { run, into } => {
                if let Some(last) = self.last_run.as_mut().filter(|last| last.run == into) {
                    last.steered.push(run);
                }
            }
            RecordBody::Gap { .. } => self.any_run = true,
            RecordBody::Receipt { receipt } => self.receipt = Some(receipt),
            _ => {}
        }
    }

    /// What has become part of a run, so far as that was read.
    fn steered_into(&mut self, run: RunId) -> Vec<RunId> {
        let last = self.last_run.take().filter(|last| last.run == run);
        last.map(|last| last.steered).unwrap_or_default()
    }

    fn begun(&mut self, run: RunId) {
        self.any_run = true;
        self.last_run = Some(LastRun { run, outcome: None, steered: Vec::new() });
    }
}

/// What can be known about a dead shim's compute without acting.
#[derive(Debug, Clone, PartialEq)]
enum Verdict {
    /// It never had a process.
    NeverStarted(&'static str),
    /// The machine was started anew since.
    Rebooted,
    /// Its control group can be killed and asked.
    AskGroup,
    /// There is no means.
    Unknown(String),
}

/// Pure: from what was wanted, told and found to what can be known.
fn judge(spec: &ShimSpec, host: &HostIdentity, begun: bool, told: &Told) -> Verdict {
    let could_begin = match spec.driver.lifecycle() {
        // The one process of all runs is marked before it is started.
        Lifecycle::Persistent => begun || told.any,
        // Every process has its `RunStarted` on disk before it.
        Lifecycle::PerRun => told.any_run,
    };
    if !could_begin && !told.any {
        return Verdict::NeverStarted("its shim wrote nothing, and can no longer start");
    }
    if !could_begin {
        return Verdict::NeverStarted("no run was begun, and none can be any more");
    }
    let same_machine = !host.machine_id.is_empty() && host.machine_id == spec.host.machine_id;
    if !same_machine {
        return Verdict::Unknown("it was started on another machine".to_owned());
    }
    if host.boot_id != spec.host.boot_id {
        return match host.boot_id.is_empty() || spec.host.boot_id.is_empty() {
            true => Verdict::Unknown("it is not known which boot this is".to_owned()),
            false => Verdict::Rebooted,
        };
    }
    if host.pid_namespace != spec.host.pid_namespace {
        return Verdict::Unknown("it was started in another pid namespace".to_owned());
    }
    match &spec.cgroups.kill {
        Some(_) => Verdict::AskGroup,
        None => Verdict::Unknown(
            "its shim ended without a receipt, and it had no control group".to_owned(),
        ),
    }
}

/// Closes the compute of a control folder whose lock the caller holds and that has no
/// `closed`. With `stop`, it ends under that stop. Writes the receipt into the stream
/// `runner` and into `closed`; blocks for up to some seconds.
///
/// Removing the compute's control groups is included. A second call gives the same
/// receipt.
pub fn close_unsupervised(
    control: &Control,
    _lock: &Lock,
    host: &HostIdentity,
    stop: Option<&StopOrder>,
) -> Result<Receipt, Unproven> {
    if let Some(receipt) = control.read_closed()? {
        return Ok(receipt);
    }
    // What a crash left unsynced could be read now and be gone after a power cut.
    journal::sync_stream(control.dir(), Writer::Shim)?;
    let told = Told::read(control)?;
    if let Some(receipt) = earlier_receipt(control, &told)? {
        control.write_closed(&receipt)?;
        return Ok(receipt);
    }
    let spec = match control.read_spec() {
        Ok(spec) => spec,
        // A power cut may take the spec, as long as nothing was begun on it.
        Err(_) if !told.any && !control.has_begun() => return close_without_spec(control, stop),
        Err(error) => return Err(error.into()),
    };
    let begun = clock::now();
    let mut receipt = Receipt::without_process(
        spec.epoch,
        EndReason::Lost,
        clock::wall(),
        Means::NeverStarted,
        "",
    );
    receipt.isolation.clone_from(&spec.isolation);
    receipt.last_run = told.last_run.clone();
    match judge(&spec, host, control.has_begun(), &told) {
        Verdict::NeverStarted(why) => {
            receipt.proof = vec![Proof { means: Means::NeverStarted, result: why.to_owned() }];
            receipt.steps = vec![step(0, Action::Nothing, why)];
        }
        Verdict::Rebooted => {
            let result = format!("boot {} became {}", spec.host.boot_id, host.boot_id);
            receipt.reason = EndReason::Reboot;
            receipt.proof = vec![Proof { means: Means::Rebooted, result }];
            receipt.steps = vec![step(0, Action::Nothing, "the machine was started anew")];
        }
        Verdict::AskGroup => kill_and_ask(&spec, &mut receipt, begun)?,
        Verdict::Unknown(why) => {
            return Err(Unproven::Evidence { evidence: format!("{why}{}", hints(&spec)) });
        }
    }
    remove_groups(&spec);
    receipt.duration_ms = clock::now().saturating_sub(begun);
    put(control, receipt, stop)
}

/// Closes a compute that never came so far as to have a spec that reads.
fn close_without_spec(control: &Control, stop: Option<&StopOrder>) -> Result<Receipt, Unproven> {
    let name = control.dir().file_name().and_then(|name| name.to_str());
    let Some(epoch) = name.and_then(|name| name.parse().ok().map(Epoch)) else {
        let evidence = format!("{} is not named after an epoch", control.dir().display());
        return Err(Unproven::Evidence { evidence });
    };
    let why = "its spec was never on disk, and nothing is started before that";
    let (reason, means) = (EndReason::Lost, Means::NeverStarted);
    let mut receipt = Receipt::without_process(epoch, reason, clock::wall(), means, why);
    receipt.steps = vec![step(0, Action::Nothing, why)];
    put(control, receipt, stop)
}

/// Puts the receipt on disk, durably.
fn put(
    control: &Control,
    mut receipt: Receipt,
    stop: Option<&StopOrder>,
) -> Result<Receipt, Unproven> {
    if let Some(stop) = stop {
        receipt.reason = stop.reason.into();
        receipt.requested_by.clone_from(&stop.requested_by);
    }
    let mut journal = JournalWriter::open(control.dir(), Writer::Runner)?;
    journal.append(clock::wall(), &RecordBody::Receipt { receipt: Box::new(receipt.clone()) })?;
    journal.sync()?;
    control.write_closed(&receipt)?;
    Ok(receipt)
}

/// A receipt that is in a journal already, and did not reach `closed`.
fn earlier_receipt(control: &Control, told: &Told) -> io::Result<Option<Receipt>> {
    if let Some(receipt) = &told.receipt {
        return Ok(Some((**receipt).clone()));
    }
    journal::sync_stream(control.dir(), Writer::Runner)?;
    let mut reader = Reader::open(control.dir(), Writer::Runner, 1);
    let mut found = None;
    while let Some(entry) = reader.next()? {
        if let RecordBody::Receipt { receipt } = entry.body {
            found = Some(*receipt);
        }
    }
    Ok(found)
}

fn step(after_ms: u64, action: Action, detail: impl Into<String>) -> Step {
    Step { after_ms, action, detail: detail.into() }
}

/// Kills the compute's group, and waits until it is empty. A group that is gone is empty:
/// a shim whose spec names one starts nothing outside of it, the kernel removes only
/// empty ones, and clones nothing into a removed one.
fn kill_and_ask(
    spec: &ShimSpec,
    receipt: &mut Receipt,
    begun: clock::Moment,
) -> Result<(), Unproven> {
    let unproven = |evidence: String| Unproven::Evidence { evidence };
    let Some(path) = &spec.cgroups.kill else {
        return Err(unproven("it had no control group".to_owned()));
    };
    if !cgroup::is_on_v2(path) {
        let path = path.display();
        return Err(unproven(format!("{path} is on no cgroup v2 that can be seen from here")));
    }
    let after = || clock::now().saturating_sub(begun);
    let group = match KillGroup::open(path) {
        Ok(group) => group,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let result = format!("{} is removed, so it was empty", path.display());
            receipt.proof = vec![Proof { means: Means::CgroupEmpty, result }];
            receipt.steps = vec![step(after(), Action::Nothing, "the control group is removed")];
            return Ok(());
        }
        Err(error) => return Err(unproven(format!("{}: {error}", path.display()))),
    };
    receipt.steps.push(step(after(), Action::Seen, "the shim is dead"));
    let frozen = group.freeze();
    let mut census = proc::Census::default();
    let members: Vec<_> = group.procs().into_iter().filter_map(proc::find).collect();
    census.saw(&members);
    receipt.processes_seen = census.seen();
    if frozen.is_ok() {
        receipt.steps.push(step(after(), Action::Freeze, "cgroup.freeze"));
    }
    let waited = Instant::now();
    let mut rounds = 0u32;
    while group.populated()? {
        if waited.elapsed() > PATIENCE {
            let left = group.procs();
            let left: Vec<_> = left.into_iter().filter_map(proc::find).take(20).collect();
            let words: Vec<_> = left.into_iter().map(proc::describe).collect();
            let evidence = format!("{} is still populated: {}", path.display(), words.join("; "));
            return Err(unproven(evidence));
        }
        group.kill()?;
        if rounds == 0 {
            receipt.steps.push(step(after(), Action::Kill, "cgroup.kill"));
        }
        rounds += 1;
        std::thread::sleep(Duration::from_millis(u64::from(rounds.min(50))));
    }
    receipt.steps.push(step(after(), Action::Proven, ""));
    let result = format!("{}: populated 0", path.display());
    receipt.proof = vec![Proof { means: Means::CgroupEmpty, result }];
    Ok(())
}

fn remove_groups(spec: &ShimSpec) {
    let groups = [&spec.cgroups.kill, &spec.cgroups.memory, &spec.cgroups.pids];
    for path in groups.into_iter().flatten() {
        // What the dead hold of a group is let go a moment later.
        for _ in 0..20 {
            if cgroup::remove_tree(path).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Processes that work in the session's folders: for a person to look at, no proof.
fn hints(spec: &ShimSpec) -> String {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let works_here = std::fs::read_link(entry.path().join("cwd"))
            .is_ok_and(|cwd| cwd.starts_with(&spec.workspace));
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(process) = pid.filter(|_| works_here).and_then(proc::find) {
            found.push(proc::describe(process));
        }
    }
    match found.is_empty() {
        true => "; no process was found in its workspace".to_owned(),
        false => format!("; in its workspace: {}", found.join("; ")),
    }
}
