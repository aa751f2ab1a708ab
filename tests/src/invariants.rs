//! What must hold of every session, whatever happened to it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::http::Api;

const ENDS: [&str; 4] =
    ["session.stopped", "session.finished", "session.failed", "session.interrupted"];

impl Api {
    /// Checks a session's log against the promises: every compute that was placed is closed
    /// once or is the live one, no two at a time, every receipt says 0 survivors, every run
    /// ends once and goes one way.
    #[track_caller]
    pub fn check(&self, id: &str) -> Vec<Value> {
        let log = self.log(id);
        check_log(id, &log);
        log
    }
}

/// As [`Api::check`], of a log at hand.
#[track_caller]
pub fn check_log(id: &str, log: &[Value]) {
    let mut live: Option<u64> = None;
    let mut closed = BTreeSet::new();
    let mut runs: BTreeMap<String, &str> = BTreeMap::new();
    for event in log {
        let kind = event["type"].as_str().unwrap_or("");
        let data = &event["data"];
        if kind == "session.placed" {
            let epoch = data["epoch"].as_u64().expect("an epoch");
            assert_eq!(live, None, "{id}: a second compute beside epoch {live:?}: {event}");
            assert!(closed.iter().all(|old| *old < epoch), "{id}: an old epoch: {event}");
            live = Some(epoch);
        }
        if ENDS.contains(&kind) {
            let receipt = &data["receipt"];
            let epoch = receipt["epoch"].as_u64().expect("an epoch");
            assert!(closed.insert(epoch), "{id}: a second receipt for epoch {epoch}");
            assert_eq!(receipt["survivors"], 0, "{id}: {receipt:#}");
            assert_proven(id, receipt);
            live = None;
        }
        if let Some(step) = kind.strip_prefix("run.") {
            let run = event["run"].as_str().unwrap_or_else(|| panic!("{id}: no run: {event}"));
            let before = runs.get(run).copied();
            if step == "stopping" {
                let begun = matches!(before, Some("started" | "waiting" | "resumed"));
                assert!(begun, "{id}: run {run} is stopped from {before:?}");
                continue;
            }
            let allowed = match step {
                "queued" => before.is_none(),
                "dispatched" => matches!(before, Some("queued" | "requeued")),
                "requeued" => before == Some("dispatched"),
                "started" => before == Some("dispatched"),
                "waiting" => matches!(before, Some("started" | "resumed")),
                "resumed" => before == Some("waiting"),
                "withdrawn" | "steered" => matches!(before, Some("queued" | "requeued")),
                "completed" => matches!(before, Some("started" | "waiting" | "resumed")),
                "failed" | "stopped" => {
                    matches!(
                        before,
                        Some(
                            "queued"
                                | "requeued"
                                | "dispatched"
                                | "started"
                                | "waiting"
                                | "resumed"
                        )
                    )
                }
                // Once, and behind its end.
                "files" => matches!(before, Some("completed" | "failed" | "stopped")),
                _ => false,
            };
            assert!(allowed, "{id}: run {run} went from {before:?} to {step}");
            runs.insert(run.to_owned(), step);
        }
    }
}

/// Checks that a receipt says by what means its end is known.
#[track_caller]
pub fn assert_proven(id: &str, receipt: &Value) {
    let proof = receipt["proof"].as_array().cloned().unwrap_or_default();
    assert!(!proof.is_empty(), "{id}: a receipt without proof: {receipt:#}");
    assert!(
        proof.iter().all(|means| !means["means"].as_str().unwrap_or("").is_empty()),
        "{id}: {receipt:#}"
    );
    assert!(!receipt["scope"].as_str().unwrap_or("").is_empty(), "{id}: {receipt:#}");
}

/// Whether a receipt names these means.
pub fn proves(receipt: &Value, means: &str) -> bool {
    receipt["proof"].as_array().is_some_and(|all| all.iter().any(|one| one["means"] == means))
}
