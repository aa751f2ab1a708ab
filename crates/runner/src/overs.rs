//! Ends of runs: what a run has left in its files is kept.

use greenroom_core::agent::{Leftovers, Lifecycle};
use greenroom_core::receipt::StopReason;
use greenroom_core::{Epoch, Receipt, RunId, Timestamp};
use greenroom_shim::clock;
use greenroom_shim::unsupervised::Told;

use crate::kept;
use crate::session::{Compute, Session, Stage};

impl Session {
    /// A run has ended; its compute may live on.
    pub(crate) fn run_ended(&mut self, epoch: Epoch, run: RunId, at: Timestamp) {
        let (host, uid) = (self.host.clone(), self.uid);
        let Some(compute) = self.computes.get_mut(&epoch) else { return };
        // What is read again after a later run was given is no news.
        if compute.run.id() != Some(run) || compute.over == Some(run) || compute.is_doomed() {
            return;
        }
        if compute.ends_with_its_run() {
            // What it has left behind is still being ended, and writes.
            compute.awaited = Some(host.kept.expect(uid));
            return;
        }
        compute.over = Some(run);
        kept::run_over(&host, uid, run, at, self.inbox.clone());
    }

    /// A compute is closed: its last run has ended, whatever has become of it.
    pub(crate) fn keep_files(&self, compute: Option<&Compute>, receipt: &Receipt) {
        let Some(last) = &receipt.last_run else { return };
        let known = compute.is_some_and(|compute| compute.over == Some(last.run));
        if !known && !compute.is_some_and(Compute::is_doomed) {
            kept::run_over(&self.host, self.uid, last.run, clock::wall(), self.inbox.clone());
        }
    }

    /// An earlier runner may not have come to the files of this compute's last run.
    pub(crate) async fn keep_left_files(&mut self, epoch: Epoch) {
        let (folder, uid) = (self.host.folder.clone(), self.uid);
        let told = self.host.blocking(move || {
            let git = matches!(folder.repository(uid), Ok(Some(_)));
            git.then(|| Told::read(&folder.compute(uid, epoch)).ok()).flatten()
        });
        let last = told.await.and_then(|told| told.last_run);
        let Some(last) = last.filter(|last| last.outcome.is_some()) else { return };
        if let Some(compute) = self.computes.get_mut(&epoch)
            && !compute.ends_with_its_run()
        {
            compute.over = Some(last.run);
            kept::run_over(&self.host, uid, last.run, clock::wall(), self.inbox.clone());
        }
    }
}

impl Compute {
    /// Its session is being removed, and its files with it.
    fn is_doomed(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.reason == StopReason::Deleted)
    }

    /// Whether its receipt follows the end of its run.
    fn ends_with_its_run(&self) -> bool {
        let Stage::Supervised(shim) = &self.stage else { return false };
        shim.spec.as_ref().is_some_and(|spec| {
            let per_run = spec.driver.lifecycle() == Lifecycle::PerRun;
            per_run && spec.leftovers == Leftovers::Sweep
        })
    }
}
