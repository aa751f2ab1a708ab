//! Agents as sessions need them: the version in service, the version that was pinned, and
//! their schemas compiled once.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use greenroom_core::AgentName;
use greenroom_core::agent::{AgentPin, Leftovers, Lifecycle};
use greenroom_core::session::AgentTraits;
use greenroom_protocol::{Problem, v1};
use greenroom_store::{AgentHealth, AgentRow, Store};
use jsonschema::Validator;
use serde_json::{Map, Value};

use crate::app::App;
use crate::error::ApiResult;
use crate::hub::lock;
use crate::schema;
use crate::service::views;
use crate::sources::Reference;
use crate::sources::keys::Identity;

/// A version of an agent with its schemas.
pub struct Pinned {
    /// The version.
    pub row: AgentRow,
    input: Option<Validator>,
    output: Option<Validator>,
}

impl Pinned {
    fn new(row: AgentRow) -> Self {
        // Both compiled when the description was read; a build that no longer can says so
        // by letting everything through rather than by stopping work.
        let compile =
            |schema: &Option<Value>| schema.as_ref().and_then(|s| schema::compile(s).ok());
        Self {
            input: compile(&row.spec.input_schema),
            output: compile(&row.spec.output_schema),
            row,
        }
    }

    /// What a session keeps of it.
    pub fn pin(&self) -> AgentPin {
        AgentPin {
            name: self.row.name.clone(),
            version: self.row.version,
            source: Identity::of(&self.row.source).shown,
            digest: self.row.digest.clone(),
        }
    }

    /// What of it decides a session's life.
    pub fn traits(&self) -> AgentTraits {
        AgentTraits {
            persistent: self.row.spec.lifecycle() == Lifecycle::Persistent,
            keeps_leftovers: self.row.spec.leftovers == Leftovers::Keep,
            graces: self.row.spec.stop,
            cancels: self.row.spec.driver.cancels(),
            steers: self.row.spec.driver.steers(),
        }
    }

    /// Refuses a document that does not fit.
    pub fn check_input(&self, input: &Value) -> ApiResult<()> {
        let Some(validator) = &self.input else { return Ok(()) };
        schema::check(validator, input).map_err(|misfit| {
            let place = format!("/input{}", misfit.path);
            Problem::invalid(format!(
                "{place} does not fit the agent's input_schema: {}",
                misfit.message
            ))
            .at(place)
            .into()
        })
    }

    /// What is wrong with an answer, where the agent has promised a form.
    pub fn output_misfit(&self, result: Option<&Value>) -> Option<String> {
        let validator = self.output.as_ref()?;
        let misfit = schema::check(validator, result.unwrap_or(&Value::Null)).err()?;
        let place = if misfit.path.is_empty() { "/".to_owned() } else { misfit.path };
        Some(format!(
            "the result does not fit the agent's output_schema at {place}: {}",
            misfit.message
        ))
    }

    /// Whether answers have to be checked.
    pub fn checks_output(&self) -> bool {
        self.output.is_some()
    }
}

/// Versions that were looked up. A version never changes, so they are kept.
#[derive(Default)]
pub struct Agents {
    pinned: Mutex<HashMap<(AgentName, u32), Arc<Pinned>>>,
    /// Those that take nothing new, as the store has them.
    disabled: Mutex<BTreeSet<AgentName>>,
}

impl Agents {
    /// The version a session was created with.
    pub async fn pinned(
        &self,
        store: &dyn Store,
        pin: &AgentPin,
    ) -> ApiResult<Option<Arc<Pinned>>> {
        self.version(store, &pin.name, pin.version).await
    }

    /// A version, in service or not.
    pub async fn version(
        &self,
        store: &dyn Store,
        name: &AgentName,
        version: u32,
    ) -> ApiResult<Option<Arc<Pinned>>> {
        if let Some(known) = lock(&self.pinned).get(&(name.clone(), version)) {
            return Ok(Some(Arc::clone(known)));
        }
        let row = store.agent_version(name, version).await?;
        Ok(row.map(|row| self.keep(row)))
    }

    /// The version in service.
    pub async fn in_service(
        &self,
        store: &dyn Store,
        name: &AgentName,
    ) -> ApiResult<Option<Arc<Pinned>>> {
        Ok(store.agent(name).await?.map(|row| self.keep(row)))
    }

    /// Takes up which agents are disabled.
    pub(crate) async fn recall(&self, store: &dyn Store) -> ApiResult<()> {
        *lock(&self.disabled) = store.disabled_agents().await?.into_iter().collect();
        Ok(())
    }

    /// Whether an agent takes nothing new.
    pub(crate) fn is_disabled(&self, name: &AgentName) -> bool {
        lock(&self.disabled).contains(name)
    }

    /// What the store has been told.
    pub(crate) fn set_disabled(&self, name: AgentName, disabled: bool) {
        let mut all = lock(&self.disabled);
        if disabled {
            all.insert(name);
        } else {
            all.remove(&name);
        }
    }

    fn keep(&self, row: AgentRow) -> Arc<Pinned> {
        let mut pinned = lock(&self.pinned);
        let key = (row.name.clone(), row.version);
        let same = pinned.get(&key).filter(|known| known.row.source == row.source);
        match same {
            Some(known) => Arc::clone(known),
            None => {
                let new = Arc::new(Pinned::new(row));
                pinned.insert(key, Arc::clone(&new));
                new
            }
        }
    }
}

/// Every description an agent has had, newest first.
pub(crate) async fn versions(app: &App, name: &str) -> ApiResult<Vec<v1::AgentVersion>> {
    let Ok(known) = name.parse::<AgentName>() else { return Err(not_found(name).into()) };
    let mut rows = app.store.agent_versions(&known).await?;
    rows.retain(|row| !row.withdrawn);
    if rows.is_empty() {
        return Err(not_found(name).into());
    }
    let current = app.store.agent(&known).await?.map(|row| row.version);
    rows.iter()
        .map(|row| {
            let mut description = serde_json::to_value(&*row.spec).map_err(|error| {
                Problem::new(500, "internal", format!("a description cannot be shown: {error}"))
            })?;
            // What is in its environment is nobody else's business.
            for value in description["env"].as_object_mut().into_iter().flat_map(Map::values_mut) {
                *value = "…".into();
            }
            Ok(v1::AgentVersion {
                version: row.version,
                source: Identity::of_shown(&row.source).shown,
                digest: row.digest.clone(),
                at: row.updated_at,
                current: Some(row.version) == current,
                failure: row.failure.clone(),
                description,
            })
        })
        .collect()
}

/// An agent that isn't there. The name may be a URL.
pub(crate) fn not_found(name: &str) -> Problem {
    let shown: String = greenroom_core::source_key::redacted(name).chars().take(200).collect();
    Problem::not_found("agent", &shown).hint("greenroom agents ls shows what there is")
}

/// All agents, variants of them, and sources that never were good.
pub(crate) async fn list(app: &App) -> ApiResult<Vec<v1::Agent>> {
    let rows = app.store.agents().await?;
    let view = |row: &AgentRow| {
        let fetched_at = app.sources.fetched_at(&row.source);
        let agent = views::agent(row, fetched_at, app.sources.offered(&row.source));
        v1::Agent { disabled: app.agents.is_disabled(&row.name), ..agent }
    };
    let mut all: Vec<v1::Agent> = rows.iter().map(view).collect();
    for (row, error) in app.sources.variants(app).await? {
        let health = if error.is_some() { "stale" } else { "ok" };
        all.push(v1::Agent { health: health.to_owned(), error, ..view(&row) });
    }
    all.extend(app.sources.broken(&all));
    // The one that has the name comes before its variants.
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// One agent.
pub(crate) async fn get(app: &App, name: &str) -> ApiResult<v1::Agent> {
    let all = list(app).await?;
    all.into_iter().find(|agent| agent.name.as_str() == name).ok_or_else(|| not_found(name).into())
}

/// Adds a file, a folder or a URL as a source, and loads it at once.
pub(crate) async fn add(app: &App, source: &str) -> ApiResult<Vec<v1::Agent>> {
    let reference = Reference::parse(source)
        .map_err(|reason| Problem::invalid(format!("/source: {reason}")).at("/source"))?;
    if reference.is_missing() {
        let detail = format!(
            "/source: there is no file or folder {:?} on the coordinator's machine",
            reference.text()
        );
        return Err(Problem::new(404, "source_not_found", detail).into());
    }
    app.sources.recall(app, &reference).await?;
    app.sources.ask(app, &reference).await?;
    let loaded = app.sources.load_reference(app, &reference).await?;
    if let (true, Some(error)) = (loaded.agents.is_empty(), loaded.errors.first()) {
        if !app.sources.has(&reference) {
            app.sources.remove(&reference);
        }
        return Err(Problem::new(409, "source_broken", error.to_string()).at("/source").into());
    }
    app.store.add_source(&reference.text()).await?;
    app.sources.add(reference, true);
    app.wakes.sources.notify_one();
    app.wakes.remotes.notify_one();
    let all = list(app).await?;
    Ok(all.into_iter().filter(|agent| loaded.agents.contains(&agent.name)).collect())
}

/// Takes an agent out of service.
pub(crate) async fn remove(app: &App, name: &str) -> ApiResult<()> {
    let parsed: AgentName = name.parse().map_err(|_| not_found(name))?;
    let row = app.store.agent(&parsed).await?.ok_or_else(|| not_found(name))?;
    refuse_sourced(app, Some(&row))?;
    if let Some(reference) = app.sources.added(&row.source) {
        app.store.remove_source(&reference.text()).await?;
        app.sources.remove(&reference);
    }
    app.store.retire_agent(&parsed).await?;
    app.agents_changed();
    Ok(())
}

/// Refuses to remove an agent whose source would bring it back.
pub(crate) fn refuse_sourced(app: &App, row: Option<&AgentRow>) -> ApiResult<()> {
    let Some(row) = row else { return Ok(()) };
    if app.sources.added(&row.source).is_some() || row.health == AgentHealth::Missing {
        return Ok(());
    }
    let (name, shown) = (row.name.as_str(), Identity::of(&row.source).shown);
    let detail = format!("agent {name:?} comes from {shown}, which is still a source");
    Err(Problem::new(409, "agent_has_source", detail)
        .hint("remove its file, or start without that reference")
        .into())
}
