//! Where output goes: into the journal, to those who watch, or into the count of what
//! was dropped.

use greenroom_core::agent::Lifecycle;
use greenroom_core::record::OutputKind;
use greenroom_core::{RecordBody, RunId};

use crate::clock::Moment;
use crate::output::Emit;
use crate::streams::Streams;
use crate::supervise::{RETRY, Supervisor};
use crate::wire::FromShim;

impl Supervisor {
    pub(crate) fn read_streams(&mut self, streams: &mut Streams, now: Moment) {
        let mut emits = Vec::new();
        let skipped = streams.read(&mut self.buffer, self.quota.is_over(), now, &mut emits);
        self.quota.lose(skipped);
        streams.tick(now, &mut emits);
        self.keep(emits, false);
    }

    /// Reads all that the pipes hold, closes the text in progress, and drops the pipes
    /// (or, if something may still write, keeps them as strays).
    pub(crate) fn finish_streams(&mut self, now: Moment, keep_pipes: bool) {
        let Some(mut streams) = self.streams.take() else { return };
        streams.close_stdin();
        // A pipe holds a MiB at most; who writes faster than we read writes on in vain.
        for _ in 0..64 {
            self.read_streams(&mut streams, now);
            if streams.is_drained() {
                break;
            }
        }
        let mut emits = Vec::new();
        streams.boundary(now, &mut emits);
        self.keep(emits, false);
        if keep_pipes && !streams.is_closed() {
            self.strays.push(streams);
        }
    }

    /// Puts output where it belongs: into the journal, to those who watch, or into the
    /// count of what was dropped.
    pub(crate) fn keep(&mut self, emits: Vec<Emit>, stray: bool) {
        for emit in emits {
            let run = if stray { None } else { self.run.as_ref().map(|run| run.id) };
            match emit {
                Emit::Output { kind, data, bytes } => {
                    let body = RecordBody::Output { run, kind, data };
                    let wanted = kind.is_state() || self.quota.admit(bytes);
                    if wanted && self.log.append(&body).is_err() {
                        self.quota.lose(bytes);
                    }
                }
                Emit::Delta { part, offset, text } => {
                    if let Some(run) = run
                        && !self.quota.is_over()
                        && self.server.has_listeners()
                    {
                        self.server.say(&FromShim::Delta { run, part, offset, text });
                    }
                }
                Emit::Result(result) if !stray => self.take_result(result),
                Emit::Result(_) => {}
                Emit::Said(said) => self.heard(*said, stray),
            }
        }
    }

    /// Says what was dropped since the run began.
    pub(crate) fn keep_gap(&mut self, run: Option<RunId>) {
        if let Some(bytes) = self.quota.take_gap() {
            let data = serde_json::json!({ "bytes": bytes });
            self.state(RecordBody::Output { run, kind: OutputKind::OutputGap, data });
        }
    }

    /// Writes state, now or as soon as the disk takes it.
    pub(crate) fn state(&mut self, body: RecordBody) {
        if self.owed.is_empty() {
            match self.log.append(&body) {
                Ok(_) => return,
                Err(error) => eprintln!("greenroom shim: the journal refuses: {error}"),
            }
        }
        self.owed.push(body);
    }

    /// Tries again what the disk did not take.
    pub(crate) fn pay_owed(&mut self, now: Moment) {
        if self.owed.is_empty() || now < self.owed_retry {
            return;
        }
        self.owed_retry = now + RETRY;
        while let Some(body) = self.owed.first() {
            if self.log.append(body).is_err() {
                return;
            }
            self.owed.remove(0);
        }
    }

    pub(crate) fn tell_durable(&mut self) {
        let index = self.log.durable();
        if index > self.told_durable {
            self.told_durable = index;
            self.server.say(&FromShim::Durable { index });
        }
    }

    /// Whether one process serves many runs.
    pub(crate) fn is_persistent(&self) -> bool {
        self.spec.driver.lifecycle() == Lifecycle::Persistent
    }
}
