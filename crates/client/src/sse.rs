//! Server-sent events, from bytes in whatever chunks they come.
//!
//! Time is linear in the bytes, and memory is bounded by the longest frame; the id of a
//! frame is its own, not one inherited from before: live frames have none on purpose.

/// No frame of a log is longer: a line of text has 1 MiB, and JSON may make six bytes of
/// one.
const LONGEST_FRAME: usize = 64 << 20;

/// One frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// Its own `id`, where it has one.
    pub id: Option<String>,
    /// Its `event`; empty is `message`.
    pub event: String,
    /// Its `data` lines, joined by line ends.
    pub data: String,
}

/// A frame that is too long to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame has no end after {LONGEST_FRAME} bytes")]
pub struct Endless;

/// Takes bytes, gives frames.
#[derive(Debug, Default)]
pub struct SseParser {
    /// Bytes of a line whose end is to come.
    line: Vec<u8>,
    frame: Frame,
    has_data: bool,
    /// The last byte was a carriage return: a line feed next belongs to it.
    after_return: bool,
    begun: bool,
    ready: std::collections::VecDeque<Frame>,
}

impl SseParser {
    /// A parser at the begin of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// More bytes.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), Endless> {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_return) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = bytes.iter().position(|b| matches!(b, b'\n' | b'\r')) else {
                self.line.extend_from_slice(bytes);
                break;
            };
            self.line.extend_from_slice(&bytes[..end]);
            self.after_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_line();
        }
        match self.line.len() + self.frame.data.len() > LONGEST_FRAME {
            true => Err(Endless),
            false => Ok(()),
        }
    }

    /// The next whole frame.
    pub fn next_frame(&mut self) -> Option<Frame> {
        self.ready.pop_front()
    }

    fn end_line(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        if !std::mem::replace(&mut self.begun, true) && line.starts_with("\u{feff}".as_bytes()) {
            line.drain(..3);
        }
        if line.is_empty() {
            return self.end_frame();
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.frame.event = value.to_owned(),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.frame.data.push('\n');
                }
                self.frame.data.push_str(value);
            }
            "id" if !value.contains('\0') => self.frame.id = Some(value.to_owned()),
            // Comments, `retry` and what later versions may add.
            _ => {}
        }
    }

    fn end_frame(&mut self) {
        let frame = std::mem::take(&mut self.frame);
        if std::mem::take(&mut self.has_data) {
            self.ready.push_back(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
        let mut parser = SseParser::new();
        for chunk in chunks {
            parser.push(chunk).expect("short frames");
        }
        std::iter::from_fn(|| parser.next_frame()).collect()
    }

    #[test]
    fn reads_what_a_coordinator_sends() {
        let stream = ": hello\n\nid: 7\nevent: message\ndata: {\"seq\":7}\n\nevent: delta\ndata: x\n\n:\n\ndata: cut";
        let found = frames([stream.as_bytes()]);
        let frame = |id: Option<&str>, event: &str, data: &str| Frame {
            id: id.map(str::to_owned),
            event: event.to_owned(),
            data: data.to_owned(),
        };
        assert_eq!(found, [frame(Some("7"), "message", "{\"seq\":7}"), frame(None, "delta", "x")]);
    }

    #[test]
    fn follows_the_standard() {
        let stream = "\u{feff}data:a\r\ndata: b\rdata\n\r\nid\ndata:  c\n\nevent: none\n\n";
        let found = frames([stream.as_bytes()]);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].data, "a\nb\n");
        assert_eq!((found[1].id.as_deref(), found[1].data.as_str()), (Some(""), " c"));
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(
            lines in proptest::collection::vec("(id|event|data|:|)[: ]{0,2}[a-zé😀\u{feff}]{0,8}(\n|\r|\r\n){1,2}", 0..20),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let stream = lines.concat().into_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            at.extend([0, stream.len()]);
            at.sort_unstable();
            let chunks = at.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
            prop_assert_eq!(frames(chunks), frames([&stream[..]]));
        }
    }
}
