//! Says `stop_unconfirmed` of a stop whose deadline has passed without proof. After a
//! restart each deadline is armed in full again: nothing is judged by a time nobody saw.

use std::sync::Arc;
use std::time::{Duration, Instant};

use greenroom_core::command::Command;

use crate::app::App;

use super::{next, submit};

pub(super) async fn run(app: Arc<App>) {
    loop {
        let now = Instant::now();
        let (due, following) = app.deadlines.take_due(now);
        for (uid, deadline) in due {
            let command = Command::StopOverdue { epoch: deadline.epoch, attempt: deadline.attempt };
            submit(&app, uid, command).await;
        }
        let sleep =
            following.map_or(Duration::from_secs(60), |at| at.saturating_duration_since(now));
        if !next(&app, &app.deadlines.changed, sleep).await {
            return;
        }
    }
}
