//! Our ends of the agent's standard streams: fed without waiting, drained always.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use greenroom_core::drive::FromDriver;
use rustix::event::PollFlags;
use rustix::io::Errno;

use crate::agent::Ends;
use crate::clock::Moment;
use crate::output::{Answer, Complaints, Emit, Mode};
use crate::redact::Secrets;

/// Bytes read of one stream before control has its turn again.
const BUDGET: usize = 256 << 10;

/// One process's streams.
#[derive(Debug)]
pub(crate) struct Streams {
    stdin: Option<Feed>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    mode: Mode,
    answer: Answer,
    complaints: Complaints,
    /// When something was read last.
    pub(crate) heard_at: Moment,
    /// The last look found nothing more to read.
    drained: bool,
}

/// Text on its way to standard input.
#[derive(Debug)]
struct Feed {
    fd: OwnedFd,
    waiting: Vec<u8>,
    sent: usize,
    /// Nothing follows: the end of the text is the end of the file.
    last: bool,
}

impl Streams {
    pub(crate) fn new(ends: Ends, mode: Mode, secrets: &Rc<Secrets>, now: Moment) -> Self {
        let feed = |fd| Feed { fd, waiting: Vec::new(), sent: 0, last: false };
        Self {
            stdin: ends.stdin.map(feed),
            stdout: Some(ends.stdout),
            stderr: Some(ends.stderr),
            mode,
            answer: Answer::new(mode, secrets.clone()),
            complaints: Complaints::new(secrets.clone()),
            heard_at: now,
            drained: false,
        }
    }

    /// Gives the agent something to read, and after it, if it is the last, end of file.
    pub(crate) fn feed(&mut self, text: &[u8], last: bool) {
        if let Some(feed) = &mut self.stdin {
            feed.waiting.extend_from_slice(text);
            feed.last |= last;
        }
        self.write();
    }

    /// A run begins.
    pub(crate) fn begin_run(&mut self, out: &mut Vec<Emit>) {
        self.answer.begin_run(out);
    }

    /// Writes what can be written now.
    pub(crate) fn write(&mut self) {
        let Some(feed) = &mut self.stdin else { return };
        while feed.sent < feed.waiting.len() {
            match rustix::io::write(&feed.fd, &feed.waiting[feed.sent..]) {
                Ok(n) => feed.sent += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // An agent need not read what it is given.
                Err(_) => {
                    self.stdin = None;
                    return;
                }
            }
        }
        if feed.last {
            self.stdin = None;
            return;
        }
        feed.waiting.clear();
        feed.waiting.shrink_to(64 << 10);
        feed.sent = 0;
    }

    /// Reads what is there, up to a budget. With `skip_text`, text is only counted: the
    /// result says how much of it.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        skip_text: bool,
        now: Moment,
        out: &mut Vec<Emit>,
    ) -> u64 {
        let mut skipped = 0;
        let (answer, complaints, mode) = (&mut self.answer, &mut self.complaints, self.mode);
        let (heard_err, done_err) = drain(&mut self.stderr, buffer, |bytes| {
            if skip_text {
                skipped += bytes.len() as u64;
            } else {
                complaints.push(bytes, now, out);
            }
        });
        let (heard_out, done_out) = drain(&mut self.stdout, buffer, |bytes| {
            if skip_text && mode == Mode::Text {
                skipped += bytes.len() as u64;
            } else {
                answer.push(bytes, now, out);
            }
        });
        // An answer may end the run: what was complained before it belongs to it.
        if let Some(at) = out.iter().position(ends_a_run) {
            let mut before = Vec::new();
            complaints.boundary(&mut before);
            out.splice(at..at, before);
        }
        if heard_out || heard_err {
            self.heard_at = now;
        }
        self.drained = done_out && done_err;
        skipped
    }

    /// Whether the answer has ended and nothing is left in the pipes.
    pub(crate) fn has_ended(&self) -> bool {
        self.stdout.is_none() && self.drained
    }

    /// Whether the last look found the pipes empty.
    pub(crate) fn is_drained(&self) -> bool {
        self.drained
    }

    /// Whether both pipes have ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.stdout.is_none() && self.stderr.is_none()
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        [self.answer.deadline(), self.complaints.deadline()].into_iter().flatten().min()
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Moment, out: &mut Vec<Emit>) {
        self.answer.tick(now, out);
        self.complaints.tick(now, out);
    }

    /// All text that is there goes out.
    pub(crate) fn boundary(&mut self, now: Moment, out: &mut Vec<Emit>) {
        self.complaints.boundary(out);
        self.answer.boundary(now, out);
    }

    /// Nothing more is fed.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// What to poll.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let feed = self.stdin.as_ref().filter(|feed| feed.sent < feed.waiting.len());
        let feed = feed.map(|feed| (feed.fd.as_fd(), PollFlags::OUT));
        let outputs = [&self.stdout, &self.stderr].into_iter().flatten();
        outputs.map(|fd| (fd.as_fd(), PollFlags::IN)).chain(feed)
    }
}

fn ends_a_run(emit: &Emit) -> bool {
    match emit {
        Emit::Result(_) => true,
        Emit::Said(said) => matches!(**said, FromDriver::Ended { .. }),
        _ => false,
    }
}

/// Reads from a pipe; drops it at its end. Says whether there was something, and whether
/// nothing is left for now.
fn drain(fd: &mut Option<OwnedFd>, buffer: &mut [u8], mut take: impl FnMut(&[u8])) -> (bool, bool) {
    let mut total = 0;
    while let Some(open) = fd {
        match rustix::io::read(&*open, &mut *buffer) {
            Ok(0) => *fd = None,
            Ok(n) => {
                take(&buffer[..n]);
                total += n;
                if total >= BUDGET {
                    return (true, false);
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            Err(_) => *fd = None,
        }
    }
    (total > 0, true)
}
