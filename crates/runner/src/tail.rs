//! One compute's journals on their way up: where reading has come to, what is sent, what is
//! acknowledged.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use greenroom_core::record::Writer;
use greenroom_core::{Epoch, Receipt, Record, RecordBody, RunId, SessionUid, Timestamp};
use greenroom_protocol::link::RecordLine;
use greenroom_shim::journal::{self, Entry, Reader};

/// Which compute.
pub(crate) type Key = (SessionUid, Epoch);

/// The shim's last index that is on disk, as it says: only what is synced leaves the machine.
pub(crate) type Durable = Arc<AtomicU64>;

/// Segments are looked through again after so many acknowledged bytes.
const DISCARD_EVERY: usize = 4 << 20;

/// The journals of one compute.
#[derive(Debug)]
pub(crate) struct Tail {
    key: Key,
    dir: PathBuf,
    shim: Stream,
    runner: Stream,
    /// The epoch is closed: nothing more is written.
    released: bool,
    receipt_told: bool,
    receipt_acked: bool,
    unpruned: usize,
}

#[derive(Debug)]
struct Stream {
    writer: Writer,
    reader: Reader,
    durable: Durable,
    /// Read, and not sent.
    held: Option<Entry>,
    /// Last index that was sent.
    sent: u64,
    /// Last index the coordinator has.
    acked: u64,
    /// Whether the coordinator has said what it has.
    known: bool,
    receipt: Option<u64>,
}

/// How much was put into a batch of one stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) key: Key,
    pub(crate) writer: Writer,
    pub(crate) last: u64,
}

/// What an acknowledgement changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Acked {
    /// The coordinator has more than before.
    pub(crate) progress: bool,
    /// It has the receipt now.
    pub(crate) receipt: bool,
    /// Not all that was sent was taken.
    pub(crate) refused: bool,
}

impl Stream {
    fn new(dir: &std::path::Path, writer: Writer, durable: Durable, known: bool) -> Self {
        Self {
            writer,
            reader: Reader::open(dir, writer, 1),
            durable,
            held: None,
            sent: 0,
            acked: 0,
            known,
            receipt: None,
        }
    }

    fn next(&mut self) -> io::Result<Option<Entry>> {
        match self.held.take() {
            Some(entry) => Ok(Some(entry)),
            None => self.reader.next_up_to(self.durable.load(Ordering::Acquire)),
        }
    }

    /// Goes on behind what the coordinator has.
    fn rewind(&mut self, dir: &std::path::Path) {
        self.sent = self.acked;
        self.held = None;
        self.reader = Reader::open(dir, self.writer, self.acked + 1);
    }

    fn acknowledge(&mut self, dir: &std::path::Path, mark: u64) -> Acked {
        self.known = true;
        let before = self.acked;
        // A coordinator that was restored from a backup may have less than it had.
        self.acked = mark;
        let had_receipt = self.receipt.is_some_and(|at| at <= before);
        let acked = Acked {
            progress: mark > before,
            receipt: !had_receipt && self.receipt.is_some_and(|at| at <= mark),
            refused: mark < self.sent,
        };
        if mark != self.sent {
            self.rewind(dir);
        }
        acked
    }

    fn is_drained(&mut self) -> io::Result<bool> {
        if self.sent != self.acked || self.held.is_some() {
            return Ok(false);
        }
        self.held = self.next()?;
        Ok(self.held.is_none())
    }
}

/// A batch being filled.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) ndjson: Vec<u8>,
    pub(crate) spans: Vec<Span>,
}

/// What filling met.
#[derive(Debug, Default)]
pub(crate) struct Met {
    /// A receipt, the first time it is met.
    pub(crate) receipt: Option<Box<Receipt>>,
    /// Runs that have ended, and when. After a rewind they are met again.
    pub(crate) ended: Vec<(RunId, Timestamp)>,
}

impl Tail {
    /// The journals of a compute. `fresh`: the coordinator has nothing of them yet.
    pub(crate) fn new(key: Key, dir: PathBuf, durable: Durable, fresh: bool) -> Self {
        Self {
            key,
            shim: Stream::new(&dir, Writer::Shim, durable, fresh),
            // Written when the epoch is closed, if at all.
            runner: Stream::new(&dir, Writer::Runner, Durable::default(), fresh),
            dir,
            released: false,
            receipt_told: false,
            receipt_acked: false,
            unpruned: 0,
        }
    }

    fn streams(&mut self) -> [&mut Stream; 2] {
        [&mut self.shim, &mut self.runner]
    }

    /// The epoch is closed, and the shim writes no more.
    pub(crate) fn release(&mut self) {
        self.released = true;
        for stream in self.streams() {
            stream.durable.store(u64::MAX, Ordering::Release);
        }
    }

    /// Puts what can be sent into `batch`, until it has `limit` bytes.
    pub(crate) fn fill(&mut self, batch: &mut Batch, limit: usize) -> io::Result<Met> {
        let (key, mut met) = (self.key, Met::default());
        let told = self.receipt_told;
        for stream in self.streams() {
            let before = stream.sent;
            while let Some(entry) = stream.next()? {
                match &entry.body {
                    RecordBody::Receipt { receipt } => {
                        stream.receipt = Some(entry.index);
                        met.receipt = (!told).then(|| receipt.clone());
                    }
                    RecordBody::RunEnded { run, .. } => met.ended.push((*run, entry.at)),
                    _ => {}
                }
                let start = batch.ndjson.len();
                let index = entry.index;
                let line = line(key, stream.writer, entry);
                serde_json::to_writer(&mut batch.ndjson, &line)?;
                batch.ndjson.push(b'\n');
                if batch.ndjson.len() > limit && start > 0 {
                    batch.ndjson.truncate(start);
                    stream.held = entry_of(line);
                    break;
                }
                stream.sent = index;
                // Until the coordinator has said what it has, one record asks for it.
                if !stream.known || batch.ndjson.len() > limit {
                    break;
                }
            }
            if stream.sent > before {
                batch.spans.push(Span { key, writer: stream.writer, last: stream.sent });
            }
        }
        self.receipt_told |= met.receipt.is_some();
        Ok(met)
    }

    /// The coordinator says beside other things that it has a stream up to `mark`. That
    /// may be older than what it has said since.
    pub(crate) fn hint(&mut self, writer: Writer, mark: u64) -> Acked {
        let stream = match writer {
            Writer::Shim => &self.shim,
            Writer::Runner => &self.runner,
        };
        if stream.known && mark <= stream.acked {
            return Acked::default();
        }
        self.acknowledge(writer, mark)
    }

    /// The coordinator has a stream up to `mark`.
    pub(crate) fn acknowledge(&mut self, writer: Writer, mark: u64) -> Acked {
        let dir = self.dir.clone();
        let stream = match writer {
            Writer::Shim => &mut self.shim,
            Writer::Runner => &mut self.runner,
        };
        let acked = stream.acknowledge(&dir, mark);
        self.receipt_acked |= acked.receipt;
        acked
    }

    /// What was sent of a stream was not taken, and no mark says why.
    pub(crate) fn rewind(&mut self, writer: Writer) {
        let dir = self.dir.clone();
        match writer {
            Writer::Shim => self.shim.rewind(&dir),
            Writer::Runner => self.runner.rewind(&dir),
        }
    }

    /// Whether everything these journals will ever have is acknowledged.
    pub(crate) fn is_done(&mut self) -> io::Result<bool> {
        if !self.released {
            return Ok(false);
        }
        Ok(self.shim.is_drained()? && self.runner.is_drained()?)
    }

    /// So many bytes of it were acknowledged; removes what is not needed any more.
    pub(crate) fn prune(&mut self, bytes: usize) {
        self.unpruned += bytes;
        if self.unpruned < DISCARD_EVERY {
            return;
        }
        self.unpruned = 0;
        if let Err(error) = journal::discard_through(&self.dir, Writer::Shim, self.shim.acked) {
            tracing::warn!(dir = %self.dir.display(), %error, "acknowledged journal stays for now");
        }
    }
}

fn line((uid, epoch): Key, writer: Writer, entry: Entry) -> RecordLine {
    let Entry { index, at, body } = entry;
    RecordLine::Record(Box::new(Record { uid, epoch, writer, index, at, body }))
}

fn entry_of(line: RecordLine) -> Option<Entry> {
    match line {
        RecordLine::Record(record) => {
            let Record { index, at, body, .. } = *record;
            Some(Entry { index, at, body })
        }
        RecordLine::Delta(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use greenroom_core::receipt::{EndReason, Means};
    use greenroom_core::record::OutputKind;
    use greenroom_shim::journal::JournalWriter;

    const AT: Timestamp = Timestamp(jiff::Timestamp::UNIX_EPOCH);

    fn output(text: &str) -> RecordBody {
        let data = serde_json::json!({ "text": text });
        RecordBody::Output { run: None, kind: OutputKind::Message, data }
    }

    fn receipt() -> RecordBody {
        let epoch = Epoch(1);
        let receipt = Receipt::without_process(epoch, EndReason::Done, AT, Means::NeverStarted, "");
        RecordBody::Receipt { receipt: Box::new(receipt) }
    }

    fn indexes(batch: &Batch) -> Vec<u64> {
        let lines = batch.ndjson.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let read = |line: &[u8]| match serde_json::from_slice(line).unwrap() {
            RecordLine::Record(record) => record.index,
            RecordLine::Delta(_) => unreachable!("no delta was put in"),
        };
        lines.map(read).collect()
    }

    fn fill(tail: &mut Tail, limit: usize) -> (Vec<u64>, bool) {
        let mut batch = Batch::default();
        let met = tail.fill(&mut batch, limit).unwrap();
        (indexes(&batch), met.receipt.is_some())
    }

    #[test]
    fn sends_what_is_durable_and_tells_of_the_receipt_once() {
        let temp = tempfile::tempdir().unwrap();
        let mut writer = JournalWriter::open(temp.path(), Writer::Shim).unwrap();
        for text in ["one", "two", "three"] {
            writer.append(AT, &output(text)).unwrap();
        }
        writer.append(AT, &receipt()).unwrap();
        writer.sync().unwrap();
        let durable = Durable::default();
        let key = (SessionUid(uuid::Uuid::now_v7()), Epoch(1));
        let mut tail = Tail::new(key, temp.path().into(), durable.clone(), true);
        assert_eq!(fill(&mut tail, 1 << 20), (vec![], false));
        durable.store(2, Ordering::Release);
        assert_eq!(fill(&mut tail, 1 << 20), (vec![1, 2], false));
        durable.store(4, Ordering::Release);
        assert_eq!(fill(&mut tail, 1 << 20), (vec![3, 4], true));
        assert!(tail.acknowledge(Writer::Shim, 3).refused);
        assert_eq!(fill(&mut tail, 1 << 20), (vec![4], false));
        assert!(tail.acknowledge(Writer::Shim, 4).receipt);
        assert!(!tail.is_done().unwrap());
        tail.release();
        assert!(tail.is_done().unwrap());
    }

    #[test]
    fn a_small_batch_keeps_the_order_and_a_hole_goes_back() {
        let temp = tempfile::tempdir().unwrap();
        let mut writer = JournalWriter::open(temp.path(), Writer::Shim).unwrap();
        for _ in 0..6 {
            writer.append(AT, &output("words")).unwrap();
        }
        writer.sync().unwrap();
        let durable = Durable::new(AtomicU64::new(6));
        let key = (SessionUid(uuid::Uuid::now_v7()), Epoch(1));
        let mut tail = Tail::new(key, temp.path().into(), durable, false);
        // What the coordinator has is not known: one record asks.
        assert_eq!(fill(&mut tail, 1 << 20).0, [1]);
        assert!(!tail.acknowledge(Writer::Shim, 3).refused);
        let (sent, _) = fill(&mut tail, 300);
        assert_eq!(sent, [4]);
        assert_eq!(fill(&mut tail, 300).0, [5]);
        assert!(tail.acknowledge(Writer::Shim, 4).refused);
        assert_eq!(fill(&mut tail, 1 << 20).0, [5, 6]);
        tail.rewind(Writer::Shim);
        assert_eq!(fill(&mut tail, 1 << 20).0, [5, 6]);
    }
}
