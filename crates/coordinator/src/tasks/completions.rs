//! Tells parents about the ends of their children's runs: an outbox row becomes an
//! ordinary command to the parent, exactly once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenroom_core::SessionUid;
use greenroom_store::Completion;

use crate::app::{App, fresh};
use crate::doors;

use super::next;

/// A journal that is behind its receipt for longer may be lost with its machine.
const JOURNAL: Duration = Duration::from_secs(60);
/// Ends that are looked at together.
const AT_ONCE: u32 = 100;

pub(super) async fn run(app: Arc<App>) {
    // Ends whose text may still come, by when they were first seen here.
    let mut awaited: HashMap<i64, Instant> = HashMap::new();
    loop {
        while deliver(&app, &mut awaited).await {}
        let first = awaited.values().min().map(|since| JOURNAL.saturating_sub(since.elapsed()));
        let wait = first.unwrap_or(Duration::MAX).min(Duration::from_secs(30));
        if !next(&app, &app.wakes.completions, wait).await {
            return;
        }
    }
}

/// Delivers what waits. `true` when there may be more.
async fn deliver(app: &App, awaited: &mut HashMap<i64, Instant>) -> bool {
    let waiting = match app.store.completions(AT_ONCE).await {
        Ok(waiting) => waiting,
        Err(error) => {
            tracing::warn!(%error, "the outbox cannot be read; it is tried again");
            return false;
        }
    };
    awaited.retain(|id, _| waiting.iter().any(|completion| completion.id == *id));
    let mut delivered = false;
    // Those that a door words, by their parents.
    let mut worded: BTreeMap<SessionUid, Vec<Completion>> = BTreeMap::new();
    for completion in waiting {
        let id = completion.id;
        if completion.awaited && awaited.entry(id).or_insert_with(Instant::now).elapsed() < JOURNAL
        {
            continue;
        }
        if doors::told_by_orchestrator(app, completion.parent).await {
            worded.entry(completion.parent).or_default().push(completion);
            continue;
        }
        delivered |= tell(app, completion).await;
    }
    for (parent, completions) in worded {
        match doors::tell_orchestrator(app, completions).await {
            Ok(done) => delivered |= done,
            Err(error) => {
                let error = &error.0.detail;
                tracing::warn!(%parent, %error, "completions could not be delivered; it is tried again");
            }
        }
    }
    delivered && !app.ending.is_cancelled()
}

/// Tells one to its parent, which may start for it. Says whether that is done.
async fn tell(app: &App, completion: Completion) -> bool {
    let parent = completion.parent;
    let place = match app.store.session(parent).await {
        Ok(Some(session)) if !app.agents.is_disabled(&session.agent.name) => {
            let wants = app.wants(&session).await;
            app.runners.candidates(session.home, &wants)
        }
        _ => Vec::new(),
    };
    match app.store.deliver(completion, fresh::run(), place).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%parent, %error, "a completion could not be delivered; it is tried again");
            false
        }
    }
}
