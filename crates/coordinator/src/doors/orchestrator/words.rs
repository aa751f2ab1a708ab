//! Ids, times and statuses as the orchestrator's clients write them.

use greenroom_core::run::RunStatus;
use greenroom_core::session::Wanted;
use greenroom_core::{RunId, RunnerId, Session, SessionUid, Status, Timestamp};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A new session's name.
pub(super) fn new_session_id() -> String {
    format!("ses_{}", chance())
}

fn chance() -> String {
    let bytes: [u8; 6] = rand::random();
    hex(&bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A run's name: the whole of its identity, so that nothing has to be looked up.
pub(super) fn run_id(run: RunId) -> String {
    format!("run_{}", run.0.simple())
}

/// The run of a name.
pub(super) fn read_run_id(text: &str) -> Option<RunId> {
    let text = text.strip_prefix("run_")?;
    let plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    Uuid::parse_str(text).ok().filter(|_| plain).map(RunId)
}

/// A runner's name, which follows from what it is: the same again after a restart.
pub(super) fn runner_name(host: &str, folder: &str, profile: &str, command: &str) -> String {
    let text = format!("{host}:{folder}:{profile}:{command}");
    format!("lnch_{}", &hex(&Sha256::digest(text.as_bytes()))[..12])
}

/// The identity of the runner of this name.
pub(super) fn runner_of(name: &str) -> RunnerId {
    let hash = Sha256::digest(format!("orchestrator runner {name}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    // A form of its own, so that it is never one that was made at random.
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    RunnerId(Uuid::from_bytes(bytes))
}

/// A time, with microseconds and an offset.
pub(super) fn time(at: Timestamp) -> String {
    at.0.strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00").to_string()
}

/// A time that a client has written; ours where it does not read.
pub(super) fn read_time(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(Timestamp)
}

/// How a session stands, as far as its own state says.
pub(super) fn session_status(session: &Session) -> &'static str {
    let standing = session.standing();
    match standing.status {
        Status::New | Status::Queued | Status::Starting => "pending",
        // A compute that has ended by itself is being swept: nobody has asked for a stop.
        Status::Stopping if standing.reason == Some("done") => "running",
        Status::Running | Status::Waiting | Status::Unreachable => "running",
        Status::Idle => "idle",
        Status::Stopping | Status::StopUnconfirmed | Status::Deleting => "stopping",
        Status::Stopped => "stopped",
        Status::Finished => "finished",
        Status::Failed | Status::Interrupted => "failed",
    }
}

/// How a run stands. `claimed`: its runner has it.
pub(super) fn run_status(status: RunStatus, ending: bool, claimed: bool) -> &'static str {
    match status {
        RunStatus::Queued => "pending",
        RunStatus::Dispatched | RunStatus::Running | RunStatus::Waiting if ending => "stopping",
        RunStatus::Dispatched if claimed => "claimed",
        RunStatus::Dispatched => "pending",
        RunStatus::Running | RunStatus::Waiting => "running",
        RunStatus::Completed => "completed",
        RunStatus::Failed => "failed",
        RunStatus::Stopped | RunStatus::Withdrawn => "stopped",
    }
}

/// Whether the run that a session's compute has is being ended.
pub(super) fn is_ending(session: &Session, run: RunId) -> bool {
    session.compute.as_ref().is_some_and(|compute| {
        let down = matches!(compute.wanted, Wanted::Down(_));
        compute
            .head
            .as_ref()
            .is_some_and(|head| head.run.id == run && (down || head.cancel.is_some()))
    })
}

/// What names the records of a session.
pub(super) fn session_key(uid: SessionUid) -> String {
    uid.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let run = crate::app::fresh::run();
        assert_eq!(read_run_id(&run_id(run)), Some(run));
        let bare = run_id(run)[4..].to_owned();
        for bad in ["", "run_", "run_12", bare.as_str(), "run_../../etc/passwd", "run_{x}"] {
            assert_eq!(read_run_id(bad), None, "{bad}");
        }
        let name = runner_name("host", "/work", "coder", "executors/echo");
        assert_eq!(name, runner_name("host", "/work", "coder", "executors/echo"));
        assert!(name.len() == 17 && name != runner_name("host", "/work", "coder", ""));
        assert_eq!(runner_of(&name), runner_of(&name));
        assert!(new_session_id().len() == 16 && new_session_id() != new_session_id());
    }

    #[test]
    fn times_have_microseconds() {
        let at = Timestamp::from_unix_ms(1_790_000_000_123);
        assert_eq!(time(at), "2026-09-21T14:13:20.123000+00:00");
        assert_eq!(read_time(&time(at)), Some(at));
        assert_eq!(read_time("yesterday"), None);
    }
}
