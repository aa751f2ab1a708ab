//! Live text on its way up: best effort, in a lane of its own, dropped under pressure.

use greenroom_protocol::link::{Delta, RecordLine};
use tokio::sync::{mpsc, watch};

use crate::http::Api;

/// Frames that may wait. What comes on top is dropped: the journal has the text.
const WAITING: usize = 1024;
/// A frame is sent with those that wait, up to so many bytes.
const BATCH: usize = 256 << 10;

/// Makes the lane: where frames are put, and where they come out.
pub(crate) fn lane() -> (mpsc::Sender<Delta>, mpsc::Receiver<Delta>) {
    mpsc::channel(WAITING)
}

/// Sends what comes, as long as the runner lives.
pub(crate) async fn run(
    api: Api,
    mut frames: mpsc::Receiver<Delta>,
    online: watch::Receiver<bool>,
) {
    while let Some(first) = frames.recv().await {
        let mut ndjson = Vec::new();
        let mut next = Some(first);
        while let Some(frame) = next {
            if serde_json::to_writer(&mut ndjson, &RecordLine::Delta(frame)).is_ok() {
                ndjson.push(b'\n');
            }
            next = if ndjson.len() < BATCH { frames.try_recv().ok() } else { None };
        }
        if *online.borrow()
            && let Err(error) = api.records(ndjson.into()).await
        {
            tracing::trace!(%error, "live text was dropped");
        }
    }
}
