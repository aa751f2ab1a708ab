//! Messages on a shim's socket: one JSON object a line, both ways.

use std::collections::BTreeMap;
use std::fmt;

use greenroom_core::approval::Answer;
use greenroom_core::assignment::StopOrder;
use greenroom_core::{ApprovalId, Epoch, Ms, Receipt, RunId, SessionUid, Settings};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a runner (or `greenroom local`) says to a shim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum ToShim {
    /// First on every connection.
    Hello {
        /// Highest protocol the speaker knows.
        protocol: u32,
        /// Its build.
        build: String,
    },
    /// The agent's whole environment, secrets included. The compute comes up on it.
    /// Kept in memory only. Repeats change nothing.
    Env {
        /// Names and values.
        env: BTreeMap<String, String>,
        /// The values in it that must not be said: they are taken out of whatever the
        /// agent says.
        #[serde(default)]
        secrets: Vec<Secret>,
    },
    /// The compute cannot come up; end with `start_error`.
    CannotStart {
        /// What is wrong, and with what.
        error: String,
    },
    /// The run to begin. Repeats change nothing.
    Run {
        /// The run.
        run: RunId,
        /// What it asks.
        input: RunInput,
    },
    /// Text for the run in progress, carried by a run of its own. Repeats change nothing.
    Steer {
        /// The run that carries it.
        run: RunId,
        /// The run it is for.
        into: RunId,
        /// What it says.
        input: RunInput,
    },
    /// End the turn of this run, within so long; where the agent takes longer, end the
    /// compute. Repeats change nothing.
    Cancel {
        /// The run.
        run: RunId,
        /// How long the agent's own end of the turn may take.
        grace_ms: Ms,
    },
    /// The answer to what the agent asked. Repeats change nothing.
    Answer {
        /// To what.
        id: ApprovalId,
        /// The answer.
        answer: Answer,
    },
    /// The session's settings, as they are now. Repeats change nothing.
    Settings {
        /// All of them.
        settings: Box<Settings>,
    },
    /// End the compute. Repeats change nothing; another may only shorten it.
    Stop {
        /// How.
        stop: StopOrder,
    },
    /// A kind this build does not know; answered by nothing.
    #[serde(other)]
    Unknown,
}

/// A value of an agent's environment that must not be said.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// What is said in its place.
    pub name: String,
    /// The value.
    pub value: String,
}

/// Says its name alone.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a shim says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromShim {
    /// First on every connection.
    Hello {
        /// Protocol of this shim.
        protocol: u32,
        /// Its build.
        build: String,
        /// The session.
        uid: SessionUid,
        /// The compute.
        epoch: Epoch,
        /// The shim's process.
        pid: u32,
        /// How far it is.
        phase: ShimPhase,
        /// The run it was given last.
        run: Option<RunId>,
        /// Last journal index that is on disk.
        durable: u64,
    },
    /// The journal is on disk up to this index.
    Durable {
        /// Last index that is on disk.
        index: u64,
    },
    /// Text as it comes, never logged; the first thing dropped under pressure.
    Delta {
        /// The run.
        run: RunId,
        /// Which of the run's texts.
        part: u32,
        /// Byte offset of `text` in that part.
        offset: u64,
        /// The text.
        text: String,
    },
    /// The compute is proven ended; the receipt is on disk.
    Closed {
        /// The evidence.
        receipt: Box<Receipt>,
    },
    /// The folder's own disk is full and the receipt could not be written, or the end
    /// could not be proven in time. The shim goes on trying.
    Unproven {
        /// What was found.
        evidence: String,
    },
    /// A kind this build does not know.
    #[serde(other)]
    Unknown,
}

/// How far a compute is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShimPhase {
    /// Waits for the agent's environment.
    AwaitingEnv,
    /// Can take a run, or has one.
    Up,
    /// Is being ended.
    Ending,
}

/// What a run asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunInput {
    /// Text.
    Prompt(String),
    /// A JSON document.
    Input(Value),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_of_before_names_no_secrets() {
        let said: ToShim = serde_json::from_str(r#"{"say":"env","env":{"A":"b"}}"#).unwrap();
        let env = BTreeMap::from([("A".to_owned(), "b".to_owned())]);
        assert_eq!(said, ToShim::Env { env, secrets: Vec::new() });
        let secret = Secret { name: "key".to_owned(), value: "hush".to_owned() };
        assert!(!format!("{secret:?}").contains("hush"));
    }
}
