//! Ends of children's runs, told to their parents exactly once.
//!
//! The end and the row that says it are one commit; the row goes away in the commit that
//! tells the parent. A receipt may overtake its journal, and with it the text a run has
//! ended with: such a row awaits the journal's own receipt, and its text is looked up then.

use async_trait::async_trait;
use greenroom_core::command::{ChildEnd, Mode};
use greenroom_core::{Command, Epoch, RunId, Session, SessionId, SessionUid};
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use crate::{Candidate, Completion, Result};

use super::draft::{Draft, End};
use super::fault::Do;
use super::load::{damaged, id};
use super::runs::word;
use super::unit::Unit;
use super::writer::Work;
use super::{now, place, settle};

const INSERT: &str = "INSERT INTO outbox (parent, child, child_id, run, status, text, awaits) \
    VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (parent, run) DO NOTHING";
const SELECT: &str = "SELECT id, parent, child, child_id, run, status, text, awaits FROM outbox \
    ORDER BY awaits IS NOT NULL, id LIMIT ?";
const SELECT_TEXT: &str = "SELECT text FROM outbox WHERE id = ? AND parent = ? AND run = ?";
const AWAITING: &str = "SELECT id, run FROM outbox WHERE child = ? AND awaits <= ?";
const COMPLETE: &str = "UPDATE outbox SET text = iif(? = '', text, ?), awaits = NULL WHERE id = ?";
const DELETE: &str = "DELETE FROM outbox WHERE id = ?";
const SELECT_MESSAGES: &str = "SELECT seq, data FROM event \
    WHERE sid = ? AND seq > ? AND seq < ? AND run = ? AND type = 'message' \
    ORDER BY seq DESC LIMIT 8";

/// Bytes of text that a parent is told.
const TEXT: usize = 4096;
/// Entries of the log that are searched for a run's last text.
const SEARCHED: u64 = 20_000;

/// Keeps what the parent is to be told.
pub(super) async fn fill(unit: &mut Unit<'_>, sid: i64, session: &Session, told: &[End]) -> Do<()> {
    let Some(parent) = session.parent else { return Ok(()) };
    for end in told {
        // A result comes with the end itself, so nothing is left to be awaited.
        let awaits = end.awaits.filter(|_| end.result.is_none());
        let text = match &end.result {
            Some(result) => head(result),
            None => match last_text(unit, sid, session, end.run).await? {
                text if text.is_empty() => head(end.error.as_deref().unwrap_or_default()),
                text => text,
            },
        };
        let writes = unit.writes.sql(INSERT).bind(parent.0).bind(session.uid.0);
        writes.bind(session.id.as_str()).bind(end.run.0).bind(end.status.as_str()).bind(text);
        writes.bind(awaits.map(|epoch| epoch.0));
    }
    Ok(())
}

/// The journals of a session's computes are in, up to this one: what awaited them is said
/// with the text they have brought.
pub(super) async fn complete(
    unit: &mut Unit<'_>,
    sid: i64,
    session: &Session,
    epoch: Epoch,
) -> Do<()> {
    if session.parent.is_none() {
        return Ok(());
    }
    let query = sqlx::query(AWAITING).bind(session.uid.0.as_bytes().as_slice()).bind(epoch.0);
    for row in query.fetch_all(unit.conn().await?).await? {
        let text = last_text(unit, sid, session, RunId(id(&row, "run")?)).await?;
        let row: i64 = row.try_get("id")?;
        unit.writes.sql(COMPLETE).bind(text.clone()).bind(text).bind(row);
    }
    Ok(())
}

/// The end of what the agent has said in a run.
async fn last_text(unit: &mut Unit<'_>, sid: i64, session: &Session, run: RunId) -> Do<String> {
    let floor = session.last_seq.saturating_sub(SEARCHED) as i64;
    let mut below = i64::MAX;
    let mut parts: Vec<String> = Vec::new();
    let mut bytes = 0;
    while bytes < TEXT {
        let query = sqlx::query(SELECT_MESSAGES).bind(sid).bind(floor).bind(below);
        let rows = query.bind(run.0.as_bytes().as_slice()).fetch_all(unit.conn().await?).await?;
        let Some(last) = rows.last() else { break };
        below = last.try_get("seq")?;
        for row in &rows {
            let data: Value = serde_json::from_str(row.try_get("data")?)
                .map_err(|error| damaged("the data of a message", error))?;
            let role = data.get("role").and_then(Value::as_str);
            let text = data.get("text").and_then(Value::as_str).filter(|_| role != Some("user"));
            bytes += text.map_or(0, str::len);
            parts.extend(text.map(str::to_owned));
        }
    }
    parts.reverse();
    Ok(tail(parts.concat().trim_end()))
}

/// Tells several to their parent, by one run that says this.
pub(super) struct DeliverTogether {
    pub(super) completions: Vec<Completion>,
    pub(super) prompt: String,
    pub(super) as_run: RunId,
    pub(super) place: Vec<Candidate>,
}

#[async_trait]
impl Work for DeliverTogether {
    type Output = bool;

    async fn run(self, unit: &mut Unit<'_>) -> Do<bool> {
        let Some(parent) = self.completions.first().map(|first| first.parent) else {
            return Ok(false);
        };
        let mut ended = Vec::new();
        for Completion { id, parent: of, child, child_id, run, status, .. } in self.completions {
            let query = sqlx::query(SELECT_TEXT).bind(id).bind(parent.0.as_bytes().as_slice());
            let query = query.bind(run.0.as_bytes().as_slice());
            let known = query.fetch_optional(unit.conn().await?).await?.is_some();
            if !known || of != parent {
                // What the text speaks of was told before: nothing is told twice.
                return Ok(false);
            }
            ended.push((id, ChildEnd { child, id: child_id, run, status }));
        }
        for (id, _) in &ended {
            unit.writes.sql(DELETE).bind(*id);
        }
        let ended = ended.into_iter().map(|(_, end)| end).collect();
        let Some(entry) = unit.entry(parent).await? else { return Ok(true) };
        let at = now();
        let mut draft = Draft::of(&entry);
        let told = Command::ChildrenEnded { ended, as_run: self.as_run, prompt: self.prompt };
        draft.decide(told, at)?;
        place::place(unit, &mut draft, &self.place, at).await?;
        settle::settle(unit, draft, Mode::Enqueue, at).await?;
        Ok(true)
    }
}

fn head(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT)].to_owned()
}

fn tail(text: &str) -> String {
    text[text.ceil_char_boundary(text.len().saturating_sub(TEXT))..].to_owned()
}

fn completion(row: &SqliteRow) -> Result<Completion> {
    let name: &str = row.try_get("child_id")?;
    Ok(Completion {
        id: row.try_get("id")?,
        parent: SessionUid(id(row, "parent")?),
        child: SessionUid(id(row, "child")?),
        child_id: name.parse::<SessionId>().map_err(|error| damaged("a name", error))?,
        run: RunId(id(row, "run")?),
        status: word("a run's status", row.try_get("status")?)?,
        text: row.try_get("text")?,
        awaited: row.try_get::<Option<i64>, _>("awaits")?.is_some(),
    })
}

/// What was not told yet.
pub(super) async fn pending(pool: &SqlitePool, limit: u32) -> Result<Vec<Completion>> {
    let rows = sqlx::query(SELECT).bind(limit).fetch_all(pool).await?;
    rows.iter().map(completion).collect()
}

/// Tells one to its parent.
pub(super) struct Deliver {
    pub(super) completion: Completion,
    pub(super) as_run: RunId,
    pub(super) place: Vec<Candidate>,
}

#[async_trait]
impl Work for Deliver {
    type Output = ();

    async fn run(self, unit: &mut Unit<'_>) -> Do<()> {
        let Completion { id, parent, child, child_id, run, status, .. } = self.completion;
        let query = sqlx::query(SELECT_TEXT).bind(id).bind(parent.0.as_bytes().as_slice());
        let query = query.bind(run.0.as_bytes().as_slice());
        let Some(row) = query.fetch_optional(unit.conn().await?).await? else {
            // It was told before.
            return Ok(());
        };
        let text: String = row.try_get("text")?;
        unit.writes.sql(DELETE).bind(id);
        let Some(entry) = unit.entry(parent).await? else { return Ok(()) };
        let at = now();
        let mut draft = Draft::of(&entry);
        let prompt = match text.is_empty() {
            true => format!("Session \"{child_id}\" ended its run: {}.", status.as_str()),
            false => {
                format!("Session \"{child_id}\" ended its run: {}.\n\n{text}", status.as_str())
            }
        };
        let as_run = self.as_run;
        let told = Command::ChildEnded { child, id: child_id, run, status, as_run, prompt };
        draft.decide(told, at)?;
        place::place(unit, &mut draft, &self.place, at).await?;
        settle::settle(unit, draft, Mode::Enqueue, at).await?;
        Ok(())
    }
}
