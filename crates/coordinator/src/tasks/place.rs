//! Gives places to sessions that wait for one, and says why where there is none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use greenroom_core::command::Command;
use greenroom_core::session::{Blocked, Need};
use greenroom_core::{RunnerId, Session};
use greenroom_store::{Scan, Submission, Submitted};

use crate::app::App;
use crate::presence::Wants;

use super::{next, scan, submit};

pub(super) async fn run(app: Arc<App>) {
    loop {
        let mut full: HashMap<RunnerId, ()> = HashMap::new();
        for uid in scan(&*app.store, Scan::NeedPlace).await {
            if let Ok(Some(session)) = app.store.session(uid).await {
                place(&app, &session, &mut full).await;
            }
        }
        if !next(&app, &app.wakes.place, Duration::from_secs(10)).await {
            return;
        }
    }
}

/// Tries to place one session. `full` are runners that had no slot left in this round, so
/// that a long queue costs one look at each session and no more.
async fn place(app: &App, session: &Session, full: &mut HashMap<RunnerId, ()>) {
    let Some(need) = session.need() else { return };
    let (home, with_run) = match need {
        Need::Place { home, with_run } => (home, with_run),
        Need::Turn { runner } => (Some(runner), true),
    };
    if app.agents.is_disabled(&session.agent.name) && matches!(need, Need::Place { .. }) {
        if session.blocked != Some(Blocked::AgentDisabled) {
            submit(app, session.uid, Command::Block(Blocked::AgentDisabled)).await;
        }
        return;
    }
    let wants = app.wants(session).await;
    let fitting = app.runners.candidates(home, &wants);
    let open: Vec<_> =
        fitting.iter().filter(|c| !with_run || !full.contains_key(&c.runner)).cloned().collect();
    if !open.is_empty() {
        let submission = Submission {
            place: open.clone(),
            ..Submission::new(session.uid, app.clock.wall(), Vec::new())
        };
        match app.store.submit(submission).await {
            Ok(Submitted::Done { commit, .. }) if commit.session.need().is_none() => return,
            Ok(_) => full.extend(open.iter().map(|candidate| (candidate.runner, ()))),
            Err(error) => {
                tracing::warn!(session = %session.id, %error, "a placement failed; it is tried again");
                return;
            }
        }
    }
    let reason = match why(app, home, !fitting.is_empty()) {
        Blocked::NoRunner if is_for_want_of_a_folder(app, wants) => Blocked::NoWorkingDir,
        reason => reason,
    };
    if session.blocked != Some(reason) {
        submit(app, session.uid, Command::Block(reason)).await;
    }
}

fn why(app: &App, home: Option<RunnerId>, fits: bool) -> Blocked {
    match home.map(|home| app.runners.get(home)) {
        Some(_) if fits => Blocked::HomeFull,
        Some(Some(runner)) if runner.is_connected() => Blocked::HomeDraining,
        Some(_) => Blocked::HomeUnreachable,
        None if fits => Blocked::RunnersFull,
        None => Blocked::NoRunner,
    }
}

/// Whether there would be a runner, were it not for the folder that the session is to work in.
fn is_for_want_of_a_folder(app: &App, wants: Wants) -> bool {
    let anywhere = Wants { folder: None, ..wants };
    !app.runners.candidates(None, &anywhere).is_empty()
}
