//! Runs as they are shown: a projection of the log's `run.*` entries.

use greenroom_core::command::Mode;
use greenroom_core::record::OutputKind;
use greenroom_core::run::RunStatus;
use greenroom_core::session::Usage;
use greenroom_core::{Fact, RunId, SessionId, SessionUid, Timestamp};
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use crate::{Exchanges, Page, Result, RunRow, StoreError};

use super::cursor;
use super::load::{count, damaged, id, maybe_time, time};
use super::writes::Writes;

const INSERT: &str = "INSERT INTO run (id, sid, status, prompt, input, mode, callback, created_at) \
    VALUES (?, ?, 'queued', ?, ?, ?, ?, ?)";
const SET_STATUS: &str = "UPDATE run SET status = ? WHERE id = ? AND sid = ?";
const EDIT: &str = "UPDATE run SET prompt = ?, input = ? WHERE id = ? AND sid = ?";
const FILES: &str = "UPDATE run SET files = ? WHERE id = ? AND sid = ?";
const START: &str = "UPDATE run SET status = 'running', started_at = coalesce(started_at, ?) \
    WHERE id = ? AND sid = ?";
const END: &str = "UPDATE run SET status = ?, result = ?, error_code = ?, error_message = ?, \
    ended_at = ? WHERE id = ? AND sid = ?";
/// Sums stay below 2^53, so that no later addition can overflow.
const COUNT: &str = "UPDATE run SET \
    input_tokens = min(input_tokens + ?, 9007199254740992), \
    output_tokens = min(output_tokens + ?, 9007199254740992), \
    cost_micro_usd = min(cost_micro_usd + ?, 9007199254740992) WHERE id = ? AND sid = ?";
const MOST: u64 = 1 << 53;

const SELECT: &str = "SELECT r.rid, r.id, s.uid, s.name, r.status, r.prompt, r.input, r.mode, \
    r.result, r.error_code, r.error_message, r.input_tokens, r.output_tokens, r.cost_micro_usd, \
    r.callback, r.created_at, r.started_at, r.ended_at, r.files \
    FROM run r JOIN session s ON s.sid = r.sid WHERE r.id = ?";
const SELECT_PAGE: &str = "SELECT r.rid, r.id, s.uid, s.name, r.status, r.prompt, r.input, \
    r.mode, r.result, r.error_code, r.error_message, r.input_tokens, r.output_tokens, \
    r.cost_micro_usd, r.callback, r.created_at, r.started_at, r.ended_at, r.files \
    FROM session s JOIN run r ON r.sid = s.sid WHERE s.uid = ? AND r.rid < ? \
    ORDER BY r.rid DESC LIMIT ?";

const COUNT_EXCHANGES: &str = "SELECT count(r.started_at) AS asked, \
    count(CASE r.status WHEN 'completed' THEN 1 END) AS answered \
    FROM session s JOIN run r ON r.sid = s.sid WHERE s.uid = ?";

/// Follows a fact in the table of runs.
pub(super) fn project(writes: &mut Writes, sid: i64, fact: &Fact, mode: Mode, at: Timestamp) {
    let mut end =
        |run: &RunId, status: RunStatus, result: Option<&Value>, error: Option<(&str, &str)>| {
            writes
                .sql(END)
                .bind(status.as_str())
                .bind(result.map(Value::to_string))
                .bind(error.map(|(code, _)| code))
                .bind(error.map(|(_, message)| message))
                .bind(at)
                .bind(run.0)
                .bind(sid);
        };
    match fact {
        Fact::RunQueued(queued) => {
            writes
                .sql(INSERT)
                .bind(queued.run.id.0)
                .bind(sid)
                .bind(queued.prompt.clone())
                .bind(queued.input.as_ref().map(Value::to_string))
                .bind(mode_word(mode))
                .bind(queued.run.callback)
                .bind(queued.run.created_at);
        }
        Fact::RunEdited { run, prompt, input, .. } => {
            let input = input.as_ref().map(Value::to_string);
            writes.sql(EDIT).bind(prompt.clone()).bind(input).bind(run.0).bind(sid);
        }
        Fact::RunDispatched { run, .. } => set_status(writes, sid, *run, RunStatus::Dispatched),
        Fact::RunRequeued { run } => set_status(writes, sid, *run, RunStatus::Queued),
        Fact::RunWaiting { run } => set_status(writes, sid, *run, RunStatus::Waiting),
        Fact::RunResumed { run } => set_status(writes, sid, *run, RunStatus::Running),
        Fact::RunStarted { run } => {
            writes.sql(START).bind(at).bind(run.0).bind(sid);
        }
        // What it asked is answered by the run that it is part of.
        Fact::RunSteered { run, .. } => end(run, RunStatus::Completed, None, None),
        Fact::RunCompleted { run, result } => {
            end(run, RunStatus::Completed, result.as_ref(), None);
        }
        Fact::RunFailed { run, error } => {
            end(run, RunStatus::Failed, None, Some((&error.code, &error.message)));
        }
        Fact::RunStopped { run, error } => {
            let error = error.as_ref().map(|e| (e.code.as_str(), e.message.as_str()));
            end(run, RunStatus::Stopped, None, error);
        }
        Fact::RunWithdrawn { run, .. } => end(run, RunStatus::Withdrawn, None, None),
        Fact::RunFiles { run, files } => {
            let files = serde_json::to_string(files).unwrap_or_default();
            writes.sql(FILES).bind(files).bind(run.0).bind(sid);
        }
        Fact::Output(output) if output.kind == OutputKind::Usage => {
            if let Some(run) = output.run {
                let number = |key: &str| output.data.get(key).and_then(Value::as_u64).unwrap_or(0);
                let cost = output.data.get("cost_usd").and_then(Value::as_f64).unwrap_or(0.0);
                writes
                    .sql(COUNT)
                    .bind(number("input_tokens").min(MOST))
                    .bind(number("output_tokens").min(MOST))
                    .bind(((cost.max(0.0) * 1e6) as u64).min(MOST))
                    .bind(run.0)
                    .bind(sid);
            }
        }
        _ => {}
    }
}

fn set_status(writes: &mut Writes, sid: i64, run: RunId, status: RunStatus) {
    writes.sql(SET_STATUS).bind(status.as_str()).bind(run.0).bind(sid);
}

fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Enqueue => "enqueue",
        Mode::Interrupt => "interrupt",
        Mode::Reject => "reject",
        Mode::Steer => "steer",
    }
}

/// A word of an enumeration back into its value.
pub(super) fn word<T: serde::de::DeserializeOwned>(what: &str, word: &str) -> Result<T> {
    serde_json::from_value(Value::from(word)).map_err(|error| damaged(what, error))
}

fn document(row: &SqliteRow, column: &str) -> Result<Option<Value>> {
    let text: Option<&str> = row.try_get(column)?;
    text.map(serde_json::from_str).transpose().map_err(|error| damaged(column, error))
}

fn row(row: &SqliteRow) -> Result<RunRow> {
    let name: &str = row.try_get("name")?;
    let code: Option<String> = row.try_get("error_code")?;
    let message: Option<String> = row.try_get("error_message")?;
    Ok(RunRow {
        id: RunId(id(row, "id")?),
        uid: SessionUid(id(row, "uid")?),
        session_id: name.parse::<SessionId>().map_err(|error| damaged("a name", error))?,
        status: word("a run's status", row.try_get("status")?)?,
        prompt: row.try_get("prompt")?,
        input: document(row, "input")?,
        mode: word("a run's mode", row.try_get("mode")?)?,
        result: document(row, "result")?,
        error: code.map(|code| (code, message.unwrap_or_default())),
        usage: Usage {
            input_tokens: count(row, "input_tokens")?,
            output_tokens: count(row, "output_tokens")?,
            cost_micro_usd: count(row, "cost_micro_usd")?,
        },
        callback: row.try_get("callback")?,
        created_at: time(row, "created_at")?,
        started_at: maybe_time(row, "started_at")?,
        ended_at: maybe_time(row, "ended_at")?,
        files: document(row, "files")?
            .map(serde_json::from_value)
            .transpose()
            .map_err(|error| damaged("what was kept of files", error))?,
    })
}

/// One run of a session that is not gone.
pub(super) async fn one(pool: &SqlitePool, run: RunId) -> Result<Option<RunRow>> {
    let query = sqlx::query(SELECT).bind(run.0.as_bytes().as_slice());
    query.fetch_optional(pool).await?.as_ref().map(self::row).transpose()
}

/// A session's runs, newest first.
pub(super) async fn page(
    pool: &SqlitePool,
    uid: SessionUid,
    limit: u32,
    after: Option<String>,
) -> Result<Page<RunRow>> {
    let before = match &after {
        Some(text) => cursor::read("runs", text)?.0,
        None => i64::MAX,
    };
    let limit = limit.clamp(1, 1000) as usize;
    let query = sqlx::query(SELECT_PAGE).bind(uid.0.as_bytes().as_slice());
    let rows = query.bind(before).bind(limit as i64 + 1).fetch_all(pool).await?;
    let items = rows.iter().take(limit).map(self::row).collect::<Result<Vec<_>>>()?;
    let next = match rows.get(limit - 1) {
        Some(last) if rows.len() > limit => {
            Some(cursor::write("runs", last.try_get("rid").map_err(StoreError::from)?, ""))
        }
        _ => None,
    };
    Ok(Page { items, next })
}

/// How often each session was asked something, and has answered.
pub(super) async fn exchanges(pool: &SqlitePool, uids: &[SessionUid]) -> Result<Vec<Exchanges>> {
    let mut all = Vec::with_capacity(uids.len());
    for uid in uids {
        let query = sqlx::query(COUNT_EXCHANGES).bind(uid.0.as_bytes().as_slice());
        let row = query.fetch_one(pool).await?;
        let number = |column: &str| -> Result<u32> { Ok(row.try_get(column)?) };
        all.push(Exchanges { asked: number("asked")?, answered: number("answered")? });
    }
    Ok(all)
}
