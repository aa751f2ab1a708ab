//! Sources on this machine: built in, a file, a folder of files.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use greenroom_core::AgentSpec;
use greenroom_core::agent::{CommandSpec, Driver, PromptVia};
use greenroom_store::SourceCopy;

use super::agent_file::MAX_BYTES;
use super::{Content, Document, Reading, Source};

/// A file, or a folder with files.
pub(super) struct Local<'a>(pub(super) &'a Path);

#[async_trait]
impl Source for Local<'_> {
    async fn read(&self, _: Option<&SourceCopy>) -> Result<Reading, String> {
        let files = files(self.0).map_err(|error| format!("cannot be read: {error}"))?;
        let document = |(path, source): (PathBuf, String)| Document {
            source,
            name: path.to_string_lossy().into_owned(),
            content: read_text(&path).map(Content::Text),
            tag: None,
        };
        Ok(Reading::Documents(files.into_iter().map(document).collect()))
    }
}

/// The agent files at a path now, with the source key of each.
fn files(path: &Path) -> std::io::Result<Vec<(PathBuf, String)>> {
    if !path.is_dir() {
        std::fs::metadata(path)?;
        return Ok(vec![(path.to_owned(), format!("file:{}", path.to_string_lossy()))]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let yaml = matches!(path.extension().and_then(|e| e.to_str()), Some("yaml" | "yml"));
        // Editors leave half-written files under hidden names.
        if yaml && !name.starts_with('.') && path.is_file() {
            let key = format!("dir:{}", path.to_string_lossy());
            files.push((path, key));
        }
    }
    files.sort();
    Ok(files)
}

fn read_text(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|e| format!("cannot be read: {e}"))?.len();
    if size > MAX_BYTES as u64 {
        return Err("an agent file has 1 MiB at most".to_owned());
    }
    std::fs::read_to_string(path).map_err(|e| format!("cannot be read: {e}"))
}

/// The agents that need no file.
pub(super) struct Builtin;

#[async_trait]
impl Source for Builtin {
    async fn read(&self, _: Option<&SourceCopy>) -> Result<Reading, String> {
        let Ok(name) = "shell".parse() else { unreachable!("the name is valid") };
        let driver = Driver::Command(CommandSpec {
            command: vec!["sh".to_owned(), "-c".to_owned()],
            // As an argument, so that the script's own commands do not read it as input.
            prompt_via: PromptVia::Arg,
            stdout: Default::default(),
            lifecycle: Default::default(),
        });
        let spec = AgentSpec {
            description: Some("Runs the prompt as a shell script".to_owned()),
            ..AgentSpec::new(name, driver)
        };
        Ok(Reading::Documents(vec![Document {
            source: "builtin:shell".to_owned(),
            name: "builtin:shell".to_owned(),
            content: Ok(Content::Checked(Box::new(spec))),
            tag: None,
        }]))
    }
}
