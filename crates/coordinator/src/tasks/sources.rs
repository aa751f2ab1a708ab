//! Keeps the agents in service as their files say. Changes are heard of by watching, and
//! looked for every second, because watches do not work on every file system.

use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecursiveMode, Watcher};

use crate::app::App;

use super::next;

/// A change that no watch has told of is found after this time.
const RESCAN: Duration = Duration::from_secs(1);
/// Editors write a file in several steps.
const SETTLE: Duration = Duration::from_millis(50);

pub(super) async fn run(app: Arc<App>) {
    let watched = Arc::clone(&app);
    let watcher = notify::recommended_watcher(move |event| {
        if may_have_changed(&event) {
            watched.wakes.sources.notify_one();
        }
    });
    let mut watcher = match watcher {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::info!(%error, "folders cannot be watched here; they are looked at every second");
            None
        }
    };
    let mut paths = Vec::new();
    loop {
        if let Some(watcher) = &mut watcher {
            watch(&app, watcher, &mut paths);
        }
        if !next(&app, &app.wakes.sources, RESCAN).await {
            return;
        }
        tokio::time::sleep(SETTLE).await;
        if let Err(error) = app.sources.load_all(&app).await {
            tracing::warn!(error = %error.0, "agents could not be loaded; it is tried again");
        }
    }
}

/// Whether something may be different. Our own reading of a file is an event, too: to take
/// that for a change would be to read for ever.
fn may_have_changed(event: &notify::Result<Event>) -> bool {
    let Ok(event) = event else { return true };
    match event.kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// Watches the folders of references that are not watched yet. A file is watched by its
/// folder: editors replace files instead of writing them.
fn watch(app: &App, watcher: &mut notify::RecommendedWatcher, paths: &mut Vec<std::path::PathBuf>) {
    for reference in app.sources.references() {
        let Some(path) = reference.path() else { continue };
        let folder = if path.is_dir() { Some(path) } else { path.parent() };
        let Some(folder) = folder.filter(|folder| !paths.iter().any(|p| p == folder)) else {
            continue;
        };
        if watcher.watch(folder, RecursiveMode::NonRecursive).is_ok() {
            paths.push(folder.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_no_change() {
        let of = |kind| Ok(Event::new(kind));
        let read = AccessKind::Close(AccessMode::Read);
        for kind in [AccessKind::Open(AccessMode::Any), AccessKind::Read, read] {
            assert!(!may_have_changed(&of(EventKind::Access(kind))), "{kind:?}");
        }
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        for kind in [written, EventKind::Any, EventKind::Remove(notify::event::RemoveKind::File)] {
            assert!(may_have_changed(&of(kind)), "{kind:?}");
        }
    }
}
