//! What a Greenroom costs that has nothing to do.

use serde_json::json;

use super::Lab;
use crate::machine::memory_kb;
use crate::report::{Aim, Row};
use crate::server::{Server, until};
use crate::stats::Samples;

/// Memory of the server, and of the shim of each idle session.
pub(crate) async fn measure(lab: &Lab) -> anyhow::Result<Vec<Row>> {
    let server = Server::start(&lab.greenroom, &lab.folder("idle"))?;
    let mut over = server.connect().await?;
    let fresh_mb = memory_kb(server.pid(), "VmRSS") as f64 / 1024.0;
    let sessions = 10;
    for n in 0..sessions {
        let session = format!("idle-{n}");
        let body = json!({ "agent": "persistent", "id": session, "prompt": "begin" });
        over.json("POST", "/v1/sessions", Some(&body)).await?;
        let mut events = server.follow(&session).await?;
        until(&mut events, |frame| frame.event == "run.completed").await?;
    }
    let mb = |pid: u32, key| memory_kb(pid, key) as f64 / 1024.0;
    let used: Samples = [mb(server.pid(), "VmRSS")].into_iter().collect();
    let shims = server.shims();
    anyhow::ensure!(shims.len() == sessions, "{} shims are there, not {sessions}", shims.len());
    let each: Samples = shims.iter().map(|pid| mb(*pid, "VmRSS")).collect();
    let own: Samples = shims.iter().map(|pid| mb(*pid, "RssAnon")).collect();
    server.end()?;
    Ok(vec![
        Row::of(format!("coordinator and runner, {sessions} idle sessions"), "MB", &used)
            .aim(Aim::below("resident", used.max(), 30.0, "MB"))
            .note(format!("{fresh_mb:.1} MB when it became ready")),
        Row::of("shim of an idle session", "MB", &each)
            .aim(Aim::below("resident", each.max(), 8.0, "MB"))
            .note(format!(
                "of which {:.2} MB are its own; the rest is the binary, shared",
                own.p50()
            )),
    ])
}
