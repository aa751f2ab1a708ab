//! Reading server-sent events.

use std::io::{self, BufRead, BufReader};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::PATIENCE;
use crate::http::{Api, Body};

/// One frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The cursor; live frames have none.
    pub id: Option<String>,
    /// The type.
    pub event: String,
    /// The content.
    pub data: Value,
}

impl Frame {
    /// The position in the log, of a logged event.
    pub fn seq(&self) -> Option<u64> {
        self.id.as_ref()?;
        self.data["seq"].as_u64()
    }
}

/// A stream of frames.
#[derive(Debug)]
pub struct Sse {
    lines: BufReader<Body>,
    /// How long one wait for a frame may take, comments or not.
    limit: Duration,
    /// Comments (heartbeats) so far.
    pub comments: usize,
}

impl Sse {
    /// Opens a stream; what is no stream fails the test.
    pub fn open(api: &Api, path: &str) -> Sse {
        Self::try_open(api, path, None).unwrap_or_else(|error| panic!("SSE {path}: {error}"))
    }

    /// Opens a stream after a cursor.
    pub fn after(api: &Api, path: &str, last: &str) -> Sse {
        Self::try_open(api, path, Some(last)).unwrap_or_else(|error| panic!("SSE {path}: {error}"))
    }

    /// Opens a stream, or says why there is none.
    pub fn try_open(api: &Api, path: &str, last: Option<&str>) -> io::Result<Sse> {
        let mut request = api.request("GET", path).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let open = request.try_open()?;
        let kind = open.headers.iter().find(|(name, _)| name == "content-type");
        if open.status != 200 || !kind.is_some_and(|(_, v)| v.starts_with("text/event-stream")) {
            return Err(io::Error::other(format!("status {}, {kind:?}", open.status)));
        }
        Ok(Sse { lines: BufReader::new(open.body), limit: PATIENCE, comments: 0 })
    }

    /// How long one wait for a frame may take from now on.
    pub fn within(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// The next frame; `None` at the end of the stream; an error when it broke off or
    /// nothing came in time.
    pub fn try_next(&mut self) -> io::Result<Option<Frame>> {
        let (mut id, mut event, mut data) = (None, String::new(), String::new());
        let mut line = String::new();
        let begun = Instant::now();
        loop {
            line.clear();
            let left = self.limit.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.lines.get_ref().within(left)?;
            if self.lines.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            if !line.ends_with('\n') {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let text = line.trim_end_matches(['\r', '\n']);
            if text.is_empty() {
                if data.is_empty() && event.is_empty() {
                    continue;
                }
                let data = serde_json::from_str(&data)
                    .map_err(|error| io::Error::other(format!("{error}: {data}")))?;
                return Ok(Some(Frame { id, event, data }));
            }
            if text.starts_with(':') {
                self.comments += 1;
                continue;
            }
            let (field, value) = text.split_once(':').unwrap_or((text, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => id = Some(value.to_owned()),
                "event" => event = value.to_owned(),
                "data" => {
                    if !data.is_empty() {
                        data.push('\n');
                    }
                    data.push_str(value);
                }
                _ => {}
            }
        }
    }

    /// The next frame; an end fails the test.
    #[track_caller]
    pub fn next_frame(&mut self) -> Frame {
        match self.try_next() {
            Ok(Some(frame)) => frame,
            Ok(None) => panic!("the stream ended"),
            Err(error) => panic!("the stream broke: {error}"),
        }
    }

    /// Reads on until a frame fits, and gives it.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut fits: impl FnMut(&Frame) -> bool) -> Frame {
        loop {
            match self.try_next() {
                Ok(Some(frame)) if fits(&frame) => return frame,
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended before {what}"),
                Err(error) => panic!("the stream broke before {what}: {error}"),
            }
        }
    }
}
