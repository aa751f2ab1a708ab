//! How a session came to be what it is: as it was at any entry of its log, its receipts, and
//! what of it was seen.

use std::sync::Arc;

use greenroom_core::fact::Fact;
use greenroom_core::{Seq, Session, apply};
use greenroom_protocol::{Problem, v1};

use crate::app::{App, fact};
use crate::auth::{Caller, Right};
use crate::error::ApiResult;
use crate::service::sessions;
use crate::service::views;

/// Entries of a log that are read at once.
const CHUNK: u32 = 1000;

/// A session as it was after an entry of its log; as it is, where none is named.
pub(crate) async fn state(
    app: &App,
    caller: &Caller,
    id: &str,
    seq: Option<Seq>,
) -> ApiResult<v1::Session> {
    let session = sessions::find(app, caller, id).await?;
    let Some(seq) = seq.filter(|seq| *seq < session.last_seq) else {
        return Ok(views::session(&session, &app.lives));
    };
    let folded = fold(app, &session, seq).await?;
    Ok(views::session(&folded, &app.lives))
}

/// Folds a log up to and with this entry.
async fn fold(app: &App, session: &Arc<Session>, seq: Seq) -> ApiResult<Session> {
    let broken = |at: Seq| {
        let detail = format!("entry {at} of the log does not read as a fact");
        Problem::new(500, "log_broken", detail)
    };
    let mut folded: Option<Session> = None;
    loop {
        let from = folded.as_ref().map_or(1, |folded| folded.last_seq + 1);
        if from > seq {
            break;
        }
        let left = u32::try_from(seq - from + 1).unwrap_or(CHUNK).min(CHUNK);
        let events = app.store.events(session.uid, from, left).await?;
        if events.is_empty() {
            break;
        }
        for event in &events {
            match (&mut folded, fact(event)) {
                (Some(folded), Some(fact)) => apply(folded, &fact, event.at),
                (None, Some(Fact::Created(created))) => {
                    folded = Some(Session::begin(&created, event.at));
                }
                _ => return Err(broken(event.seq).into()),
            }
        }
    }
    folded.ok_or_else(|| Problem::invalid("seq is 1 at least").at("seq").into())
}

/// A session's receipts, oldest first.
pub(crate) async fn receipts(
    app: &App,
    caller: &Caller,
    id: &str,
    after: Seq,
    limit: u32,
) -> ApiResult<v1::List<v1::ReceiptAt>> {
    let session = sessions::find(app, caller, id).await?;
    let events = app.store.receipts(session.uid, after, limit.saturating_add(1)).await?;
    let more = events.len() > limit as usize;
    let items: Vec<_> = events
        .iter()
        .take(limit as usize)
        .filter_map(|event| {
            let (how, receipt) = match fact(event)? {
                Fact::Stopped(closed) => ("stopped", closed.receipt),
                Fact::Finished(closed) => ("finished", closed.receipt),
                Fact::Failed(closed) => ("failed", closed.receipt),
                Fact::Interrupted(closed) => ("interrupted", closed.receipt),
                Fact::LateReceipt { receipt } => ("late", receipt),
                _ => return None,
            };
            let how = how.to_owned();
            Some(v1::ReceiptAt { seq: event.seq, at: event.at, how, receipt: *receipt })
        })
        .collect();
    let next_cursor = items.last().filter(|_| more).map(|last| format!("{:016x}", last.seq));
    Ok(v1::List { items, next_cursor })
}

/// What the caller has seen.
pub(crate) async fn seen(app: &App, caller: &Caller) -> ApiResult<v1::Seen> {
    let items = app.store.seen(&caller.principal).await?.into_iter().collect();
    Ok(v1::Seen { items })
}

/// The caller has seen a session up to there.
pub(crate) async fn see(app: &App, caller: &Caller, id: &str, seq: Seq) -> ApiResult<()> {
    caller.require(Right::Read)?;
    if i64::try_from(seq).is_err() {
        return Err(Problem::invalid("/seq is beyond every log").at("/seq").into());
    }
    let session = sessions::find(app, caller, id).await?;
    app.store.see(caller.principal.clone(), session.uid, seq).await?;
    Ok(())
}
