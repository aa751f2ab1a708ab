//! What the file is, who may read it, and who else has it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use greenroom_store::conformance::fixtures::*;
use greenroom_store::{SessionQuery, SqliteStore, Store, StoreError};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.expect("connects")
}

async fn change(path: &Path, sql: &'static str) {
    let mut conn = raw(path).await;
    sqlx::raw_sql(sql).execute(&mut conn).await.expect("changes");
    conn.close().await.expect("closes");
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("is there").permissions().mode() & 0o777
}

fn error(opened: Result<SqliteStore, StoreError>) -> StoreError {
    match opened {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_store_keeps_its_identity_and_its_facts() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("db");
    let store = SqliteStore::open(&path).await.expect("is made");
    let first = store.identity();
    let session = create(&store, new_session("x")).await;
    for file in ["db", "db-wal", "db-shm", "db.lock"] {
        assert_eq!(mode(&folder.path().join(file)), 0o600, "{file}");
    }
    store.close().await;
    let store = SqliteStore::open(&path).await.expect("opens");
    let again = store.identity();
    assert_eq!(
        (again.store_id, again.era, again.secret),
        (first.store_id, first.era, first.secret)
    );
    assert_eq!(store.session(session.uid).await.expect("reads"), Some(session));
    let other = SqliteStore::open(&folder.path().join("other")).await.expect("is made").identity();
    assert!(other.store_id != first.store_id && other.secret != first.secret);
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("db");
    let store = SqliteStore::open(&path).await.expect("is made");
    create(&store, new_session("x")).await;
    store.close().await;
    change(&path, "INSERT INTO schema (version, applied_at) VALUES (99, 0)").await;
    let before = std::fs::read(&path).expect("reads");
    let refused = error(SqliteStore::open(&path).await);
    assert!(matches!(refused, StoreError::Newer { found: 99, known: 9 }), "{refused}");
    assert!(refused.to_string().contains("newer greenroom"), "{refused}");
    assert_eq!(std::fs::read(&path).expect("reads"), before);
    change(&path, "DELETE FROM schema WHERE version = 99").await;
    let store = SqliteStore::open(&path).await.expect("opens");
    let all = SessionQuery { limit: 10, ..SessionQuery::default() };
    assert_eq!(store.sessions(all).await.expect("reads").items.len(), 1, "nothing was lost");
}

#[tokio::test]
async fn another_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = folder.path().join("text");
    std::fs::write(&text, "some notes, and more of them").expect("writes");
    let database = folder.path().join("database");
    let options = SqliteConnectOptions::new().filename(&database).create_if_missing(true);
    let mut conn = options.connect().await.expect("connects");
    sqlx::raw_sql("CREATE TABLE mine (a)").execute(&mut conn).await.expect("makes");
    conn.close().await.expect("closes");
    for path in [text, database] {
        let before = std::fs::read(&path).expect("reads");
        let refused = error(SqliteStore::open(&path).await).to_string();
        assert!(refused.contains("is not a Greenroom database"), "{refused}");
        assert_eq!(std::fs::read(&path).expect("reads"), before);
    }
    let missing = error(SqliteStore::open(&folder.path().join("no/such/db")).await);
    assert!(missing.to_string().contains("no/such/db"), "{missing}");
}

#[tokio::test]
async fn one_process_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("db");
    let store = SqliteStore::open(&path).await.expect("is made");
    let refused = error(SqliteStore::open(&path).await).to_string();
    assert!(refused.contains("another process"), "{refused}");
    store.close().await;
    SqliteStore::open(&path).await.expect("it was let go");
}

#[tokio::test]
async fn a_backup_is_whole_and_opens_in_another_era() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(&folder.path().join("db")).await.expect("is made");
    let runner = join(&store).await;
    let (_, session) = running(&store, "x", runner).await;
    let (rev, _) = store.assignments(runner, 0).await.expect("reads");
    let copy = folder.path().join("copy");
    store.backup(&copy).await.expect("is written");
    assert_eq!(mode(&copy), 0o600);
    assert!(store.backup(&copy).await.is_err(), "nothing is overwritten");
    create(&store, new_session("later")).await;

    let restored = SqliteStore::open_restored(&copy).await.expect("opens");
    assert_eq!(restored.identity().store_id, store.identity().store_id);
    assert_eq!(restored.identity().era, store.identity().era + 1);
    assert_eq!(restored.session(session.uid).await.expect("reads"), Some(session));
    let later = restored.session_named(&"later".parse().expect("a name")).await;
    assert!(later.expect("reads").is_none());
    let (leapt, told) = restored.assignments(runner, rev + 1000).await.expect("reads");
    assert!(leapt > rev + 1000 && told.len() == 1, "runners are told everything again");
    let missing = SqliteStore::open_restored(&folder.path().join("none")).await;
    assert!(matches!(error(missing), StoreError::Database(_)), "nothing is made up");
}

#[tokio::test]
async fn a_state_of_another_build_is_folded_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("db");
    let store = SqliteStore::open(&path).await.expect("is made");
    let runner = join(&store).await;
    let (run, session) = running(&store, "x", runner).await;
    let text = vec![record(session.uid, 1, 1, message(Some(run), "hi\n"))];
    store.append(runner, text, Vec::new()).await.expect("taken");
    create(&store, new_session("y")).await;
    let before = store.session(session.uid).await.expect("reads");
    store.close().await;

    change(&path, "UPDATE fold SET format = 0, state = '{}'").await;
    let store = SqliteStore::open(&path).await.expect("opens");
    let all = SessionQuery { limit: 10, ..SessionQuery::default() };
    assert_eq!(store.sessions(all).await.expect("reads").items.len(), 2);
    assert_eq!(store.session(session.uid).await.expect("reads"), before);
    store.close().await;

    // The writer folds anew by itself, and goes on from there.
    change(&path, "UPDATE fold SET format = 0, state = '{}'").await;
    let store = SqliteStore::open(&path).await.expect("opens");
    submit(&store, session.uid, vec![stop()]).await;
    agrees(&store, session.uid).await;
    store.close().await;
    let mut conn = raw(&path).await;
    let stale = sqlx::query(
        "SELECT 1 FROM fold f JOIN session s ON s.sid = f.sid \
        WHERE f.format = 0 AND s.name = 'x'",
    );
    assert!(stale.fetch_optional(&mut conn).await.expect("reads").is_none(), "it is kept");
}
