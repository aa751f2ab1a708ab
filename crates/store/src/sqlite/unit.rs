//! One unit of work in the writer's transaction: all of it happens, or none.

use std::collections::HashMap;
use std::sync::Arc;

use greenroom_core::SessionUid;
use sqlx::AssertSqlSafe;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteArguments;

use crate::Commit;

use super::cache::{Cache, Entry};
use super::fault::Do;
use super::load;
use super::writes::Writes;

/// A savepoint in the writer's transaction, with what was gathered for it.
pub(super) struct Unit<'w> {
    conn: &'w mut SqliteConnection,
    cache: &'w mut Cache,
    last_sid: &'w mut i64,
    /// Statements that were not sent yet.
    pub(super) writes: Writes,
    saved: bool,
    /// Sessions as this unit leaves them; `None` for one that is gone.
    changed: HashMap<SessionUid, Option<Arc<Entry>>>,
    commits: Vec<Arc<Commit>>,
    bytes: usize,
}

/// What a unit has done once it succeeded.
pub(super) struct Outcome {
    pub(super) changed: Vec<SessionUid>,
    pub(super) commits: Vec<Arc<Commit>>,
    pub(super) bytes: usize,
}

impl<'w> Unit<'w> {
    pub(super) fn new(
        conn: &'w mut SqliteConnection,
        cache: &'w mut Cache,
        last_sid: &'w mut i64,
    ) -> Self {
        Self {
            conn,
            cache,
            last_sid,
            writes: Writes::default(),
            saved: false,
            changed: HashMap::new(),
            commits: Vec::new(),
            bytes: 0,
        }
    }

    /// A number for a new session. One that is not used after all leaves a hole, which
    /// means nothing.
    pub(super) fn next_sid(&mut self) -> i64 {
        *self.last_sid += 1;
        *self.last_sid
    }

    /// The session as this unit sees it.
    pub(super) async fn entry(&mut self, uid: SessionUid) -> Do<Option<Arc<Entry>>> {
        if let Some(changed) = self.changed.get(&uid) {
            return Ok(changed.clone());
        }
        if let Some(entry) = self.cache.get(uid) {
            return Ok(Some(entry));
        }
        let Some(entry) = load::entry(self.conn, uid).await? else { return Ok(None) };
        let entry = Arc::new(entry);
        self.cache.put(uid, Arc::clone(&entry));
        Ok(Some(entry))
    }

    /// How this unit leaves a session.
    pub(super) fn leave(
        &mut self,
        uid: SessionUid,
        entry: Option<Arc<Entry>>,
        commit: Arc<Commit>,
    ) {
        self.changed.insert(uid, entry);
        self.commits.push(commit);
    }

    /// The connection, for reading: it sees all that was gathered.
    pub(super) async fn conn(&mut self) -> Do<&mut SqliteConnection> {
        self.flush().await?;
        Ok(self.conn)
    }

    /// Sends what was gathered.
    async fn flush(&mut self) -> Do<()> {
        if self.writes.is_empty() {
            return Ok(());
        }
        let (sql, args, bytes) = self.writes.take()?;
        self.bytes += bytes;
        let sql = if self.saved { sql } else { format!("SAVEPOINT unit;{sql}") };
        self.saved = true;
        self.send(sql, args).await
    }

    async fn send(&mut self, sql: String, args: SqliteArguments) -> Do<()> {
        // Every text is put together from constants of this crate.
        sqlx::query_with(AssertSqlSafe(sql), args).execute(&mut *self.conn).await?;
        Ok(())
    }

    /// Ends the unit with success.
    pub(super) async fn keep(mut self) -> Result<Outcome, (Self, super::fault::Fault)> {
        if self.saved || !self.writes.is_empty() {
            self.writes.sql("RELEASE unit");
            if let Err(fault) = self.flush().await {
                return Err((self, fault));
            }
        }
        let mut uids = Vec::with_capacity(self.changed.len());
        for (uid, entry) in self.changed {
            match entry {
                Some(entry) => self.cache.put(uid, entry),
                None => self.cache.forget(uid),
            }
            uids.push(uid);
        }
        Ok(Outcome { changed: uids, commits: self.commits, bytes: self.bytes })
    }

    /// Undoes the unit. An error means that the transaction is no longer there.
    pub(super) async fn undo(mut self) -> Do<()> {
        if self.saved {
            let sql = "ROLLBACK TO unit;RELEASE unit".to_owned();
            self.send(sql, SqliteArguments::default()).await?;
        }
        Ok(())
    }
}
