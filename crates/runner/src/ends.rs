//! Bringing a compute down, and what follows: the record, the receipt, and in the end the
//! folder.
//!
//! The order matters. The receipt is on disk, in the journal, before anybody is told of it,
//! and the journal stays until the session's floor says the same: so a late message can
//! never start the epoch again.

use greenroom_core::assignment::StopOrder;
use greenroom_core::{Epoch, Order, Receipt, SessionId};
use greenroom_shim::wire::ToShim;

use crate::closing::{Look, look, unstarted_receipt, write_unstarted};
use crate::session::{Ended, Event, RETRY, Run, Session, Stage, Watcher};
use crate::tail::Durable;
use crate::{deadline, point, remove};

impl Session {
    /// Gives a compute its stop.
    pub(crate) async fn stop(&mut self, epoch: Epoch, stop: StopOrder) {
        let Some(compute) = self.computes.get_mut(&epoch) else { return };
        if matches!(compute.stage, Stage::Fetching) {
            return self.close_unstarted(epoch, Err(stop)).await;
        }
        let now = tokio::time::Instant::now();
        compute.force = Some(deadline::after(now, &stop, compute.stop.as_ref(), compute.force));
        // A copy that is under way would only be in the way.
        compute.efforts_for_start_end();
        if let Some(shim) = compute.supervised()
            && let Some(talk) = &shim.talk
        {
            talk.say(ToShim::Stop { stop: stop.clone() });
            point::pass("runner_after_stop_sent");
        }
        compute.stop = Some(stop);
    }

    /// Closes an epoch of which nothing was started: because of a stop, or because it could
    /// not be (`Ok` with the reason in words).
    pub(crate) async fn close_unstarted(&mut self, epoch: Epoch, why: Result<String, StopOrder>) {
        let receipt = unstarted_receipt(epoch, &why);
        loop {
            let (folder, uid, recorded) =
                (self.host.folder.clone(), self.uid, self.recorded.clone());
            let receipt = receipt.clone();
            let written = self.host.blocking(move || {
                recorded.raise(epoch)?;
                write_unstarted(&folder, uid, epoch, &receipt)
            });
            match written.await {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(uid = %self.uid, %epoch, %error, "an epoch could not be closed; it is tried again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        let dir = self.host.folder.compute(self.uid, epoch).dir().to_owned();
        let key = (self.uid, epoch);
        self.host.uploads.add(key, dir, Durable::default(), true, self.inbox.clone());
        self.finish(epoch, Box::new(receipt)).await;
    }

    pub(crate) async fn talk_ended(&mut self, epoch: Epoch, talk: u64) {
        let Some(shim) = self.computes.get_mut(&epoch).and_then(|c| c.supervised()) else { return };
        if shim.talk.as_ref().is_none_or(|current| current.id != talk) {
            return;
        }
        shim.talk = None;
        self.settle(epoch).await;
    }

    /// Looks at a compute whose shim does not answer: it is closed, or lives, or is closed
    /// here in its place.
    pub(crate) async fn settle(&mut self, epoch: Epoch) {
        let Some(compute) = self.computes.get_mut(&epoch) else { return };
        let met = match &compute.stage {
            Stage::Fetching => return,
            Stage::Supervised(shim) => shim.met,
        };
        let (control, stop) = (compute.control.clone(), compute.stop.clone());
        let host = self.host.found.host.clone();
        match self.host.blocking(move || look(&control, &host, stop.as_ref(), met)).await {
            Look::Closed(receipt) => self.close(epoch, receipt).await,
            Look::Taken => self.reach(epoch, None),
            Look::Unproven(evidence) => self.lose(epoch, evidence).await,
            Look::Failed(error) => {
                tracing::warn!(uid = %self.uid, %epoch, %error, "a compute could not be closed; it is tried again");
                self.retry_soon();
            }
        }
    }

    /// A receipt is on disk: the epoch is closed.
    pub(crate) async fn close(&mut self, epoch: Epoch, receipt: Box<Receipt>) {
        if self.computes.contains_key(&epoch) {
            self.finish(epoch, receipt).await;
        }
    }

    /// Puts the floor on disk, beside everything else.
    pub(crate) fn record_floor(&mut self) {
        let (recorded, floor, inbox) = (self.recorded.clone(), self.floor, self.inbox.clone());
        if self.recording || floor <= recorded.on_disk() {
            return;
        }
        self.recording = true;
        self.host.tasks.spawn_blocking(move || {
            let _ = inbox.send(Event::Recorded(recorded.raise(floor)));
        });
    }

    pub(crate) fn floor_recorded(&mut self, done: std::io::Result<()>) {
        self.recording = false;
        if let Err(error) = done {
            tracing::warn!(uid = %self.uid, %error, "a closed epoch could not be recorded; it is tried again");
            return self.retry_soon();
        }
        self.record_floor();
        self.drop_what_is_done();
    }

    /// The epoch is closed, with this receipt.
    async fn finish(&mut self, epoch: Epoch, receipt: Box<Receipt>) {
        self.floor = self.floor.max(epoch);
        self.host.uploads.release((self.uid, epoch));
        let dir = self.host.folder.compute(self.uid, epoch).dir().to_owned();
        self.host.board.closed(self.uid, epoch, (*receipt).clone(), dir);
        let compute = self.computes.remove(&epoch);
        self.keep_files(compute.as_ref(), &receipt);
        let name = compute.as_ref().and_then(|compute| compute.session_name());
        self.tell(name, &receipt);
        tracing::info!(uid = %self.uid, %epoch, reason = ?receipt.reason, ms = receipt.duration_ms, "closed");
        self.end(epoch, Ok(receipt));
        Box::pin(self.converge_all()).await;
    }

    fn end(&mut self, epoch: Epoch, how: Result<Box<Receipt>, String>) {
        let forget = self.ended.get(&epoch).is_some_and(|ended| ended.forget);
        self.ended.insert(epoch, Ended { how, uploaded: false, forget });
        if self.computes.is_empty() {
            self.watchers.clear();
        }
    }

    fn tell(&self, name: Option<SessionId>, receipt: &Receipt) {
        if self.watchers.is_empty() {
            return;
        }
        // Nobody has told us its name: its uid is one, too.
        let Some(name) = name.or_else(|| self.uid.to_string().parse().ok()) else { return };
        for watcher in &self.watchers {
            let _ = watcher.send((name.clone(), receipt.clone()));
        }
    }

    /// Its shim is dead, and nothing proves its end. It is never started again, and what
    /// was found is answered in the place of a receipt.
    async fn lose(&mut self, epoch: Epoch, evidence: String) {
        tracing::warn!(uid = %self.uid, %epoch, evidence, "the end of a compute cannot be proven");
        // Until there is another, the folder itself is the record of it.
        self.floor = self.floor.max(epoch);
        self.record_floor();
        self.host.uploads.release((self.uid, epoch));
        let dir = self.host.folder.compute(self.uid, epoch).dir().to_owned();
        self.host.board.unproven(self.uid, epoch, evidence.clone(), dir);
        self.computes.remove(&epoch);
        self.end(epoch, Err(evidence));
        Box::pin(self.converge_all()).await;
    }

    /// The shim lives and cannot prove the end yet.
    pub(crate) fn in_doubt(&mut self, epoch: Epoch, evidence: String) {
        let Some(compute) = self.computes.get_mut(&epoch) else { return };
        let dir = compute.control.dir().to_owned();
        if let Some(shim) = compute.supervised() {
            shim.evidence = Some(evidence.clone());
            self.host.board.unproven(self.uid, epoch, evidence, dir);
        }
    }

    /// The coordinator asks about an epoch that is closed here.
    pub(crate) async fn answer_closed(&mut self, epoch: Epoch) {
        if matches!(self.ended.get(&epoch), Some(Ended { how: Err(_), .. })) {
            return self.try_to_prove(epoch).await;
        }
        if !self.host.board.answer(self.uid, epoch) {
            self.host.board.fenced(self.uid, epoch, self.floor);
        }
    }

    /// Another try at an end that could not be proven.
    async fn try_to_prove(&mut self, epoch: Epoch) {
        let control = self.host.folder.compute(self.uid, epoch);
        let stop = self.orders.get(&epoch).and_then(|order| match &order.order {
            Order::Down { stop } => Some(stop.clone()),
            _ => None,
        });
        let (host, dir) = (self.host.found.host.clone(), control.dir().to_owned());
        match self.host.blocking(move || look(&control, &host, stop.as_ref(), true)).await {
            Look::Closed(receipt) => {
                let key = (self.uid, epoch);
                self.host.uploads.add(key, dir, Durable::default(), false, self.inbox.clone());
                self.finish(epoch, receipt).await;
            }
            Look::Unproven(evidence) => self.host.board.unproven(self.uid, epoch, evidence, dir),
            Look::Taken => {
                let evidence = "somebody else holds its lock".to_owned();
                self.host.board.unproven(self.uid, epoch, evidence, dir);
            }
            Look::Failed(error) => {
                self.host.board.unproven(self.uid, epoch, error.to_string(), dir);
            }
        }
    }

    pub(crate) fn uploaded(&mut self, epoch: Epoch) {
        if let Some(ended) = self.ended.get_mut(&epoch) {
            ended.uploaded = true;
            self.drop_if_done(epoch);
        }
    }

    /// The coordinator has the receipts of all epochs up to this one.
    pub(crate) fn forget_through(&mut self, epoch: Epoch) {
        self.orders.retain(|other, _| *other > epoch);
        let known: Vec<Epoch> = self.ended.range(..=epoch).map(|(epoch, _)| *epoch).collect();
        for epoch in known {
            if let Some(ended) = self.ended.get_mut(&epoch) {
                ended.forget = true;
            }
            self.drop_if_done(epoch);
        }
    }

    /// A new epoch says that all below are settled, but for those with an order of their own.
    pub(crate) fn forget_below(&mut self, epoch: Epoch) {
        let orders = &self.orders;
        let down = |epoch: &Epoch| {
            orders.get(epoch).is_some_and(|order| matches!(order.order, Order::Down { .. }))
        };
        let settled: Vec<Epoch> =
            self.ended.range(..epoch).map(|(epoch, _)| *epoch).filter(|e| !down(e)).collect();
        for epoch in settled {
            if let Some(ended) = self.ended.get_mut(&epoch) {
                ended.forget = true;
            }
            self.drop_if_done(epoch);
        }
    }

    /// Removes the control folders of all epochs the coordinator needs nothing of.
    pub(crate) fn drop_what_is_done(&mut self) {
        let epochs: Vec<Epoch> = self.ended.keys().copied().collect();
        for epoch in epochs {
            self.drop_if_done(epoch);
        }
    }

    /// Removes the control folder of an epoch the coordinator needs nothing of.
    fn drop_if_done(&mut self, epoch: Epoch) {
        let Some(ended) = self.ended.get(&epoch) else { return };
        if !ended.uploaded || !ended.forget {
            return;
        }
        // It says of which run files are to be kept, should this runner end first.
        if self.host.kept.is_open(self.uid) || self.host.cancel.is_cancelled() {
            return;
        }
        // Until the floor is on disk, this folder is the record of its end.
        if self.recorded.on_disk() < epoch {
            return self.record_floor();
        }
        let (folder, uid) = (self.host.folder.clone(), self.uid);
        // Its shim has proven the end and is on its way out.
        if matches!(folder.compute(uid, epoch).is_locked(), Ok(true)) {
            return self.retry_soon();
        }
        self.ended.remove(&epoch);
        self.host.board.forget(uid, epoch);
        self.host.tasks.spawn_blocking(move || match remove::control(&folder, uid, epoch) {
            Ok(left) if left.is_nothing() => {}
            Ok(left) => {
                tracing::warn!(%uid, %epoch, ?left, "a control folder is not wholly removed")
            }
            Err(error) => tracing::warn!(%uid, %epoch, %error, "a control folder is not removed"),
        });
    }

    /// The session is removed: so are its files.
    pub(crate) async fn remove_files(&mut self) {
        let (folder, uid) = (self.host.folder.clone(), self.uid);
        let known: Vec<Epoch> = self.ended.keys().copied().collect();
        for epoch in &known {
            self.host.uploads.drop((uid, *epoch));
        }
        self.host.kept.forget(uid).await;
        let (recorded, floor) = (self.recorded.clone(), self.floor);
        let removed = self.host.blocking(move || {
            recorded.raise(floor)?;
            remove::session(&folder, uid)
        });
        match removed.await {
            Ok(left) => {
                if !left.is_nothing() {
                    self.host.leftovers.new.notify_one();
                }
                self.ended.clear();
                self.orders.clear();
                self.host.board.removed(uid);
            }
            Err(error) => {
                tracing::warn!(%uid, %error, "files of a removed session could not be removed; it is tried again");
                self.retry_soon();
            }
        }
    }

    /// Somebody on this machine wants everything to stop.
    pub(crate) async fn stop_all(&mut self, stop: StopOrder, watcher: Watcher) {
        let epochs: Vec<Epoch> = self.computes.keys().copied().collect();
        if epochs.is_empty() {
            return;
        }
        self.watchers.push(watcher);
        for epoch in epochs {
            let given = self.computes.get(&epoch).and_then(|compute| compute.stop.as_ref());
            if given.is_none_or(|given| stop.grace_ms < given.grace_ms) {
                self.stop(epoch, stop.clone()).await;
            }
        }
    }
}

impl crate::session::Compute {
    fn session_name(&self) -> Option<SessionId> {
        match &self.stage {
            Stage::Fetching => None,
            Stage::Supervised(shim) => shim.spec.as_ref().map(|spec| spec.session.clone()),
        }
    }

    /// Ends what is being fetched or made to bring it up. What comes of it all the same is
    /// of no use any more.
    fn efforts_for_start_end(&mut self) {
        self.starting.cancel();
        if matches!(self.run, Run::Fetching(_) | Run::Ready(..)) {
            self.run = Run::None;
        }
    }
}
