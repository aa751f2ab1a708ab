//! Whether an agent that serves HTTP works: a request is in progress, or work that
//! outlives its request. While it does, its session is not idle.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use greenroom_core::drive::Open;
use serde_json::Value;
use tokio::sync::watch;

use super::Agents;
use crate::shim::Shim;

/// Requests come in bursts: work is over when there was none for so long.
const QUIET: Duration = Duration::from_secs(1);
/// How often work that outlives its request is asked about.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often an agent that tells by itself whether it is busy is asked.
const PING_EVERY: Duration = Duration::from_secs(2);
/// How long it may take to say so.
const PING_LIMIT: Duration = Duration::from_secs(10);
/// More work in progress than this is not remembered for the next compute.
const REMEMBERED: usize = 1000;

/// Counts what is in progress.
#[derive(Clone)]
pub(super) struct Busy {
    count: Arc<watch::Sender<usize>>,
    left: Arc<Mutex<Left>>,
    /// Held while an agent that tells by itself says that it is busy.
    told: Arc<Mutex<Option<Hold>>>,
}

/// Work in progress that outlives its request, kept with the session's files: the next
/// compute's agent may go on with it.
#[derive(Default)]
struct Left {
    file: Option<PathBuf>,
    work: BTreeMap<String, Headers>,
}

/// Headers by which the agent knows whose work it is.
pub(super) type Headers = Vec<(String, String)>;

/// The headers that go with every question about the same work.
const WHOSE: [&str; 2] = ["x-agent-user-id", "x-agent-foundry-call-id"];

/// Something in progress, until it is dropped.
pub(super) struct Hold(Arc<watch::Sender<usize>>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Busy {
    /// Tells the shim, from now on. Must be called within a runtime.
    pub(super) fn new(shim: Shim) -> Self {
        let (count, mut changed) = watch::channel(0);
        tokio::spawn(async move {
            while changed.wait_for(|count| *count > 0).await.is_ok() {
                shim.busy(true);
                loop {
                    if changed.wait_for(|count| *count == 0).await.is_err() {
                        return;
                    }
                    let again = changed.wait_for(|count| *count > 0);
                    if tokio::time::timeout(QUIET, again).await.is_err() {
                        break;
                    }
                }
                shim.busy(false);
            }
        });
        Self { count: Arc::new(count), left: Arc::default(), told: Arc::default() }
    }

    /// Something is in progress.
    pub(super) fn hold(&self) -> Hold {
        self.count.send_modify(|count| *count += 1);
        Hold(Arc::clone(&self.count))
    }

    /// Keeps in mind that the work of this path is in progress, or is no more.
    pub(super) fn remember(&self, path: &str, whose: Option<&Headers>) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        match whose {
            Some(_) if left.work.len() >= REMEMBERED => return,
            Some(whose) => left.work.insert(path.to_owned(), whose.clone()),
            None => left.work.remove(path),
        };
        let Some(file) = &left.file else { return };
        let written = match left.work.is_empty() {
            true => std::fs::remove_file(file),
            false => {
                let text = serde_json::to_vec(&left.work).unwrap_or_default();
                let new = file.with_extension("new");
                std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, file))
            }
        };
        if let Err(error) = written
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("greenroom drive: {}: {error}", file.display());
        }
    }
}

/// Of a request's headers, those that say whose work it is.
pub(super) fn whose(headers: &http::HeaderMap) -> Headers {
    let of =
        |name: &&str| Some(((*name).to_owned(), headers.get(*name)?.to_str().ok()?.to_owned()));
    WHOSE.iter().filter_map(of).collect()
}

/// Takes up what an earlier compute left in progress, and listens to agents that tell by
/// themselves whether they are busy.
///
/// Answers what an earlier compute left.
pub(super) fn watch(agents: &Agents, open: &Open) -> BTreeMap<String, Headers> {
    let file = open.home.join(".greenroom-in-progress.json");
    let left: BTreeMap<String, Headers> = std::fs::read(&file)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    agents.busy.left.lock().unwrap_or_else(PoisonError::into_inner).file = Some(file);
    // The file lies where the agent can write it: a path is all that it may say.
    for (path, whose) in left.iter().filter(|(path, _)| path.starts_with('/')) {
        follow(agents, path.clone(), whose.clone());
    }
    if agents.tells {
        tokio::spawn(ping(agents.clone()));
    }
    left
}

/// Holds the session busy while the work of this path is in progress: an answer 200 whose
/// `status` says so.
pub(super) fn follow(agents: &Agents, path: String, whose: Headers) {
    agents.busy.remember(&path, Some(&whose));
    let hold = agents.busy.hold();
    let agents = agents.clone();
    tokio::spawn(async move {
        // Not at once: some agents answer before they have it in their books.
        loop {
            tokio::time::sleep(ASK_EVERY).await;
            if in_progress(&agents, &path, &whose).await == Some(false) {
                break;
            }
        }
        agents.busy.remember(&path, None);
        drop(hold);
    });
}

/// `None` where the agent does not answer: it may have its hands full.
async fn in_progress(agents: &Agents, path: &str, whose: &Headers) -> Option<bool> {
    let mut ask = agents.http.get(format!("{}{path}", agents.base));
    for (name, value) in whose {
        ask = ask.header(name, value);
    }
    let answer = ask.timeout(Duration::from_secs(30)).send().await.ok()?;
    if answer.status() != reqwest::StatusCode::OK {
        return Some(false);
    }
    let said: Value = answer.json().await.unwrap_or_default();
    Some(is_in_progress(&said["status"]))
}

/// Whether a status is one of work that goes on.
pub(super) fn is_in_progress(status: &Value) -> bool {
    const GOES_ON: [&str; 7] =
        ["queued", "in_progress", "running", "pending", "accepted", "processing", "working"];
    status.as_str().is_some_and(|status| GOES_ON.contains(&status))
}

/// `GET /ping` answers `HealthyBusy` while there is background work, in AgentCore's contract.
async fn ping(agents: Agents) {
    loop {
        look(&agents).await;
        tokio::time::sleep(PING_EVERY).await;
    }
}

/// Asks an agent that tells by itself, where it is one: before what it was asked counts as
/// over, so that there is no moment between in which it seems idle.
pub(super) async fn look(agents: &Agents) {
    if !agents.tells {
        return;
    }
    let asked = agents.http.get(format!("{}/ping", agents.base)).timeout(PING_LIMIT).send().await;
    let Ok(answer) = asked else { return };
    let Ok(said) = answer.json::<Value>().await else { return };
    let mut told = agents.busy.told.lock().unwrap_or_else(PoisonError::into_inner);
    match said["status"] == "HealthyBusy" {
        true if told.is_none() => *told = Some(agents.busy.hold()),
        true => {}
        false => *told = None,
    }
}
