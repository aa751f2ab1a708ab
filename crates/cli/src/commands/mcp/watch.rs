//! Waiting for a session, and saying meanwhile what happens.

use std::time::Duration;

use greenroom_client::{Client, Live};
use greenroom_core::run::RunStatus;
use greenroom_core::{Event, Status};
use greenroom_protocol::v1::{Run, Session};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::acts::Refused;
use super::tools::LONGEST_WAIT;

/// Something is said at least this often, so that a caller that counts silence waits on.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What is waited for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    pub(super) session: String,
    run: Option<String>,
    #[serde(default = "a_minute")]
    seconds: u64,
}

fn a_minute() -> u64 {
    60
}

/// How far a wait is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    /// Seconds since it began.
    pub(super) seconds: f64,
    /// Seconds it takes at most.
    pub(super) limit: f64,
    /// What has happened.
    pub(super) words: String,
}

/// Where a wait says how far it is, if anybody wants to know.
pub(super) struct Progress(pub(super) Option<mpsc::UnboundedSender<Step>>);

impl Progress {
    fn say(&self, begun: Instant, limit: Duration, words: String) {
        if let Some(to) = &self.0 {
            let (seconds, limit) = (begun.elapsed().as_secs_f64(), limit.as_secs_f64());
            // Nobody listens any more: the call is about to end.
            let _ = to.send(Step { seconds, limit, words });
        }
    }
}

/// What was found in the end.
pub(super) struct Seen {
    pub(super) session: Session,
    /// The run that was waited for.
    pub(super) run: Option<Run>,
    /// Nothing more comes by itself; otherwise the time was up.
    pub(super) done: bool,
}

/// Whether nothing more comes of a session by itself.
fn is_settled(session: &Session) -> bool {
    let idle = session.status == Status::Idle && session.pending.runs == 0;
    let stuck =
        matches!(session.status, Status::Waiting | Status::Unreachable | Status::StopUnconfirmed);
    idle || stuck || session.status.is_at_rest()
}

fn is_over(run: &Run) -> bool {
    use RunStatus::{Completed, Failed, Stopped, Withdrawn};
    matches!(run.status, Completed | Failed | Stopped | Withdrawn)
}

/// Whether an event can have settled something.
fn matters(event: &Event) -> bool {
    event.kind.starts_with("run.")
        || matches!(event.kind.as_str(), "session.status" | "session.held" | "approval.requested")
}

async fn look(client: &Client, wait: &Wait) -> Result<Seen, Refused> {
    let session = client.session(&wait.session).await?.into_inner();
    let run = match &wait.run {
        Some(id) => Some(client.run(id).await?.into_inner()),
        None => None,
    };
    if let Some(run) = run.as_ref().filter(|run| run.session_id != session.id) {
        let words = format!("run {} is of session {:?}", run.id, run.session_id.as_str());
        return Err(Refused::new(words));
    }
    let done = match &run {
        Some(run) => is_over(run) || (is_settled(&session) && session.status != Status::Idle),
        None => is_settled(&session),
    };
    Ok(Seen { session, run, done })
}

/// Waits until there is nothing more to wait for, or the time is up.
pub(super) async fn settle(
    client: &Client,
    wait: &Wait,
    progress: &Progress,
) -> Result<Seen, Refused> {
    let limit = Duration::from_secs(wait.seconds.min(LONGEST_WAIT));
    let begun = Instant::now();
    let mut seen = look(client, wait).await?;
    let mut follow = client.follow(&wait.session, seen.session.last_seq + 1, limit);
    let mut words = format!("session {} is {}", seen.session.id, seen.session.status.as_str());
    progress.say(begun, limit, words.clone());
    let mut beat = tokio::time::interval_at(begun + HEARTBEAT, HEARTBEAT);
    while !seen.done {
        let live = tokio::select! {
            biased;
            () = tokio::time::sleep_until(begun + limit) => break,
            live = follow.next() => live?,
            _ = beat.tick() => {
                progress.say(begun, limit, words.clone());
                continue;
            }
        };
        match live {
            None => return Err(Refused::new(format!("session {:?} was deleted", wait.session))),
            Some(Live::Delta(_)) => {}
            Some(Live::Resync) => seen = look(client, wait).await?,
            Some(Live::Event(event)) => {
                if !matches!(event.kind.as_str(), "message" | "log" | "thought" | "usage") {
                    words = format!("{}: {}", event.kind, crate::show::summary(&event));
                    progress.say(begun, limit, words.clone());
                }
                if matters(&event) {
                    seen = look(client, wait).await?;
                }
            }
        }
    }
    Ok(seen)
}
