//! Where agents come from: built in, a file, a folder of files, a URL, a registry.

pub mod agent_file;
pub(crate) mod by_api;
pub(crate) mod dial;
pub(crate) mod docker_yaml;
pub(crate) mod drift;
mod fetch;
pub mod keys;
mod local;
mod loop_file;
mod oci;
mod reference;
mod remote;
pub(crate) mod resolve;
mod template;
pub(crate) mod workspace_file;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use async_trait::async_trait;
use greenroom_core::{AgentName, AgentSpec};
use greenroom_protocol::v1;
use greenroom_store::{AgentHealth, AgentRow, NewAgent, SourceCopy};

pub use agent_file::{AgentFileError, parse};
pub use reference::Reference;
pub(crate) use reference::shown;

use crate::app::App;
use crate::config::Offered;
use crate::error::ApiResult;
use crate::hub::lock;
use crate::service::views;
use fetch::Fetcher;
use keys::Identity;

/// Where descriptions come from, whatever it takes to get at them.
#[async_trait]
trait Source: Send + Sync {
    /// What is there now. `known` is what was there when it was last asked.
    async fn read(&self, known: Option<&SourceCopy>) -> Result<Reading, String>;
}

/// What a source says.
enum Reading {
    /// What it said before.
    Same,
    /// These.
    Documents(Vec<Document>),
}

/// One description.
struct Document {
    /// Its source, as `kind:key`. It may hold a password.
    source: String,
    /// What errors call it.
    name: String,
    content: Result<Content, String>,
    /// How the source names this state of itself.
    tag: Option<String>,
}

/// What a description is made of.
enum Content {
    /// An agent file.
    Text(String),
    /// Nothing is left to be checked.
    Checked(Box<AgentSpec>),
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

/// What is known of one source.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    text: Option<String>,
    /// The last good description.
    agent: Option<(AgentName, u32)>,
    /// Whether the agent's name is its own, and not another source's.
    named: bool,
    error: Option<AgentFileError>,
}

/// All references, and what was last found beneath them.
pub struct Sources {
    /// Each reference, and whether the API has added it.
    references: Mutex<BTreeMap<Reference, bool>>,
    found: Mutex<BTreeMap<String, Found>>,
    remotes: remote::Remotes,
    fetcher: Fetcher,
    /// Agents that were found on this machine.
    offered: Vec<Offered>,
    /// One at a time puts descriptions into service: a name has one owner.
    loading: tokio::sync::Mutex<()>,
}

impl Sources {
    /// Without any reference. `tokens` are files with the tokens of hosts, `offered` agents
    /// that were found on this machine.
    pub fn new(tokens: BTreeMap<String, PathBuf>, offered: Vec<Offered>) -> Self {
        Self {
            references: Mutex::default(),
            found: Mutex::default(),
            remotes: Mutex::default(),
            fetcher: Fetcher::new(tokens),
            offered,
            loading: tokio::sync::Mutex::default(),
        }
    }

    /// Adds a reference.
    pub fn add(&self, reference: Reference, by_api: bool) {
        lock(&self.references).entry(reference).or_insert(by_api);
    }

    /// Forgets a reference and what was found beneath it.
    pub fn remove(&self, reference: &Reference) {
        lock(&self.references).remove(reference);
        let source = reference.remote().unwrap_or_else(|| format!("file:{}", reference.text()));
        lock(&self.found).remove(&source);
        lock(&self.remotes).remove(&source);
    }

    /// All references.
    pub fn references(&self) -> Vec<Reference> {
        lock(&self.references).keys().cloned().collect()
    }

    /// Whether a reference is still one.
    pub(crate) fn has(&self, reference: &Reference) -> bool {
        lock(&self.references).contains_key(reference)
    }

    /// The reference of a single source that the API has added.
    pub fn added(&self, source: &str) -> Option<Reference> {
        let references = lock(&self.references);
        let is_it = |reference: &Reference| match reference {
            Reference::Path(path) => {
                !path.is_dir()
                    && source.split_once(':').map(|(_, key)| Path::new(key)) == Some(path)
            }
            Reference::Url { .. } | Reference::Oci(_) => {
                reference.remote().as_deref() == Some(source)
            }
        };
        let found = references.iter().find(|(reference, by_api)| **by_api && is_it(reference));
        found.map(|(reference, _)| reference.clone())
    }

    /// Descriptions whose agent's name is another source's: variants, which sessions find by
    /// their keys.
    pub(crate) async fn variants(&self, app: &App) -> ApiResult<Vec<(AgentRow, Option<String>)>> {
        let found: Vec<Found> =
            lock(&self.found).values().filter(|found| !found.named).cloned().collect();
        let mut rows = Vec::new();
        for found in found {
            let Some((name, version)) = &found.agent else { continue };
            if let Some(row) = app.store.agent_version(name, *version).await? {
                rows.push((row, found.error.map(|error| error.to_string())));
            }
        }
        Ok(rows)
    }

    /// Sources that never were good, as agents that cannot be used, so that a typing error is
    /// seen where one looks for the agent.
    pub fn broken(&self, known: &[v1::Agent]) -> Vec<v1::Agent> {
        let found = lock(&self.found);
        let broken = found.iter().filter_map(|(source, found)| {
            let error = found.error.as_ref()?;
            let shown = Identity::of(source).shown;
            if found.agent.is_some() || known.iter().any(|agent| agent.source == shown) {
                return None;
            }
            let name: AgentName = agent_file::stem(&error.file).parse().ok()?;
            if known.iter().any(|agent| agent.name == name) {
                return None;
            }
            Some(views::broken_agent(name, source, error.to_string()))
        });
        broken.collect()
    }

    /// Loads one reference.
    pub async fn load_reference(&self, app: &App, reference: &Reference) -> ApiResult<Loaded> {
        let _one = self.loading.lock().await;
        let mut loaded = Loaded::default();
        match (reference.path(), reference.remote()) {
            (Some(path), _) => {
                let documents = documents(local::Local(path)).await.unwrap_or_else(|error| {
                    loaded.errors.push(file_error(&reference.text(), error));
                    Vec::new()
                });
                for document in documents {
                    self.load_document(app, document, None, &mut loaded).await?;
                }
            }
            (None, Some(source)) => self.load_remote(app, &source, &mut loaded).await?,
            (None, None) => {}
        }
        Ok(loaded)
    }

    /// Loads everything anew; what has not changed costs a read of its file. Agents whose
    /// file is gone are marked, and go on serving their last version; those of a source
    /// elsewhere that is not named any more are served no longer.
    pub async fn load_all(&self, app: &App) -> ApiResult<Loaded> {
        let _one = self.loading.lock().await;
        let mut all = Loaded::default();
        let mut seen = BTreeSet::new();
        for reference in self.references() {
            if let Some(source) = reference.remote() {
                seen.insert(source.clone());
                self.load_remote(app, &source, &mut all).await?;
            }
            let Some(path) = reference.path() else { continue };
            for document in documents(local::Local(path)).await.unwrap_or_default() {
                seen.insert(document.source.clone());
                self.load_document(app, document, None, &mut all).await?;
            }
        }
        lock(&self.found).retain(|source, _| seen.contains(source));
        for row in app.store.agents().await? {
            if is_the_stores(&row.source) || seen.contains(&row.source) {
                continue;
            }
            if is_remote(&row.source) {
                app.store.retire_agent(&row.name).await?;
                all.changed = true;
            } else if row.health != AgentHealth::Missing {
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

    /// Puts the agents into service that need no file.
    pub async fn load_builtin(&self, app: &App) -> ApiResult<()> {
        for document in documents(local::Builtin).await.unwrap_or_default() {
            if let Ok(Content::Checked(spec)) = document.content {
                app.store.put_agent(new_agent(app, *spec, &document.source)).await?;
            }
        }
        Ok(())
    }

    /// What was found on this machine of an agent with this source.
    pub fn offered(&self, source: &str) -> Option<&Offered> {
        let name = source.strip_prefix("builtin:")?;
        self.offered.iter().find(|offered| offered.spec.name.as_str() == name)
    }

    /// Puts the agents into service that were found on this machine, where no file has their
    /// name; those that are not there any more are marked.
    pub async fn load_offered(&self, app: &App) -> ApiResult<()> {
        let _one = self.loading.lock().await;
        for offered in &self.offered {
            let name = &offered.spec.name;
            let source = format!("builtin:{name}");
            if self.taken(app, name, &source, &source).await?.is_none() {
                let agent = new_agent(app, offered.spec.clone(), &source);
                app.store.put_agent(agent).await?;
                app.store.agent_health(name, AgentHealth::Ok, None).await?;
            }
        }
        for row in app.store.agents().await? {
            let gone = is_offer(&row.source) && self.offered(&row.source).is_none();
            if gone && row.health != AgentHealth::Missing {
                let error = format!("{} is not in this server's PATH any more", row.name);
                app.store.agent_health(&row.name, AgentHealth::Missing, Some(error)).await?;
            }
        }
        Ok(())
    }

    /// Loads one description. `trouble` is what is wrong with its source beside it.
    async fn load_document(
        &self,
        app: &App,
        document: Document,
        trouble: Option<AgentFileError>,
        loaded: &mut Loaded,
    ) -> ApiResult<()> {
        let Document { source, name, content, .. } = document;
        let known = lock(&self.found).get(&source).cloned();
        let (text, parsed) = match content {
            Ok(Content::Text(text)) => (Some(text), None),
            Ok(Content::Checked(spec)) => (None, Some(Ok(*spec))),
            Err(error) => (None, Some(Err(file_error(&name, error)))),
        };
        if let Some(known) = &known
            && text.is_some()
            && known.text == text
        {
            if known.error == trouble {
                loaded.agents.extend(known.agent.as_ref().map(|(name, _)| name.clone()));
            }
            loaded.errors.extend(known.error.clone());
            if self.stands(app, known, &trouble, &source, &name).await? {
                return Ok(());
            }
        }
        let parsed = match (parsed, &text) {
            (Some(parsed), _) => parsed,
            (None, Some(text)) => parse(text, &name),
            (None, None) => return Ok(()),
        };
        let served = match parsed {
            Ok(spec) => self.serve(app, spec, &source, &name).await?,
            Err(error) => Err(error),
        };
        let state = match served {
            Ok((agent, named, beside)) => {
                let error = beside.or(trouble);
                if let (true, Some(error)) = (named, &error) {
                    let error = Some(error.to_string());
                    app.store.agent_health(&agent.0, AgentHealth::Stale, error).await?;
                }
                loaded.agents.insert(agent.0.clone());
                Found { text, agent: Some(agent), named, error }
            }
            Err(error) if known.as_ref().and_then(|known| known.error.as_ref()) == Some(&error) => {
                loaded.errors.push(error);
                return Ok(());
            }
            Err(error) => {
                let last = known.as_ref().and_then(|known| known.agent.clone());
                let agent = self.serving(app, &source, last).await?;
                let named = known.as_ref().is_none_or(|known| known.named);
                if let (Some((agent, _)), true) = (&agent, named) {
                    let error = Some(error.to_string());
                    app.store.agent_health(agent, AgentHealth::Stale, error).await?;
                }
                loaded.errors.push(error.clone());
                Found { text, agent, named, error: Some(error) }
            }
        };
        if known.as_ref() != Some(&state) {
            loaded.changed = true;
            match &state.error {
                Some(error) => tracing::warn!(%error, "an agent file is broken"),
                None => tracing::info!(file = %name, "an agent file was loaded"),
            }
            lock(&self.found).insert(source, state);
        }
        Ok(())
    }

    /// Whether a description that has not changed is in service as it should be. Another
    /// source may have given up the name since.
    async fn stands(
        &self,
        app: &App,
        known: &Found,
        trouble: &Option<AgentFileError>,
        source: &str,
        file: &str,
    ) -> ApiResult<bool> {
        match &known.agent {
            Some((agent, _)) if !known.named => {
                let taken = self.taken(app, agent, source, file).await?;
                Ok(taken.is_some_and(|by| known.error == by.beside(source).or(trouble.clone())))
            }
            _ => Ok(known.error == *trouble),
        }
    }

    /// Puts a description into service: under its agent's name, where that is free. One from
    /// elsewhere whose name is taken is kept as a variant, which sessions find by its key.
    async fn serve(
        &self,
        app: &App,
        spec: AgentSpec,
        source: &str,
        file: &str,
    ) -> ApiResult<Served> {
        let taken = self.taken(app, &spec.name, source, file).await?;
        let new = new_agent(app, spec, source);
        Ok(match taken {
            None => {
                let row = app.store.put_agent(new).await?;
                Ok(((row.name, row.version), true, None))
            }
            Some(taken) if is_remote(source) => {
                let row = app.store.keep_agent(new).await?;
                Ok(((row.name, row.version), false, taken.beside(source)))
            }
            Some(taken) => Err(taken.error),
        })
    }

    /// The agent whose last good version came from this source.
    async fn serving(
        &self,
        app: &App,
        source: &str,
        last: Option<(AgentName, u32)>,
    ) -> ApiResult<Option<(AgentName, u32)>> {
        if last.is_some() {
            return Ok(last);
        }
        let rows = app.store.agents().await?;
        let row = rows.into_iter().find(|row| row.source == source);
        Ok(row.map(|row| (row.name, row.version)))
    }

    /// Who has the name: it belongs to the first source that has it, for as long as it does.
    async fn taken(
        &self,
        app: &App,
        name: &AgentName,
        source: &str,
        file: &str,
    ) -> ApiResult<Option<Taken>> {
        let holder = app.store.agent(name).await?.filter(|row| row.source != source);
        let Some(holder) = holder else { return Ok(None) };
        if holder.health == AgentHealth::Missing || !self.holds(&holder) {
            return Ok(None);
        }
        let by = Identity::of(&holder.source).shown;
        let error = AgentFileError {
            key: Some("name".to_owned()),
            ..file_error(file, format!("the name {name} is taken by the agent of {by}"))
        };
        Ok(Some(Taken { by: holder.source, error }))
    }

    /// Whether the source of an agent still has it.
    fn holds(&self, holder: &AgentRow) -> bool {
        if is_offer(&holder.source) {
            return false;
        }
        if is_the_stores(&holder.source) {
            return true;
        }
        let key = holder.source.split_once(':').map_or("", |(_, key)| key);
        let listed = self.references().iter().any(|reference| match reference.path() {
            Some(path) => Path::new(key).starts_with(path) && Path::new(key).exists(),
            None => reference.remote().as_ref() == Some(&holder.source),
        });
        let still = |found: &Found| found.agent.as_ref().is_some_and(|(n, _)| *n == holder.name);
        listed && lock(&self.found).get(&holder.source).is_none_or(still)
    }
}

/// What the source of an agent begins with that came in by a door. The door keeps it.
pub(crate) const DOOR: &str = "door:";

/// Whether this is the source of an agent that was found on this machine.
fn is_offer(source: &str) -> bool {
    source.starts_with("builtin:") && source != "builtin:shell"
}

/// Whether a description came by the API.
pub(crate) fn is_by_api(source: &str) -> bool {
    source.starts_with("api:")
}

/// Whether nothing outside of the store has the description.
fn is_the_stores(source: &str) -> bool {
    source.starts_with("builtin:") || source.starts_with(DOOR) || is_by_api(source)
}

/// A name that is another source's.
struct Taken {
    by: String,
    error: AgentFileError,
}

impl Taken {
    /// What is odd about a variant: nothing, where it is one of the same URL.
    fn beside(self, source: &str) -> Option<AgentFileError> {
        let (ours, theirs) = (Identity::of(source), Identity::of(&self.by));
        Some(self.error).filter(|_| ours.stable != theirs.stable)
    }
}

/// The agent and its version, whether the name is its own, and what is odd about that.
type Served = Result<((AgentName, u32), bool, Option<AgentFileError>), AgentFileError>;

/// Whether a source, as it is kept, is one that is not on this machine.
pub(crate) fn is_remote(source: &str) -> bool {
    ["url:", "url+query:", "oci:"].iter().any(|kind| source.starts_with(kind))
}

async fn documents(source: impl Source) -> Result<Vec<Document>, String> {
    match source.read(None).await? {
        Reading::Same => Ok(Vec::new()),
        Reading::Documents(documents) => Ok(documents),
    }
}

fn file_error(file: &str, message: String) -> AgentFileError {
    AgentFileError { file: file.to_owned(), line: None, key: None, message }
}

pub(crate) fn new_agent(app: &App, spec: AgentSpec, source: &str) -> NewAgent {
    let digest = hex_digest(&serde_json::to_value(&spec).unwrap_or_default());
    NewAgent { spec, source: source.to_owned(), digest, failure: None, at: app.clock.wall() }
}

fn hex_digest(document: &serde_json::Value) -> String {
    crate::schema::digest(document).iter().map(|byte| format!("{byte:02x}")).collect()
}
