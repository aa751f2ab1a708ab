//! What a model is told before the conversation, and what commands stand for.

use std::collections::BTreeMap;

use greenroom_core::loop_spec::LoopSpec;

use super::model::Form;
use super::tools::place::{Denied, Place};

/// A file that is added to the instruction is no longer than this.
const MOST_FILE: u64 = 100_000;

/// What goes before the conversation. Warnings say what could not be put there.
pub fn system(
    spec: &LoopSpec,
    place: &Place,
    form: Option<&Form>,
    today: jiff::civil::Date,
) -> (String, Vec<String>) {
    let mut parts = Vec::new();
    let mut warnings = Vec::new();
    if !spec.instruction.trim().is_empty() {
        parts.push(spec.instruction.trim().to_owned());
    }
    for path in &spec.add_prompt_files {
        match place.read(path, MOST_FILE).map(String::from_utf8) {
            Ok(Ok(text)) => parts.push(format!("From {path}:\n{}", text.trim())),
            Ok(Err(_)) => warnings.push(format!("add_prompt_files: {path} is not UTF-8 text")),
            // Most workspaces have none of them.
            Err(Denied::Missing(_)) => {}
            Err(error) => warnings.push(format!("add_prompt_files: {error}")),
        }
    }
    if spec.add_environment_info {
        let path = place.path().display();
        parts.push(format!(
            "Your working directory is {path}. The system is {} on {}.",
            std::env::consts::OS,
            std::env::consts::ARCH
        ));
    }
    if spec.add_date {
        parts.push(format!("Today is {today}."));
    }
    if let Some(form) = form {
        parts.push(format!(
            "Your final answer is one JSON document and nothing else. It fits this JSON \
             Schema:\n{}",
            form.schema
        ));
    }
    (parts.join("\n\n"), warnings)
}

/// What `/NAME words` stands for, where there is such a command.
pub fn command(commands: &BTreeMap<String, String>, prompt: &str) -> Option<String> {
    let rest = prompt.trim().strip_prefix('/')?;
    let (name, words) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let template = commands.get(name)?;
    let words = words.trim();
    let each: Vec<&str> = words.split_whitespace().collect();
    let (mut text, mut left, mut used) = (String::new(), template.as_str(), false);
    // In one pass: what is filled in is not looked into again.
    while let Some(at) = left.find('$') {
        text.push_str(&left[..at]);
        let after = &left[at + 1..];
        if let Some(rest) = after.strip_prefix("{args}") {
            (used, left) = (true, rest);
            text.push_str(words);
        } else if let Some(digit) = after.bytes().next().filter(|b| (b'1'..=b'9').contains(b)) {
            (used, left) = (true, &after[1..]);
            text.push_str(each.get(usize::from(digit - b'1')).copied().unwrap_or_default());
        } else {
            text.push('$');
            left = after;
        }
    }
    text.push_str(left);
    if !used && !words.is_empty() {
        text = format!("{text}\n\n{words}");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_filled_in() {
        let commands = BTreeMap::from([
            ("fix".to_owned(), "Fix $1 in ${args}; it costs $ 5".to_owned()),
            ("plain".to_owned(), "Do it.".to_owned()),
        ]);
        let command = |prompt: &str| super::command(&commands, prompt);
        assert_eq!(command("/fix a $2").as_deref(), Some("Fix a in a $2; it costs $ 5"));
        assert_eq!(command("/fix").as_deref(), Some("Fix  in ; it costs $ 5"));
        assert_eq!(command("/plain now").as_deref(), Some("Do it.\n\nnow"));
        assert_eq!(command("/plain").as_deref(), Some("Do it."));
        assert_eq!(command("/none"), None);
        assert_eq!(command("fix a"), None);
    }
}
