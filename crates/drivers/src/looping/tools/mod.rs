//! Tools of our own. Everything they do to files stays beneath the workspace.

mod fetch;
mod files;
pub mod place;
mod search;
mod shell;
mod todo;

use std::sync::Arc;

use greenroom_core::loop_spec::LoopTool;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::place::Place;
use super::model::Tool;

/// What tools have to work with.
#[derive(Debug, Clone)]
pub struct Bench {
    /// The workspace.
    pub place: Arc<Place>,
    /// Variables that commands are not given: the keys of models.
    pub hidden: Arc<Vec<String>>,
}

/// What a tool has done.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// What the model is told.
    pub output: Result<String, String>,
    /// The plan, where it made one.
    pub plan: Option<Value>,
}

/// What a model is told of a tool.
pub fn describe(tool: LoopTool) -> Tool {
    let string = |text: &str| json!({ "type": "string", "description": text });
    let integer = |text: &str| json!({ "type": "integer", "description": text });
    let path = || string("Path beneath the workspace");
    let (description, properties, required): (&str, Value, &[&str]) = match tool {
        LoopTool::Shell => (
            "Runs a command with sh in the workspace; says its output and, unless it is 0, its exit code.",
            json!({
                "command": string("The command"),
                "timeout_s": integer("Seconds until it is ended; 120 unless given"),
            }),
            &["command"],
        ),
        LoopTool::ReadFile => (
            "Reads a text file.",
            json!({
                "path": path(),
                "offset": integer("First line, from 1"),
                "limit": integer("Number of lines"),
            }),
            &["path"],
        ),
        LoopTool::WriteFile => (
            "Writes a whole file; makes the folders on the way.",
            json!({ "path": path(), "content": string("The file's whole text") }),
            &["path", "content"],
        ),
        LoopTool::EditFile => (
            "Replaces text in a file. The old text must be there exactly, and once unless all is set.",
            json!({
                "path": path(),
                "old": string("The text to replace, letter by letter"),
                "new": string("What takes its place"),
                "all": { "type": "boolean", "description": "Replace it wherever it is" },
            }),
            &["path", "old", "new"],
        ),
        LoopTool::List => (
            "Lists a folder; folders end with /, symbolic links with @.",
            json!({ "path": path(), "depth": integer("How deep; 1 unless given") }),
            &[],
        ),
        LoopTool::Search => (
            "Looks for a regular expression in text files; says file, line number and line.",
            json!({ "pattern": string("The regular expression"), "path": path() }),
            &["pattern"],
        ),
        LoopTool::Fetch => {
            ("Gets a page by its address.", json!({ "url": string("The address") }), &["url"])
        }
        LoopTool::Todo => (
            "Replaces the list of what is to be done. Keep it up to date during longer work.",
            json!({ "items": { "type": "array", "items": {
                "type": "object",
                "properties": {
                    "text": string("What is to be done"),
                    "status": { "type": "string", "enum": ["pending", "in_progress", "completed"] },
                },
                "required": ["text"],
            }}}),
            &["items"],
        ),
    };
    Tool {
        name: tool.as_str().to_owned(),
        description: description.to_owned(),
        schema: json!({ "type": "object", "properties": properties, "required": required }),
    }
}

/// One line for people about a use of a tool.
pub fn title(tool: &str, input: &Value) -> String {
    let what = ["command", "path", "url", "pattern", "agent"]
        .iter()
        .find_map(|key| input.get(key).and_then(Value::as_str));
    let Some(what) = what else { return tool.to_owned() };
    let line = what.lines().next().unwrap_or_default();
    let shown: String = line.chars().take(120).collect();
    let cut = if shown.len() < what.trim_end().len() { " …" } else { "" };
    format!("{tool}: {shown}{cut}")
}

fn read<T: DeserializeOwned>(input: &Value) -> Result<T, String> {
    T::deserialize(input).map_err(|error| format!("the input does not fit the tool: {error}"))
}

/// Uses a tool. Dropped, what it runs is ended.
pub async fn run(bench: &Bench, tool: LoopTool, input: &Value) -> Done {
    let mut plan = None;
    let output = match tool {
        LoopTool::Shell => match read(input) {
            Ok(input) => shell::run(bench.place.path(), &bench.hidden, input).await,
            Err(error) => Err(error),
        },
        LoopTool::Fetch => match read(input) {
            Ok(input) => fetch::run(input).await,
            Err(error) => Err(error),
        },
        LoopTool::Todo => read(input).and_then(todo::run).map(|(made, told)| {
            plan = Some(made);
            told
        }),
        LoopTool::ReadFile => on_files(bench, input, files::read).await,
        LoopTool::WriteFile => on_files(bench, input, files::write).await,
        LoopTool::EditFile => on_files(bench, input, files::edit).await,
        LoopTool::List => on_files(bench, input, files::list).await,
        LoopTool::Search => on_files(bench, input, search::run).await,
    };
    Done { output, plan }
}

/// Works on files beside the loop, which has to hear a cancel meanwhile.
async fn on_files<T: DeserializeOwned + Send + 'static>(
    bench: &Bench,
    input: &Value,
    work: fn(&Place, T) -> Result<String, String>,
) -> Result<String, String> {
    let (place, input) = (Arc::clone(&bench.place), read::<T>(input)?);
    let done = tokio::task::spawn_blocking(move || work(&place, input)).await;
    done.unwrap_or_else(|error| Err(format!("the tool came to no end: {error}")))
}
