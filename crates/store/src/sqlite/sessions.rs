//! Creating sessions and deciding commands on them.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_core::{Command, Session, Timestamp, decide};
use sqlx::Row;

use crate::{Answer, Commit, Idempotency, NewSession, StoreError, Submission, Submitted};

use super::draft::{Draft, whole_ms};
use super::fault::Do;
use super::place::place;
use super::quotas::admit;
use super::settle::settle;
use super::unit::Unit;
use super::writer::Work;

const NAME_TAKEN: &str = "SELECT 1 FROM session WHERE name = ?";
const SELECT_ANSWER: &str =
    "SELECT body, status, answer FROM idempotency WHERE scope = ? AND key = ? AND at > ?";
const PUT_ANSWER: &str = "INSERT INTO idempotency (scope, key, body, status, answer, at) \
    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (scope, key) DO UPDATE SET body = excluded.body, \
    status = excluded.status, answer = excluded.answer, at = excluded.at";

/// How long an answer is kept, in milliseconds.
pub(super) const ANSWERS_KEPT: i64 = 7 * 24 * 3600 * 1000;

/// The answer that was given before.
async fn replay(unit: &mut Unit<'_>, asked: &mut Idempotency, at: Timestamp) -> Do<Option<Answer>> {
    let query = sqlx::query(SELECT_ANSWER).bind(asked.scope.as_str()).bind(asked.key.as_str());
    let query = query.bind(at.unix_ms() - ANSWERS_KEPT);
    let Some(row) = query.fetch_optional(unit.conn().await?).await? else { return Ok(None) };
    let body: &[u8] = row.try_get("body")?;
    if body != asked.body {
        return Err(StoreError::IdempotencyConflict.into());
    }
    Ok(Some(Answer { status: row.try_get("status")?, body: row.try_get("answer")? }))
}

/// Renders and keeps the answer, if it is a success.
fn keep(
    unit: &mut Unit<'_>,
    asked: Option<Idempotency>,
    session: &Session,
    at: Timestamp,
) -> Option<Answer> {
    let asked = asked?;
    let answer = (asked.render)(session);
    if !(200..300).contains(&answer.status) {
        return None;
    }
    let writes = unit.writes.sql(PUT_ANSWER).bind(asked.scope).bind(asked.key);
    writes.bind(asked.body.to_vec()).bind(u32::from(answer.status)).bind(answer.body.clone());
    writes.bind(at);
    Some(answer)
}

fn done(
    unit: &mut Unit<'_>,
    asked: Option<Idempotency>,
    commit: Arc<Commit>,
    at: Timestamp,
) -> Submitted {
    let answer = keep(unit, asked, &commit.session, at);
    Submitted::Done { commit, answer }
}

/// Creates a session.
pub(super) struct CreateSession(pub(super) NewSession);

#[async_trait]
impl Work for CreateSession {
    type Output = Submitted;

    async fn run(self, unit: &mut Unit<'_>) -> Do<Submitted> {
        let NewSession {
            mut create,
            mode,
            then: wishes,
            bounds,
            quotas,
            place: candidates,
            mut idempotency,
            at,
        } = self.0;
        let at = whole_ms(at);
        if let Some(asked) = &mut idempotency
            && let Some(answer) = replay(unit, asked, at).await?
        {
            return Ok(Submitted::Replay(answer));
        }
        let created = &mut create.created;
        let taken = sqlx::query(NAME_TAKEN).bind(created.id.as_str());
        if taken.fetch_optional(unit.conn().await?).await?.is_some() {
            return Err(StoreError::NameTaken(created.id.clone()).into());
        }
        let parent = match created.parent {
            None => None,
            Some(uid) => {
                let entry = unit.entry(uid).await?.ok_or(StoreError::NoSession)?;
                let mut parent = Draft::of(&entry);
                created.depth = parent.session.depth + 1;
                created.parent_id = Some(parent.session.id.clone());
                let consent = Command::SpawnChild {
                    child: created.uid,
                    id: created.id.clone(),
                    agent: created.agent.name.clone(),
                    bounds,
                };
                parent.decide(consent, at)?;
                Some(parent)
            }
        };
        let session = Session::begin(created, at);
        let (first, then) = decide::create(create, greenroom_core::command::Now(at))?;
        let mut draft = Draft::begin(unit.next_sid(), session, first, then, at);
        for wish in wishes {
            draft.decide(wish, at)?;
        }
        admit(unit, &draft, quotas).await?;
        if let Some(parent) = parent {
            settle(unit, parent, mode, at).await?;
        }
        place(unit, &mut draft, &candidates, at).await?;
        let commit = settle(unit, draft, mode, at).await?;
        Ok(done(unit, idempotency, commit, at))
    }
}

/// Decides commands on a session.
pub(super) struct Submit(pub(super) Submission);

#[async_trait]
impl Work for Submit {
    type Output = Submitted;

    async fn run(self, unit: &mut Unit<'_>) -> Do<Submitted> {
        let Submission {
            uid,
            commands,
            from,
            mode,
            quotas,
            place: candidates,
            mut idempotency,
            at,
        } = self.0;
        let at = whole_ms(at);
        if let Some(asked) = &mut idempotency
            && let Some(answer) = replay(unit, asked, at).await?
        {
            return Ok(Submitted::Replay(answer));
        }
        let entry = unit.entry(uid).await?.ok_or(StoreError::NoSession)?;
        if from.is_some_and(|runner| entry.session.home != Some(runner)) {
            return Err(StoreError::NoSession.into());
        }
        let mut draft = Draft::of(&entry);
        for command in commands {
            draft.decide(command, at)?;
        }
        admit(unit, &draft, quotas).await?;
        place(unit, &mut draft, &candidates, at).await?;
        let commit = settle(unit, draft, mode, at).await?;
        Ok(done(unit, idempotency, commit, at))
    }
}

/// Writes a state that was folded by another build anew.
pub(super) struct Refold(pub(super) greenroom_core::SessionUid);

#[async_trait]
impl Work for Refold {
    type Output = ();

    async fn run(self, unit: &mut Unit<'_>) -> Do<()> {
        // Loading it has folded it already where that was needed.
        match unit.entry(self.0).await? {
            Some(entry) => super::settle::put_fold(unit, entry.sid, &entry.session),
            None => Ok(()),
        }
    }
}
