//! Taking a shell command apart, to see which programs it would run. Not a shell: what it
//! does not understand it calls opaque, and never harmless.

/// The simple commands of a line.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Each as it is written, then as it is meant.
    pub(super) parts: Vec<Vec<String>>,
    /// Something in it cannot be known without running it.
    pub(super) opaque: bool,
}

/// Words that come before a command and are none.
const PREFIXES: [&str; 12] =
    ["if", "then", "else", "elif", "while", "until", "do", "!", "{", "}", "fi", "done"];
/// Programs that run what comes after them.
const CARRIERS: [&str; 12] = [
    "sudo", "doas", "env", "nohup", "time", "nice", "exec", "command", "builtin", "setsid",
    "xargs", "timeout",
];
/// Programs whose input or argument is a script.
const SHELLS: [&str; 9] = ["sh", "bash", "dash", "zsh", "ksh", "eval", "source", ".", "fish"];

/// Takes a line apart.
pub(super) fn split(line: &str) -> Parts {
    let mut parts = Parts::default();
    split_into(line, &mut parts, 0);
    parts
}

fn split_into(line: &str, parts: &mut Parts, depth: u32) {
    if depth > 4 {
        parts.opaque = true;
        return;
    }
    let mut scan = Scan::default();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                // A line that goes on, or a character that means itself.
                match chars.next() {
                    Some('\n') => {}
                    Some(next) => scan.letter(next, &['\\', next]),
                    None => parts.opaque = true,
                }
            }
            '\'' => {
                scan.open_word('\'');
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(inner) => scan.letter(inner, &[inner]),
                        None => {
                            parts.opaque = true;
                            break;
                        }
                    }
                }
                scan.raw.push('\'');
            }
            '"' => {
                scan.open_word('"');
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(inner) => scan.letter(inner, &['\\', inner]),
                            None => parts.opaque = true,
                        },
                        Some(inner) => {
                            parts.opaque |= matches!(inner, '$' | '`');
                            scan.letter(inner, &[inner]);
                        }
                        None => {
                            parts.opaque = true;
                            break;
                        }
                    }
                }
                scan.raw.push('"');
            }
            ';' | '&' | '|' | '\n' | '(' | ')' => {
                finish(&mut scan, parts, depth);
            }
            '#' if !scan.in_word => {
                // A comment, to the end of the line.
                while chars.next_if(|c| *c != '\n').is_some() {}
            }
            '$' | '`' | '<' | '>' => {
                parts.opaque = true;
                scan.letter(c, &[c]);
            }
            c if c.is_whitespace() => scan.end_word(c),
            c => scan.letter(c, &[c]),
        }
    }
    finish(&mut scan, parts, depth);
}

/// A simple command while it is read.
#[derive(Debug, Default)]
struct Scan {
    raw: String,
    words: Vec<String>,
    word: String,
    in_word: bool,
}

impl Scan {
    fn letter(&mut self, meant: char, written: &[char]) {
        self.in_word = true;
        self.word.push(meant);
        self.raw.extend(written);
    }

    fn open_word(&mut self, quote: char) {
        self.in_word = true;
        self.raw.push(quote);
    }

    fn end_word(&mut self, space: char) {
        if self.in_word {
            self.words.push(std::mem::take(&mut self.word));
            self.in_word = false;
        }
        self.raw.push(space);
    }
}

fn finish(scan: &mut Scan, parts: &mut Parts, depth: u32) {
    let mut done = std::mem::take(scan);
    done.end_word(' ');
    let written = done.raw.trim().to_owned();
    if done.words.is_empty() {
        return;
    }
    let mut forms = vec![written, done.words.join(" ")];
    let mut words = done.words.as_slice();
    // What stands before the program: keywords, assignments, programs that run others.
    while let [first, rest @ ..] = words {
        let name = first.rsplit('/').next().unwrap_or(first);
        let skip = PREFIXES.contains(&first.as_str())
            || CARRIERS.contains(&name)
            || is_assignment(first)
            || (forms.len() > 2 && first.starts_with('-'));
        forms.push(meant(words));
        if SHELLS.contains(&name) {
            script(rest, parts, depth);
        }
        if !skip {
            break;
        }
        words = rest;
    }
    forms.dedup();
    parts.parts.push(forms);
}

/// A command as its program's own name and its arguments.
fn meant(words: &[String]) -> String {
    let [first, rest @ ..] = words else { return String::new() };
    let name = first.rsplit('/').next().unwrap_or(first);
    let mut text = name.to_owned();
    for word in rest {
        text.push(' ');
        text.push_str(word);
    }
    text
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// A shell within: its script is taken apart where it is written there, and else not known.
fn script(words: &[String], parts: &mut Parts, depth: u32) {
    let at = words
        .iter()
        .position(|word| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c'));
    match at.and_then(|at| words.get(at + 1)) {
        Some(script) => split_into(script, parts, depth + 1),
        None => parts.opaque = true,
    }
}
