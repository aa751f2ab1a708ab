//! Conversations: names that clients give to what they say one after the other. What was said
//! is the agent's to remember, in its session; here is only which session that is.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;
use greenroom_core::{Session, SessionUid};
use greenroom_protocol::Problem;
use greenroom_protocol::token::Role;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Asked, ids, json as reply, protocols, records};
use crate::app::App;
use crate::auth::Caller;
use crate::doors::records::Records;
use crate::error::ApiResult;
use crate::service::sessions as service;

const CONVERSATIONS: Records = records("conversation");

/// A conversation.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Conversation {
    agent: String,
    owner: String,
    user: Option<String>,
    created_at: i64,
    metadata: BTreeMap<String, String>,
    /// The session whose agent remembers it.
    session: Option<SessionUid>,
}

impl Conversation {
    fn is_of(&self, caller: &Caller, agent: &str) -> bool {
        let owner = caller.role == Role::Admin || self.owner == caller.principal.0;
        owner && self.agent == agent && (caller.user.is_none() || caller.user == self.user)
    }

    fn shown(&self, id: &str) -> Value {
        json!({
            "id": id, "object": "conversation", "created_at": self.created_at,
            "metadata": self.metadata,
        })
    }
}

#[derive(Debug, Default, Deserialize)]
struct Create {
    #[serde(default)]
    items: Option<Vec<Value>>,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

fn not_found(id: &str) -> Problem {
    let shown: String = id.chars().take(140).collect();
    Problem::not_found("conversation", &shown)
}

async fn find(asked: &Asked, agent: &str, id: &str) -> ApiResult<Conversation> {
    let found: Option<Conversation> = CONVERSATIONS.get(&asked.app, id).await?;
    let found = found.filter(|one| one.is_of(&asked.caller, agent));
    Ok(found.ok_or_else(|| not_found(id))?)
}

pub(super) async fn answer(asked: Asked, agent: &str, path: &str) -> ApiResult<Response> {
    let method = asked.method.as_str().to_owned();
    let rest = path.strip_prefix("/conversations").unwrap_or_default().trim_start_matches('/');
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    match (method.as_str(), parts.as_slice()) {
        ("POST", []) => create(asked, agent).await,
        (_, [id]) => {
            let id = protocols::decoded(id).ok_or_else(|| not_found("?"))?;
            one(asked, agent, &method, &id).await
        }
        _ => {
            let detail = "what was said in a conversation is the agent's to remember: ask it, or \
                read the session's log";
            Err(Problem::new(404, "items_not_kept", detail).into())
        }
    }
}

async fn create(asked: Asked, agent: &str) -> ApiResult<Response> {
    let (app, caller) = (Arc::clone(&asked.app), asked.caller.clone());
    let body: Create = asked.json().await?.unwrap_or_default();
    if body.items.is_some_and(|items| !items.is_empty()) {
        let detail = "items are not taken: say them with the first response";
        return Err(Problem::new(400, "unsupported_parameter", detail).at("items").into());
    }
    let id = ids::fresh("conv");
    let conversation = Conversation {
        agent: agent.to_owned(),
        owner: caller.principal.0.clone(),
        user: caller.user.clone(),
        created_at: app.clock.wall().unix_ms().div_euclid(1000),
        metadata: body.metadata.unwrap_or_default(),
        session: None,
    };
    CONVERSATIONS.put(&app, &id, &conversation).await?;
    Ok(reply(StatusCode::OK, &conversation.shown(&id)))
}

async fn one(asked: Asked, agent: &str, method: &str, id: &str) -> ApiResult<Response> {
    let mut found = find(&asked, agent, id).await?;
    let app = Arc::clone(&asked.app);
    match method {
        "GET" => Ok(reply(StatusCode::OK, &found.shown(id))),
        "POST" => {
            let body: Create = asked.json().await?.unwrap_or_default();
            found.metadata = body.metadata.unwrap_or_default();
            CONVERSATIONS.put(&app, id, &found).await?;
            Ok(reply(StatusCode::OK, &found.shown(id)))
        }
        "DELETE" => {
            CONVERSATIONS.remove(&app, id).await?;
            let gone = json!({ "id": id, "object": "conversation.deleted", "deleted": true });
            Ok(reply(StatusCode::OK, &gone))
        }
        _ => {
            let detail = "a conversation takes GET, POST and DELETE";
            Err(Problem::new(405, "method_not_allowed", detail).into())
        }
    }
}

/// Forgets the conversations of an agent that is removed.
pub(super) async fn forget(app: &App, agent: &str) -> ApiResult<()> {
    for (id, conversation) in CONVERSATIONS.all::<Conversation>(app).await? {
        if conversation.agent == agent {
            CONVERSATIONS.remove(app, &id).await?;
        }
    }
    Ok(())
}

/// The session of a conversation: the one that is named, which it has from then on; else the
/// one it has; else a new one.
pub(super) async fn session(
    asked: &Asked,
    agent: &str,
    id: &str,
    named: Option<Arc<Session>>,
) -> ApiResult<Arc<Session>> {
    let mut found = match (find(asked, agent, id).await, &named) {
        (Ok(found), _) => found,
        // A name of the client's own, for a session that it names too.
        (Err(error), Some(named)) if error.0.status == 404 => return Ok(Arc::clone(named)),
        (Err(error), _) => return Err(error),
    };
    let has = match (named, found.session) {
        (Some(named), _) => Some(named),
        (None, Some(uid)) => service::by_uid(&asked.app, &asked.caller, uid).await?,
        (None, None) => None,
    };
    let session = match has {
        Some(session) => session,
        None => protocols::begun(asked, agent).await?,
    };
    if found.session != Some(session.uid) {
        found.session = Some(session.uid);
        CONVERSATIONS.put(&asked.app, id, &found).await?;
    }
    Ok(session)
}
