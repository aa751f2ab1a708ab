//! What each live session is doing now, in a line. It is read off the log as it grows, and
//! kept in memory alone: after a restart it is read off the end of the log.

use std::collections::HashMap;
use std::sync::Mutex;

use greenroom_core::{Event, SessionUid};
use greenroom_store::Commit;
use serde_json::{Map, Value};

use crate::app::closes;
use crate::hub::lock;

/// Characters of a line.
const LONGEST: usize = 160;
/// Keys of a tool's input that say best what it is about. The dashboard has the same in
/// `features/sessions/line.ts`, for what it hears.
const TELLING: [&str; 6] = ["command", "pattern", "query", "file_path", "path", "url"];

/// The lines of all sessions that have one.
#[derive(Default)]
pub struct Activities(Mutex<HashMap<SessionUid, String>>);

/// What an event says about it.
#[derive(Debug, PartialEq)]
enum Said {
    /// Nothing.
    Nothing,
    /// It is doing this.
    Doing(String),
    /// It is doing nothing any more.
    Over,
}

impl Activities {
    /// Takes in what was committed.
    pub fn note(&self, commit: &Commit) {
        let uid = commit.session.uid;
        match commit.session.compute {
            Some(_) => self.read(uid, &commit.events),
            // What comes late does nothing any more.
            None => drop(lock(&self.0).remove(&uid)),
        }
    }

    /// Takes in entries of a session's log, in order.
    pub fn read(&self, uid: SessionUid, events: &[Event]) {
        // The last word counts.
        let last = events.iter().rev().map(said).find(|said| *said != Said::Nothing);
        match last {
            None | Some(Said::Nothing) => {}
            Some(Said::Doing(line)) => {
                lock(&self.0).insert(uid, line);
            }
            Some(Said::Over) => {
                lock(&self.0).remove(&uid);
            }
        }
    }

    /// What a session is doing.
    pub fn of(&self, uid: SessionUid) -> Option<String> {
        lock(&self.0).get(&uid).cloned()
    }
}

fn said(event: &Event) -> Said {
    let text = |key: &str| event.data.get(key).and_then(Value::as_str);
    let line = match event.kind.as_str() {
        "message" if text("role") != Some("user") => text("text").and_then(last_line),
        "thought" => text("text").and_then(last_line),
        "tool_call" => used(&event.data),
        "plan" => under_way(&event.data),
        "approval.requested" => {
            text("title").and_then(last_line).map(|title| format!("asks: {title}"))
        }
        "http_request" => text("method").zip(text("path")).map(|(m, path)| format!("{m} {path}")),
        "run.started" => Some("has begun".to_owned()),
        "run.completed" | "run.failed" | "run.stopped" | "session.interrupted" => {
            return Said::Over;
        }
        kind if closes(kind) => return Said::Over,
        _ => None,
    };
    line.map_or(Said::Nothing, |line| Said::Doing(short(&line)))
}

/// The last line that says something.
fn last_line(text: &str) -> Option<String> {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// A tool, and what it is about: a command as a shell has it.
fn used(data: &Value) -> Option<String> {
    let text = |key: &str| data.get(key).and_then(Value::as_str);
    if let Some(title) = text("title") {
        return Some(title.to_owned());
    }
    let tool = text("tool").or(text("name")).or(text("kind"))?;
    let about = data.get("input").and_then(Value::as_object).and_then(telling);
    Some(match about {
        Some(("command", command)) => format!("$ {command}"),
        Some((_, about)) => format!("{tool}: {about}"),
        None => tool.to_owned(),
    })
}

fn telling(input: &Map<String, Value>) -> Option<(&'static str, &str)> {
    TELLING.into_iter().find_map(|key| {
        let line = input.get(key)?.as_str()?.lines().next()?;
        Some((key, line))
    })
}

/// The step of a plan that is under way.
fn under_way(data: &Value) -> Option<String> {
    let entries = data.get("entries").and_then(Value::as_array)?;
    let entry = entries.iter().find(|entry| entry["status"] == "in_progress")?;
    let text = entry.get("content").or_else(|| entry.get("title"))?;
    text.as_str().map(str::to_owned)
}

/// In one line, without what a terminal or a page would act on.
fn short(line: &str) -> String {
    let mut shown: String =
        line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST + 1).collect();
    if let Some((end, _)) = shown.char_indices().nth(LONGEST) {
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use greenroom_core::Timestamp;
    use serde_json::json;

    fn event(kind: &str, data: Value) -> Event {
        Event { seq: 1, at: Timestamp::from_unix_ms(0), run: None, kind: kind.into(), data }
    }

    #[test]
    fn what_an_event_says() {
        let doing = |line: &str| Said::Doing(line.to_owned());
        for (kind, data, expected) in [
            ("message", json!({ "role": "agent", "text": "One.\nTwo.\n\n" }), doing("Two.")),
            ("message", json!({ "role": "user", "text": "Do it." }), Said::Nothing),
            ("message", json!({ "text": " \n" }), Said::Nothing),
            (
                "tool_call",
                json!({ "name": "shell", "input": { "command": "ls\nid" } }),
                doing("$ ls"),
            ),
            ("tool_call", json!({ "title": "List", "input": { "command": "ls" } }), doing("List")),
            ("tool_call", json!({ "tool": "Read", "input": { "path": "a" } }), doing("Read: a")),
            ("tool_call", json!({ "kind": "read", "input": 7 }), doing("read")),
            ("tool_call", json!(7), Said::Nothing),
            (
                "plan",
                json!({ "entries": [{ "content": "a" }, { "content": "b", "status": "in_progress" }] }),
                doing("b"),
            ),
            ("approval.requested", json!({ "title": "rm -r" }), doing("asks: rm -r")),
            ("usage", json!({ "input_tokens": 1 }), Said::Nothing),
            ("run.completed", json!({}), Said::Over),
            ("session.stopped", json!({}), Said::Over),
        ] {
            assert_eq!(said(&event(kind, data.clone())), expected, "{kind} {data}");
        }
    }

    #[test]
    fn a_line_is_short_and_plain() {
        let Said::Doing(line) = said(&event("thought", json!({ "text": "é\u{1b}[1m".repeat(90) })))
        else {
            panic!("a line")
        };
        assert_eq!(line.chars().count(), LONGEST + 1);
        assert!(line.ends_with('…') && !line.contains('\u{1b}'));
    }

    #[test]
    fn the_last_word_counts() {
        let (activities, uid) = (Activities::default(), SessionUid(uuid::Uuid::now_v7()));
        let says = |text: &str| event("message", json!({ "text": text }));
        activities.read(uid, &[says("a"), says("b"), event("usage", json!({}))]);
        assert_eq!(activities.of(uid).as_deref(), Some("b"));
        activities.read(uid, &[says("c"), event("run.completed", json!({}))]);
        assert_eq!(activities.of(uid), None);
    }
}
