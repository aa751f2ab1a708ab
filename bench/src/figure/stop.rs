//! From the wish that an agent should end to the durable evidence that it has.

use std::time::Instant;

use anyhow::bail;
use futures::future::try_join_all;

use super::Lab;
use crate::floor::commit::Disk;
use crate::floor::group::Group;
use crate::floor::http::RoundTrip;
use crate::floor::spawn;
use crate::report::{Aim, Row};
use crate::server::{DAEMONS, Server, mark, processes_with};
use crate::stats::{Samples, since};

const GRACE_MS: u64 = 10_000;
const SHORT_GRACE_MS: u64 = 200;
const TOGETHER: usize = 20;

/// Stop requested → receipt durable, for an agent that honours TERM; one, and many at once.
pub(crate) async fn polite(lab: &Lab) -> anyhow::Result<Vec<Row>> {
    let server = Server::start(&lab.greenroom, &lab.folder("stop"))?;
    let mut over = server.connect().await?;
    let mut round_trip = RoundTrip::start().await?;
    let mut disk = Disk::open(&lab.folder("stop-floor")).await?;

    let (mut one, mut inside, mut floor) = <(Samples, Samples, Samples)>::default();
    let mut parts = <[Samples; 3]>::default();
    let (warm_up, count) = (lab.count(20), lab.count(200));
    for turn in 0..warm_up + count {
        let session = format!("stop-{turn}");
        server.create_ready("serve", &session).await?;
        let started = Instant::now();
        let reply = Server::stop(&mut over, &session, GRACE_MS).await?;
        let took = since(started);
        let costs = [
            spawn::kill_and_wait(&lab.agent)?,
            round_trip.once().await?,
            disk.commit().await? + disk.append()? + disk.commit().await?,
        ];
        if turn < warm_up {
            continue;
        }
        one.add(took);
        inside.add(reply["receipt"]["duration_ms"].as_f64().unwrap_or(f64::NAN));
        floor.add(costs.iter().sum());
        parts.iter_mut().zip(costs).for_each(|(part, cost)| part.add(cost));
    }

    let mut together = Samples::default();
    for round in 0..lab.count(30) {
        together.add(many_at_once(&server, round).await?);
    }
    server.end()?;

    let names = ["kill and wait", "round trip", "three durable writes"];
    let parts = names.into_iter().zip(parts.iter().map(Samples::p50)).collect();
    Ok(vec![
        Row::of("stop → receipt durable", "ms", &one)
            .floor("kill and wait, HTTP round trip, three durable writes, in a row", &floor, parts)
            .aim(Aim::times("p50", one.p50(), floor.p50(), 2.0))
            .aim(Aim::below("p99", one.p99(), 25.0, "ms"))
            .note(format!("of which {} ms by the shim's own clock", inside.p50())),
        Row::of(format!("{TOGETHER} stops at once, all proven"), "ms", &together)
            .floor("one stop", &one, Vec::new())
            .aim(Aim::times("p50", together.p50(), one.p50(), 3.0)),
    ])
}

/// Until the last of many stops, asked for at once, has its receipt.
async fn many_at_once(server: &Server, round: usize) -> anyhow::Result<f64> {
    let names: Vec<_> = (0..TOGETHER).map(|n| format!("together-{round}-{n}")).collect();
    try_join_all(names.iter().map(|name| server.create_ready("serve", name))).await?;
    let mut lines = try_join_all(names.iter().map(|_| server.connect())).await?;
    let started = Instant::now();
    let stops = lines.iter_mut().zip(&names);
    try_join_all(stops.map(|(over, name)| Server::stop(over, name, GRACE_MS))).await?;
    Ok(since(started))
}

/// Stop of many stubborn daemons: what it takes after the grace.
pub(crate) async fn stubborn(lab: &Lab) -> anyhow::Result<Vec<Row>> {
    let server = Server::start(&lab.greenroom, &lab.folder("daemons"))?;
    let mut over = server.connect().await?;
    let group = Group::make();
    if let Err(error) = &group {
        eprintln!("no floor for the daemons: {error:#}");
    }
    let (mut after, mut inside, mut floor) = <(Samples, Samples, Samples)>::default();
    let (mut left, mut seen) = (0, u64::MAX);
    for turn in 0..lab.count(20) {
        let session = format!("daemons-{turn}");
        server.create_ready("daemons", &session).await?;
        let running = processes_with(&[&mark()]).len();
        if running != DAEMONS + 1 {
            bail!("{running} stubborn processes are there instead of {}", DAEMONS + 1);
        }
        let started = Instant::now();
        let reply = Server::stop(&mut over, &session, SHORT_GRACE_MS).await?;
        after.add(since(started) - SHORT_GRACE_MS as f64);
        let receipt = &reply["receipt"];
        inside.add(receipt["duration_ms"].as_f64().unwrap_or(f64::NAN) - SHORT_GRACE_MS as f64);
        // Counted twice: by the receipt, and by what the machine still runs.
        left += receipt["survivors"].as_u64().unwrap_or(u64::MAX);
        left += processes_with(&[&mark()]).len() as u64;
        seen = seen.min(receipt["processes_seen"].as_u64().unwrap_or(0));
        if let Ok(group) = &group {
            floor.add(group.kill_daemons(&lab.agent)?);
        }
    }
    server.end()?;

    let mut row =
        Row::of(format!("stop of {DAEMONS} stubborn daemons, after the grace"), "ms", &after)
            .aim(Aim::exactly("survivors", left, 0))
            .note(format!(
                "of which {} ms by the shim's own clock; it saw {seen} processes at least",
                inside.p50()
            ));
    if floor.len() > 0 {
        row = row
            .aim(Aim::below("p50 over the floor", after.p50() - floor.p50(), 50.0, "ms"))
            .floor("cgroup.kill until populated 0", &floor, Vec::new());
    }
    Ok(vec![row])
}
