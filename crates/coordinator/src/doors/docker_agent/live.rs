//! Text as it comes, and the same text as the log has it: which of it was said already.
//!
//! A run's text is in parts, and each piece says where in which part it is, live and in the
//! log alike. Live pieces are lost when a viewer is slow, so they only count where they go on
//! exactly where the last one ended; the log says the rest.

use std::collections::{BTreeMap, VecDeque};

use greenroom_core::RunId;
use greenroom_protocol::link::Delta;
use serde_json::Value;

/// Live pieces of later parts that are kept until the log has come there.
const MOST_AHEAD: usize = 256;

/// What was said of the run in progress.
#[derive(Debug, Default)]
pub(super) struct Live {
    run: Option<RunId>,
    /// The part that is being said.
    part: u64,
    /// Whether the log has something of it, too.
    in_log: bool,
    /// How much of each part was said.
    said: BTreeMap<u64, u64>,
    ahead: VecDeque<(u64, u64, String)>,
}

impl Live {
    fn of(&mut self, run: Option<RunId>) {
        if self.run != run {
            *self = Self { run, ..Self::default() };
        }
    }

    fn said(&self, part: u64) -> u64 {
        self.said.get(&part).copied().unwrap_or(0)
    }

    /// A live piece: what of it is to be said now.
    pub(super) fn delta(&mut self, delta: &Delta) -> Option<String> {
        self.of(Some(delta.run));
        let part = u64::from(delta.part);
        if part <= self.part && delta.offset == self.said(part) {
            self.said.insert(part, delta.offset + delta.text.len() as u64);
            return Some(delta.text.clone());
        }
        let later = part > self.part || delta.offset > self.said(part);
        if later && self.ahead.len() < MOST_AHEAD {
            self.ahead.push_back((part, delta.offset, delta.text.clone()));
        }
        None
    }

    /// A piece as the log has it: what of it was not said yet.
    pub(super) fn message(&mut self, run: Option<RunId>, data: &Value) -> String {
        let text = data.get("text").and_then(Value::as_str).unwrap_or_default();
        let number = |key: &str| data.get(key).and_then(Value::as_u64);
        let (Some(part), Some(from), Some(to)) = (number("part"), number("from"), number("to"))
        else {
            return text.to_owned();
        };
        self.of(run);
        self.in_log |= part >= self.part;
        self.part = self.part.max(part);
        let said = self.said(part);
        if to <= said {
            return self.go_on();
        }
        let skip = usize::try_from(said.saturating_sub(from)).unwrap_or(usize::MAX);
        self.said.insert(part, to);
        let mut rest = text.get(skip.min(text.len())..).unwrap_or(text).to_owned();
        rest.push_str(&self.go_on());
        rest
    }

    /// Something else than text is in the log: the part has ended, if it had begun there. Live
    /// pieces of the next one may be there already.
    pub(super) fn boundary(&mut self, run: Option<RunId>) -> String {
        if self.run != run || !std::mem::take(&mut self.in_log) {
            return String::new();
        }
        self.part += 1;
        self.go_on()
    }

    /// Pieces that were ahead and go on exactly where the text is now.
    fn go_on(&mut self) -> String {
        let mut text = String::new();
        for (part, offset, piece) in std::mem::take(&mut self.ahead) {
            let said = self.said(part);
            if part > self.part || offset > said {
                self.ahead.push_back((part, offset, piece));
            } else if offset == said {
                self.said.insert(part, offset + piece.len() as u64);
                text.push_str(&piece);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;

    const RUN: RunId = RunId(Uuid::from_u128(1));

    fn delta(part: u32, offset: u64, text: &str) -> Delta {
        let uid = greenroom_core::SessionUid(Uuid::from_u128(2));
        Delta { uid, run: RUN, part, offset, text: text.to_owned() }
    }

    fn logged(part: u64, from: u64, text: &str) -> Value {
        json!({ "role": "agent", "text": text, "part": part, "from": from,
            "to": from + text.len() as u64 })
    }

    #[test]
    fn text_that_came_live_is_not_said_again() {
        let mut live = Live::default();
        assert_eq!(live.delta(&delta(0, 0, "Hel")).as_deref(), Some("Hel"));
        assert_eq!(live.delta(&delta(0, 3, "lo ")).as_deref(), Some("lo "));
        // One was lost: what follows waits for the log.
        assert_eq!(live.delta(&delta(0, 9, "!")), None);
        assert_eq!(live.message(Some(RUN), &logged(0, 0, "Hello you")), "you!");
        assert_eq!(live.message(Some(RUN), &logged(0, 9, "! And")), " And");
        // The next part begins before the log has come there.
        assert_eq!(live.delta(&delta(1, 0, "Ne")), None);
        assert_eq!(live.boundary(Some(RUN)), "Ne");
        assert_eq!(live.delta(&delta(1, 2, "xt")).as_deref(), Some("xt"));
        assert_eq!(live.message(Some(RUN), &logged(1, 0, "Next")), "");
        assert_eq!(live.message(Some(RUN), &json!({ "text": "plain" })), "plain");
    }

    #[test]
    fn what_the_log_has_before_a_text_does_not_end_it() {
        let mut live = Live::default();
        assert_eq!(live.delta(&delta(0, 0, "One.")).as_deref(), Some("One."));
        assert_eq!(live.delta(&delta(1, 0, "Two.")), None);
        assert_eq!(live.boundary(Some(RUN)), "", "the text comes after it");
        assert_eq!(live.message(Some(RUN), &logged(0, 0, "One.")), "");
        assert_eq!(live.boundary(Some(RUN)), "Two.");
    }

    proptest! {
        /// However many live pieces are lost, what is said is the text, once and in order.
        #[test]
        fn nothing_is_lost_and_nothing_doubled(
            parts in proptest::collection::vec(
                proptest::collection::vec("[a-zé]{1,5}", 1..6), 1..4),
            heard in proptest::collection::vec(any::<bool>(), 24),
            ahead in any::<bool>(),
        ) {
            let mut live = Live::default();
            let (mut said, mut whole) = (String::new(), String::new());
            let mut heard = heard.into_iter().cycle();
            let mut late: Vec<(String, Value)> = Vec::new();
            for (part, pieces) in parts.iter().enumerate() {
                let mut offset = 0;
                for piece in pieces {
                    if heard.next() == Some(true) {
                        said.push_str(&live.delta(&delta(part as u32, offset, piece)).unwrap_or_default());
                    }
                    offset += piece.len() as u64;
                    whole.push_str(piece);
                }
                late.push((String::new(), logged(part as u64, 0, &pieces.concat())));
                if !ahead {
                    for (_, data) in late.drain(..) {
                        said.push_str(&live.message(Some(RUN), &data));
                        said.push_str(&live.boundary(Some(RUN)));
                    }
                }
            }
            for (_, data) in late {
                said.push_str(&live.message(Some(RUN), &data));
                said.push_str(&live.boundary(Some(RUN)));
            }
            prop_assert_eq!(said, whole);
        }
    }
}
