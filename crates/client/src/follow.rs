//! The log of a session as it grows: replayed from where one wants, then live, across
//! broken connections and restarts of the coordinator.

use std::collections::VecDeque;
use std::time::Duration;

use greenroom_core::{Event, RunId, Seq};
use reqwest::{Method, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::http::Answer;
use crate::route::Route;
use crate::{Client, ClientError, Frame, SseParser};

/// Heartbeats come every 15 seconds: a connection without three of them is dead.
const SILENCE: Duration = Duration::from_secs(50);
/// The first pause before a connection is made anew. Each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A live frame: text as it comes, which the log does not have yet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Delta {
    /// The run.
    pub run: RunId,
    /// Which of the run's texts.
    pub part: u32,
    /// Byte offset of `text` in that part.
    pub offset: u64,
    /// The text.
    pub text: String,
}

/// What comes from a session that is followed.
#[derive(Debug)]
pub enum Live {
    /// An entry of the log: each once, in order.
    Event(Box<Answer<Event>>),
    /// Text ahead of the log.
    Delta(Delta),
    /// The coordinator was restored from a backup: what follows is its log anew.
    Resync,
}

/// A session that is followed.
#[derive(Debug)]
pub struct Follow {
    client: Client,
    session: String,
    /// Where the first connection begins.
    from: Seq,
    /// The id of the last frame, exactly as it was sent.
    last_id: Option<String>,
    last_seq: Seq,
    /// How long the coordinator may be away.
    patience: Duration,
    open: Option<Open>,
    ready: VecDeque<Frame>,
    ever_open: bool,
    pause: Duration,
    away_since: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    response: Response,
    parser: SseParser,
}

impl Client {
    /// Follows a session's log from `from` on, for as long as the session exists. The
    /// coordinator may be away for `patience` in between.
    pub fn follow(&self, session: &str, from: Seq, patience: Duration) -> Follow {
        Follow {
            client: self.clone(),
            session: session.to_owned(),
            from,
            last_id: None,
            last_seq: from.saturating_sub(1),
            patience,
            open: None,
            ready: VecDeque::new(),
            ever_open: false,
            pause: FIRST_PAUSE,
            away_since: None,
        }
    }
}

impl Follow {
    /// What comes next; `None` once the session is deleted. May be dropped and called
    /// again at any time without a loss.
    pub async fn next(&mut self) -> Result<Option<Live>, ClientError> {
        loop {
            while let Some(frame) = self.ready.pop_front() {
                if let Some(live) = self.understand(frame)? {
                    return Ok(Some(live));
                }
            }
            match self.read().await {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) => self.endure(error).await?,
            }
        }
    }

    /// Reads what there is. `false` where the session is no more.
    async fn read(&mut self) -> Result<bool, ClientError> {
        if self.open.is_none() {
            match self.connect().await {
                Ok(open) => self.open = Some(open),
                // It was there before: it has been deleted since.
                Err(error) if self.ever_open && error.is_status(404) => return Ok(false),
                Err(error) => return Err(error),
            }
            self.ever_open = true;
        }
        let Some(open) = &mut self.open else { return Ok(true) };
        let chunk = match tokio::time::timeout(SILENCE, open.response.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Err(self.cut("it was ended")),
            Ok(Err(error)) => {
                let why = crate::error::innermost(&error);
                return Err(self.cut(&why));
            }
            Err(_) => return Err(self.cut("nothing was heard for too long")),
        };
        if open.parser.push(&chunk).is_err() {
            return Err(self.cut("a frame has no end"));
        }
        self.ready.extend(std::iter::from_fn(|| open.parser.next_frame()));
        self.pause = FIRST_PAUSE;
        self.away_since = None;
        Ok(true)
    }

    async fn connect(&self) -> Result<Open, ClientError> {
        let mut route = Route::to("v1/sessions").name("session", &self.session)?.then("events");
        if self.last_id.is_none() {
            route = route.ask("from", self.from);
        }
        let mut request = self.client.request(Method::GET, &route, "text/event-stream");
        if let Some(id) = &self.last_id {
            request = request.header("Last-Event-ID", id);
        }
        let sent = tokio::time::timeout(SILENCE, self.client.accepted(request)).await;
        let silent = || ClientError::Silent { url: self.client.url().to_owned(), after: SILENCE };
        let response = sent.unwrap_or_else(|_| Err(silent()))?;
        Ok(Open { response, parser: SseParser::new() })
    }

    fn cut(&self, why: &str) -> ClientError {
        ClientError::Broken { url: self.client.url().to_owned(), why: why.to_owned() }
    }

    /// Waits before the next try, or gives up.
    async fn endure(&mut self, error: ClientError) -> Result<(), ClientError> {
        self.open = None;
        let retry = match &error {
            ClientError::Problem(problem) => problem.status >= 500 || problem.status == 429,
            other => other.is_no_coordinator(),
        };
        if !retry || !self.ever_open {
            return Err(error);
        }
        let since = *self.away_since.get_or_insert_with(Instant::now);
        if since.elapsed() + self.pause > self.patience {
            return Err(error);
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn understand(&mut self, frame: Frame) -> Result<Option<Live>, ClientError> {
        match frame.event.as_str() {
            // A frame that a newer coordinator writes otherwise is text that comes later.
            "delta" => return Ok(serde_json::from_str(&frame.data).ok().map(Live::Delta)),
            "resync" => {
                self.last_seq = 0;
                self.last_id = frame.id;
                return Ok(Some(Live::Resync));
            }
            _ => {}
        }
        let Some(id) = frame.id else { return Ok(None) };
        let read =
            serde_json::from_str::<Box<RawValue>>(&frame.data).and_then(Answer::<Event>::read);
        let event = read.map_err(|error| ClientError::Unexpected {
            url: self.client.url().to_owned(),
            status: 200,
            what: error.to_string(),
        })?;
        if event.seq <= self.last_seq {
            return Ok(None);
        }
        self.last_id = Some(id);
        self.last_seq = event.seq;
        Ok(Some(Live::Event(Box::new(event))))
    }
}
