//! Writes a changed session: its log, what lists and runs show of it, what its runners
//! and its parent are told.

use std::sync::Arc;

use greenroom_core::command::Mode;
use greenroom_core::session::{FORMAT, Life, Wanted};
use greenroom_core::{Command, Event, Order, RunnerId, Session, Timestamp};

use crate::{Commit, StoreError};

use super::cache::Entry;
use super::draft::Draft;
use super::fault::Do;
use super::load::writer_number;
use super::unit::Unit;
use super::{outbox, runs};

const INSERT_SESSION: &str = "INSERT INTO session (sid, uid, name, owner, user, shared, title, agent, \
    status, life, parent, home, live_runner, slot_runner, needs_since, stopping, idle_limited, \
    ttl_limited, last_seq, active_at, used_at, input_tokens, output_tokens, cost_micro_usd) \
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const UPDATE_SESSION: &str = "UPDATE session SET shared = ?, title = ?, agent = ?, status = ?, \
    life = ?, home = ?, live_runner = ?, slot_runner = ?, needs_since = ?, stopping = ?, idle_limited = ?, \
    ttl_limited = ?, last_seq = ?, active_at = ?, used_at = ?, input_tokens = ?, output_tokens = ?, \
    cost_micro_usd = ? WHERE sid = ?";
const UPDATE_TAIL: &str = "UPDATE session SET last_seq = ?, active_at = ?, used_at = ?, input_tokens = ?, \
    output_tokens = ?, cost_micro_usd = ? WHERE sid = ?";
const PUT_FOLD: &str = "INSERT INTO fold (sid, format, state) VALUES (?, ?, ?) \
    ON CONFLICT (sid) DO UPDATE SET format = excluded.format, state = excluded.state";
const DELETE_SESSION: &str = "DELETE FROM session WHERE sid = ?";
const INSERT_REMOVED: &str =
    "INSERT INTO removed (sid, uid, name, at, purged) VALUES (?, ?, ?, ?, 0)";
const DELETE_LABELS: &str = "DELETE FROM label WHERE sid = ?";
const INSERT_LABEL: &str = "INSERT INTO label (sid, key, value) VALUES (?, ?, ?)";
const PUT_MARK: &str = "INSERT INTO mark (sid, epoch, writer, top) VALUES (?, ?, ?, ?) \
    ON CONFLICT (sid, epoch, writer) DO UPDATE SET top = excluded.top";
const NEXT_REV: &str = "INSERT INTO revision (runner, rev) VALUES (?, 1) \
    ON CONFLICT (runner) DO UPDATE SET rev = rev + 1";
const PUT_ASSIGNMENT: &str = "INSERT INTO assignment (uid, epoch, runner, rev, closed, body) \
    VALUES (?, ?, ?, (SELECT rev FROM revision WHERE runner = ?), ?, ?) \
    ON CONFLICT (uid, epoch) DO UPDATE SET runner = excluded.runner, rev = excluded.rev, \
    closed = excluded.closed, body = excluded.body";
const DROP_ASSIGNMENT: &str = "DELETE FROM assignment WHERE uid = ? AND epoch = ?";

/// Writes a draft, and what its end means for its parent.
pub(super) async fn settle(
    unit: &mut Unit<'_>,
    draft: Draft,
    mode: Mode,
    at: Timestamp,
) -> Do<Arc<Commit>> {
    let removed = draft.session.life == Life::Removed;
    let (child, parent) = (draft.session.uid, draft.session.parent);
    let commit = write(unit, draft, mode, at).await?;
    if let Some(parent) = parent.filter(|_| removed)
        && let Some(entry) = unit.entry(parent).await?
    {
        let mut draft = Draft::of(&entry);
        draft.decide(Command::ChildRemoved { child }, at)?;
        write(unit, draft, mode, at).await?;
    }
    Ok(commit)
}

async fn write(unit: &mut Unit<'_>, draft: Draft, mode: Mode, at: Timestamp) -> Do<Arc<Commit>> {
    let orders = draft.orders();
    let state_changed = draft.state_changed();
    let Draft { sid, before, mut session, facts, told, tops, moved } = draft;
    if facts.iter().any(|(fact, _)| fact.is_use()) {
        session.used_at = at;
    }
    let removed = session.life == Life::Removed;
    let mut events: Vec<Event> = Vec::with_capacity(facts.len());
    for (fact, event) in facts {
        runs::project(&mut unit.writes, sid, &fact, mode, event.at);
        events.push(event);
    }
    unit.writes.events(sid, &events);
    outbox::fill(unit, sid, &session, &told).await?;
    if removed {
        remove_row(unit, sid, &session, at);
    } else if before.is_none() || state_changed {
        put_row(unit, sid, &session, before.is_none())?;
        if before.as_ref().map(|before| &before.labels) != Some(&session.labels) {
            put_labels(unit, sid, &session, before.is_none());
        }
    } else if !events.is_empty() {
        put_tail(unit, sid, &session);
    }
    if !removed {
        for top in &moved {
            let writes = unit.writes.sql(PUT_MARK).bind(sid).bind(top.epoch.0);
            writes.bind(writer_number(top.writer)).bind(top.index);
        }
    }
    for epoch in &orders.dropped {
        unit.writes.sql(DROP_ASSIGNMENT).bind(session.uid.0).bind(epoch.0);
    }
    let mut assigned: Vec<RunnerId> = Vec::new();
    for (runner, assignment) in &orders.changed {
        unit.writes.sql(NEXT_REV).bind(runner.0);
        let closed = matches!(assignment.order, Order::Closed);
        let writes = unit.writes.sql(PUT_ASSIGNMENT).bind(session.uid.0).bind(assignment.epoch.0);
        writes.bind(runner.0).bind(runner.0).bind(closed).bind(json(assignment)?);
        if !assigned.contains(runner) {
            assigned.push(*runner);
        }
    }
    let uid = session.uid;
    let session = Arc::new(session);
    let entry = Entry { sid, session: Arc::clone(&session), tops };
    let commit = Arc::new(Commit { session, events, state_changed, assigned });
    unit.leave(uid, (!removed).then(|| Arc::new(entry)), Arc::clone(&commit));
    Ok(commit)
}

/// What is kept as JSON is ours, and can always be written.
pub(super) fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Database(format!("a value cannot be written: {error}")))
}

/// Number of a life in its column. The filters of lists know these numbers.
pub(super) fn life_number(life: Life) -> i64 {
    match life {
        Life::Kept => 0,
        Life::Expired => 1,
        Life::Deleting => 2,
        Life::Removed => 3,
    }
}

/// Since when it has needed a place, as far as its own state says: those who wait longest
/// are served first.
fn needs_since(session: &Session) -> Option<i64> {
    session.need()?;
    let since = session.queue.front().map_or(session.updated_at, |run| run.created_at);
    Some(since.unix_ms())
}

fn put_row(unit: &mut Unit<'_>, sid: i64, session: &Session, new: bool) -> Result<(), StoreError> {
    let state = json(session)?;
    let writes = &mut unit.writes;
    if new {
        writes.sql(INSERT_SESSION).bind(sid).bind(session.uid.0).bind(session.id.as_str());
        writes.bind(session.owner.0.as_str()).bind(session.user.clone());
    } else {
        writes.sql(UPDATE_SESSION);
    }
    writes.bind(session.shared).bind(session.title.clone()).bind(session.agent.name.as_str());
    let status = session.status();
    let idle = status == greenroom_core::Status::Idle && session.limits.idle_ms.is_some();
    let ttl = session.life == Life::Kept && session.limits.may_expire();
    let live = session.compute.as_ref();
    writes.bind(status.as_str()).bind(life_number(session.life));
    if new {
        writes.bind(session.parent.map(|parent| parent.0));
    }
    writes
        .bind(session.home.map(|home| home.0))
        .bind(live.map(|compute| compute.runner.0))
        .bind(session.slot().map(|runner| runner.0))
        .bind(needs_since(session))
        .bind(live.is_some_and(|compute| compute.wanted != Wanted::Up))
        .bind(idle)
        .bind(ttl);
    bind_tail(unit, session);
    if !new {
        unit.writes.bind(sid);
    }
    unit.writes.sql(PUT_FOLD).bind(sid).bind(FORMAT).bind(state);
    Ok(())
}

/// Writes a state again that was folded anew.
pub(super) fn put_fold(unit: &mut Unit<'_>, sid: i64, session: &Session) -> Do<()> {
    put_row(unit, sid, session, false)?;
    Ok(())
}

fn put_tail(unit: &mut Unit<'_>, sid: i64, session: &Session) {
    unit.writes.sql(UPDATE_TAIL);
    bind_tail(unit, session);
    unit.writes.bind(sid);
}

fn bind_tail(unit: &mut Unit<'_>, session: &Session) {
    unit.writes
        .bind(session.last_seq)
        .bind(session.last_active_at)
        .bind(session.used_at)
        .bind(session.usage.input_tokens)
        .bind(session.usage.output_tokens)
        .bind(session.usage.cost_micro_usd);
}

fn put_labels(unit: &mut Unit<'_>, sid: i64, session: &Session, new: bool) {
    if !new {
        unit.writes.sql(DELETE_LABELS).bind(sid);
    }
    for (key, value) in &session.labels {
        unit.writes.sql(INSERT_LABEL).bind(sid).bind(key.as_str()).bind(value.as_str());
    }
}

/// Its name is free, and only its identity is remembered.
fn remove_row(unit: &mut Unit<'_>, sid: i64, session: &Session, at: Timestamp) {
    unit.writes.sql(DELETE_SESSION).bind(sid);
    let writes = unit.writes.sql(INSERT_REMOVED).bind(sid).bind(session.uid.0);
    writes.bind(session.id.as_str()).bind(at);
}
