//! Journal records of a runner, each taken once.

use async_trait::async_trait;
use greenroom_core::command::{Mode, Now};
use greenroom_core::record::Writer;
use greenroom_core::{
    Command, Epoch, Fact, Record, RecordBody, Refusal, RunnerId, SessionUid, Timestamp, decide,
};
use greenroom_protocol::link::Mark;

use crate::Candidate;

use super::cache::Top;
use super::draft::{Draft, whole_ms};
use super::fault::Do;
use super::place::place;
use super::settle::settle;
use super::unit::Unit;
use super::writer::Work;
use super::{now, outbox};

/// Takes records, session by session.
pub(super) struct Append {
    pub(super) runner: RunnerId,
    pub(super) records: Vec<Record>,
    pub(super) place: Vec<Candidate>,
}

#[async_trait]
impl Work for Append {
    type Output = Vec<Mark>;

    async fn run(self, unit: &mut Unit<'_>) -> Do<Vec<Mark>> {
        let mut marks = Vec::new();
        for (uid, records) in by_session(self.records) {
            let Some(entry) = unit.entry(uid).await? else { continue };
            if entry.session.home != Some(self.runner) {
                continue;
            }
            let mut draft = Draft::of(&entry);
            let last = draft.session.last_epoch;
            let mut named: Vec<(Epoch, Writer)> = Vec::new();
            let mut taken = Vec::new();
            for record in records {
                // A compute the log has not heard of is adopted first.
                if record.epoch > last || record.epoch == Epoch(0) {
                    continue;
                }
                if !named.contains(&(record.epoch, record.writer)) {
                    named.push((record.epoch, record.writer));
                }
                taken.extend(next(&mut draft, record));
            }
            let closed =
                taken.iter().filter(|record| matches!(record.body, RecordBody::Receipt { .. }));
            let closed = closed.map(|record| record.epoch).max();
            fold(&mut draft, taken)?;
            if !draft.moved.is_empty() {
                place(unit, &mut draft, &self.place, now()).await?;
            }
            marks.extend(named.iter().map(|&(epoch, writer)| Mark {
                uid,
                epoch,
                writer,
                index: top(&draft, epoch, writer),
            }));
            if !draft.moved.is_empty() {
                let sid = draft.sid;
                let commit = settle(unit, draft, Mode::Enqueue, now()).await?;
                if let Some(epoch) = closed {
                    outbox::complete(unit, sid, &commit.session, epoch).await?;
                }
            }
        }
        Ok(marks)
    }
}

/// The records of each session, in the order they came.
fn by_session(records: Vec<Record>) -> Vec<(SessionUid, Vec<Record>)> {
    let mut sessions: Vec<(SessionUid, Vec<Record>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for record in records {
        let place = *places.entry(record.uid).or_insert_with(|| {
            sessions.push((record.uid, Vec::new()));
            sessions.len() - 1
        });
        if let Some((_, records)) = sessions.get_mut(place) {
            records.push(record);
        }
    }
    sessions
}

fn top(draft: &Draft, epoch: Epoch, writer: Writer) -> u64 {
    let mut tops = draft.tops.iter();
    tops.find(|top| top.epoch == epoch && top.writer == writer).map_or(0, |top| top.index)
}

/// The record, if it is the next of its stream, and the mark moved to it. What a gap names
/// is lost for good, so it stands for all up to its own index.
fn next(draft: &mut Draft, mut record: Record) -> Option<Record> {
    let have = top(draft, record.epoch, record.writer);
    let index = record.index;
    let bridges = match &mut record.body {
        RecordBody::Gap { from, to } if *to == index && *from <= have + 1 => {
            *from = have + 1;
            true
        }
        _ => false,
    };
    let follows = index == have + 1 || (bridges && index > have);
    if !follows || i64::try_from(index).is_err() {
        return None;
    }
    draft.set_top(Top { epoch: record.epoch, writer: record.writer, index });
    Some(record)
}

/// Decides records in order. Output is decided in one go, as it decides nothing; each
/// entry keeps the time of its record.
fn fold(draft: &mut Draft, records: Vec<Record>) -> Do<()> {
    let mut records = records.into_iter().peekable();
    let is_output = |record: &Record| matches!(record.body, RecordBody::Output { .. });
    while let Some(first) = records.next() {
        let mut at = whole_ms(first.at);
        if !is_output(&first) {
            draft.decide(Command::Records(vec![first]), at)?;
            continue;
        }
        let mut group = vec![first];
        while let Some(record) = records.next_if(is_output) {
            group.push(record);
        }
        let times: Vec<_> = group.iter().map(|record| whole_ms(record.at)).collect();
        let mut times = times.into_iter();
        for fact in decide_all(draft, group, at)? {
            if fact.is_output() {
                at = times.next().unwrap_or(at);
            }
            draft.take(fact, at);
        }
    }
    Ok(())
}

fn decide_all(draft: &Draft, group: Vec<Record>, at: Timestamp) -> Result<Vec<Fact>, Refusal> {
    let now = Now(at);
    decide(&draft.session, Command::Records(group), now)
}
