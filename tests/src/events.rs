//! Reading a session's whole log, and what must hold of every log.

use serde_json::Value;

use crate::http::{Api, encode};

impl Api {
    /// The whole log, page by page. Fails if it is not 1, 2, 3 … N.
    #[track_caller]
    pub fn log(&self, id: &str) -> Vec<Value> {
        let mut log: Vec<Value> = Vec::new();
        loop {
            let from = log.len() + 1;
            let path = format!("/v1/sessions/{}/events?from={from}&limit=1000", encode(id));
            let page = self.get(&path).expect(200);
            let items = page["items"].as_array().cloned().unwrap_or_default();
            if items.is_empty() {
                return log;
            }
            for event in items {
                assert_eq!(event["seq"], log.len() as u64 + 1, "a gap or a double: {event}");
                log.push(event);
            }
        }
    }

    /// The events of one type.
    #[track_caller]
    pub fn events(&self, id: &str, kind: &str) -> Vec<Value> {
        self.log(id).into_iter().filter(|event| event["type"] == kind).collect()
    }

    /// All that the agent has said, joined.
    #[track_caller]
    pub fn said(&self, id: &str) -> String {
        said(&self.log(id))
    }
}

/// All that the agent has said in this log, joined.
pub fn said(log: &[Value]) -> String {
    log.iter()
        .filter(|event| event["type"] == "message")
        .filter_map(|event| event["data"]["text"].as_str())
        .collect()
}

/// The numbers of lines `tick N`, in the order they were said.
pub fn ticks(text: &str) -> Vec<u64> {
    text.lines()
        .filter_map(|line| line.strip_prefix("tick "))
        .filter_map(|rest| rest.trim().parse().ok())
        .collect()
}

/// Checks that these are 1, 2, 3 … `count`.
#[track_caller]
pub fn whole(numbers: &[u64], count: u64) {
    for (at, number) in numbers.iter().enumerate() {
        let near = &numbers[at.saturating_sub(3)..(at + 3).min(numbers.len())];
        assert_eq!(*number, at as u64 + 1, "at position {at}: {near:?}");
    }
    assert_eq!(numbers.len() as u64, count, "the last ones are missing");
}
