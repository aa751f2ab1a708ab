//! A runner of the other system as a runner of ours.

use std::sync::Arc;

use greenroom_core::receipt::{Action, EndReason, LastRun, Means, Step};
use greenroom_core::record::{Outcome, Record, RecordBody, RunError, Writer};
use greenroom_core::run::HeadState;
use greenroom_core::session::Wanted;
use greenroom_core::{Epoch, Receipt, RunnerId, Session, SessionUid, Timestamp};

use super::super::SYSTEM;
use super::super::fault::{Done, Fault, stored};
use super::super::kept::Claim;
use crate::app::App;
use crate::service::reports::Upload;

/// One of them.
pub(in super::super) struct Adapter<'a> {
    app: &'a App,
    pub(super) runner: RunnerId,
    pub(super) name: String,
}

impl<'a> Adapter<'a> {
    /// Of a runner.
    pub(super) fn new(app: &'a App, runner: RunnerId, name: &str) -> Self {
        Self { app, runner, name: name.to_owned() }
    }

    /// Of the home of a session, where that is one of them.
    pub(in super::super) fn at_home(app: &'a App, session: &Session) -> Option<Self> {
        let home = session.home?;
        let foreign = app.runners.get(home)?.foreign()?;
        (foreign.system == SYSTEM).then(|| Self::new(app, home, &foreign.id))
    }

    /// Whether a session's compute is wanted down.
    pub(in super::super) fn is_ending(&self, session: &Session) -> bool {
        session.compute.as_ref().is_some_and(|compute| matches!(compute.wanted, Wanted::Down(_)))
    }

    /// Appends what it has said to the journal of a compute.
    pub(in super::super) async fn append(
        &self,
        uid: SessionUid,
        epoch: Epoch,
        bodies: Vec<RecordBody>,
    ) -> Done<()> {
        let at = self.app.clock.wall();
        self.append_at(uid, epoch, bodies.into_iter().map(|body| (at, body)).collect()).await
    }

    /// The same, each at a time of its own. All of it is taken, or none.
    pub(in super::super) async fn append_at(
        &self,
        uid: SessionUid,
        epoch: Epoch,
        bodies: Vec<(Timestamp, RecordBody)>,
    ) -> Done<()> {
        // It numbers nothing itself. One at a time, so that no two have one number.
        let _one = self.app.orchestrator.appending.lock().await;
        let marks = stored(self.app.store.marks(uid).await)?;
        let own = |epoch_of: Epoch, writer: Writer| epoch_of == epoch && writer == Writer::Runner;
        let top = marks.iter().find(|mark| own(mark.epoch, mark.writer)).map_or(0, |m| m.index);
        let count = bodies.len() as u64;
        let records = bodies.into_iter().zip(top + 1..).map(|((at, body), index)| Record {
            uid,
            epoch,
            writer: Writer::Runner,
            index,
            at,
            body,
        });
        let mut upload = Upload::new(self.app, self.runner);
        upload.records(records.collect()).await?;
        let taken = upload.reply().marks.iter().any(|mark| {
            own(mark.epoch, mark.writer) && mark.uid == uid && mark.index == top + count
        });
        match taken {
            true => Ok(()),
            false => Err(Fault::new(409, "the session is not this runner's any more")),
        }
    }

    /// What a receipt of its word says.
    fn receipt(&self, epoch: Epoch, reason: EndReason, said: &str) -> Receipt {
        Receipt::by_runner_word(epoch, reason, self.app.clock.wall(), &self.name, said)
    }

    /// Closes the compute of a session by this runner's word. `outcome` is that of the run it
    /// had, where it had one.
    pub(super) async fn close(
        &self,
        session: &Session,
        reason: EndReason,
        said: &str,
        step: Option<(Action, &str)>,
        outcome: Option<Outcome>,
    ) -> Done<()> {
        let Some(compute) = &session.compute else { return Ok(()) };
        let mut bodies = Vec::new();
        let mut receipt = self.receipt(compute.epoch, reason, said);
        let step =
            step.map(|(action, detail)| Step { after_ms: 0, action, detail: detail.to_owned() });
        receipt.steps.extend(step);
        if let Wanted::Down(stopping) = &compute.wanted {
            let since = self.app.clock.wall().unix_ms() - stopping.requested_at.unix_ms();
            receipt.requested_at = stopping.requested_at;
            receipt.duration_ms = u64::try_from(since).unwrap_or(0);
            receipt.requested_by = stopping.order.requested_by.clone();
        }
        if let Some(head) = &compute.head {
            let run = head.run.id;
            if head.state == HeadState::Dispatched && self.was_sent(session).await? {
                bodies.extend([RecordBody::Ready, RecordBody::RunStarted { run }]);
            }
            if let Some(outcome) = outcome.clone() {
                bodies.push(RecordBody::RunEnded { run, outcome });
            }
            receipt.last_run =
                outcome.map(|outcome| LastRun { run, outcome: Some(outcome), steered: Vec::new() });
        }
        if reason == EndReason::Exit {
            receipt.detail = Some(said.to_owned());
        }
        bodies.push(RecordBody::Closing { reason });
        bodies.push(RecordBody::Receipt { receipt: Box::new(receipt) });
        self.append(session.uid, compute.epoch, bodies).await
    }

    /// Whether the run of a compute, or one before it, may have been sent.
    pub(super) async fn was_sent(&self, session: &Session) -> Done<bool> {
        let Some(compute) = &session.compute else { return Ok(false) };
        if compute.began {
            return Ok(true);
        }
        let Some(head) = &compute.head else { return Ok(false) };
        Ok(matches!(Claim::of(self.app, head.run.id).await?, Some(Claim::Sent(_))))
    }

    /// Sees to it that the run of a compute is never sent. `false` where it may have been.
    pub(super) async fn keep_back(&self, session: &Session) -> Done<bool> {
        let Some(compute) = &session.compute else { return Ok(true) };
        let Some(head) = &compute.head else { return Ok(!compute.began) };
        if Claim::Never.make(self.app, head.run.id).await? {
            return Ok(!compute.began);
        }
        let claim = Claim::of(self.app, head.run.id).await?;
        Ok(claim == Some(Claim::Never) && !compute.began)
    }

    /// Closes a compute that nobody has come for. What is known of that is known here, and
    /// is no word of the runner's.
    pub(super) async fn close_unsent(
        &self,
        session: &Session,
        reason: EndReason,
        failed: Option<RunError>,
    ) -> Done<()> {
        let Some(compute) = &session.compute else { return Ok(()) };
        let said = "its runner had not come for it";
        let at = self.app.clock.wall();
        let mut receipt =
            Receipt::without_process(compute.epoch, reason, at, Means::NeverStarted, said);
        receipt.detail = failed.as_ref().map(|error| error.message.clone());
        let mut bodies = Vec::new();
        if let (Some(head), Some(error)) = (&compute.head, failed) {
            let outcome = Outcome::Failed { error };
            bodies.push(RecordBody::RunEnded { run: head.run.id, outcome });
        }
        bodies.push(RecordBody::Receipt { receipt: Box::new(receipt) });
        self.append(session.uid, compute.epoch, bodies).await
    }

    /// The runner is gone, by its own word: what it had is closed.
    pub(super) async fn let_go(&self, session: &Arc<Session>, why: &str, lost: bool) -> Done<()> {
        let Some(compute) = &session.compute else { return Ok(()) };
        if self.keep_back(session).await? {
            // It waits for the next one that comes.
            return self.close_unsent(session, EndReason::Lost, None).await;
        }
        let ending = self.is_ending(session);
        let (reason, outcome) = match &compute.head {
            _ if ending => (EndReason::User, Some(Outcome::Stopped { error: None })),
            Some(_) => {
                let error = RunError::new("interrupted", why);
                let reason = if lost { EndReason::Lost } else { EndReason::Exit };
                (reason, Some(Outcome::Failed { error }))
            }
            None if lost => (EndReason::Lost, None),
            None => (EndReason::Done, None),
        };
        let outcome = outcome.filter(|_| compute.head.is_some());
        self.close(session, reason, why, None, outcome).await
    }
}
