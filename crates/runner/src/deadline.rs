//! The runner's own deadline for a stop: for shims that hang.

use std::path::PathBuf;
use std::time::Duration;

use greenroom_core::Epoch;
use greenroom_core::assignment::StopOrder;
use greenroom_shim::cgroup::KillGroup;
use greenroom_shim::control::{self, Control};
use greenroom_shim::local::{self, Standing};
use greenroom_shim::spec::ShimSpec;
use greenroom_shim::wire::{FromShim, ShimPhase};
use tokio::time::Instant;

use crate::session::{Force, Session};

/// How much longer than its graces a stop may take a shim.
const ALLOWANCE: Duration = Duration::from_secs(5);
/// Time for the shim to see that its group was killed, and to close.
const LAST_CHANCE: Duration = Duration::from_secs(1);
/// A stop that cannot be completed is tried again so often.
const AGAIN: Duration = Duration::from_secs(5);
/// Time for a shim to answer when it is spoken to.
const ANSWER: Duration = Duration::from_secs(1);
/// Time for a killed shim to be dead.
const DEATH: Duration = Duration::from_secs(2);

/// When force is used after `stop`. Another stop only brings that nearer, but for a new
/// try after an old one was given up.
pub(crate) fn after(
    now: Instant,
    stop: &StopOrder,
    before: Option<&StopOrder>,
    force: Option<Force>,
) -> Force {
    let graces = Duration::from(stop.cancel_grace_ms) + Duration::from(stop.grace_ms);
    let at = now + graces + ALLOWANCE;
    let anew = before.is_some_and(|before| stop.attempt > before.attempt);
    match force {
        Some(force) if !anew => Force { at: force.at.min(at), killed: force.killed },
        _ => Force { at, killed: false },
    }
}

impl Session {
    /// The shim has had its time. First its group is killed, which it should notice; then
    /// itself, unless it is at work: what cannot die yet, it alone can prove dead later.
    pub(crate) async fn use_force(&mut self, epoch: Epoch) {
        let Some(compute) = self.computes.get_mut(&epoch) else { return };
        let Some(force) = &mut compute.force else { return };
        let first = !force.killed;
        force.killed = first;
        force.at = Instant::now() + if first { LAST_CHANCE } else { AGAIN };
        let control = compute.control.clone();
        let dir = control.dir().to_owned();
        let Some(shim) = compute.supervised() else { return };
        if first {
            let spec = shim.spec.clone();
            tracing::warn!(uid = %self.uid, %epoch, "the shim is late with a stop; its control group is killed");
            return self.host.blocking(move || kill_group(spec.as_ref())).await;
        }
        let honest = shim.evidence.is_some() && shim.talk.is_some();
        if honest || self.host.blocking(move || is_at_work(dir)).await {
            return;
        }
        tracing::warn!(uid = %self.uid, %epoch, "the shim does not answer a stop; it is killed");
        match self.host.blocking(move || kill_shim(&control)).await {
            None => self.settle(epoch).await,
            Some(evidence) => self.in_doubt(epoch, evidence),
        }
    }
}

fn kill_group(spec: Option<&ShimSpec>) {
    let Some(path) = spec.and_then(|spec| spec.cgroups.kill.as_ref()) else { return };
    if let Err(error) = KillGroup::open(path).and_then(|group| group.kill()) {
        tracing::debug!(path = %path.display(), %error, "no group to kill");
    }
}

/// Whether the shim of this control folder answers, and is ending its compute.
fn is_at_work(dir: PathBuf) -> bool {
    let hello = local::look(dir, ANSWER).standing;
    matches!(hello, Standing::Live(FromShim::Hello { phase: ShimPhase::Ending, .. }))
}

/// Kills a shim. Says what is in the way, if it could not be done.
fn kill_shim(control: &Control) -> Option<String> {
    match control::kill_holder(control, DEATH) {
        Ok(true) => None,
        Ok(false) => match control.is_locked() {
            Ok(false) => None,
            _ => Some("its shim does not answer, and which process it is cannot be told".into()),
        },
        Err(error) => Some(format!("its shim does not answer, and cannot be killed: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use greenroom_core::receipt::StopReason;
    use greenroom_core::{Ms, StopId};

    fn stop(grace: u64, attempt: u32) -> StopOrder {
        StopOrder {
            id: StopId(uuid::Uuid::nil()),
            reason: StopReason::User,
            cancel_grace_ms: Ms(0),
            grace_ms: Ms(grace),
            requested_by: Vec::new(),
            attempt,
        }
    }

    #[test]
    fn another_stop_only_shortens_and_another_try_starts_anew() {
        let now = Instant::now();
        let first = after(now, &stop(10_000, 0), None, None);
        let longer = after(now, &stop(60_000, 0), Some(&stop(10_000, 0)), Some(first));
        assert_eq!(longer.at, first.at);
        let shorter = after(now, &stop(0, 0), Some(&stop(10_000, 0)), Some(first));
        assert_eq!(shorter.at, now + ALLOWANCE);
        let gone = Force { killed: true, ..shorter };
        let anew = after(now, &stop(30_000, 1), Some(&stop(0, 0)), Some(gone));
        assert!(anew.at > first.at && !anew.killed);
    }
}
