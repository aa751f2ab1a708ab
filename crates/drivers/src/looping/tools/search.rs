//! The tool `search`: a regular expression, looked for in the workspace's text files.

use std::time::{Duration, Instant};

use regex::Regex;
use serde::Deserialize;

use super::files::join;
use super::place::{Kind, Place};

/// So many lines are told.
const MOST_FOUND: usize = 200;
/// Larger files are passed over.
const MOST_FILE: u64 = 2 << 20;
/// A line is told so far.
const MOST_LINE: usize = 300;
/// It looks so long.
const LONGEST: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    pattern: String,
    #[serde(default)]
    path: String,
}

struct Search<'a> {
    place: &'a Place,
    pattern: Regex,
    found: Vec<String>,
    until: Instant,
}

pub(super) fn run(place: &Place, input: Input) -> Result<String, String> {
    let top = place.relative(&input.path)?;
    let pattern = regex::RegexBuilder::new(&input.pattern)
        .size_limit(1 << 20)
        .build()
        .map_err(|error| format!("the pattern does not read: {error}"))?;
    let mut search = Search { place, pattern, found: Vec::new(), until: Instant::now() + LONGEST };
    if !top.is_empty() && place.file(&top).is_ok() {
        search.file(&top);
    } else {
        search.folder(&top)?;
    }
    if search.found.len() >= MOST_FOUND {
        search.found.push(format!("[{MOST_FOUND} lines: look for something rarer]"));
    } else if Instant::now() >= search.until {
        search.found.push(format!("[stopped after {} s]", LONGEST.as_secs()));
    }
    Ok(if search.found.is_empty() { "(nothing)".to_owned() } else { search.found.join("\n") })
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.found.len() >= MOST_FOUND || Instant::now() >= self.until
    }

    fn folder(&mut self, path: &str) -> Result<(), String> {
        for entry in self.place.list(path)? {
            if self.is_over() {
                break;
            }
            let name = join(path, &entry.name);
            match entry.kind {
                // What version control keeps is not what is worked on.
                Kind::Folder if entry.name == ".git" => {}
                // A folder that cannot be read hides only itself.
                Kind::Folder => drop(self.folder(&name)),
                Kind::File => self.file(&name),
                Kind::Link | Kind::Other => {}
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &str) {
        let Ok(bytes) = self.place.read(path, MOST_FILE) else { return };
        if bytes.iter().take(8192).any(|byte| *byte == 0) {
            return;
        }
        let text = String::from_utf8_lossy(&bytes);
        for (number, line) in (1..).zip(text.lines()) {
            if self.is_over() {
                return;
            }
            if self.pattern.is_match(line) {
                let shown: String = line.chars().take(MOST_LINE).collect();
                self.found.push(format!("{path}:{number}: {shown}"));
            }
        }
    }
}
