//! What this machine can do for its sessions, and what it cannot.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use greenroom_core::RunnerId;
use greenroom_protocol::link::{Probe, RunnerInfo};
use greenroom_shim::cgroup::{Capabilities, Claim};
use greenroom_shim::spec::HostIdentity;

use crate::host::Host;

/// How far sessions are kept from everything else on this build.
pub(crate) const ISOLATION: &str = "none";

/// What was found, by doing.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Where control groups of computes go.
    pub(crate) capabilities: Capabilities,
    /// Says that the folders for them have a living runner.
    _claim: Arc<Claim>,
    /// Which machine, boot and pid namespace this is.
    pub(crate) host: HostIdentity,
    /// The same for others to read.
    pub(crate) probe: Probe,
}

/// Tries what this machine can do.
pub(crate) fn look(runner: RunnerId) -> Found {
    let capabilities = greenroom_shim::cgroup::probe(runner);
    let host = HostIdentity::current();
    let means = |dir: &Option<std::path::PathBuf>| {
        match dir {
            None => "sampling",
            Some(dir) if greenroom_shim::cgroup::is_on_v2(dir) => "cgroup2",
            Some(_) => "cgroup1",
        }
        .to_owned()
    };
    let mut notes = capabilities.notes.clone();
    if capabilities.kill.is_none() {
        notes.push(
            "no writable cgroup v2 here: a stop is proven by the supervisor alone; should that \
             die too, the end of its agent cannot be proven"
                .to_owned(),
        );
    }
    let first = std::process::id() == 1;
    if first {
        notes.push(
            "this runner is process 1 of its container: when it ends, the kernel ends every \
             agent; let another process be the first (`docker run --init`)"
                .to_owned(),
        );
    }
    if in_container() {
        notes.push("this runner is in a container: its agents end with the container".to_owned());
    }
    let unit = (!first).then(systemd_unit).flatten();
    if let Some(unit) = &unit {
        notes.push(format!(
            "this runner is in the systemd unit {unit}: its agents outlive it only if the unit \
             says KillMode=process"
        ));
    }
    if host.machine_id.is_empty() {
        notes.push(
            "this machine has no /etc/machine-id: a reboot cannot prove that an agent is gone"
                .to_owned(),
        );
    }
    let probe = Probe {
        cgroup_kill: capabilities.kill.is_some(),
        memory: means(&capabilities.memory),
        pids: means(&capabilities.pids),
        cgroup: capabilities.kill.as_ref().map(|dir| dir.display().to_string()),
        outlives_runner: !first,
        notes,
    };
    let _claim = Arc::new(capabilities.claim());
    Found { capabilities, _claim, host, probe }
}

fn in_container() -> bool {
    Path::new("/.dockerenv").exists()
        || Path::new("/run/.containerenv").exists()
        || std::env::var_os("container").is_some()
}

/// The service unit this process is part of, if it is.
fn systemd_unit() -> Option<String> {
    std::env::var_os("INVOCATION_ID")?;
    let table = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = table.lines().find_map(|line| line.strip_prefix("0::"))?;
    let unit = path.rsplit('/').find(|part| part.ends_with(".service"))?;
    Some(unit.to_owned())
}

/// What the runner says of itself; `note` is what it has found since it started.
pub(crate) fn info(own: &Host, note: Option<String>) -> RunnerInfo {
    let (config, mut probe) = (&own.config, own.found.probe.clone());
    probe.notes.extend(note);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    RunnerInfo {
        name: config.name.clone().unwrap_or_else(|| host.clone()),
        host,
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        labels: config.labels.clone(),
        slots: config.slots,
        isolation: ISOLATION.to_owned(),
        probe,
        keeps_files: true,
        working_dir_roots: own.roots.announced().to_vec(),
        foreign: None,
    }
}
