//! Finding sessions. Logs are never read for it.

use std::sync::Arc;

use greenroom_core::{Event, Seq, Session, SessionId, SessionUid};
use greenroom_protocol::link::Mark;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqlitePool};

use crate::{Beyond, Page, Result, Scan, SessionQuery, Sort, StoreError};

use super::cache::Top;
use super::load::{self, Stored, id};
use super::{cursor, writer};

const BY_UID: &str = "SELECT sid FROM session WHERE uid = ?";
const BY_NAME: &str = "SELECT uid FROM session WHERE name = ?";
const SID_NAMED: &str = "SELECT coalesce((SELECT sid FROM session WHERE name = ?), \
    (SELECT max(sid) FROM removed WHERE name = ?)) AS sid";
const REMOVED: &str = "SELECT 1 FROM removed WHERE name = ? LIMIT 1";
const FROM: &str = " FROM session s JOIN fold f ON f.sid = s.sid WHERE ";

const NEED_PLACE: &str =
    "SELECT uid FROM session WHERE needs_since IS NOT NULL ORDER BY needs_since, sid";
const STOPPING: &str = "SELECT uid FROM session WHERE stopping = 1 ORDER BY sid";
const LIVE_ON: &str = "SELECT uid FROM session WHERE live_runner = ? ORDER BY sid";
const HOME_ON: &str = "SELECT uid FROM session WHERE home = ? ORDER BY sid";
const DELETING: &str = "SELECT uid FROM session WHERE life = 2 ORDER BY sid";
const IDLE: &str = "SELECT uid FROM session WHERE idle_limited = 1 ORDER BY sid";
const TTL: &str = "SELECT uid FROM session WHERE ttl_limited = 1 ORDER BY sid";
const EXPIRED: &str = "SELECT uid FROM session WHERE life = 1 ORDER BY sid";

/// What is read, with the writer at hand for sessions that have to be folded anew.
pub(super) struct Reader<'a> {
    pub(super) pool: &'a SqlitePool,
    pub(super) lanes: &'a writer::Lanes,
}

impl Reader<'_> {
    /// One session, folded anew once where another build has folded it.
    pub(super) async fn session(&self, uid: SessionUid) -> Result<Option<Arc<Session>>> {
        for _ in 0..2 {
            let mut query = select();
            query.push("s.uid = ").push_bind(uid.0.as_bytes().to_vec());
            let Some(row) = query.build().fetch_optional(self.pool).await? else { return Ok(None) };
            match load::session(&row)? {
                Stored::Folded(session) => return Ok(Some(Arc::new(*session))),
                Stored::Stale(uid) => {
                    self.lanes.ask(writer::Lane::Control, super::sessions::Refold(uid)).await?;
                }
            }
        }
        Err(load::damaged("a session's state", "it stays in the form of another build"))
    }

    /// The session of this name.
    pub(super) async fn named(&self, name: &SessionId) -> Result<Option<Arc<Session>>> {
        let query = sqlx::query(BY_NAME).bind(name.as_str());
        match query.fetch_optional(self.pool).await? {
            Some(row) => self.session(SessionUid(id(&row, "uid")?)).await,
            None => Ok(None),
        }
    }

    /// A page of sessions.
    pub(super) async fn page(&self, query: SessionQuery) -> Result<Page<Arc<Session>>> {
        let limit = query.limit.clamp(1, 1000) as usize;
        let list = match query.sort {
            Sort::Created => "created",
            Sort::Oldest => "oldest",
            Sort::Active => "active",
            Sort::Id => "id",
        };
        let after = query.cursor.as_deref().map(|text| cursor::read(list, text)).transpose()?;
        let mut sql = select();
        filter(&mut sql, &query);
        let backwards = match &query.beyond {
            Some(beyond) => self.cut(&mut sql, query.sort, beyond).await?,
            None => false,
        };
        order(&mut sql, if backwards { turned(query.sort) } else { query.sort }, after)?;
        sql.push(" LIMIT ").push_bind(limit as i64 + 1);
        let rows = sql.build().fetch_all(self.pool).await?;
        let mut items = Vec::with_capacity(rows.len().min(limit));
        for row in rows.iter().take(limit) {
            let session = match load::session(row)? {
                Stored::Folded(session) => Some(Arc::new(*session)),
                Stored::Stale(uid) => self.session(uid).await?,
            };
            items.extend(session);
        }
        if backwards {
            items.reverse();
        }
        let next = match rows.get(limit - 1) {
            Some(last) if rows.len() > limit => Some(place(list, query.sort, last)?),
            _ => None,
        };
        Ok(Page { items, next })
    }

    /// Cuts a list of the order of creation at a session, which may be gone by now. Answers
    /// whether it is to be read from its end.
    async fn cut(
        &self,
        sql: &mut QueryBuilder<Sqlite>,
        sort: Sort,
        beyond: &Beyond,
    ) -> Result<bool> {
        let (name, before) = match beyond {
            Beyond::After(name) => (name, false),
            Beyond::Before(name) => (name, true),
        };
        let query = sqlx::query(SID_NAMED).bind(name.as_str()).bind(name.as_str());
        let sid: Option<i64> = query.fetch_one(self.pool).await?.try_get("sid")?;
        let sid = sid.ok_or(StoreError::BadCursor)?;
        let older = match sort {
            Sort::Created => !before,
            Sort::Oldest => before,
            Sort::Active | Sort::Id => return Err(StoreError::BadCursor),
        };
        sql.push(if older { " AND s.sid < " } else { " AND s.sid > " }).push_bind(sid);
        Ok(before)
    }
}

/// The same order from its other end.
fn turned(sort: Sort) -> Sort {
    match sort {
        Sort::Created => Sort::Oldest,
        Sort::Oldest => Sort::Created,
        other => other,
    }
}

fn select() -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new("SELECT s.name, ");
    query.push(load::COLUMNS).push(FROM);
    query
}

/// A unary plus keeps a condition away from the indices: the list's own order, cut off at
/// its limit, is the better way through.
fn filter(sql: &mut QueryBuilder<Sqlite>, query: &SessionQuery) {
    sql.push("+s.life <> 3");
    if !query.expired {
        sql.push(" AND +s.life <> 1");
    }
    match query.statuses.as_slice() {
        [] => {}
        [one] => {
            sql.push(" AND s.status = ").push_bind(one.as_str());
        }
        many => {
            sql.push(" AND +s.status IN (");
            let mut list = sql.separated(", ");
            for status in many {
                list.push_bind(status.as_str());
            }
            sql.push(")");
        }
    }
    if let Some(agent) = &query.agent {
        sql.push(" AND s.agent = ").push_bind(agent.clone());
    }
    if let Some(runner) = query.runner {
        sql.push(" AND s.home = ").push_bind(runner.0.as_bytes().to_vec());
    }
    if let Some(parent) = query.parent {
        sql.push(" AND s.parent = ").push_bind(parent.0.as_bytes().to_vec());
    }
    if query.roots {
        sql.push(" AND (s.parent IS NULL OR NOT EXISTS (SELECT 1 FROM session p ");
        sql.push("WHERE p.uid = s.parent AND p.life <> 3");
        if !query.expired {
            sql.push(" AND p.life <> 1");
        }
        if let Some(principal) = &query.visible_to {
            sql.push(" AND (p.shared = 1 OR p.owner = ").push_bind(principal.0.clone()).push(")");
        }
        sql.push("))");
    }
    if let Some(head) = query.family {
        let uid = head.0.as_bytes().to_vec();
        sql.push(" AND (s.uid = ").push_bind(uid.clone());
        sql.push(" OR s.parent = ").push_bind(uid).push(")");
    }
    if let Some(user) = &query.user {
        sql.push(" AND s.user = ").push_bind(user.clone());
    }
    for (key, value) in &query.labels {
        sql.push(" AND s.sid IN (SELECT sid FROM label WHERE key = ").push_bind(key.clone());
        sql.push(" AND value = ").push_bind(value.clone()).push(")");
    }
    if let Some(principal) = &query.visible_to {
        sql.push(" AND (+s.shared = 1 OR +s.owner = ").push_bind(principal.0.clone()).push(")");
    }
    if let Some(text) = query.text.as_deref().filter(|text| !text.is_empty()) {
        let pattern = like(text);
        for (joint, column) in [(" AND (", "s.name"), (" OR ", "s.title"), (" OR ", "s.agent")] {
            sql.push(joint).push(column).push(" LIKE ").push_bind(pattern.clone());
            sql.push(" ESCAPE '\\'");
        }
        sql.push(")");
    }
}

/// The text anywhere, and nothing in it means more than itself.
fn like(text: &str) -> String {
    let mut pattern = String::from("%");
    for letter in text.chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

fn order(sql: &mut QueryBuilder<Sqlite>, sort: Sort, after: Option<(i64, String)>) -> Result<()> {
    match sort {
        Sort::Created => {
            if let Some((sid, _)) = after {
                sql.push(" AND s.sid < ").push_bind(sid);
            }
            sql.push(" ORDER BY s.sid DESC");
        }
        Sort::Oldest => {
            if let Some((sid, _)) = after {
                sql.push(" AND s.sid > ").push_bind(sid);
            }
            sql.push(" ORDER BY s.sid");
        }
        Sort::Active => {
            if let Some((sid, at)) = after {
                let at: i64 = at.parse().map_err(|_| StoreError::BadCursor)?;
                sql.push(" AND (s.active_at, s.sid) < (").push_bind(at);
                sql.push(", ").push_bind(sid).push(")");
            }
            sql.push(" ORDER BY s.active_at DESC, s.sid DESC");
        }
        Sort::Id => {
            if let Some((_, name)) = after {
                sql.push(" AND s.name > ").push_bind(name);
            }
            sql.push(" ORDER BY s.name");
        }
    }
    Ok(())
}

fn place(list: &str, sort: Sort, last: &SqliteRow) -> Result<String> {
    let key = match sort {
        Sort::Created | Sort::Oldest => String::new(),
        Sort::Active => last.try_get::<i64, _>("active_at")?.to_string(),
        Sort::Id => last.try_get("name")?,
    };
    Ok(cursor::write(list, last.try_get("sid")?, &key))
}

/// Sessions a reconciler has work with.
pub(super) async fn scan(pool: &SqlitePool, scan: Scan) -> Result<Vec<SessionUid>> {
    let query = match scan {
        Scan::NeedPlace => sqlx::query(NEED_PLACE),
        Scan::Stopping => sqlx::query(STOPPING),
        Scan::LiveOn(runner) => sqlx::query(LIVE_ON).bind(runner.0.as_bytes().to_vec()),
        Scan::HomeOn(runner) => sqlx::query(HOME_ON).bind(runner.0.as_bytes().to_vec()),
        Scan::Deleting => sqlx::query(DELETING),
        Scan::IdleLimited => sqlx::query(IDLE),
        Scan::TtlLimited => sqlx::query(TTL),
        Scan::Expired => sqlx::query(EXPIRED),
    };
    let rows = query.fetch_all(pool).await?;
    rows.iter().map(|row| Ok(SessionUid(id(row, "uid")?))).collect()
}

/// Whether a session of this name is gone.
pub(super) async fn was_removed(pool: &SqlitePool, name: &SessionId) -> Result<bool> {
    let query = sqlx::query(REMOVED).bind(name.as_str());
    Ok(query.fetch_optional(pool).await?.is_some())
}

/// Number of a session in the database.
pub(super) async fn sid(pool: &SqlitePool, uid: SessionUid) -> Result<Option<i64>> {
    let query = sqlx::query(BY_UID).bind(uid.0.as_bytes().to_vec());
    let row = query.fetch_optional(pool).await?;
    row.map(|row| Ok(row.try_get("sid")?)).transpose()
}

/// Entries of a session's log.
pub(super) async fn events(
    pool: &SqlitePool,
    uid: SessionUid,
    from: Seq,
    limit: u32,
) -> Result<Vec<Event>> {
    let Some(sid) = sid(pool, uid).await? else { return Ok(Vec::new()) };
    let mut conn = pool.acquire().await?;
    load::events(&mut conn, sid, from, limit.into()).await
}

/// Entries of a session's log that hold a receipt.
pub(super) async fn receipts(
    pool: &SqlitePool,
    uid: SessionUid,
    after: Seq,
    limit: u32,
) -> Result<Vec<Event>> {
    let Some(sid) = sid(pool, uid).await? else { return Ok(Vec::new()) };
    let mut conn = pool.acquire().await?;
    load::receipts(&mut conn, sid, after, limit.into()).await
}

/// The marks of a session's journals.
pub(super) async fn marks(pool: &SqlitePool, uid: SessionUid) -> Result<Vec<Mark>> {
    let Some(sid) = sid(pool, uid).await? else { return Ok(Vec::new()) };
    let rows = sqlx::query(load::SELECT_TOPS).bind(sid).fetch_all(pool).await?;
    let mark = |row: &SqliteRow| {
        let Top { epoch, writer, index } = load::top(row)?;
        Ok(Mark { uid, epoch, writer, index })
    };
    rows.iter().map(mark).collect()
}
