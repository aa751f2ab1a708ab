//! The tools `read_file`, `write_file`, `edit_file` and `list`.

use serde::Deserialize;

use super::place::{Kind, Place};

/// A file larger than this is not read into a conversation.
const MOST_FILE: u64 = 10 << 20;
/// Of a file, so much is told at once.
const MOST_TOLD: usize = 50_000;
/// Of a folder, so many entries are told.
const MOST_ENTRIES: usize = 1000;
/// So deep a folder is listed at most.
const DEEPEST: u32 = 10;

#[derive(Debug, Deserialize)]
pub(super) struct Read {
    path: String,
    /// The first line, from 1.
    offset: Option<usize>,
    /// How many lines.
    limit: Option<usize>,
}

fn text_of(place: &Place, path: &str) -> Result<String, String> {
    let bytes = place.read(path, MOST_FILE)?;
    if bytes.iter().take(8192).any(|byte| *byte == 0) {
        return Err(format!("{path:?} is not a text file"));
    }
    String::from_utf8(bytes).map_err(|_| format!("{path:?} is not UTF-8 text"))
}

pub(super) fn read(place: &Place, input: Read) -> Result<String, String> {
    let path = place.relative(&input.path)?;
    let text = text_of(place, &path)?;
    let from = input.offset.unwrap_or(1).max(1);
    let most = input.limit.unwrap_or(usize::MAX);
    let mut told = String::new();
    let mut lines = text.split_inclusive('\n').enumerate().skip(from - 1).take(most);
    for (at, line) in lines.by_ref() {
        if told.len() + line.len() > MOST_TOLD {
            if told.is_empty() {
                let cut = (0..=MOST_TOLD).rev().find(|at| line.is_char_boundary(*at));
                told.push_str(&line[..cut.unwrap_or(0)]);
            }
            let total = text.lines().count();
            told.push_str(&format!(
                "\n[cut here: line {} of {total}; go on with offset {}]",
                at + 1,
                at + 1
            ));
            return Ok(told);
        }
        told.push_str(line);
    }
    if told.is_empty() && !text.is_empty() && most > 0 {
        return Err(format!("{path:?} has {} lines, none from {from} on", text.lines().count()));
    }
    Ok(told)
}

#[derive(Debug, Deserialize)]
pub(super) struct Write {
    path: String,
    content: String,
}

pub(super) fn write(place: &Place, input: Write) -> Result<String, String> {
    let path = place.relative(&input.path)?;
    place.write(&path, input.content.as_bytes())?;
    Ok(format!("{path} has {} bytes now", input.content.len()))
}

#[derive(Debug, Deserialize)]
pub(super) struct Edit {
    path: String,
    old: String,
    new: String,
    #[serde(default)]
    all: bool,
}

pub(super) fn edit(place: &Place, input: Edit) -> Result<String, String> {
    let path = place.relative(&input.path)?;
    let text = text_of(place, &path)?;
    if input.old.is_empty() {
        return Err("\"old\" is empty: to write a whole file, use \"write_file\"".to_owned());
    }
    let found = text.matches(&input.old).count();
    match found {
        0 => Err(format!("\"old\" is not in {path}: it must be there letter by letter")),
        1 => Ok(text.replacen(&input.old, &input.new, 1)),
        _ if input.all => Ok(text.replace(&input.old, &input.new)),
        n => Err(format!("\"old\" is in {path} {n} times: give more of it, or set \"all\"")),
    }
    .and_then(|text| Ok(place.write(&path, text.as_bytes())?))
    .map(|()| format!("{path}: {found} replaced"))
}

#[derive(Debug, Deserialize)]
pub(super) struct List {
    #[serde(default)]
    path: String,
    depth: Option<u32>,
}

pub(super) fn list(place: &Place, input: List) -> Result<String, String> {
    let top = place.relative(&input.path)?;
    let depth = input.depth.unwrap_or(1).clamp(1, DEEPEST);
    let mut lines = Vec::new();
    let mut over = false;
    walk(place, &top, "", depth, &mut lines, &mut over)?;
    if lines.is_empty() {
        return Ok("(empty)".to_owned());
    }
    if over {
        lines.push(format!("[more than {MOST_ENTRIES}: list a folder of it]"));
    }
    Ok(lines.join("\n"))
}

fn walk(
    place: &Place,
    top: &str,
    under: &str,
    depth: u32,
    lines: &mut Vec<String>,
    over: &mut bool,
) -> Result<(), String> {
    let here = join(top, under);
    for entry in place.list(&here)? {
        if lines.len() >= MOST_ENTRIES {
            *over = true;
            return Ok(());
        }
        let name = join(under, &entry.name);
        let mark = match entry.kind {
            Kind::Folder => "/",
            Kind::Link => "@",
            Kind::File | Kind::Other => "",
        };
        lines.push(format!("{name}{mark}"));
        if entry.kind == Kind::Folder && depth > 1 {
            walk(place, top, &name, depth - 1, lines, over)?;
        }
    }
    Ok(())
}

/// One path beneath another.
pub(super) fn join(folder: &str, name: &str) -> String {
    match (folder.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => folder.to_owned(),
        _ => format!("{folder}/{name}"),
    }
}
