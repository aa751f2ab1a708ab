//! From commits to viewers. Each session that somebody watches has a ring of its latest
//! news, and the commits in it are kept as long as there is room for them. A viewer that
//! comes too late for either reads the log instead: so memory is bounded, however fast agents
//! write, however slow viewers read, and however many there are of both.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use bytes::Bytes;
use greenroom_core::{Event, Principal, Seq, Session, SessionId, SessionUid};
use greenroom_protocol::link::Delta;
use greenroom_protocol::v1::Change;
use greenroom_store::Commit;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// News of one session that its viewers may be behind.
const RING: usize = 64;
/// Bytes of commits that are kept for the viewers of all sessions together.
const KEPT: usize = 8 << 20;
/// Changes that are kept for the viewers of all sessions.
const CHANGES: usize = 1024;

/// Locks, also after a panic elsewhere: what is kept here stays whole between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a viewer of a session is told.
pub enum News {
    /// Something was committed.
    Batch(Arc<Batch>),
    /// Text as it comes, never logged.
    Delta(Arc<DeltaFrame>),
    /// More was committed than is kept: the log has it.
    Behind,
}

/// The same in the ring, which does not keep commits itself.
#[derive(Clone)]
enum Live {
    Batch(Weak<Batch>),
    Delta(Arc<DeltaFrame>),
}

/// The latest commits, each with its weight.
#[derive(Default)]
struct Kept {
    batches: VecDeque<(Arc<Batch>, usize)>,
    bytes: usize,
}

impl Kept {
    /// Keeps a commit, and lets go of the oldest for it. The latest is always kept.
    fn push(&mut self, batch: Arc<Batch>, weight: usize) {
        self.batches.push_back((batch, weight));
        self.bytes += weight;
        while self.bytes > KEPT
            && self.batches.len() > 1
            && let Some((_, weight)) = self.batches.pop_front()
        {
            self.bytes -= weight;
        }
    }
}

/// About what a document takes in memory.
fn weight(value: &Value) -> usize {
    const NODE: usize = 64;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => NODE,
        Value::String(text) => NODE + text.len(),
        Value::Array(items) => NODE + items.iter().map(weight).sum::<usize>(),
        Value::Object(fields) => {
            NODE + fields.iter().map(|(name, value)| name.len() + weight(value)).sum::<usize>()
        }
    }
}

/// A commit, rendered at most once for each kind of stream however many watch.
pub struct Batch {
    /// What was committed.
    pub commit: Arc<Commit>,
    era: u32,
    plain: OnceLock<Frames>,
    named: OnceLock<Frames>,
}

impl Batch {
    /// The frames of its events for this kind of stream.
    pub fn frames(&self, style: FrameStyle) -> &Frames {
        let (cell, session) = match style {
            FrameStyle::Plain => (&self.plain, None),
            FrameStyle::Named => (&self.named, Some(&self.commit.session.id)),
        };
        cell.get_or_init(|| Frames::render(self.era, session, &self.commit.events))
    }
}

/// Which stream a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameStyle {
    /// A stream of one session: frames carry ids.
    Plain,
    /// The stream over all sessions: frames carry the session's name, and no id.
    Named,
}

/// Rendered frames in one piece of memory.
pub struct Frames {
    bytes: Bytes,
    /// Of each frame its position in the log, and where it ends in `bytes`.
    ends: Vec<(Seq, usize)>,
}

#[derive(Serialize)]
struct FrameData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a SessionId>,
    #[serde(flatten)]
    event: &'a Event,
}

impl Frames {
    /// Renders events as frames of a stream.
    pub fn render(era: u32, session: Option<&SessionId>, events: &[Event]) -> Self {
        let mut text = String::with_capacity(events.len() * 256);
        let mut ends = Vec::with_capacity(events.len());
        for event in events {
            if session.is_none() {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "id: {}", Cursor { era, seq: event.seq });
            }
            let data = FrameData { session_id: session, event };
            let json = serde_json::to_string(&data).unwrap_or_default();
            let _ = write!(text, "event: {}\ndata: {json}\n\n", event.kind);
            ends.push((event.seq, text.len()));
        }
        Self { bytes: Bytes::from(text), ends }
    }

    /// The frames after a position, without a copy.
    pub fn after(&self, seq: Seq) -> Bytes {
        let skip = self.ends.partition_point(|(at, _)| *at <= seq);
        let start = skip.checked_sub(1).map_or(0, |last| self.ends[last].1);
        self.bytes.slice(start..)
    }
}

/// A position in a log as it is on the wire: `42`, or `1.42` after a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Which history of the store: 0 before the first restore from a backup.
    pub era: u32,
    /// Position in the log.
    pub seq: Seq,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.era {
            0 => write!(f, "{}", self.seq),
            era => write!(f, "{era}.{}", self.seq),
        }
    }
}

impl std::str::FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (era, seq) = text.split_once('.').unwrap_or(("0", text));
        let written =
            |number: &str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        if written(era) && written(seq) {
            // More digits than fit are still a position, and one beyond every end.
            let (era, seq) = (era.parse().unwrap_or(u32::MAX), seq.parse().unwrap_or(Seq::MAX));
            return Ok(Self { era, seq });
        }
        let shown: String = text.chars().take(40).collect();
        Err(format!("{shown:?} is not a position in a log: use a number such as 42"))
    }
}

/// A delta, rendered for both kinds of stream.
pub struct DeltaFrame {
    /// What it says.
    pub delta: Delta,
    plain: Bytes,
    named: Bytes,
}

impl DeltaFrame {
    fn render(session: &SessionId, delta: &Delta) -> Self {
        let mut data = serde_json::json!({
            "run": delta.run, "part": delta.part, "offset": delta.offset, "text": delta.text,
        });
        let plain = format!("event: delta\ndata: {data}\n\n").into();
        data["session_id"] = session.as_str().into();
        let named = format!("event: delta\ndata: {data}\n\n").into();
        Self { delta: delta.clone(), plain, named }
    }

    /// The frame for this kind of stream.
    pub fn frame(&self, style: FrameStyle) -> Bytes {
        match style {
            FrameStyle::Plain => self.plain.clone(),
            FrameStyle::Named => self.named.clone(),
        }
    }
}

/// A change for the feed over all sessions, with what decides who may see it.
pub struct ChangeFrame {
    /// The session it is about, where it is about one.
    pub about: Option<About>,
    /// The rendered frame.
    pub frame: Bytes,
}

/// Whose session a change is about.
pub struct About {
    /// The session.
    pub uid: SessionUid,
    /// Its owner.
    pub owner: Principal,
    /// For whom of the owner's users it is.
    pub user: Option<String>,
    /// Whether everybody may see it.
    pub shared: bool,
    /// Its parent.
    pub parent: Option<SessionUid>,
}

impl About {
    /// Of a session.
    pub fn of(session: &Session) -> Self {
        Self {
            uid: session.uid,
            owner: session.owner.clone(),
            user: session.user.clone(),
            shared: session.shared,
            parent: session.parent,
        }
    }
}

/// Where commits become news.
pub struct Hub {
    era: u32,
    topics: Mutex<HashMap<SessionUid, broadcast::Sender<Live>>>,
    kept: Mutex<Kept>,
    changes: broadcast::Sender<Arc<ChangeFrame>>,
}

impl Hub {
    /// A hub for a store of this era. A store counts its eras from 1, and the first is left
    /// out on the wire: there it is 0.
    pub fn new(era: u32) -> Self {
        let era = era.saturating_sub(1);
        let (topics, kept) = (Mutex::default(), Mutex::default());
        Self { era, topics, kept, changes: broadcast::Sender::new(CHANGES) }
    }

    /// The era of cursors.
    pub fn era(&self) -> u32 {
        self.era
    }

    /// Hears of a session from now on. Subscribe before reading its log.
    pub fn subscribe(self: &Arc<Self>, uid: SessionUid) -> Subscription {
        let mut topics = lock(&self.topics);
        let topic = topics.entry(uid).or_insert_with(|| broadcast::Sender::new(RING));
        Subscription { news: topic.subscribe(), uid, hub: Arc::clone(self) }
    }

    /// Hears of changes of all sessions from now on.
    pub fn changes(&self) -> broadcast::Receiver<Arc<ChangeFrame>> {
        self.changes.subscribe()
    }

    /// Tells the viewers of a commit. Runs on the store's writer and does not block.
    pub fn publish(&self, commit: &Arc<Commit>) {
        let topic = lock(&self.topics).get(&commit.session.uid).cloned();
        if let Some(topic) = topic {
            let batch = Arc::new(Batch {
                commit: Arc::clone(commit),
                era: self.era,
                plain: OnceLock::new(),
                named: OnceLock::new(),
            });
            let live = Live::Batch(Arc::downgrade(&batch));
            let weight = commit.events.iter().map(|event| weight(&event.data)).sum();
            lock(&self.kept).push(batch, weight);
            // Nobody listening any more is nobody's loss.
            let _ = topic.send(live);
        }
        if commit.state_changed && self.changes.receiver_count() > 0 {
            let session = &commit.session;
            let change = Change::Session {
                id: session.id.clone(),
                uid: session.uid,
                version: session.version,
                status: session.status(),
                last_seq: session.last_seq,
            };
            self.change(Some(About::of(session)), &change);
        }
    }

    /// Tells the viewers of all sessions of a change.
    pub fn change(&self, about: Option<About>, change: &Change) {
        let name = match change {
            Change::Session { .. } => "session",
            Change::Runner { .. } => "runner",
            Change::Agents => "agents",
        };
        let json = serde_json::to_string(change).unwrap_or_default();
        let frame = format!("event: {name}\ndata: {json}\n\n").into();
        let _ = self.changes.send(Arc::new(ChangeFrame { about, frame }));
    }

    /// Whether somebody watches a session.
    pub fn is_watched(&self, uid: SessionUid) -> bool {
        lock(&self.topics).contains_key(&uid)
    }

    /// Tells the viewers of a session of text that is on its way into the log.
    pub fn delta(&self, session: &SessionId, delta: &Delta) {
        let topic = lock(&self.topics).get(&delta.uid).cloned();
        if let Some(topic) = topic {
            let _ = topic.send(Live::Delta(Arc::new(DeltaFrame::render(session, delta))));
        }
    }
}

/// A viewer's place at a session's ring.
pub struct Subscription {
    news: broadcast::Receiver<Live>,
    uid: SessionUid,
    hub: Arc<Hub>,
}

impl Subscription {
    /// What comes next; `None` when nothing more will. Nothing is lost when the wait is given
    /// up.
    pub async fn next(&mut self) -> Option<News> {
        Some(match self.news.recv().await {
            Ok(Live::Delta(delta)) => News::Delta(delta),
            Ok(Live::Batch(batch)) => batch.upgrade().map_or(News::Behind, News::Batch),
            Err(RecvError::Lagged(_)) => News::Behind,
            Err(RecvError::Closed) => return None,
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut topics = lock(&self.hub.topics);
        // The last one closes the door; this one still counts.
        if topics.get(&self.uid).is_some_and(|topic| topic.receiver_count() <= 1) {
            topics.remove(&self.uid);
        }
        if topics.is_empty() {
            *lock(&self.hub.kept) = Kept::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use greenroom_core::Timestamp;

    fn event(seq: Seq) -> Event {
        Event {
            seq,
            at: Timestamp::from_unix_ms(0),
            run: None,
            kind: "message".into(),
            data: serde_json::json!({"text": "a\nb"}),
        }
    }

    #[test]
    fn frames_are_cut_between_events() {
        let frames = Frames::render(0, None, &[event(4), event(5), event(6)]);
        let text = |seq| String::from_utf8(frames.after(seq).to_vec()).expect("text");
        assert_eq!(text(0).matches("id: ").count(), 3);
        assert!(text(4).starts_with("id: 5\nevent: message\ndata: {\"seq\":5,"));
        assert_eq!(text(6), "");
        let later = Frames::render(2, None, &[event(7)]);
        assert!(later.after(0).starts_with(b"id: 2.7\n"));
        let name: SessionId = "s".parse().expect("a name");
        let named = Frames::render(0, Some(&name), &[event(7)]);
        assert!(
            named.after(0).starts_with(b"event: message\ndata: {\"session_id\":\"s\",\"seq\":7")
        );
    }

    #[test]
    fn cursors_read_and_print() {
        for text in ["0", "42", "1.42"] {
            assert_eq!(text.parse::<Cursor>().expect("a cursor").to_string(), text);
        }
        for bad in ["", "x", "1.", ".1", "-1", "+1", "1.2.3"] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }
}
