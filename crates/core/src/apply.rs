//! Folding facts into a session. Total: whatever the log says is so.

use serde_json::Value;

use crate::fact::{Changes, Closed, Created, Fact, Output};
use crate::ids::{ApprovalId, Epoch, Generation, RunId};
use crate::receipt::StopReason;
use crate::record::OutputKind;
use crate::run::{Head, HeadState, PendingRun};
use crate::session::*;
use crate::value::Timestamp;

impl Session {
    /// The session that its first fact describes. That fact is entry 1 of its log.
    pub fn begin(created: &Created, at: Timestamp) -> Self {
        Self {
            uid: created.uid,
            id: created.id.clone(),
            owner: created.owner.clone(),
            user: created.user.clone(),
            shared: created.shared,
            title: created.title.clone(),
            labels: created.labels.clone(),
            runner_labels: created.runner_labels.clone(),
            workspace: created.workspace.clone(),
            agent: created.agent.clone(),
            agent_policy: created.agent_policy,
            approvals: created.approvals.clone(),
            within: created.within.clone(),
            model: created.model.clone(),
            models: created.models.clone(),
            settings: 0,
            traits: created.traits,
            limits: created.limits.clone(),
            parent: created.parent,
            parent_id: created.parent_id.clone(),
            forked_from: created.forked_from.clone(),
            depth: created.depth,
            children: 0,
            callback: created.callback,
            created_at: at,
            lives_from: at,
            updated_at: at,
            last_active_at: at,
            used_at: at,
            life: Life::Kept,
            compute: None,
            ended: None,
            last_epoch: Epoch(0),
            generation: Generation(0),
            home: None,
            abandoned: Vec::new(),
            hold: None,
            wants_compute: false,
            blocked: None,
            queue: Default::default(),
            tree_stopped: false,
            usage: Usage::default(),
            conversation: None,
            last_seq: 1,
            version: 1,
        }
    }

    fn turn(&mut self) {
        self.generation = Generation(self.generation.0 + 1);
    }

    fn end_run(&mut self, run: RunId) {
        self.queue.retain(|waiting| waiting.id != run);
        self.drop_steer(run);
        if let Some(compute) = &mut self.compute
            && compute.head.as_ref().is_some_and(|head| head.run.id == run)
        {
            compute.head = None;
            // A process a run: with its run over, this compute takes no other, unless
            // what it left behind is to be kept.
            compute.closing |= !self.traits.persistent && !self.traits.keeps_leftovers;
            self.turn();
        }
        if self.queue.is_empty() {
            self.blocked = None;
        }
    }

    fn drop_steer(&mut self, run: RunId) {
        if let Some(head) = self.compute.as_mut().and_then(|compute| compute.head.as_mut())
            && let Some(at) = head.steers.iter().position(|steer| *steer == run)
        {
            head.steers.remove(at);
            self.turn();
        }
    }

    /// What is for the run in progress goes before what waits for its own turn.
    fn queue_steer(&mut self, run: PendingRun, into: RunId) {
        let head = self.compute.as_mut().and_then(|compute| compute.head.as_mut());
        let Some(head) = head.filter(|head| head.run.id == into) else {
            return self.queue.push_back(run);
        };
        let last = self.queue.iter().rposition(|waiting| head.steers.contains(&waiting.id));
        head.steers.push(run.id);
        self.queue.insert(last.map_or(0, |last| last + 1), run);
        self.turn();
    }

    fn set_head(&mut self, run: RunId, state: HeadState) {
        if let Some(compute) = &mut self.compute
            && let Some(head) = compute.head.as_mut().filter(|head| head.run.id == run)
        {
            head.state = state;
            compute.began = true;
        }
    }

    fn set_ask(&mut self, id: ApprovalId, state: AskState) {
        let asked = self.compute.iter_mut().flat_map(|compute| &mut compute.asked);
        asked.filter(|asked| asked.id == id).for_each(|asked| asked.state = state);
    }

    /// An edit of what is allowed is a later word than any answer that was given before it.
    fn overtake_answers(&mut self) {
        for asked in self.compute.iter_mut().flat_map(|compute| &mut compute.asked) {
            if let AskState::Answered { once, .. } = &mut asked.state {
                *once = true;
            }
        }
    }

    fn drop_ask(&mut self, id: ApprovalId) {
        if let Some(compute) = &mut self.compute {
            compute.asked.retain(|asked| asked.id != id);
        }
    }

    fn close(&mut self, closed: &Closed) {
        if closed.how == HowEnded::Interrupted(InterruptReason::Abandoned) {
            self.abandoned.push(closed.receipt.epoch);
        }
        self.last_epoch = self.last_epoch.max(closed.receipt.epoch);
        self.compute = None;
        self.blocked = None;
        self.ended = Some(Ended { how: closed.how, receipt: closed.receipt.clone() });
        self.turn();
    }

    fn update(&mut self, changes: &Changes) {
        if let Some(title) = &changes.title {
            self.title = (!title.is_empty()).then(|| title.clone());
        }
        if let Some(labels) = &changes.labels {
            self.labels = labels.clone();
        }
        if let Some(limits) = &changes.limits {
            self.limits = self.limits.overlaid(limits);
        }
        if let Some(shared) = changes.shared {
            self.shared = shared;
        }
        if let Some(policy) = changes.agent_policy {
            self.agent_policy = policy;
        }
        let mut edited = false;
        if let Some(approvals) = &changes.approvals {
            if self.approvals != *approvals {
                edited = true;
                self.overtake_answers();
            }
            self.approvals = approvals.clone();
        }
        if let Some(model) = &changes.model {
            let model = Some(model.clone()).filter(|model| !model.is_empty());
            edited |= self.model != model;
            self.model = model;
        }
        if let Some(models) = &changes.models {
            edited |= self.models != *models;
            self.models = models.clone();
        }
        if edited {
            self.settings += 1;
            if self.compute.is_some() {
                self.turn();
            }
        }
    }

    fn count(&mut self, output: &Output) {
        if output.kind != OutputKind::Usage {
            return;
        }
        let number = |key: &str| output.data.get(key).and_then(Value::as_u64).unwrap_or(0);
        let cost = output.data.get("cost_usd").and_then(Value::as_f64).unwrap_or(0.0).max(0.0);
        let usage = &mut self.usage;
        usage.input_tokens = usage.input_tokens.saturating_add(number("input_tokens"));
        usage.output_tokens = usage.output_tokens.saturating_add(number("output_tokens"));
        usage.cost_micro_usd = usage.cost_micro_usd.saturating_add((cost * 1e6).round() as u64);
    }
}

/// Folds one fact into the session, as the next entry of its log.
pub fn apply(session: &mut Session, fact: &Fact, at: Timestamp) {
    let s = session;
    s.last_seq += 1;
    if fact.is_output() {
        s.last_active_at = s.last_active_at.max(at);
    } else {
        s.version += 1;
        s.updated_at = s.updated_at.max(at);
    }
    match fact {
        Fact::Created(_)
        | Fact::Inherited(_)
        | Fact::Status { .. }
        | Fact::LogGap { .. }
        | Fact::RunFiles { .. }
        | Fact::Unmatched { .. } => {}
        Fact::Output(output) => s.count(output),
        Fact::Updated(changes) => s.update(changes),
        Fact::AgentChanged(changed) => {
            s.agent = changed.to.clone();
            s.traits = changed.traits;
        }
        Fact::Blocked { reason } => s.blocked = *reason,
        Fact::Placed { epoch, runner } | Fact::EpochAdopted { epoch, runner } => {
            s.last_epoch = *epoch;
            s.home = Some(*runner);
            s.blocked = None;
            s.wants_compute = false;
            s.compute = Some(Compute {
                epoch: *epoch,
                runner: *runner,
                ready: matches!(fact, Fact::EpochAdopted { .. }),
                head: None,
                began: false,
                wanted: Wanted::Up,
                closing: false,
                silent: false,
                unconfirmed: false,
                busy: false,
                asked: Vec::new(),
            });
            s.turn();
        }
        Fact::EpochsKnown { epoch, runner } => {
            s.last_epoch = s.last_epoch.max(*epoch);
            s.home = s.home.or(*runner);
            s.turn();
        }
        Fact::Ready { .. } => {
            if let Some(compute) = &mut s.compute {
                compute.ready = true;
            }
        }
        Fact::Busy { busy, .. } => {
            s.last_active_at = s.last_active_at.max(at);
            if let Some(compute) = &mut s.compute {
                compute.busy = *busy;
            }
        }
        Fact::Closing { .. } => {
            if let Some(compute) = &mut s.compute {
                compute.closing = true;
            }
        }
        Fact::Stopping { stop, ends_run, .. } => {
            if let Some(compute) = &mut s.compute {
                compute.unconfirmed = false;
                compute.wanted = Wanted::Down(Stopping {
                    order: stop.clone(),
                    requested_at: at,
                    ends_run: *ends_run,
                });
                s.turn();
            }
        }
        Fact::StopJoined { by, reason, grace_ms, ends_run, again, .. } => {
            if let Some(compute) = &mut s.compute
                && let Wanted::Down(stopping) = &mut compute.wanted
            {
                let order = &mut stopping.order;
                if !order.requested_by.contains(by) {
                    order.requested_by.push(by.clone());
                }
                order.grace_ms = order.grace_ms.min(*grace_ms);
                stopping.ends_run |= *ends_run;
                if reason.holds() && (!order.reason.holds() || *reason == StopReason::Deleted) {
                    order.reason = *reason;
                }
                if *again {
                    order.attempt += 1;
                    stopping.requested_at = at;
                    compute.unconfirmed = false;
                }
                s.turn();
            }
        }
        Fact::StopUnconfirmed { .. } => {
            if let Some(compute) = &mut s.compute {
                compute.unconfirmed = true;
            }
        }
        Fact::Stopped(closed)
        | Fact::Finished(closed)
        | Fact::Failed(closed)
        | Fact::Interrupted(closed) => s.close(closed),
        Fact::LateReceipt { receipt } => {
            s.abandoned.retain(|epoch| *epoch != receipt.epoch);
            s.turn();
        }
        Fact::Held { why } => {
            s.hold = Some(*why);
            s.wants_compute = false;
        }
        Fact::Resumed { .. } => {
            s.hold = None;
            s.tree_stopped = false;
        }
        Fact::ComputeWanted { .. } => s.wants_compute = true,
        Fact::Unreachable { .. } => {
            if let Some(compute) = &mut s.compute {
                compute.silent = true;
            }
        }
        Fact::Reachable { .. } => {
            if let Some(compute) = &mut s.compute {
                compute.silent = false;
            }
        }
        Fact::TreeStopped { .. } => s.tree_stopped = true,
        Fact::WorkspaceLost { .. } => {
            s.home = None;
            s.abandoned.clear();
            s.turn();
        }
        Fact::Expired => s.life = Life::Expired,
        Fact::Restored { .. } => {
            s.life = Life::Kept;
            s.lives_from = at;
        }
        Fact::Deleting { .. } => {
            s.life = Life::Deleting;
            s.turn();
        }
        Fact::Removed => {
            s.life = Life::Removed;
            s.turn();
        }
        Fact::RunQueued(queued) => {
            s.last_active_at = s.last_active_at.max(at);
            match queued.into {
                Some(into) => s.queue_steer(queued.run.clone(), into),
                None if queued.first => s.queue.push_front(queued.run.clone()),
                None => s.queue.push_back(queued.run.clone()),
            }
        }
        Fact::RunDispatched { run, .. } => {
            let at_head = s.queue.iter().position(|waiting| waiting.id == *run);
            if let (Some(compute), Some(index)) = (&mut s.compute, at_head)
                && let Some(run) = s.queue.remove(index)
            {
                let state = HeadState::Dispatched;
                compute.head = Some(Head { run, state, cancel: None, steers: Vec::new() });
                s.blocked = None;
                s.turn();
            }
        }
        Fact::RunRequeued { run } => {
            if let Some(compute) = &mut s.compute
                && let Some(head) = compute.head.take_if(|head| head.run.id == *run)
            {
                s.queue.push_front(head.run);
                s.turn();
            }
        }
        Fact::RunStarted { run } => s.set_head(*run, HeadState::Running),
        Fact::RunWaiting { run } => s.set_head(*run, HeadState::Waiting),
        Fact::RunResumed { run } => s.set_head(*run, HeadState::Running),
        Fact::RunStopping { run, grace_ms, .. } => {
            if let Some(head) = s.compute.as_mut().and_then(|compute| compute.head.as_mut())
                && head.run.id == *run
            {
                head.cancel = Some(*grace_ms);
                s.turn();
            }
        }
        Fact::Conversation { id, .. } => s.conversation = Some(id.clone()),
        Fact::ApprovalRequested(asked) => {
            if let Some(compute) = &mut s.compute {
                let (id, run, seq) = (asked.ask.id, asked.run, s.last_seq);
                compute.asked.push(Asked { id, run, seq, state: AskState::Open });
            }
        }
        Fact::ApprovalAnswered(answered) => {
            let seq = s.last_seq;
            s.set_ask(answered.id, AskState::Answered { seq, once: false });
            s.turn();
        }
        Fact::ApprovalDelivered { id, .. } => {
            s.set_ask(*id, AskState::Delivered);
            s.turn();
        }
        Fact::ApprovalWithdrawn { id, .. } => {
            s.drop_ask(*id);
            s.turn();
        }
        Fact::RunSteered { run, .. }
        | Fact::RunCompleted { run, .. }
        | Fact::RunFailed { run, .. }
        | Fact::RunStopped { run, .. }
        | Fact::RunWithdrawn { run, .. } => s.end_run(*run),
        Fact::RunEdited { .. } => {}
        Fact::RunMoved { run, position, .. } => {
            let at = s.queue.iter().position(|waiting| waiting.id == *run);
            if let Some(run) = at.and_then(|at| s.queue.remove(at)) {
                let position = usize::try_from(*position).unwrap_or(usize::MAX);
                s.queue.insert(position.min(s.queue.len()), run);
            }
        }
        Fact::ChildCreated { .. } => s.children += 1,
        Fact::ChildRemoved { .. } => s.children = s.children.saturating_sub(1),
        Fact::ChildCompleted(_) => s.last_active_at = s.last_active_at.max(at),
    }
}
