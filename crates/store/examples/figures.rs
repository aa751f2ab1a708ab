//! Figures of the store, on the disk of the folder it is given:
//! `cargo run --release -p greenroom-store --example figures [FOLDER]`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenroom_store::conformance::fixtures::*;
use greenroom_store::{SessionQuery, Sort, SqliteStore, Store, Submission};
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

/// Sessions that write at once.
const SESSIONS: usize = 64;
/// How long each rate is taken.
const SPAN: Duration = Duration::from_secs(4);
/// Text of one event.
const TEXT: &str = "One line of an agent that says what it is about to do, and then does it, in 100 bytes or so of text.\n";

#[tokio::main]
async fn main() {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(folder).expect("a folder");
    let at = |name: &str| folder.path().join(name);
    println!("{SESSIONS} sessions, {} bytes of text an event", TEXT.len());
    for rows in [1, 8, 64] {
        let floor = floor(&at(&format!("floor{rows}")), rows).await;
        let store = appends(&at(&format!("store{rows}")), rows).await;
        println!(
            "batches of {rows:2}: bare group commit {floor:6.0} rows/s, append {store:6.0} events/s, {:.0} %",
            100.0 * store / floor
        );
    }
    stops(&at("stops")).await;
    lists(&at("lists")).await;
    restart(&at("restart")).await;
}

/// Rows of a bare group commit over sqlx: the same rows, in the same batches, from as many
/// tasks, with nothing decided and nothing else written.
async fn floor(path: &Path, rows: usize) -> f64 {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let options = options.synchronous(SqliteSynchronous::Full).pragma("journal_mode", "WAL");
    let mut conn = options.disable_statement_logging().connect().await.expect("connects");
    let table = "CREATE TABLE event (sid INTEGER NOT NULL, seq INTEGER NOT NULL, \
        at INTEGER NOT NULL, run BLOB, type TEXT NOT NULL, data TEXT NOT NULL, \
        PRIMARY KEY (sid, seq)) STRICT, WITHOUT ROWID";
    sqlx::raw_sql(table).execute(&mut conn).await.expect("is made");
    let (send, receive) = mpsc::channel::<(usize, usize, oneshot::Sender<()>)>(1024);
    let writer = tokio::spawn(group_commit(conn, receive, rows));
    let until = Instant::now() + SPAN;
    let mut tasks = Vec::new();
    for sid in 0..SESSIONS {
        let send = send.clone();
        tasks.push(tokio::spawn(async move {
            let mut done = 0;
            while Instant::now() < until {
                let (reply, answer) = oneshot::channel();
                send.send((sid, done, reply)).await.expect("is taken");
                answer.await.expect("is answered");
                done += rows;
            }
            done
        }));
    }
    drop(send);
    let done = sum(tasks).await;
    writer.await.expect("ends");
    done as f64 / SPAN.as_secs_f64()
}

async fn group_commit(
    mut conn: SqliteConnection,
    mut receive: mpsc::Receiver<(usize, usize, oneshot::Sender<()>)>,
    rows: usize,
) {
    let sql = format!("INSERT INTO event VALUES {}", vec!["(?,?,?,?,?,?)"; rows].join(","));
    let data = serde_json::json!({ "role": "agent", "text": TEXT }).to_string();
    while let Some(first) = receive.recv().await {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut conn).await.expect("begins");
        let mut next = Some(first);
        let mut replies = Vec::new();
        while let Some((sid, from, reply)) = next {
            let mut query = sqlx::query(AssertSqlSafe(sql.clone()));
            for seq in from..from + rows {
                query = query.bind(sid as i64).bind(seq as i64).bind(0_i64).bind(None::<Vec<u8>>);
                query = query.bind("message").bind(data.clone());
            }
            query.execute(&mut conn).await.expect("inserts");
            replies.push(reply);
            next = if replies.len() < 256 { receive.try_recv().ok() } else { None };
        }
        sqlx::query("COMMIT").execute(&mut conn).await.expect("commits");
        for reply in replies {
            let _ = reply.send(());
        }
    }
}

async fn sum(tasks: Vec<tokio::task::JoinHandle<usize>>) -> usize {
    let mut total = 0;
    for task in tasks {
        total += task.await.expect("a task ends");
    }
    total
}

async fn open(path: &Path) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(path).await.expect("opens"))
}

/// Events of journal records, as a runner uploads them.
async fn appends(path: &Path, rows: usize) -> f64 {
    let store = open(path).await;
    let runner = join(&*store).await;
    let mut sessions = Vec::new();
    for n in 0..SESSIONS {
        sessions.push(running(&*store, &format!("s{n}"), runner).await);
    }
    let until = Instant::now() + SPAN;
    let mut tasks = Vec::new();
    for (run, session) in sessions {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let mut done = 0;
            while Instant::now() < until {
                let index = |n: usize| (done + n + 1) as u64;
                let record = |n| record(session.uid, 1, index(n), message(Some(run), TEXT));
                let records = (0..rows).map(record).collect();
                store.append(runner, records, Vec::new()).await.expect("taken");
                done += rows;
            }
            done
        }));
    }
    let done = sum(tasks).await;
    store.close().await;
    done as f64 / SPAN.as_secs_f64()
}

fn percentile(times: &mut [Duration], of: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * of) as usize]
}

fn print(what: &str, mut times: Vec<Duration>) {
    let (p50, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    println!("{what}: p50 {:.2} ms, p99 {:.2} ms", ms(p50), ms(p99));
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// How long a stop takes to be durable while the others write as fast as they can.
async fn stops(path: &Path) {
    let store = open(path).await;
    let runner = join(&*store).await;
    let until = Instant::now() + SPAN;
    let mut tasks = Vec::new();
    for n in 0..SESSIONS {
        let (run, session) = running(&*store, &format!("s{n}"), runner).await;
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let mut done = 0;
            while Instant::now() < until {
                let record =
                    |n| record(session.uid, 1, (done + n) as u64, message(Some(run), TEXT));
                store
                    .append(runner, (1..=64).map(record).collect(), Vec::new())
                    .await
                    .expect("taken");
                done += 64;
            }
            done
        }));
    }
    let mut times = Vec::new();
    for n in 0.. {
        if Instant::now() >= until {
            break;
        }
        let (_, session) = running(&*store, &format!("stopped{n}"), runner).await;
        let asked = Instant::now();
        store.submit(Submission::new(session.uid, at(1), vec![stop()])).await.expect("accepted");
        times.push(asked.elapsed());
    }
    sum(tasks).await;
    print("a stop, durable, beside 64 busy sessions", times);
    store.close().await;
}

/// The first page of 10 000 sessions.
async fn lists(path: &Path) {
    let store = open(path).await;
    let runner = join(&*store).await;
    let started = Instant::now();
    let mut tasks = Vec::new();
    for part in 0..100 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            for n in 0..100 {
                let mut new = new_session(&format!("session-{part:02}-{n:02}"));
                new.create.created.title = Some(format!("Work number {n} of part {part}"));
                new.create.created.labels.insert("part".into(), part.to_string());
                new.create.created.labels.insert("team".into(), "all".into());
                new.create.prompt = (n % 2 == 0).then(|| prompt("go"));
                if n % 4 == 0 {
                    new.place = vec![candidate(runner, None)];
                }
                create(&*store, new).await;
            }
            100
        }));
    }
    let made = sum(tasks).await;
    println!("{made} sessions are made in {:.1} s", started.elapsed().as_secs_f64());
    let base = SessionQuery { limit: 100, ..SessionQuery::default() };
    let owner = Some(greenroom_core::Principal("nobody".to_owned()));
    let label = |k: &str, v: &str| [(k.to_owned(), v.to_owned())].into_iter().collect();
    let cases = [
        ("newest first", base.clone()),
        ("last active first", SessionQuery { sort: Sort::Active, ..base.clone() }),
        ("by name", SessionQuery { sort: Sort::Id, ..base.clone() }),
        (
            "of one status",
            SessionQuery { statuses: vec![greenroom_core::Status::Starting], ..base.clone() },
        ),
        (
            "of three statuses, none of which any has",
            SessionQuery {
                statuses: vec![
                    greenroom_core::Status::Failed,
                    greenroom_core::Status::Waiting,
                    greenroom_core::Status::Finished,
                ],
                ..base.clone()
            },
        ),
        ("of a label that all have", SessionQuery { labels: label("team", "all"), ..base.clone() }),
        ("of a label that few have", SessionQuery { labels: label("part", "7"), ..base.clone() }),
        (
            "with a text that one has",
            SessionQuery { text: Some("session-42-42".into()), ..base.clone() },
        ),
        ("at home on a runner", SessionQuery { runner: Some(runner), ..base.clone() }),
        ("seen by one who sees none", SessionQuery { visible_to: owner, ..base }),
    ];
    for (what, query) in cases {
        let mut times = Vec::new();
        for _ in 0..300 {
            let asked = Instant::now();
            store.sessions(query.clone()).await.expect("reads");
            times.push(asked.elapsed());
        }
        print(&format!("first page of {made}, {what}"), times);
    }
    store.close().await;
}

/// Opening a store with a million events.
async fn restart(path: &Path) {
    let store = open(path).await;
    let runner = join(&*store).await;
    let mut tasks = Vec::new();
    for n in 0..SESSIONS {
        let (run, session) = running(&*store, &format!("s{n}"), runner).await;
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            for batch in 0..62_u64 {
                let record = |n| record(session.uid, 1, batch * 256 + n, message(Some(run), TEXT));
                store
                    .append(runner, (1..=256).map(record).collect(), Vec::new())
                    .await
                    .expect("taken");
            }
            62 * 256
        }));
    }
    let events = sum(tasks).await;
    store.close().await;
    let started = Instant::now();
    let store = open(path).await;
    let opened = started.elapsed();
    let page = store.sessions(SessionQuery { limit: 100, ..SessionQuery::default() }).await;
    let listed = started.elapsed();
    let uid = page.expect("reads").items[0].uid;
    store.events(uid, 10_000, 100).await.expect("reads");
    println!(
        "{events} events: opened after {:.1} ms, first list after {:.1} ms, a page of a log after {:.1} ms",
        ms(opened),
        ms(listed),
        ms(started.elapsed())
    );
    store.close().await;
}
