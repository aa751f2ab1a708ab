//! Deciding: from a command to the facts that follow, or a refusal.
//!
//! Every rule emits facts into a [`Plan`], which folds each at once, so the next rule
//! sees what the one before it has made true. When the status has changed at the end,
//! a `session.status` fact says so.

mod agent;
mod approval;
mod fork;
mod life;
mod prompt;
mod report;
mod stop;

use crate::apply::apply;
use crate::command::{ChildEnd, Command, Create, Now, Refusal};
use crate::fact::Fact;
use crate::session::Session;
use crate::status::Standing;

/// Decides a command on a session. The facts are in order, and are to be appended to its
/// log together or not at all. An empty list means that it is so already.
pub fn decide(session: &Session, command: Command, now: Now) -> Result<Vec<Fact>, Refusal> {
    let mut plan = Plan::on(session.clone(), now);
    plan.run(command)?;
    Ok(plan.finish())
}

/// Decides on a session that does not exist yet: the session as its first fact makes it,
/// and the facts after that one. The first is entry 1 of the log.
pub fn create(create: Create, now: Now) -> Result<(Fact, Vec<Fact>), Refusal> {
    let session = Session::begin(&create.created, now.0);
    let mut plan = Plan::on(session, now);
    plan.fork(create.inherited);
    if let Some(prompt) = create.prompt {
        plan.prompt(prompt)?;
    }
    Ok((Fact::Created(Box::new(create.created)), plan.finish()))
}

struct Plan {
    session: Session,
    facts: Vec<Fact>,
    before: Standing,
    now: Now,
}

impl Plan {
    fn on(session: Session, now: Now) -> Self {
        let before = session.standing();
        Self { session, facts: Vec::new(), before, now }
    }

    fn emit(&mut self, fact: Fact) {
        apply(&mut self.session, &fact, self.now.0);
        self.facts.push(fact);
    }

    fn finish(mut self) -> Vec<Fact> {
        let after = self.session.standing();
        if after != self.before {
            self.emit(Fact::Status {
                status: after.status,
                reason: after.reason.map(str::to_owned),
                from: self.before.status,
            });
        }
        self.facts
    }

    fn run(&mut self, command: Command) -> Result<(), Refusal> {
        match command {
            Command::Update(changes) => {
                self.refuse_deleting()?;
                self.emit(Fact::Updated(Box::new(changes)));
            }
            Command::Rebind(rebind) => self.rebind(rebind)?,
            Command::Prompt(prompt) => self.prompt(prompt)?,
            Command::Grant { runner } => self.grant(runner)?,
            Command::Block(reason) => {
                if self.session.need().is_some() && self.session.blocked != Some(reason) {
                    self.emit(Fact::Blocked { reason: Some(reason) });
                }
            }
            Command::Stop(stop) => self.stop(stop),
            Command::StopRun { run, stop, by, grace } => self.stop_run(run, stop, &by, grace)?,
            Command::Answer { id, answer, by } => self.answer(id, answer, &by)?,
            Command::Revise { run, asks, position, by } => self.revise(run, asks, position, &by)?,
            Command::Withdraw { run, by } => self.withdraw(run, &by)?,
            Command::Resume { by } => self.resume(&by)?,
            Command::Abandon { by, reason } => self.abandon(&by, &reason)?,
            Command::Delete { stop, by } => self.delete(stop, &by),
            Command::Expire { stop, why } => self.expire(stop, why),
            Command::FilesGone => self.files_gone(),
            Command::HomeLost { runner, by } => self.home_lost(runner, &by),
            Command::StopOverdue { epoch, attempt } => self.stop_overdue(epoch, attempt),
            Command::Records(records) => records.into_iter().for_each(|r| self.record(r)),
            Command::Receipt(receipt) => self.receipt(*receipt),
            Command::Unproven { epoch, evidence } => self.unproven(epoch, evidence),
            Command::Fenced { epoch, floor, runner } => self.fenced(epoch, floor, runner),
            Command::EpochsKnown { floor, runner } => self.epochs_known(floor, runner),
            Command::Adopt { epoch, runner } => self.adopt(epoch, runner),
            Command::Lost { epoch, from, to } => self.emit(Fact::LogGap { epoch, from, to }),
            Command::RunFiles { run, files } => self.emit(Fact::RunFiles { run, files }),
            Command::RunnerSilent { runner } => self.silent(runner),
            Command::RunnerSeen { runner } => self.seen(runner),
            Command::SpawnChild { child, id, agent, bounds } => {
                self.spawn_child(bounds)?;
                self.emit(Fact::ChildCreated { child, id, agent });
            }
            Command::ChildRemoved { child } => self.emit(Fact::ChildRemoved { child }),
            Command::ChildEnded { child, id, run, status, as_run, prompt } => {
                let ended = vec![ChildEnd { child, id, run, status }];
                self.children_ended(ended, as_run, prompt);
            }
            Command::ChildrenEnded { ended, as_run, prompt } => {
                self.children_ended(ended, as_run, prompt);
            }
            Command::GiveUp { run, error } => self.give_up(run, error)?,
            Command::Say(output) => self.emit(Fact::Output(output)),
        }
        Ok(())
    }
}
