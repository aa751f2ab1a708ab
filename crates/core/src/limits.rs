//! What a session may use up.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::integer;
use crate::value::{Bytes, Ms};

/// Limits of a session. What is absent is unlimited, but for `start` and `output`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// A compute without a run and without events for so long is stopped, reason `idle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<Ms>,
    /// A run longer than this is stopped, reason `limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_ms: Option<Ms>,
    /// A compute that takes longer than this to come up fails with `start_timeout`. Default 60 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<Ms>,
    /// A session that lives longer than this expires: stopped, hidden, restorable, and
    /// removed a day of the coordinator's uptime later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<Ms>,
    /// A session that is not used for longer than this expires in the same way. It is used
    /// when it is asked something or says something, and while a run waits for a place, or is in
    /// progress and does not wait for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unused_ms: Option<Ms>,
    /// Memory of the whole process tree; more fails the session with `oom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<Bytes>,
    /// Processes and threads of the whole tree.
    #[serde(deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Calls of the model that one run of a `loop` agent may take, in the place of what its
    /// description says.
    #[serde(deserialize_with = "integer::optional", skip_serializing_if = "Option::is_none")]
    pub iterations: Option<u32>,
    /// Output kept of one run; what is beyond is counted (`output_gap`). Default 64 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<Bytes>,
}

impl Limits {
    /// Time a compute has to come up.
    pub fn start(&self) -> Ms {
        self.start_ms.unwrap_or(Ms::secs(60))
    }

    /// Output kept of one run.
    pub fn output(&self) -> Bytes {
        self.output_bytes.unwrap_or(Bytes(64 << 20))
    }

    /// These limits, with what `over` names put in their place.
    #[must_use]
    pub fn overlaid(&self, over: &Limits) -> Limits {
        Limits {
            idle_ms: over.idle_ms.or(self.idle_ms),
            run_ms: over.run_ms.or(self.run_ms),
            start_ms: over.start_ms.or(self.start_ms),
            ttl_ms: over.ttl_ms.or(self.ttl_ms),
            unused_ms: over.unused_ms.or(self.unused_ms),
            memory_bytes: over.memory_bytes.or(self.memory_bytes),
            pids: over.pids.or(self.pids),
            iterations: over.iterations.or(self.iterations),
            output_bytes: over.output_bytes.or(self.output_bytes),
        }
    }
}
