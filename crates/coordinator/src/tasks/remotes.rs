//! Asks the sources that are not on this machine again, each in its own time, so that a slow
//! one holds up nobody.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::app::App;
use crate::sources::Reference;

use super::next;

/// A source that could not be asked is asked again after this time, then after twice that,
/// and so on.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// References that nobody has told of are found after this time.
const RESCAN: Duration = Duration::from_secs(60);

pub(super) async fn run(app: Arc<App>) {
    let mut asking = JoinSet::new();
    let mut asked = BTreeSet::new();
    loop {
        while let Some(ended) = asking.try_join_next() {
            if let Ok(reference) = ended {
                asked.remove(&reference);
            }
        }
        for reference in app.sources.references() {
            if reference.remote().is_some() && asked.insert(reference.clone()) {
                asking.spawn(ask(Arc::clone(&app), reference));
            }
        }
        if !next(&app, &app.wakes.remotes, RESCAN).await {
            return asking.shutdown().await;
        }
    }
}

/// Asks one source until it is one no more.
async fn ask(app: Arc<App>, reference: Reference) -> Reference {
    let mut pause = FIRST_PAUSE.min(app.agents_refresh);
    loop {
        tokio::time::sleep(pause).await;
        if !app.sources.has(&reference) {
            return reference;
        }
        let reached = match app.sources.ask(&app, &reference).await {
            Ok(reached) => reached,
            Err(error) => {
                tracing::warn!(error = %error.0, "a copy of a source could not be kept; it is tried again");
                false
            }
        };
        app.wakes.sources.notify_one();
        pause = if reached { app.agents_refresh } else { (pause * 2).min(app.agents_refresh) };
    }
}
