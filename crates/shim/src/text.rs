//! Bytes into text, and text into pieces worth a journal entry each.

use crate::clock::Moment;

/// A piece ends with the first line end behind so many bytes.
const ENOUGH: usize = 4 << 10;
/// No line is split below this length.
pub(crate) const LONGEST_LINE: usize = 1 << 20;
/// Whole lines wait no longer than this.
const PATIENCE: Moment = 1000;

/// Bytes into text, exactly as [`String::from_utf8_lossy`] would do it to the whole, in
/// whatever chunks they come.
#[derive(Debug, Default)]
pub(crate) struct Lossy {
    /// The beginning of a character whose rest is to come.
    pending: Vec<u8>,
}

impl Lossy {
    /// More bytes.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut String) {
        if self.pending.is_empty() {
            let rest = decode(bytes, out);
            self.pending.extend_from_slice(rest);
            return;
        }
        // Three bytes more are enough to end whatever was begun.
        let (head, tail) = bytes.split_at(bytes.len().min(3));
        let mut joined = std::mem::take(&mut self.pending);
        joined.extend_from_slice(head);
        let rest = decode(&joined, out).to_vec();
        if rest.is_empty() || tail.is_empty() {
            self.pending = rest;
            if !tail.is_empty() {
                self.push(tail, out);
            }
            return;
        }
        // The rest begins inside `head`: go on from there without a break.
        let from = head.len() - rest.len().min(head.len());
        let rest = decode(&bytes[from..], out);
        self.pending.extend_from_slice(rest);
    }

    /// No more bytes.
    pub(crate) fn finish(&mut self, out: &mut String) {
        if !self.pending.is_empty() {
            self.pending.clear();
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// Decodes all but the beginning of a character at the very end, which it returns.
fn decode<'a>(mut bytes: &'a [u8], out: &mut String) -> &'a [u8] {
    loop {
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                out.push_str(text);
                return &[];
            }
            Err(error) => {
                let (good, bad) = bytes.split_at(error.valid_up_to());
                // Valid by the decoder's own word.
                out.push_str(&String::from_utf8_lossy(good));
                let Some(length) = error.error_len() else { return bad };
                out.push(char::REPLACEMENT_CHARACTER);
                bytes = &bad[length..];
            }
        }
    }
}

/// A part of a text: bytes `from` to `to` of part `part`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) part: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) text: String,
}

/// Text as it comes into pieces of whole lines.
#[derive(Debug, Default)]
pub(crate) struct Coalescer {
    part: u32,
    /// Where in the part the buffer begins.
    from: u64,
    buffer: String,
    /// So much of the buffer is whole lines.
    whole: usize,
    /// Since when whole lines wait.
    waiting_since: Option<Moment>,
}

impl Coalescer {
    /// The part and the offset that the next pushed text will have.
    pub(crate) fn position(&self) -> (u32, u64) {
        (self.part, self.from + self.buffer.len() as u64)
    }

    /// More text.
    pub(crate) fn push(&mut self, text: &str, now: Moment, out: &mut Vec<Piece>) {
        let mut searched = self.buffer.len();
        self.buffer.push_str(text);
        loop {
            // The first line end behind ENOUGH, and the begin of the line it ends.
            let from = searched.max(ENOUGH.min(self.buffer.len()));
            let end = self.find_line_end(from);
            let line = self.find_whole(searched, end.unwrap_or(self.buffer.len()));
            self.whole = self.whole.max(line);
            let line_length = end.map_or(self.buffer.len(), |end| end + 1) - self.whole;
            let cut = match end {
                _ if line_length > LONGEST_LINE && self.whole > 0 => self.whole,
                _ if line_length > LONGEST_LINE => self.buffer.floor_char_boundary(LONGEST_LINE),
                Some(end) => end + 1,
                None => break,
            };
            self.cut(cut, out);
            searched = 0;
        }
        if self.whole > 0 && self.waiting_since.is_none() {
            self.waiting_since = Some(now);
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.waiting_since.map(|since| since + PATIENCE)
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Moment, out: &mut Vec<Piece>) {
        if self.deadline().is_some_and(|at| now >= at) {
            self.cut(self.whole, out);
        }
    }

    /// Something else comes, or nothing more: all that is there goes out, and what
    /// follows is another part.
    pub(crate) fn boundary(&mut self, out: &mut Vec<Piece>) {
        self.cut(self.buffer.len(), out);
        if self.from > 0 {
            self.part += 1;
            self.from = 0;
        }
    }

    fn find_line_end(&self, from: usize) -> Option<usize> {
        self.buffer.as_bytes()[from..].iter().position(|b| *b == b'\n').map(|at| from + at)
    }

    /// End of the last whole line that ends in `from..to`, or 0.
    fn find_whole(&self, from: usize, to: usize) -> usize {
        let range = &self.buffer.as_bytes()[from.min(to)..to];
        range.iter().rposition(|b| *b == b'\n').map_or(0, |at| from + at + 1)
    }

    fn cut(&mut self, at: usize, out: &mut Vec<Piece>) {
        if at == 0 {
            return;
        }
        let rest = self.buffer.split_off(at);
        let text = std::mem::replace(&mut self.buffer, rest);
        let to = self.from + text.len() as u64;
        out.push(Piece { part: self.part, from: self.from, to, text });
        self.from = to;
        self.whole = self.whole.saturating_sub(at);
        self.waiting_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunks(bytes: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        at.windows(2).map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect()
    }

    fn pieces(chunks: &[Vec<u8>]) -> Vec<Piece> {
        let (mut lossy, mut coalescer, mut out) = (Lossy::default(), Coalescer::default(), vec![]);
        let mut text = String::new();
        for chunk in chunks {
            text.clear();
            lossy.push(chunk, &mut text);
            coalescer.push(&text, 0, &mut out);
        }
        text.clear();
        lossy.finish(&mut text);
        coalescer.push(&text, 0, &mut out);
        coalescer.boundary(&mut out);
        out
    }

    /// Text with line ends of all densities, and bytes that are no text.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let run = prop_oneof![
            "[a-zé€😀]{0,40}\n{0,3}".prop_map(String::into_bytes),
            (1usize..6000, any::<bool>()).prop_map(|(n, end)| {
                let mut line = vec![b'x'; n];
                if end {
                    line.push(b'\n');
                }
                line
            }),
            proptest::collection::vec(any::<u8>(), 0..12),
        ];
        proptest::collection::vec(run, 0..30).prop_map(|runs| runs.concat())
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_chunks_do_not_matter(
            bytes in bytes(),
            cuts in proptest::collection::vec(any::<usize>(), 0..40),
        ) {
            let whole = pieces(std::slice::from_ref(&bytes));
            prop_assert_eq!(&pieces(&chunks(&bytes, &cuts)), &whole);
            let text: String = whole.iter().map(|piece| piece.text.as_str()).collect();
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
            let mut at = 0;
            for (n, piece) in whole.iter().enumerate() {
                prop_assert_eq!((piece.part, piece.from), (0, at));
                at = piece.to;
                prop_assert_eq!(piece.to - piece.from, piece.text.len() as u64);
                prop_assert!(piece.text.ends_with('\n') || n + 1 == whole.len());
            }
        }

        #[test]
        fn one_byte_at_a_time_is_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let single: Vec<_> = bytes.iter().map(|byte| vec![*byte]).collect();
            let text: String = pieces(&single).into_iter().map(|piece| piece.text).collect();
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn only_a_line_beyond_the_longest_is_split() {
        let mut bytes = b"short\n".to_vec();
        bytes.extend(vec![b'y'; LONGEST_LINE - 1]);
        bytes.push(b'\n');
        let lengths = |bytes: &[u8]| {
            let all: Vec<_> = bytes.chunks(10_007).map(<[u8]>::to_vec).collect();
            let split = pieces(&all);
            assert_eq!(split, pieces(&[bytes.to_vec()]));
            split.iter().map(|piece| piece.text.len()).collect::<Vec<_>>()
        };
        assert_eq!(lengths(&bytes), [6 + LONGEST_LINE]);
        bytes.splice(10..10, *b"zz");
        assert_eq!(lengths(&bytes), [6, LONGEST_LINE, 2]);
    }

    #[test]
    fn whole_lines_go_after_a_second_and_half_ones_wait() {
        let (mut coalescer, mut out) = (Coalescer::default(), vec![]);
        coalescer.push("one\ntw", 100, &mut out);
        assert_eq!(coalescer.deadline(), Some(1100));
        coalescer.tick(1099, &mut out);
        assert!(out.is_empty());
        coalescer.tick(1100, &mut out);
        assert_eq!(out[0].text, "one\n");
        assert_eq!(coalescer.deadline(), None);
        coalescer.push("o\n", 2000, &mut out);
        coalescer.boundary(&mut out);
        assert_eq!(out[1], Piece { part: 0, from: 4, to: 8, text: "two\n".into() });
        coalescer.push("next", 2001, &mut out);
        coalescer.boundary(&mut out);
        assert_eq!((out[2].part, out[2].from), (1, 0));
    }
}
