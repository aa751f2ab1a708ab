//! Notes runners that have been silent for their whole time limit, and those that speak
//! again. Never within one time limit of our own start: until then silence is ours.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use greenroom_core::RunnerId;
use greenroom_core::command::Command;
use greenroom_store::Scan;

use crate::app::App;

use super::{next, scan, submit};

pub(super) async fn run(app: Arc<App>) {
    let look = (app.runner_ttl / 4).clamp(Duration::from_millis(20), Duration::from_secs(5));
    // Runners whose live sessions were told that it speaks.
    let mut heard: HashSet<RunnerId> = HashSet::new();
    loop {
        for runner in app.runners.list() {
            if runner.silent_after(app.runner_ttl, app.runners.started) {
                heard.remove(&runner.id);
                silent(&app, runner.id).await;
            } else if runner.is_connected() && heard.insert(runner.id) {
                seen(&app, runner.id).await;
            }
        }
        metrics::gauge!("greenroom_runners_connected").set(heard.len() as f64);
        if !next(&app, &app.wakes.runners, look).await {
            return;
        }
    }
}

async fn silent(app: &App, runner: RunnerId) {
    tracing::warn!(%runner, "a runner is silent; its live sessions are unreachable");
    for uid in scan(&*app.store, Scan::LiveOn(runner)).await {
        submit(app, uid, Command::RunnerSilent { runner }).await;
    }
    app.runner_changed(runner);
    app.wakes.place.notify_one();
}

async fn seen(app: &App, runner: RunnerId) {
    for uid in scan(&*app.store, Scan::LiveOn(runner)).await {
        submit(app, uid, Command::RunnerSeen { runner }).await;
    }
    app.runner_changed(runner);
    app.wakes.place.notify_one();
}
