//! Where agents come from: built in, a file, or a folder of files.

pub mod agent_file;
mod docker_yaml;
mod loop_file;
mod template;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use greenroom_core::agent::{CommandSpec, Driver, PromptVia};
use greenroom_core::{AgentName, AgentSpec};
use greenroom_protocol::v1;
use greenroom_store::{AgentHealth, NewAgent};

pub use agent_file::{AgentFileError, parse};

use crate::app::App;
use crate::error::ApiResult;
use crate::hub::lock;

/// What an operator names: a file or a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    path: PathBuf,
}

impl Reference {
    /// Reads a reference. The path is made absolute, so that it is the same one later.
    pub fn parse(text: &str) -> Result<Self, String> {
        let path = match text.split_once(':') {
            Some(("file" | "dir", path)) => path,
            Some((scheme @ ("http" | "https" | "oci" | "git" | "docker"), _)) => {
                return Err(format!(
                    "sources of kind {scheme:?} are not supported by this build: use a file or a folder"
                ));
            }
            _ => text,
        };
        if path.is_empty() || path.contains('\0') {
            return Err("a source is the path of a file or a folder".to_owned());
        }
        let absolute =
            std::path::absolute(path).map_err(|e| format!("{path:?} is not a path: {e}"))?;
        // The real path, where there is one: a folder may be reached in many ways.
        Ok(Self { path: absolute.canonicalize().unwrap_or(absolute) })
    }

    /// As it is kept and shown.
    pub fn text(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether something is there.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// The agent files beneath it now, with the source key of each.
    fn files(&self) -> std::io::Result<Vec<(PathBuf, String)>> {
        if !self.path.is_dir() {
            std::fs::metadata(&self.path)?;
            return Ok(vec![(self.path.clone(), format!("file:{}", self.text()))]);
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
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
}

/// What loading a reference has come to.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Agents that are in service from it.
    pub agents: BTreeSet<AgentName>,
    /// What is wrong with the others.
    pub errors: Vec<AgentFileError>,
    /// Whether anything is other than before.
    pub changed: bool,
}

/// What is known of one file.
#[derive(Debug, Clone, PartialEq)]
struct FileState {
    text: Option<String>,
    agent: Option<AgentName>,
    error: Option<AgentFileError>,
}

/// All references, and what was last found beneath them.
#[derive(Default)]
pub struct Sources {
    /// Each reference, and whether the API has added it.
    references: Mutex<BTreeMap<Reference, bool>>,
    files: Mutex<BTreeMap<String, FileState>>,
}

impl Sources {
    /// Adds a reference.
    pub fn add(&self, reference: Reference, by_api: bool) {
        lock(&self.references).entry(reference).or_insert(by_api);
    }

    /// Forgets a reference and what was found beneath it.
    pub fn remove(&self, reference: &Reference) {
        lock(&self.references).remove(reference);
        lock(&self.files).remove(&format!("file:{}", reference.text()));
    }

    /// All references.
    pub fn references(&self) -> Vec<Reference> {
        lock(&self.references).keys().cloned().collect()
    }

    /// The reference of a file that the API has added.
    pub fn added_file(&self, path: &str) -> Option<Reference> {
        let references = lock(&self.references);
        let found =
            references.iter().find(|(r, by_api)| **by_api && r.text() == path && !r.path.is_dir());
        found.map(|(reference, _)| reference.clone())
    }

    /// Files that never were good, as agents that cannot be used, so that a typing error is
    /// seen where one looks for the agent.
    pub fn broken(&self, known: &[v1::Agent]) -> Vec<v1::Agent> {
        let files = lock(&self.files);
        let broken = files.iter().filter_map(|(source, file)| {
            let error = file.error.as_ref()?;
            if file.agent.is_some() || known.iter().any(|agent| agent.source == *source) {
                return None;
            }
            let stem = Path::new(&error.file).file_stem()?.to_str()?;
            let name: AgentName = stem.parse().ok()?;
            if known.iter().any(|agent| agent.name == name) {
                return None;
            }
            Some(v1::Agent {
                name,
                description: None,
                driver: "unknown".to_owned(),
                lifecycle: "unknown".to_owned(),
                source: source.clone(),
                version: 0,
                digest: String::new(),
                health: "broken".to_owned(),
                error: Some(error.to_string()),
                input_schema: None,
                updated_at: greenroom_core::Timestamp::from_unix_ms(0),
            })
        });
        broken.collect()
    }

    /// Loads one reference.
    pub async fn load_reference(&self, app: &App, reference: &Reference) -> ApiResult<Loaded> {
        let mut loaded = Loaded::default();
        let files = match reference.files() {
            Ok(files) => files,
            Err(error) => {
                loaded
                    .errors
                    .push(file_error(&reference.text(), format!("cannot be read: {error}")));
                Vec::new()
            }
        };
        for (path, source) in files {
            self.load_file(app, &path, &source, &mut loaded).await?;
        }
        Ok(loaded)
    }

    /// Loads everything anew; what has not changed costs a read of its file. Agents whose
    /// source is gone are marked, and go on serving their last version.
    pub async fn load_all(&self, app: &App) -> ApiResult<Loaded> {
        let mut all = Loaded::default();
        let mut seen = BTreeSet::new();
        for reference in self.references() {
            for (path, source) in reference.files().unwrap_or_default() {
                seen.insert(source.clone());
                self.load_file(app, &path, &source, &mut all).await?;
            }
        }
        lock(&self.files).retain(|source, _| seen.contains(source));
        for row in app.store.agents().await? {
            let builtin = row.source.starts_with("builtin:");
            if !builtin && !seen.contains(&row.source) && row.health != AgentHealth::Missing {
                let error =
                    Some(format!("{} is gone; the last version goes on serving", row.source));
                app.store.agent_health(&row.name, AgentHealth::Missing, error).await?;
                all.changed = true;
            }
        }
        if all.changed {
            app.agents_changed();
        }
        Ok(all)
    }

    async fn load_file(
        &self,
        app: &App,
        path: &Path,
        source: &str,
        loaded: &mut Loaded,
    ) -> ApiResult<()> {
        let name = path.to_string_lossy();
        let text = read_text(path).map_err(|message| file_error(&name, message));
        let known = lock(&self.files).get(source).cloned();
        if let Some(known) = &known
            && known.text.is_some()
            && known.text == text.as_ref().ok().cloned()
        {
            loaded.agents.extend(known.agent.clone().filter(|_| known.error.is_none()));
            loaded.errors.extend(known.error.clone());
            // Another source may have given up the name since.
            if known.error.is_none() {
                return Ok(());
            }
        }
        let last = known.as_ref().and_then(|known| known.agent.clone());
        let parsed = match &text {
            Ok(text) => parse(text, &name),
            Err(error) => Err(error.clone()),
        };
        let result = match parsed {
            Ok(spec) => match self.claim(app, &spec, source, &name).await? {
                Ok(()) => Ok(spec),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let state = match result {
            Ok(spec) => {
                let name = spec.name.clone();
                put(app, spec, source).await?;
                loaded.agents.insert(name.clone());
                FileState { text: text.ok(), agent: Some(name), error: None }
            }
            Err(error) if known.as_ref().and_then(|known| known.error.as_ref()) == Some(&error) => {
                loaded.errors.push(error);
                return Ok(());
            }
            Err(error) => {
                let of_row = self.serving(app, source, last).await?;
                if let Some(agent) = &of_row {
                    app.store
                        .agent_health(agent, AgentHealth::Stale, Some(error.to_string()))
                        .await?;
                }
                loaded.errors.push(error.clone());
                FileState { text: text.ok(), agent: of_row, error: Some(error) }
            }
        };
        if known.as_ref() != Some(&state) {
            loaded.changed = true;
            match &state.error {
                Some(error) => tracing::warn!(%error, "an agent file is broken"),
                None => tracing::info!(file = %name, "an agent file was loaded"),
            }
            lock(&self.files).insert(source.to_owned(), state);
        }
        Ok(())
    }

    /// The agent whose last good version came from this source.
    async fn serving(
        &self,
        app: &App,
        source: &str,
        last: Option<AgentName>,
    ) -> ApiResult<Option<AgentName>> {
        if last.is_some() {
            return Ok(last);
        }
        let rows = app.store.agents().await?;
        Ok(rows.into_iter().find(|row| row.source == source).map(|row| row.name))
    }

    /// A name belongs to the first source that has it, for as long as it does.
    async fn claim(
        &self,
        app: &App,
        spec: &AgentSpec,
        source: &str,
        file: &str,
    ) -> ApiResult<Result<(), AgentFileError>> {
        let holder = app.store.agent(&spec.name).await?.filter(|row| row.source != source);
        let Some(holder) = holder else { return Ok(Ok(())) };
        let alive = holder.source.starts_with("builtin:") || {
            let path = holder.source.split_once(':').map_or("", |(_, path)| path);
            let listed = self.references().iter().any(|r| Path::new(path).starts_with(r.path()));
            listed
                && Path::new(path).exists()
                && lock(&self.files)
                    .get(&holder.source)
                    .is_none_or(|f| f.agent.as_ref() == Some(&spec.name))
        };
        if !alive || holder.health == AgentHealth::Missing {
            return Ok(Ok(()));
        }
        Ok(Err(AgentFileError {
            key: Some("name".to_owned()),
            ..file_error(
                file,
                format!("the name {} is taken by the agent of {}", spec.name, holder.source),
            )
        }))
    }
}

fn file_error(file: &str, message: String) -> AgentFileError {
    AgentFileError { file: file.to_owned(), line: None, key: None, message }
}

fn read_text(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|e| format!("cannot be read: {e}"))?.len();
    if size > agent_file::MAX_BYTES as u64 {
        return Err("an agent file has 1 MiB at most".to_owned());
    }
    std::fs::read_to_string(path).map_err(|e| format!("cannot be read: {e}"))
}

/// Puts a description into service.
async fn put(app: &App, spec: AgentSpec, source: &str) -> ApiResult<()> {
    let name = spec.name.clone();
    let document = serde_json::to_value(&spec).unwrap_or_default();
    let digest =
        crate::schema::digest(&document).iter().map(|byte| format!("{byte:02x}")).collect();
    let new = NewAgent { spec, source: source.to_owned(), digest, at: app.clock.wall() };
    app.store.put_agent(new).await?;
    app.store.agent_health(&name, AgentHealth::Ok, None).await?;
    Ok(())
}

/// Puts the agents into service that need no file.
pub async fn load_builtin(app: &App) -> ApiResult<()> {
    let Ok(name) = "shell".parse() else { unreachable!("the name is valid") };
    let spec = AgentSpec {
        name,
        description: Some("Runs the prompt as a shell script".to_owned()),
        driver: Driver::Command(CommandSpec {
            command: vec!["sh".to_owned(), "-c".to_owned()],
            // As an argument, so that the script's own commands do not read it as input.
            prompt_via: PromptVia::Arg,
            stdout: Default::default(),
            lifecycle: Default::default(),
        }),
        env: BTreeMap::new(),
        workspace: Default::default(),
        stop: Default::default(),
        leftovers: Default::default(),
        limits: Default::default(),
        runner_labels: BTreeMap::new(),
        input_schema: None,
        output_schema: None,
        approvals: Default::default(),
    };
    put(app, spec, "builtin:shell").await
}
