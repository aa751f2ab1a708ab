//! One session with very many viewers.

use std::time::Duration;

use anyhow::bail;
use futures::future::try_join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tokio::task::JoinSet;

use super::Lab;
use crate::http::Events;
use crate::machine::memory_kb;
use crate::report::{Aim, Row};
use crate::server::{Server, TICKS};
use crate::stats::{Samples, between_ms, monotonic_ns};

/// Every event of a session, seen by 1 000 viewers: how late, and for how much memory.
pub(crate) async fn measure(lab: &Lab) -> anyhow::Result<Vec<Row>> {
    let viewers = lab.count(1000);
    allow_open_files(viewers as u64 * 2 + 500)?;
    let server = Server::start(&lab.greenroom, &lab.folder("viewers"))?;
    // What the first viewer and the first run cost is not what each viewer costs.
    server.create("ticks", "warm").await?;
    let warm = server.follow("warm").await?;
    Server::prompt(&mut server.connect().await?, "warm").await?;
    view(warm, Vec::new()).await?;

    server.create("ticks", "watched").await?;
    let before_kb = memory_kb(server.pid(), "VmRSS");
    let mut streams = Vec::with_capacity(viewers);
    for _ in 0..viewers.div_ceil(50) {
        let more = (viewers - streams.len()).min(50);
        streams.extend(try_join_all((0..more).map(|_| server.follow("watched"))).await?);
    }
    let connected_kb = memory_kb(server.pid(), "VmRSS");
    let mut tasks = JoinSet::new();
    for stream in streams {
        tasks.spawn(view(stream, Vec::with_capacity(TICKS)));
    }
    Server::prompt(&mut server.connect().await?, "watched").await?;

    let (mut late, mut seen, mut peak_kb) = (Samples::default(), 0, 0);
    let mut sample = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            viewer = tasks.join_next() => {
                let Some(viewer) = viewer else { break };
                let viewer = viewer??;
                seen += viewer.len();
                viewer.into_iter().for_each(|ms| late.add(ms));
            }
            _ = sample.tick() => peak_kb = peak_kb.max(memory_kb(server.pid(), "VmRSS")),
        }
    }
    server.end()?;

    let each: Samples =
        [peak_kb.saturating_sub(before_kb) as f64 / viewers as f64].into_iter().collect();
    Ok(vec![
        Row::of(format!("agent writes → seen, {viewers} viewers of one session"), "ms", &late)
            .aim(Aim::exactly("events seen", seen as u64, (viewers * TICKS) as u64))
            .aim(Aim::below("p99", late.p99(), 250.0, "ms"))
            .note("includes shim, journal, link and commit; the viewers share the machine's cores"),
        Row::of("memory of the server for each viewer", "KB", &each)
            .aim(Aim::below("each", each.max(), 20.0, "KB"))
            .note(format!(
                "{before_kb} KB before the first of them, {connected_kb} KB when all were connected, \
                 {peak_kb} KB at the peak"
            )),
    ])
}

/// Reads a stream to the end of the run: how late each event was, in milliseconds.
async fn view(mut events: Events, mut late: Vec<f64>) -> anyhow::Result<Vec<f64>> {
    let mut last = 0;
    while let Some(frame) = events.next().await? {
        let now = monotonic_ns();
        if let Some(seq) = frame.id {
            if seq != last + 1 {
                bail!("event {seq} followed event {last}");
            }
            last = seq;
        }
        match frame.event.as_str() {
            "tool_call" => {
                let data: Value = serde_json::from_str(&frame.data)?;
                let stamp = data["data"]["stamp"].as_str().and_then(|stamp| stamp.parse().ok());
                late.extend(stamp.map(|stamp| between_ms(stamp, now)));
            }
            "run.completed" => return Ok(late),
            "run.failed" => bail!("the run failed: {}", frame.data),
            _ => {}
        }
    }
    bail!("the stream ended before the run")
}

/// Raises the number of files this process, and what it starts, may have open.
fn allow_open_files(count: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum: limit.maximum })?;
    }
    Ok(())
}
