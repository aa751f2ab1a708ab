//! `spec`: what a shim is told before it lives. No secret is ever in it.

use std::path::PathBuf;

use greenroom_core::agent::{Driver, Graces, Leftovers};
use greenroom_core::approval::Policy;
use greenroom_core::{Epoch, Limits, RunnerId, SessionId, SessionUid, Settings};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Version of `spec`, of the socket's messages and of the journal. Changes are
/// additive: every build reads every version that was ever released.
///
/// 2: the environment names the secrets in it.
/// 3: drivers; turns are cancelled, questions answered.
pub const PROTOCOL: u32 = 3;

/// What a shim is told before it lives. The runner writes and syncs it before it spawns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShimSpec {
    /// Version this was written in.
    pub protocol: u32,
    /// The session.
    pub uid: SessionUid,
    /// Its name, for people who read `local ls`.
    pub session: SessionId,
    /// This compute.
    pub epoch: Epoch,
    /// The runner that owns it.
    pub runner: RunnerId,
    /// The machine it was started on, and its boot.
    pub host: HostIdentity,
    /// How the agent is spoken to.
    pub driver: Driver,
    /// What happens to processes that outlive the agent's own end.
    pub leftovers: Leftovers,
    /// Limits enforced here.
    pub limits: Limits,
    /// Graces for the ends that nobody orders (limits, SIGTERM, a lost folder).
    pub graces: Graces,
    /// The agent's working directory.
    pub workspace: PathBuf,
    /// The agent's HOME.
    pub home: PathBuf,
    /// Control groups to make for this compute; each was probed by doing.
    pub cgroups: Cgroups,
    /// Isolation of the runner, for the receipt.
    pub isolation: String,
    /// The agent's own name for the conversation, from an earlier compute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
    /// Whether an earlier compute has begun a run.
    #[serde(default)]
    pub resumed: bool,
    /// What the agent goes by until there is an edit, where its driver lets us decide.
    #[serde(flatten)]
    pub settings: Settings,
    /// The policies it stays within, those of the sessions above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<Policy>,
    /// JSON Schema of a run's result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
}

/// Directories of the control groups of one compute, not yet made. Their parents exist.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroups {
    /// cgroup v2: clone into, freeze, kill.
    pub kill: Option<PathBuf>,
    /// Where the memory limit goes, v2 or v1.
    pub memory: Option<PathBuf>,
    /// Where the pids limit goes, v2 or v1.
    pub pids: Option<PathBuf>,
}

/// Which machine, which boot, which pid namespace. A reboot is a proof only where the
/// machine is the same and the boot is another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostIdentity {
    /// `/etc/machine-id`, or empty where there is none.
    pub machine_id: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// `/proc/self/ns/pid`, as its link reads.
    pub pid_namespace: String,
}

impl HostIdentity {
    /// This machine, now. What cannot be read is empty, and proves nothing.
    pub fn current() -> Self {
        let read = |path: &str| {
            std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
        };
        let pid_namespace = std::fs::read_link("/proc/self/ns/pid");
        Self {
            machine_id: read("/etc/machine-id"),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            pid_namespace: pid_namespace.map(|p| p.display().to_string()).unwrap_or_default(),
        }
    }
}
