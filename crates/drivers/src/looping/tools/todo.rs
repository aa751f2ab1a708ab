//! The tool `todo`: the list of what is to be done. The list is what was said last; it is
//! shown to people as a plan.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// So many entries a list has at most.
const MOST: usize = 100;

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    text: String,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    #[default]
    Pending,
    InProgress,
    Completed,
}

/// The plan for people, and what the model is told.
pub(super) fn run(input: Input) -> Result<(Value, String), String> {
    if input.items.len() > MOST {
        return Err(format!("a list has {MOST} entries at most"));
    }
    let done = input.items.iter().filter(|item| item.status == Status::Completed).count();
    let told = format!("{done} of {} done", input.items.len());
    let entries: Vec<Value> = input
        .items
        .iter()
        .map(|item| json!({ "content": item.text, "status": item.status }))
        .collect();
    Ok((json!({ "entries": entries }), told))
}
