//! Stops computes that nobody has asked anything of for as long as their session allows.

use std::sync::Arc;
use std::time::Duration;

use greenroom_core::Status;
use greenroom_core::command::{Actor, Command, Stop};
use greenroom_core::receipt::StopReason;

use crate::app::App;

use super::{fresh_stop, next, submit};

/// The clock that counts suspend may jump ahead of the timer, so it is looked at this often.
const LOOK: Duration = Duration::from_secs(30);

pub(super) async fn run(app: Arc<App>) {
    loop {
        let now = app.clock.boot();
        let (due, following) = app.idle.take_due(now);
        for uid in due {
            if let Ok(Some(session)) = app.store.session(uid).await
                && session.status() == Status::Idle
            {
                let stop = Stop {
                    id: fresh_stop(),
                    reason: StopReason::Idle,
                    by: Actor::machine("idle limit"),
                    text: None,
                    grace: None,
                    discard_queue: false,
                    tree: false,
                };
                submit(&app, uid, Command::Stop(stop)).await;
            }
        }
        let sleep = following.map_or(LOOK, |at| at.saturating_sub(now).min(LOOK));
        if !next(&app, &app.idle.changed, sleep).await {
            return;
        }
    }
}
