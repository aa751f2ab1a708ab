//! Aliases that a user of docker-agent has: names for agents, in a configuration of their own
//! (`~/.config/cagent`). It is the user's, so the command line reads it, and a server never does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use greenroom_coordinator::sources::{Reference, agent_file};
use greenroom_core::source_key::{is_url, redacted};
use serde::Deserialize;

use crate::error::CliError;
use crate::human::clean;
use crate::ui::Ui;

/// Before a word that can be nothing but an alias.
const PREFIX: &str = "alias:";
/// The agent that is always there, whatever an alias is called.
const BUILTIN: &str = "shell";
/// Agents that docker-agent holds itself, and nobody else does.
const THEIRS: [&str; 2] = ["default", "coder"];
/// A larger file is no configuration.
const MAX_BYTES: u64 = 1 << 20;

/// What a user has named as the source of agents.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Meant {
    /// A source, as a coordinator takes it.
    pub(crate) source: String,
    /// Which aliases there are, for a word that is none of them.
    pub(crate) hint: Option<String>,
}

/// What a word stands for; one that is an alias is said to be one.
pub(crate) fn meant(ui: &Ui, word: &str) -> Result<Meant, CliError> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let (meant, alias) = look_up(word, home.as_deref())?;
    if let Some((name, alias)) = alias {
        let (name, source) = (clean(&name), clean(&redacted(&meant.source)));
        ui.say(format!("{name} is an alias of docker-agent's configuration: {source}"));
        if let Some(options) = alias.options() {
            ui.warn(&format!("what the alias {name} says of a run does not come along: {options}"));
        }
    }
    Ok(meant)
}

/// What a word stands for, with the alias that it is.
fn look_up(word: &str, home: Option<&Path>) -> Result<(Meant, Option<(String, Alias)>), CliError> {
    let explicit = word.strip_prefix(PREFIX);
    let itself = |hint| (Meant { source: word.to_owned(), hint }, None);
    let name = explicit.unwrap_or(word);
    if explicit.is_none() && !is_bare(word) {
        return Ok(itself(None));
    }
    let Some(home) = home else {
        return match explicit {
            Some(_) => Err(CliError::failed("no aliases are known without HOME")),
            None => Ok(itself(None)),
        };
    };
    let mut known = Configuration::read(home)?;
    if let Some(alias) = known.aliases.remove(name) {
        let source = source(alias.path(), home).map_err(|reason| {
            let file = known.file.display();
            CliError::failed(format!("{file}: the alias \"{}\" {reason}", clean(name)))
        })?;
        return Ok((Meant { source, hint: None }, Some((name.to_owned(), alias))));
    }
    match explicit {
        Some(_) => Err(known.has_no(name)),
        None => Ok(itself(known.hint())),
    }
}

/// Whether a word says nothing of what it is.
fn is_bare(word: &str) -> bool {
    let place = word.contains(['/', ':']) || is_yaml(word) || Path::new(word).exists();
    !place && !word.is_empty() && word != BUILTIN
}

fn is_yaml(path: &str) -> bool {
    let end = Path::new(path).extension().unwrap_or_default();
    ["yaml", "yml"].iter().any(|yaml| end.eq_ignore_ascii_case(yaml))
}

/// The source that an alias's path names, told apart as docker-agent does: a URL, a file or
/// folder, else an image. A relative path begins at the working directory there, too.
fn source(path: &str, home: &Path) -> Result<String, String> {
    if path.is_empty() {
        return Err("has no path".to_owned());
    }
    if THEIRS.contains(&path) {
        return Err(format!("stands for {path:?}, an agent that only docker-agent holds"));
    }
    if is_url(path.as_bytes()) {
        return Ok(path.to_owned());
    }
    let path = match path.strip_prefix("~/") {
        Some(rest) => &home.join(rest).display().to_string(),
        None => path,
    };
    let image = format!("oci://{path}");
    let local = path.starts_with(['/', '.']) || is_yaml(path) || Path::new(path).exists();
    if !local && Reference::parse(&image).is_ok() {
        return Ok(image);
    }
    let absolute = std::path::absolute(path).map_err(|e| format!("has no usable path: {e}"))?;
    Ok(absolute.display().to_string())
}

/// An alias, with what it says of each run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct Alias {
    path: Option<String>,
    yolo: Option<bool>,
    model: Option<String>,
    hide_tool_results: Option<bool>,
}

impl Alias {
    fn path(&self) -> &str {
        self.path.as_deref().unwrap_or_default()
    }

    /// What it says of runs, each with what says so here.
    fn options(&self) -> Option<String> {
        let mut options = Vec::new();
        if self.yolo == Some(true) {
            options.push("yolo (greenroom run --approvals-mode autonomous)".to_owned());
        }
        if let Some(model) = self.model.as_deref().filter(|model| !model.is_empty()) {
            let model = clean(model);
            options.push(match model.contains('=') {
                true => format!("model {model} (models in PATCH /v1/sessions/ID)"),
                false => format!("model {model} (greenroom run --model {model})"),
            });
        }
        if self.hide_tool_results == Some(true) {
            options.push("hide_tool_results (greenroom run --quiet)".to_owned());
        }
        (!options.is_empty()).then(|| options.join(", "))
    }
}

/// The aliases of a user.
#[derive(Debug)]
struct Configuration {
    /// Where they are, or would be.
    file: PathBuf,
    aliases: BTreeMap<String, Alias>,
}

impl Configuration {
    /// Those of `config.yaml`; where it has none, those of `aliases.yaml`, which docker-agent
    /// had before.
    fn read(home: &Path) -> Result<Self, CliError> {
        let folder = home.join(".config/cagent");
        let (file, before) = (folder.join("config.yaml"), folder.join("aliases.yaml"));
        let aliases = aliases(&file, parse)?;
        if aliases.is_empty() {
            let aliases = self::aliases(&before, parse_before)?;
            if !aliases.is_empty() {
                return Ok(Self { file: before, aliases });
            }
        }
        Ok(Self { file, aliases })
    }

    fn names(&self) -> Option<String> {
        let names: Vec<_> = self.aliases.keys().map(|name| clean(name)).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    fn hint(&self) -> Option<String> {
        Some(format!("docker-agent's configuration has aliases: {}", self.names()?))
    }

    fn has_no(&self, name: &str) -> CliError {
        let (file, name) = (self.file.display(), clean(name));
        let error = CliError::failed(format!("there is no alias \"{name}\" in {file}"));
        error.hint(match self.names() {
            Some(names) => format!("it has these: {names}"),
            None if self.file.exists() => "it has no aliases".to_owned(),
            None => "there is no such file: `docker agent alias add` would make it".to_owned(),
        })
    }
}

type Parse = fn(&str, &str) -> Result<BTreeMap<String, Alias>, agent_file::AgentFileError>;

/// The aliases of a file; none where it is not there.
fn aliases(file: &Path, parse: Parse) -> Result<BTreeMap<String, Alias>, CliError> {
    let cannot =
        |error: &std::io::Error| CliError::io("read docker-agent's aliases in", file, error);
    match std::fs::metadata(file) {
        Ok(found) if found.is_file() && found.len() <= MAX_BYTES => {}
        Ok(_) => return Err(cannot(&std::io::Error::other("it is no file of 1 MiB at most"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(cannot(&error)),
    }
    let text = std::fs::read_to_string(file).map_err(|error| cannot(&error))?;
    parse(&text, &file.display().to_string()).map_err(|error| {
        CliError::failed(clean(&error.to_string())).hint("docker-agent's aliases are read from it")
    })
}

/// Reads `config.yaml`, of which only the aliases count here.
fn parse(text: &str, file: &str) -> Result<BTreeMap<String, Alias>, agent_file::AgentFileError> {
    #[derive(Deserialize)]
    struct File {
        aliases: Option<BTreeMap<String, Option<Alias>>>,
    }
    let read: Option<File> = agent_file::yaml(text, file)?;
    let aliases = read.and_then(|file| file.aliases).unwrap_or_default();
    Ok(aliases.into_iter().map(|(name, alias)| (name, alias.unwrap_or_default())).collect())
}

/// Reads `aliases.yaml`: a path for each name.
fn parse_before(
    text: &str,
    file: &str,
) -> Result<BTreeMap<String, Alias>, agent_file::AgentFileError> {
    let read: Option<BTreeMap<String, Option<String>>> = agent_file::yaml(text, file)?;
    let alias = |path| Alias { path, ..Alias::default() };
    Ok(read.unwrap_or_default().into_iter().map(|(name, path)| (name, alias(path))).collect())
}

#[cfg(test)]
mod tests;
