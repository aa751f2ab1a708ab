//! Compaction: older turns are summed up, so that the rest fits the model.

use super::history::tokens;
use super::model::Message;

/// What the model that sums up is told.
pub const INSTRUCTION: &str = "You sum up a conversation between a user and an agent that works \
with tools, so that the agent can go on from your summary alone. Keep: what the user asked for, the \
last request word for word; decisions and their reasons; files, commands and names that matter; \
what was done, what came of it, and what is still open. Leave out greetings and dead ends. Write \
plain text.";

/// Of each result of a tool, so much is shown.
const MOST_OUTPUT: usize = 2000;

/// How many of the last messages stay as they are: the turn in progress where it is small
/// against the threshold, else the end of it. `None` where nothing would be won.
pub fn keep(messages: &[Message], at: u64) -> Option<usize> {
    // A cut is before a prompt or an answer, never between a call and its result.
    let cut = |i: &usize| !matches!(messages[*i], Message::Results(_));
    let turn = (0..messages.len()).rev().find(|i| matches!(messages[*i], Message::User(_)))?;
    let fits = |i: &usize, share: u64| tokens(&messages[*i..]) < at / share;
    let from = if turn > 0 && fits(&turn, 2) {
        turn
    } else {
        (1..messages.len()).filter(cut).find(|i| fits(i, 4)).unwrap_or(messages.len())
    };
    // A summary of a single message is no gain.
    (from >= 2).then_some(messages.len() - from)
}

/// The conversation as a text, without its middle where it is longer than `most` bytes.
pub fn transcript(messages: &[Message], most: usize) -> String {
    let mut text = String::new();
    for message in messages {
        match message {
            Message::User(said) => text.push_str(&format!("User: {said}\n\n")),
            Message::Agent { text: said, calls, .. } => {
                if !said.trim().is_empty() {
                    text.push_str(&format!("Agent: {said}\n\n"));
                }
                for call in calls {
                    text.push_str(&format!("Agent uses {}: {}\n\n", call.tool, call.input));
                }
            }
            Message::Results(results) => {
                for result in results {
                    let shown: String = result.output.chars().take(MOST_OUTPUT).collect();
                    let word = if result.is_error { "Error" } else { "Result" };
                    text.push_str(&format!("{word} of {}: {shown}\n\n", result.tool));
                }
            }
        }
    }
    if text.len() <= most {
        return text;
    }
    // The beginning says what it is all about, the end where it stands.
    let head = (0..=most / 4).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let tail = text.len() - (most - most / 4);
    let tail = (tail..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(head);
    format!("{}\n[left out]\n{}", &text[..head], &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::looping::model::{Call, CallResult};
    use serde_json::json;

    fn user(bytes: usize) -> Message {
        Message::User("u".repeat(bytes))
    }

    fn used(bytes: usize) -> [Message; 2] {
        let (id, tool) = ("a".to_owned(), "t".to_owned());
        let call = Call { id: id.clone(), tool: tool.clone(), input: json!({}) };
        let result = CallResult { id, tool, output: "o".repeat(bytes), is_error: false };
        [
            Message::Agent { text: String::new(), calls: vec![call], state: None },
            Message::Results(vec![result]),
        ]
    }

    #[test]
    fn the_turn_in_progress_stays_where_it_is_small() {
        let done = Message::Agent { text: "d".repeat(8000), calls: vec![], state: None };
        let messages = [vec![user(10), done, user(40)], used(400).to_vec()].concat();
        assert_eq!(keep(&messages, 2000), Some(3));
    }

    #[test]
    fn a_long_turn_is_cut_between_its_calls() {
        let mut messages = vec![user(10)];
        for _ in 0..10 {
            messages.extend(used(800));
        }
        // 200 tokens each, a quarter of the threshold is 500.
        assert_eq!(keep(&messages, 2000), Some(4));
        assert!(matches!(messages[messages.len() - 4], Message::Agent { .. }));
    }

    #[test]
    fn one_long_prompt_cannot_be_made_shorter() {
        assert_eq!(keep(&[user(100_000)], 2000), None);
        assert_eq!(keep(&[], 2000), None);
    }

    #[test]
    fn a_transcript_that_is_too_long_loses_its_middle() {
        let text = transcript(&[Message::User("é".repeat(500)), user(5)], 100);
        assert!(text.starts_with("User: éé") && text.ends_with("User: uuuuu\n\n"), "{text:?}");
        assert!(text.contains("[left out]") && text.len() < 120, "{text:?}");
        assert!(!transcript(&[user(5)], 100).contains("left out"));
    }
}
