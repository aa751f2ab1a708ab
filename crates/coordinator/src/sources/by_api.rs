//! Descriptions that nobody's file has: they came by the API, and the store has them.

use greenroom_core::AgentSpec;
use greenroom_protocol::Problem;
use greenroom_store::AgentRow;
use serde_json::Value;

use super::{Sources, is_by_api};
use crate::app::App;
use crate::error::ApiResult;

/// A description to keep.
pub(crate) struct ByApi<'a> {
    pub(crate) spec: AgentSpec,
    /// All that was said with it. Who says the same again has the same version.
    pub(crate) document: &'a Value,
    /// Why nothing can be started of it.
    pub(crate) failure: Option<String>,
    /// Whether it goes into service, where something can be started of it.
    pub(crate) serve: bool,
}

impl Sources {
    /// Keeps a description as a version of its agent. The name must be free, or the API's.
    pub(crate) async fn take(&self, app: &App, new: ByApi<'_>) -> ApiResult<AgentRow> {
        let _one = self.loading.lock().await;
        let ByApi { spec, document, failure, serve } = new;
        let name = spec.name.clone();
        let source = format!("api:{name}");
        if let Some(taken) = self.taken(app, &name, &source, name.as_str()).await? {
            return Err(Problem::new(409, "agent_name_taken", taken.error.message)
                .hint("choose another name, or change the agent where it comes from")
                .into());
        }
        let mut agent = super::new_agent(app, spec, &source);
        agent.digest = super::hex_digest(document);
        agent.failure = failure;
        let row = match serve && agent.failure.is_none() {
            true => app.store.put_agent(agent).await?,
            false => app.store.keep_agent(agent).await?,
        };
        app.agents_changed();
        Ok(row)
    }
}

/// Refuses to change what comes from somewhere else.
pub(crate) fn only_by_api(row: &AgentRow) -> ApiResult<()> {
    if is_by_api(&row.source) {
        return Ok(());
    }
    let shown = super::keys::Identity::of(&row.source).shown;
    let detail = format!("agent {:?} comes from {shown}, not from the API", row.name.as_str());
    Err(Problem::new(409, "agent_has_source", detail).hint("change it there").into())
}
