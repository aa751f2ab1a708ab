//! Closing a compute on disk, in the place of a shim: its record, its receipt.

use std::io;

use greenroom_core::assignment::StopOrder;
use greenroom_core::receipt::{Action, EndReason, Means, Step};
use greenroom_core::record::Writer;
use greenroom_core::{Epoch, Receipt, RecordBody, SessionUid};
use greenroom_shim::control::{Control, sync_parent};
use greenroom_shim::journal::JournalWriter;
use greenroom_shim::spec::HostIdentity;
use greenroom_shim::unsupervised::Told;
use greenroom_shim::{Unproven, clock, close_unsupervised};

use crate::folder::Folder;
use crate::probe;

/// What looking at a compute without an answering shim gives.
pub(crate) enum Look {
    /// It is closed.
    Closed(Box<Receipt>),
    /// A shim, or somebody in its place, has the lock.
    Taken,
    /// Nothing proves its end.
    Unproven(String),
    /// The disk said no.
    Failed(io::Error),
}

/// The receipt of an epoch of which nothing was started: because of a stop, or because it
/// could not be (`Ok` with the reason in words).
pub(crate) fn unstarted_receipt(epoch: Epoch, why: &Result<String, StopOrder>) -> Receipt {
    let result = "the runner closed the epoch before anything of it was started";
    let reason = why.as_ref().map_or_else(|stop| stop.reason.into(), |_| EndReason::StartError);
    let means = Means::NeverStarted;
    let mut receipt = Receipt::without_process(epoch, reason, clock::wall(), means, result);
    receipt.isolation = probe::ISOLATION.to_owned();
    receipt.steps =
        vec![Step { after_ms: 0, action: Action::Nothing, detail: "nothing was started".into() }];
    match why {
        Ok(error) => receipt.detail = Some(error.clone()),
        Err(stop) => receipt.requested_by.clone_from(&stop.requested_by),
    }
    receipt
}

/// Writes such a receipt, durably.
pub(crate) fn write_unstarted(
    folder: &Folder,
    uid: SessionUid,
    epoch: Epoch,
    receipt: &Receipt,
) -> io::Result<()> {
    folder.make_compute(uid, epoch)?;
    let control = folder.compute(uid, epoch);
    sync_parent(control.dir())?;
    folder.sync_session(uid)?;
    // A shim that comes late finds the lock taken, or `closed`.
    let Some(_lock) = control.take_lock()? else {
        return Err(io::Error::other("its lock is taken"));
    };
    write_receipt(&control, receipt)
}

fn write_receipt(control: &Control, receipt: &Receipt) -> io::Result<()> {
    let mut journal = JournalWriter::open(control.dir(), Writer::Runner)?;
    if journal.last() == 0 {
        let body = RecordBody::Receipt { receipt: Box::new(receipt.clone()) };
        journal.append(clock::wall(), &body)?;
        journal.sync()?;
    }
    control.write_closed(receipt).map_err(io::Error::other)
}

/// Looks at a compute without an answering shim, and closes it where that is possible.
/// `met`: its shim has answered once. Blocks, for seconds at worst.
pub(crate) fn look(
    control: &Control,
    host: &HostIdentity,
    stop: Option<&StopOrder>,
    met: bool,
) -> Look {
    match control.read_closed() {
        Ok(Some(receipt)) => return Look::Closed(Box::new(receipt)),
        Ok(None) => {}
        Err(error) => return Look::Unproven(error.to_string()),
    }
    let lock = match control.take_lock() {
        Ok(Some(lock)) => lock,
        Ok(None) => return Look::Taken,
        Err(error) => return Look::Failed(error),
    };
    // It may have closed and gone between the look and the lock.
    if let Ok(Some(receipt)) = control.read_closed() {
        return Look::Closed(Box::new(receipt));
    }
    if !met && stop.is_none() && came_to_nothing(control) {
        let epoch = control.read_spec().map(|spec| spec.epoch);
        if let Ok(epoch) = epoch {
            let receipt = unstarted_receipt(epoch, &Ok(last_words(control)));
            return match write_receipt(control, &receipt) {
                Ok(()) => Look::Closed(Box::new(receipt)),
                Err(error) => Look::Failed(error),
            };
        }
    }
    match close_unsupervised(control, &lock, host, stop) {
        Ok(receipt) => Look::Closed(Box::new(receipt)),
        Err(Unproven::Io(error)) => Look::Failed(error),
        Err(Unproven::Evidence { evidence }) => Look::Unproven(evidence),
        Err(Unproven::Control(error)) => Look::Unproven(error.to_string()),
    }
}

/// A shim that ended by itself before it did anything: it would do so again, and that is
/// a failure to start rather than an interruption.
fn came_to_nothing(control: &Control) -> bool {
    let said_why = control.dir().join("shim.log").metadata().is_ok_and(|meta| meta.len() > 0);
    said_why && !control.has_begun() && matches!(Told::read(control), Ok(told) if !told.any)
}

/// The end of what a shim wrote for people.
fn last_words(control: &Control) -> String {
    let bytes = std::fs::read(control.dir().join("shim.log")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(2000)..]);
    format!("its shim ended before it did anything: {}", text.trim())
}
