//! Agents: every description that was ever in service, and which is now.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_core::AgentName;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use crate::{AgentHealth, AgentRow, NewAgent, Result};

use super::fault::Do;
use super::load::{damaged, time};
use super::settle::json;
use super::unit::Unit;
use super::writer::Work;

const SELECT_SAME: &str = "SELECT version FROM agent_version \
    WHERE name = ? AND source = ? AND digest = ? AND withdrawn = 0 ORDER BY version DESC LIMIT 1";
const NEXT_VERSION: &str =
    "SELECT coalesce(max(version), 0) + 1 AS version FROM agent_version WHERE name = ?";
const INSERT_VERSION: &str = "INSERT INTO agent_version (name, version, source, digest, spec, failure, at) \
    VALUES (?, ?, ?, ?, ?, ?, ?)";
const WITHDRAW: &str = "UPDATE agent_version SET withdrawn = 1 WHERE name = ? AND version = ?";
const DISABLE: &str =
    "INSERT INTO agent_disabled (name, at) VALUES (?, ?) ON CONFLICT (name) DO NOTHING";
const ENABLE: &str = "DELETE FROM agent_disabled WHERE name = ?";
const DISABLED: &str = "SELECT name FROM agent_disabled ORDER BY name";
const OF_SOURCE: &str = "SELECT DISTINCT name FROM agent_version \
    WHERE withdrawn = 0 AND substr(source, 1, ?) = ? ORDER BY name";
const SERVE: &str = "INSERT INTO agent (name, version, health, error) VALUES (?, ?, 'ok', NULL) \
    ON CONFLICT (name) DO UPDATE SET version = excluded.version, health = 'ok', error = NULL";
const SET_HEALTH: &str = "UPDATE agent SET health = ?, error = ? WHERE name = ?";
const IN_SERVICE: &str = "SELECT 1 FROM agent WHERE name = ?";
const RETIRE: &str = "DELETE FROM agent WHERE name = ?";
const ADD_SOURCE: &str =
    "INSERT INTO source (reference) VALUES (?) ON CONFLICT (reference) DO NOTHING";
const REMOVE_SOURCE: &str = "DELETE FROM source WHERE reference = ?";

const SOURCES: &str = "SELECT reference FROM source ORDER BY rowid";
const ALL: &str = "SELECT v.name, v.version, v.source, v.digest, v.spec, v.at, \
    v.failure, v.withdrawn, a.health, a.error \
    FROM agent a JOIN agent_version v ON v.name = a.name AND v.version = a.version \
    ORDER BY v.name";
const ONE: &str = "SELECT v.name, v.version, v.source, v.digest, v.spec, v.at, \
    v.failure, v.withdrawn, a.health, a.error \
    FROM agent a JOIN agent_version v ON v.name = a.name AND v.version = a.version \
    WHERE a.name = ?";
/// A version that is not in service is as good as its source was.
const VERSION: &str = "SELECT v.name, v.version, v.source, v.digest, v.spec, v.at, \
    v.failure, v.withdrawn, coalesce(a.health, 'ok') AS health, a.error FROM agent_version v \
    LEFT JOIN agent a ON a.name = v.name AND a.version = v.version \
    WHERE v.name = ? AND v.version = ?";

const VERSIONS: &str = "SELECT v.name, v.version, v.source, v.digest, v.spec, v.at, \
    v.failure, v.withdrawn, coalesce(a.health, 'ok') AS health, a.error FROM agent_version v \
    LEFT JOIN agent a ON a.name = v.name AND a.version = v.version \
    WHERE v.name = ? ORDER BY v.version DESC LIMIT 1000";

/// All versions of an agent, newest first.
pub(super) async fn versions(pool: &SqlitePool, name: &AgentName) -> Result<Vec<AgentRow>> {
    let rows = sqlx::query(VERSIONS).bind(name.as_str()).fetch_all(pool).await?;
    rows.iter().map(row).collect()
}

fn word(health: AgentHealth) -> &'static str {
    match health {
        AgentHealth::Ok => "ok",
        AgentHealth::Stale => "stale",
        AgentHealth::Missing => "missing",
    }
}

fn health(word: &str) -> Result<AgentHealth> {
    match word {
        "ok" => Ok(AgentHealth::Ok),
        "stale" => Ok(AgentHealth::Stale),
        "missing" => Ok(AgentHealth::Missing),
        other => Err(damaged("an agent's health", other)),
    }
}

fn row(row: &SqliteRow) -> Result<AgentRow> {
    let name: String = row.try_get("name")?;
    let spec: &str = row.try_get("spec")?;
    Ok(AgentRow {
        spec: Arc::new(
            serde_json::from_str(spec)
                .map_err(|error| damaged(&format!("the description of agent {name}"), error))?,
        ),
        name: AgentName::try_from(name).map_err(|error| damaged("a name", error))?,
        version: row.try_get("version")?,
        source: row.try_get("source")?,
        digest: row.try_get("digest")?,
        health: health(row.try_get("health")?)?,
        error: row.try_get("error")?,
        failure: row.try_get("failure")?,
        withdrawn: row.try_get("withdrawn")?,
        updated_at: time(row, "at")?,
    })
}

/// Puts a description in service.
pub(super) struct Put(pub(super) NewAgent);

#[async_trait]
impl Work for Put {
    type Output = AgentRow;

    async fn run(self, unit: &mut Unit<'_>) -> Do<AgentRow> {
        let name = self.0.spec.name.clone();
        let version = keep(self.0, unit).await?;
        unit.writes.sql(SERVE).bind(name.as_str()).bind(version);
        let served = sqlx::query(ONE).bind(name.as_str().to_owned());
        Ok(row(&served.fetch_one(unit.conn().await?).await?)?)
    }
}

/// Keeps a description, in service or not.
pub(super) struct Keep(pub(super) NewAgent);

#[async_trait]
impl Work for Keep {
    type Output = AgentRow;

    async fn run(self, unit: &mut Unit<'_>) -> Do<AgentRow> {
        let name = self.0.spec.name.clone();
        let version = keep(self.0, unit).await?;
        let kept = sqlx::query(VERSION).bind(name.as_str().to_owned()).bind(version);
        Ok(row(&kept.fetch_one(unit.conn().await?).await?)?)
    }
}

/// The version of a description: the one it had before, or the next.
async fn keep(agent: NewAgent, unit: &mut Unit<'_>) -> Do<u32> {
    let NewAgent { spec, source, digest, failure, at } = agent;
    let name = spec.name.clone();
    let same = sqlx::query(SELECT_SAME).bind(name.as_str().to_owned());
    let same = same.bind(source.clone()).bind(digest.clone());
    if let Some(row) = same.fetch_optional(unit.conn().await?).await? {
        return Ok(row.try_get("version")?);
    }
    let next = sqlx::query(NEXT_VERSION).bind(name.as_str().to_owned());
    let version = next.fetch_one(unit.conn().await?).await?.try_get("version")?;
    let writes = unit.writes.sql(INSERT_VERSION).bind(name.as_str()).bind(version);
    writes.bind(source).bind(digest).bind(json(&spec)?).bind(failure).bind(at);
    Ok(version)
}

/// What becomes of a version, or of an agent, that is kept.
pub(super) enum Change {
    /// The version is the one in service.
    Serve(u32),
    /// The version is no choice any more.
    Withdraw(u32),
    /// The agent takes nothing new, since then.
    Disable(greenroom_core::Timestamp),
    /// It does again.
    Enable,
}

/// Changes what is kept of an agent.
pub(super) struct SetAgent(pub(super) AgentName, pub(super) Change);

#[async_trait]
impl Work for SetAgent {
    type Output = ();

    async fn run(self, unit: &mut Unit<'_>) -> Do<()> {
        let Self(name, change) = self;
        match change {
            Change::Serve(version) => unit.writes.sql(SERVE).bind(name.as_str()).bind(version),
            Change::Withdraw(version) => {
                unit.writes.sql(WITHDRAW).bind(name.as_str()).bind(version)
            }
            Change::Disable(at) => unit.writes.sql(DISABLE).bind(name.as_str()).bind(at),
            Change::Enable => unit.writes.sql(ENABLE).bind(name.as_str()),
        };
        Ok(())
    }
}

/// How the source of an agent is.
pub(super) struct SetHealth(
    pub(super) AgentName,
    pub(super) AgentHealth,
    pub(super) Option<String>,
);

#[async_trait]
impl Work for SetHealth {
    type Output = ();

    async fn run(self, unit: &mut Unit<'_>) -> Do<()> {
        let Self(name, health, error) = self;
        unit.writes.sql(SET_HEALTH).bind(word(health)).bind(error).bind(name.as_str());
        Ok(())
    }
}

/// Takes an agent out of service.
pub(super) struct Retire(pub(super) AgentName);

#[async_trait]
impl Work for Retire {
    type Output = bool;

    async fn run(self, unit: &mut Unit<'_>) -> Do<bool> {
        let name = self.0.as_str();
        let found = sqlx::query(IN_SERVICE).bind(name.to_owned());
        let found = found.fetch_optional(unit.conn().await?).await?.is_some();
        if found {
            unit.writes.sql(RETIRE).bind(name);
        }
        Ok(found)
    }
}

/// Adds or removes a reference.
pub(super) enum Source {
    Add(String),
    Remove(String),
}

#[async_trait]
impl Work for Source {
    type Output = ();

    async fn run(self, unit: &mut Unit<'_>) -> Do<()> {
        match self {
            Self::Add(reference) => unit.writes.sql(ADD_SOURCE).bind(reference),
            Self::Remove(reference) => unit.writes.sql(REMOVE_SOURCE).bind(reference),
        };
        Ok(())
    }
}

/// All agents in service.
pub(super) async fn all(pool: &SqlitePool) -> Result<Vec<AgentRow>> {
    sqlx::query(ALL).fetch_all(pool).await?.iter().map(row).collect()
}

/// An agent in service.
pub(super) async fn one(pool: &SqlitePool, name: &AgentName) -> Result<Option<AgentRow>> {
    let query = sqlx::query(ONE).bind(name.as_str());
    query.fetch_optional(pool).await?.as_ref().map(row).transpose()
}

/// A version of an agent.
pub(super) async fn version(
    pool: &SqlitePool,
    name: &AgentName,
    version: u32,
) -> Result<Option<AgentRow>> {
    let query = sqlx::query(VERSION).bind(name.as_str()).bind(version);
    query.fetch_optional(pool).await?.as_ref().map(row).transpose()
}

/// References added by the API, the oldest first.
pub(super) async fn sources(pool: &SqlitePool) -> Result<Vec<String>> {
    let rows = sqlx::query(SOURCES).fetch_all(pool).await?;
    rows.iter().map(|row| Ok(row.try_get("reference")?)).collect()
}

fn names(rows: &[SqliteRow]) -> Result<Vec<AgentName>> {
    let name = |row: &SqliteRow| {
        let name: String = row.try_get("name")?;
        AgentName::try_from(name).map_err(|error| damaged("a name", error))
    };
    rows.iter().map(name).collect()
}

/// Agents that take nothing new.
pub(super) async fn disabled(pool: &SqlitePool) -> Result<Vec<AgentName>> {
    names(&sqlx::query(DISABLED).fetch_all(pool).await?)
}

/// Agents with a version whose source begins like this.
pub(super) async fn of_source(pool: &SqlitePool, prefix: &str) -> Result<Vec<AgentName>> {
    let query = sqlx::query(OF_SOURCE).bind(prefix.chars().count() as i64).bind(prefix);
    names(&query.fetch_all(pool).await?)
}
