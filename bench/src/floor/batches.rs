//! Group commit without anything around it: one writer, many who wait for it.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use sqlx::{AssertSqlSafe, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::commit;

/// Rows that wait to be durable.
struct Batch {
    sid: i64,
    from: i64,
    text: String,
    done: oneshot::Sender<()>,
}

/// How many batches share a commit at most.
const TOGETHER: usize = 256;

/// Rows a second that become durable while `writers` append batches of `rows` at once.
pub(crate) async fn rate(
    folder: &Path,
    writers: usize,
    rows: usize,
    text: &str,
    time: Duration,
) -> anyhow::Result<f64> {
    let mut database =
        commit::open(&folder.join(format!("floor-{}.db", uuid::Uuid::now_v7()))).await?;
    let (sender, receiver) = mpsc::channel::<Batch>(TOGETHER);
    let writer = tokio::spawn(async move { write(&mut database, receiver, rows).await });
    let started = Instant::now();
    let tasks = (0..writers).map(|sid| {
        let (sender, text) = (sender.clone(), text.to_owned());
        tokio::spawn(async move {
            let mut written = 0;
            while started.elapsed() < time {
                let (done, wait) = oneshot::channel();
                let batch =
                    Batch { sid: sid as i64, from: written as i64, text: text.clone(), done };
                sender.send(batch).await.map_err(|_| anyhow::anyhow!("the writer is gone"))?;
                wait.await?;
                written += rows;
            }
            anyhow::Ok(written)
        })
    });
    let mut written = 0;
    for count in try_join_all(tasks).await? {
        written += count?;
    }
    let took = started.elapsed();
    drop(sender);
    writer.await??;
    Ok(written as f64 / took.as_secs_f64())
}

async fn write(
    database: &mut SqliteConnection,
    mut batches: mpsc::Receiver<Batch>,
    rows: usize,
) -> sqlx::Result<()> {
    let values = vec!["(?, ?, ?, ?, 'message', ?)"; rows].join(", ");
    let insert = format!("INSERT INTO events (sid, seq, at, run, type, data) VALUES {values}");
    let mut together = Vec::with_capacity(TOGETHER);
    while batches.recv_many(&mut together, TOGETHER).await > 0 {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *database).await?;
        for batch in &together {
            let mut query = sqlx::query(AssertSqlSafe(insert.as_str()));
            for row in 0..rows as i64 {
                query = query
                    .bind(batch.sid)
                    .bind(batch.from + row)
                    .bind(1_700_000_000_000_i64)
                    .bind("018f0000-0000-7000-8000-000000000000")
                    .bind(batch.text.as_str());
            }
            query.execute(&mut *database).await?;
        }
        sqlx::query("COMMIT").execute(&mut *database).await?;
        for batch in together.drain(..) {
            // Whoever no longer waits does not need to know.
            let _ = batch.done.send(());
        }
    }
    Ok(())
}
