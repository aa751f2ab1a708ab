//! From the prompt to the agent's first instruction.

use anyhow::Context;

use super::Lab;
use crate::floor::commit::Disk;
use crate::floor::http::RoundTrip;
use crate::floor::spawn;
use crate::report::{Aim, Row};
use crate::server::{Server, until};
use crate::stats::{Samples, between_ms, monotonic_ns};

/// Prompt accepted → agent exec'd, warm runner.
pub(crate) async fn measure(lab: &Lab) -> anyhow::Result<Vec<Row>> {
    let server = Server::start(&lab.greenroom, &lab.folder("start"))?;
    let mut over = server.connect().await?;
    let mut round_trip = RoundTrip::start().await?;
    let mut disk = Disk::open(&lab.folder("start-floor")).await?;

    let (mut first, mut again, mut floor) = <(Samples, Samples, Samples)>::default();
    let mut parts = <[Samples; 4]>::default();
    let (warm_up, count) = (lab.count(20), lab.count(300));
    for turn in 0..warm_up + count {
        let session = format!("start-{turn}");
        server.create("stamp", &session).await?;
        let cold = prompt(&server, &mut over, &session, 1).await?;
        let warm = prompt(&server, &mut over, &session, 2).await?;
        let costs = [
            round_trip.once().await?,
            disk.commit().await?,
            spawn::first_byte(&lab.greenroom, "--version")?,
            spawn::stamp(&lab.agent)?,
        ];
        if turn < warm_up {
            continue;
        }
        first.add(cold);
        again.add(warm);
        floor.add(costs.iter().sum());
        parts.iter_mut().zip(costs).for_each(|(part, cost)| part.add(cost));
    }
    server.end()?;

    let names = ["round trip", "commit", "greenroom exec", "agent exec"];
    let parts: Vec<_> = names.into_iter().zip(parts.iter().map(Samples::p50)).collect();
    let what = "HTTP round trip, one durable commit, greenroom started, agent started, in a row";
    Ok(vec![
        Row::of("prompt → agent exec'd, first run", "ms", &first)
            .floor(what, &floor, parts.clone())
            .aim(Aim::times("p50", first.p50(), floor.p50(), 1.5))
            .aim(Aim::below("p99", first.p99(), 20.0, "ms")),
        Row::of("prompt → agent exec'd, next run", "ms", &again)
            .floor(what, &floor, parts)
            .aim(Aim::times("p50", again.p50(), floor.p50(), 1.5))
            .aim(Aim::below("p99", again.p99(), 20.0, "ms")),
    ])
}

/// Prompts a session and waits for the answer, which is the agent's own stamp.
async fn prompt(
    server: &Server,
    over: &mut crate::http::Connection,
    session: &str,
    run: usize,
) -> anyhow::Result<f64> {
    let asked = monotonic_ns();
    Server::prompt(over, session).await?;
    let mut events = server.follow(session).await?;
    let (mut stamps, mut ended) = (Vec::new(), 0);
    until(&mut events, |frame| {
        if frame.event == "message" {
            let data: serde_json::Value = serde_json::from_str(&frame.data).unwrap_or_default();
            let text = data["data"]["text"].as_str().unwrap_or_default();
            stamps.extend(text.lines().filter_map(|line| line.parse::<i128>().ok()));
        }
        // The receipt is in: nothing of this run disturbs what is measured next.
        ended += usize::from(frame.event == "session.finished");
        ended == run
    })
    .await?;
    let stamped = stamps.get(run - 1).context("the agent's stamp is not in the log")?;
    Ok(between_ms(asked, *stamped))
}
