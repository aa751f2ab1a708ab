//! What a data folder still has of sessions when a runner starts: nobody is asked to wait
//! for it, each session takes over its own.

use std::io;
use std::sync::Arc;

use greenroom_core::{Epoch, Receipt, SessionUid};
use greenroom_protocol::link::KeptFiles;
use greenroom_shim::spec::ShimSpec;

use crate::act::supervised;
use crate::folder::Folder;
use crate::host::Host;
use crate::kept::record;
use crate::remove;
use crate::session::{Compute, Ended, Session, Stage};
use crate::tail::Durable;

/// What is left of a session's computes.
#[derive(Debug)]
pub(crate) struct Left {
    computes: Vec<(Epoch, LeftCompute)>,
    /// What was kept of files, and the coordinator has not heard of.
    unsaid: Vec<KeptFiles>,
}

fn unsaid(folder: &Folder, uid: SessionUid) -> Vec<KeptFiles> {
    record::unsaid(folder, uid).unwrap_or_else(|error| {
        tracing::warn!(%uid, %error, "what was kept of files cannot be listed");
        Vec::new()
    })
}

#[derive(Debug)]
enum LeftCompute {
    /// Its receipt is here.
    Closed(Box<Receipt>),
    /// Its shim lives, or it has to be closed. Its spec, if that reads.
    Open(Box<Option<ShimSpec>>),
}

/// Hands everything that is left to the sessions' tasks. The sessions then run side by side:
/// a shim that hangs holds up nobody but itself.
pub(crate) async fn all(host: &Arc<Host>) -> io::Result<usize> {
    let folder = host.folder.clone();
    let found = host.blocking(move || -> io::Result<Vec<(SessionUid, Left)>> {
        let sessions = folder.sessions()?;
        let looked = sessions.into_iter().map(|(uid, epochs)| {
            let computes = epochs.into_iter().filter_map(|epoch| {
                let control = folder.compute(uid, epoch);
                let left = match control.read_closed() {
                    Ok(Some(receipt)) => LeftCompute::Closed(Box::new(receipt)),
                    // Written before a shim is started: without it there never was one.
                    _ if !control.spec_path().exists() => {
                        if let Err(error) = remove::control(&folder, uid, epoch) {
                            tracing::warn!(%uid, %epoch, %error, "an unused control folder stays");
                        }
                        return None;
                    }
                    _ => LeftCompute::Open(Box::new(control.read_spec().ok())),
                };
                Some((epoch, left))
            });
            (uid, Left { computes: computes.collect(), unsaid: unsaid(&folder, uid) })
        });
        Ok(looked
            .filter(|(_, left)| !left.computes.is_empty() || !left.unsaid.is_empty())
            .collect())
    });
    let found = found.await?;
    let count = found.iter().map(|(_, left)| left.open()).sum();
    for (uid, mut left) in found {
        for files in std::mem::take(&mut left.unsaid) {
            host.board.kept(files);
        }
        // Before the link says what is here.
        for (epoch, left) in &left.computes {
            if matches!(left, LeftCompute::Open(_)) {
                host.board.live(uid, *epoch, host.folder.compute(uid, *epoch).dir().to_owned());
            }
        }
        if !left.computes.is_empty() {
            host.adopt(uid, left);
        }
    }
    Ok(count)
}

impl Left {
    /// How many of them are not closed.
    fn open(&self) -> usize {
        self.computes.iter().filter(|(_, left)| matches!(left, LeftCompute::Open(_))).count()
    }
}

impl Session {
    /// Takes over what is left.
    pub(crate) async fn adopt(&mut self, left: Left) {
        let newest = left.computes.last().map(|(epoch, _)| *epoch);
        for (epoch, left) in left.computes {
            let newest = newest == Some(epoch) && epoch >= self.floor;
            let control = self.host.folder.compute(self.uid, epoch);
            let (key, dir) = ((self.uid, epoch), control.dir().to_owned());
            let durable = Durable::default();
            let (uploads, inbox) = (self.host.uploads.clone(), self.inbox.clone());
            uploads.add(key, dir.clone(), durable.clone(), false, inbox);
            match left {
                LeftCompute::Closed(receipt) => {
                    self.floor = self.floor.max(epoch);
                    uploads.release(key);
                    if newest {
                        self.keep_files(None, &receipt);
                    }
                    self.host.board.closed(self.uid, epoch, (*receipt).clone(), dir);
                    // All that remains to be done is to bring it up: whoever has it then
                    // has the receipt too, and needs nothing of this folder.
                    self.ended
                        .insert(epoch, Ended { how: Ok(receipt), uploaded: false, forget: true });
                }
                LeftCompute::Open(spec) => {
                    let stage = Stage::Supervised(Box::new(supervised(*spec, durable)));
                    self.computes.insert(epoch, Compute::new(control, stage));
                    if newest {
                        self.keep_left_files(epoch).await;
                    }
                    self.reach(epoch, None);
                }
            }
        }
    }
}
