//! A coordinator with much behind it: its list, and its start.

use std::time::Instant;

use futures::future::try_join_all;
use greenroom_store::{SqliteStore, Store};

use super::Lab;
use crate::report::{Aim, Row};
use crate::seed::Seeded;
use crate::server::Server;
use crate::stats::{Samples, since};

const SESSIONS: usize = 10_000;
/// A session's own facts make the rest of a hundred.
const LINES: usize = 86;

/// The first page of 10 000 sessions, and a restart with 1 000 000 events.
pub(crate) async fn measure(lab: &Lab) -> anyhow::Result<Vec<Row>> {
    let data = lab.folder("many");
    std::fs::create_dir_all(&data)?;
    let (sessions, events) = fill(lab, &data.join(Server::DATABASE)).await?;

    let mut ready = Samples::default();
    for _ in 0..lab.count(10) {
        let server = Server::start(&lab.greenroom, &data)?;
        ready.add(server.ready_ms);
        server.end()?;
    }
    let mut fresh = Samples::default();
    for turn in 0..lab.count(10) {
        let server = Server::start(&lab.greenroom, &lab.folder(&format!("fresh-{turn}")))?;
        fresh.add(server.ready_ms);
        server.end()?;
    }

    let server = Server::start(&lab.greenroom, &data)?;
    let mut over = server.connect().await?;
    let mut rows = vec![
        Row::of(format!("restart with {sessions} sessions, {events} events → ready"), "ms", &ready)
            .floor("the same start on a new data folder", &fresh, Vec::new())
            .aim(Aim::below("max", ready.max(), 1000.0, "ms")),
    ];
    for (what, path) in [
        ("first page", "/v1/sessions"),
        ("first page by status and label", "/v1/sessions?status=finished&label=team%3Dbench"),
    ] {
        let mut list = Samples::default();
        for _ in 0..lab.count(1000) {
            let started = Instant::now();
            let page = over.raw("GET", path, None).await?;
            list.add(since(started));
            anyhow::ensure!(page.0 == 200, "GET {path} answered {}", page.0);
        }
        let row = Row::of(format!("list of {sessions} sessions, {what}"), "ms", &list)
            .aim(Aim::below("p99", list.p99(), 10.0, "ms"));
        rows.push(row);
    }
    server.end()?;
    Ok(rows)
}

/// Fills a database; answers how many sessions and events it has.
async fn fill(lab: &Lab, database: &std::path::Path) -> anyhow::Result<(usize, u64)> {
    let sessions = lab.count(SESSIONS);
    let seeded = Seeded::new(SqliteStore::open(database).await?).await?;
    let mut events = 0;
    for from in (0..sessions).step_by(64) {
        let wave = (from..sessions.min(from + 64)).map(|n| {
            let seeded = &seeded;
            async move {
                let mut running = seeded.begin(&format!("session-{n:05}"), "bench").await?;
                seeded.say(&mut running, LINES).await?;
                seeded.finish(running).await
            }
        });
        let ended = try_join_all(wave).await?;
        events += ended.into_iter().sum::<u64>();
    }
    seeded.store.close().await;
    Ok((sessions, events))
}
