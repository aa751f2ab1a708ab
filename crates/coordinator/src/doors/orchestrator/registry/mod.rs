//! The registries of the door: blueprints, capabilities, scripts, MCP servers.

pub(super) mod blueprints;
pub(super) mod capabilities;
pub(super) mod mcp_servers;
pub(super) mod scripts;

use std::sync::Arc;

use axum::Router;
use serde::{Deserialize, Deserializer};

use super::fault::{Done, Fault};
use super::words;
use crate::app::App;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .merge(blueprints::routes())
        .merge(capabilities::routes())
        .merge(scripts::routes())
        .merge(mcp_servers::routes())
}

/// Refuses what could be anything but a name: it may become part of a path elsewhere.
pub(super) fn check_name(what: &str, name: &str) -> Done<()> {
    let mut bytes = name.bytes();
    let good = name.len() <= 60
        && bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if good {
        return Ok(());
    }
    Err(Fault::new(
        400,
        format!(
            "Invalid {what} name: 1 to 60 letters, digits, '_' and '-', beginning with a letter or digit"
        ),
    ))
}

/// Refuses what is no file beneath its own folder.
pub(super) fn check_file(name: &str) -> Done<()> {
    let good = (1..=200).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if good {
        return Ok(());
    }
    Err(Fault::new(
        400,
        "Invalid script_file: a plain file name of letters, digits, '_', '-' and '.'",
    ))
}

/// Now, as it is written.
pub(super) fn now(app: &App) -> String {
    words::time(app.clock.wall())
}

/// `null` and nothing are told apart: what is absent stays as it is.
pub(super) fn given<'de, D, T>(from: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(from).map(Some)
}
