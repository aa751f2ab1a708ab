//! How many events become durable in a second.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use greenroom_store::SqliteStore;

use super::Lab;
use crate::floor::batches;
use crate::report::{Aim, Row};
use crate::seed::{LINE, Seeded};
use crate::stats::Samples;

const SESSIONS: usize = 64;
/// Events a runner has of one session when it reports, under load.
const BATCH: usize = 16;

/// Events appended durably, by 64 sessions at once.
pub(crate) async fn measure(lab: &Lab) -> anyhow::Result<Vec<Row>> {
    let folder = lab.folder("append");
    std::fs::create_dir_all(&folder)?;
    let store = SqliteStore::open(&folder.join("events.db")).await?;
    let seeded = Seeded::new(store).await?;
    let names: Vec<_> = (0..SESSIONS).map(|n| format!("append-{n}")).collect();
    let mut sessions = try_join_all(names.iter().map(|name| seeded.begin(name, "append"))).await?;

    let (mut ours, mut floor) = <(Samples, Samples)>::default();
    let time = Duration::from_secs(if lab.quick { 1 } else { 5 });
    for _ in 0..5 {
        // One line is the text of a message event with what surrounds it.
        let text = format!("{{\"role\":\"assistant\",\"text\":{LINE:?},\"part\":0,\"from\":0}}");
        floor.add(batches::rate(&folder, SESSIONS, BATCH, &text, time).await?);
        let started = Instant::now();
        let appended = sessions.iter_mut().map(|session| {
            let seeded = &seeded;
            async move {
                let mut written = 0;
                while started.elapsed() < time {
                    seeded.say(session, BATCH).await?;
                    written += BATCH;
                }
                anyhow::Ok(written)
            }
        });
        let written: usize = try_join_all(appended).await?.into_iter().sum();
        ours.add(written as f64 / started.elapsed().as_secs_f64());
    }

    let row =
        Row::of(format!("events appended durably, {SESSIONS} sessions at once"), "1/s", &ours)
            .floor(
                "rows by bare SQLite group commit, as wide, as durable, in batches as long",
                &floor,
                Vec::new(),
            )
            .aim(Aim::share("p50", ours.p50(), floor.p50(), 50.0))
            .note(format!("each session appends {BATCH} events and waits until they are durable"));
    Ok(vec![row])
}
