//! Sessions and events out of rows.

use std::sync::Arc;

use greenroom_core::record::Writer;
use greenroom_core::session::{FORMAT, Usage};
use greenroom_core::{Epoch, Event, Fact, RunId, Session, SessionUid, Timestamp, apply};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use crate::{Result, StoreError};

use super::cache::{Entry, Top};

/// What a session is made of, for `FROM session s JOIN fold f USING (sid)`.
pub(super) const COLUMNS: &str = "s.sid, s.uid, s.last_seq, s.active_at, s.used_at, s.input_tokens, \
    s.output_tokens, s.cost_micro_usd, f.format, f.state";

const SELECT: &str = "SELECT s.sid, s.uid, s.last_seq, s.active_at, s.used_at, s.input_tokens, \
    s.output_tokens, s.cost_micro_usd, f.format, f.state \
    FROM session s JOIN fold f ON f.sid = s.sid WHERE s.uid = ?";
pub(super) const SELECT_TOPS: &str = "SELECT epoch, writer, top FROM mark WHERE sid = ?";
const SELECT_EVENTS: &str =
    "SELECT seq, at, run, type, data FROM event WHERE sid = ? AND seq >= ? ORDER BY seq LIMIT ?";

/// The list of types is that of the index.
const SELECT_RECEIPTS: &str = "SELECT seq, at, run, type, data FROM event \
    WHERE sid = ? AND seq > ? AND type IN ('session.stopped', 'session.finished', \
    'session.failed', 'session.interrupted', 'session.late_receipt') ORDER BY seq LIMIT ?";

/// How many events are folded at once.
const CHUNK: i64 = 1000;

/// What a row says of a session.
pub(super) enum Stored {
    /// Its folded state.
    Folded(Box<Session>),
    /// Its state was folded by another build and has to be folded anew.
    Stale(SessionUid),
}

/// A damaged value, named so that it can be found.
pub(super) fn damaged(what: &str, why: impl std::fmt::Display) -> StoreError {
    StoreError::Database(format!("{what} does not read: {why}"))
}

/// An identity from its column.
pub(super) fn id(row: &SqliteRow, column: &str) -> Result<Uuid> {
    let bytes: &[u8] = row.try_get(column)?;
    Uuid::from_slice(bytes).map_err(|error| damaged(column, error))
}

/// An identity that may be absent.
pub(super) fn maybe_id(row: &SqliteRow, column: &str) -> Result<Option<Uuid>> {
    let bytes: Option<&[u8]> = row.try_get(column)?;
    bytes.map(Uuid::from_slice).transpose().map_err(|error| damaged(column, error))
}

/// A counter that keeps all its bits.
pub(super) fn count(row: &SqliteRow, column: &str) -> Result<u64> {
    Ok(row.try_get::<i64, _>(column)? as u64)
}

/// A time.
pub(super) fn time(row: &SqliteRow, column: &str) -> Result<Timestamp> {
    Ok(Timestamp::from_unix_ms(row.try_get(column)?))
}

/// A time that may be absent.
pub(super) fn maybe_time(row: &SqliteRow, column: &str) -> Result<Option<Timestamp>> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_unix_ms))
}

/// The session of a row of [`COLUMNS`].
pub(super) fn session(row: &SqliteRow) -> Result<Stored> {
    let uid = SessionUid(id(row, "uid")?);
    let format: i64 = row.try_get("format")?;
    if format != i64::from(FORMAT) {
        return Ok(Stored::Stale(uid));
    }
    let state: &str = row.try_get("state")?;
    let mut session: Session = serde_json::from_str(state)
        .map_err(|error| damaged(&format!("the state of session {uid}"), error))?;
    session.last_seq = count(row, "last_seq")?;
    session.last_active_at = time(row, "active_at")?;
    session.used_at = time(row, "used_at")?;
    session.usage = Usage {
        input_tokens: count(row, "input_tokens")?,
        output_tokens: count(row, "output_tokens")?,
        cost_micro_usd: count(row, "cost_micro_usd")?,
    };
    Ok(Stored::Folded(Box::new(session)))
}

/// A session with its marks, folded anew from its log where that is needed.
pub(super) async fn entry(conn: &mut SqliteConnection, uid: SessionUid) -> Result<Option<Entry>> {
    let query = sqlx::query(SELECT).bind(uid.0.as_bytes().as_slice());
    let Some(row) = query.fetch_optional(&mut *conn).await? else { return Ok(None) };
    let sid: i64 = row.try_get("sid")?;
    let session = match session(&row)? {
        Stored::Folded(session) => *session,
        Stored::Stale(_) => Session { used_at: time(&row, "used_at")?, ..refold(conn, sid).await? },
    };
    let tops = sqlx::query(SELECT_TOPS).bind(sid).fetch_all(&mut *conn).await?;
    let tops = tops.iter().map(top).collect::<Result<_>>()?;
    Ok(Some(Entry { sid, session: Arc::new(session), tops }))
}

/// A mark from its row.
pub(super) fn top(row: &SqliteRow) -> Result<Top> {
    let epoch: i64 = row.try_get("epoch")?;
    let writer = match row.try_get::<i64, _>("writer")? {
        0 => Writer::Shim,
        1 => Writer::Runner,
        other => return Err(damaged("the writer of a mark", other)),
    };
    let epoch = u32::try_from(epoch).map_err(|error| damaged("the epoch of a mark", error))?;
    Ok(Top { epoch: Epoch(epoch), writer, index: count(row, "top")? })
}

/// Number of a writer in its column.
pub(super) fn writer_number(writer: Writer) -> i64 {
    match writer {
        Writer::Shim => 0,
        Writer::Runner => 1,
    }
}

/// An event from its row.
pub(super) fn event(row: &SqliteRow) -> Result<Event> {
    let seq = count(row, "seq")?;
    let data: &str = row.try_get("data")?;
    Ok(Event {
        seq,
        at: time(row, "at")?,
        run: maybe_id(row, "run")?.map(RunId),
        kind: row.try_get("type")?,
        data: serde_json::from_str(data)
            .map_err(|error| damaged(&format!("the data of event {seq}"), error))?,
    })
}

/// Entries of a log.
pub(super) async fn events(
    conn: &mut SqliteConnection,
    sid: i64,
    from: u64,
    limit: i64,
) -> Result<Vec<Event>> {
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    let query = sqlx::query(SELECT_EVENTS).bind(sid).bind(from).bind(limit);
    query.fetch_all(conn).await?.iter().map(event).collect()
}

/// Entries of a log that hold a receipt.
pub(super) async fn receipts(
    conn: &mut SqliteConnection,
    sid: i64,
    after: u64,
    limit: i64,
) -> Result<Vec<Event>> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let query = sqlx::query(SELECT_RECEIPTS).bind(sid).bind(after).bind(limit);
    query.fetch_all(conn).await?.iter().map(event).collect()
}

/// The session its log describes.
async fn refold(conn: &mut SqliteConnection, sid: i64) -> Result<Session> {
    let mut folded: Option<Session> = None;
    loop {
        let from = folded.as_ref().map_or(1, |session| session.last_seq + 1);
        let events = events(conn, sid, from, CHUNK).await?;
        if events.is_empty() {
            break;
        }
        for event in &events {
            let fact = Fact::from_event(event).map_err(|error| damaged("a log", error))?;
            folded = match (folded, fact) {
                (None, Fact::Created(created)) => Some(Session::begin(&created, event.at)),
                (Some(mut session), fact) => {
                    apply(&mut session, &fact, event.at);
                    Some(session)
                }
                (None, _) => None,
            };
        }
        if folded.is_none() {
            break;
        }
    }
    folded.ok_or_else(|| damaged("a log", "it does not begin with session.created"))
}
