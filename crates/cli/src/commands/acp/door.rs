//! What an editor asks for, method by method.

use std::collections::{BTreeMap, HashMap};

use greenroom_client::{Answer, Client, SessionFilter};
use greenroom_drivers::acp::wire::{Connection, Incoming, Reply, RpcError, VERSION};
use greenroom_protocol::v1::{Agent, CreateSession, PatchSession, Session};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::asking::Manners;
use super::following::{self, Editor, Start, Wish};
use super::{choices, words};

/// The label that keeps which folder an editor had open, so that it finds the session by it.
const CWD: &str = "acp.cwd";
/// A label's value is no longer.
const LONGEST_LABEL: usize = 500;
/// Sessions on a page of the list.
const PAGE: u32 = 50;

/// An editor's connection.
pub(super) struct Door {
    editor: Editor,
    /// The agent of new sessions, where it is fixed.
    agent: Option<String>,
    labels: BTreeMap<String, String>,
    open: HashMap<String, mpsc::UnboundedSender<Wish>>,
}

/// A session of these parameters.
fn named(params: &Value) -> Result<String, RpcError> {
    let id = params["sessionId"].as_str().filter(|id| !id.is_empty());
    id.map(str::to_owned).ok_or_else(|| words::invalid("sessionId is missing"))
}

/// What we are, and what we can.
fn hello() -> Value {
    json!({
        "protocolVersion": VERSION,
        "agentInfo": {
            "name": "greenroom", "title": "Greenroom", "version": env!("CARGO_PKG_VERSION"),
        },
        "agentCapabilities": {
            "loadSession": true,
            "promptCapabilities": { "image": false, "audio": false, "embeddedContext": true },
            "mcpCapabilities": { "http": false, "sse": false },
            // No `close`: an editor that closes a thread does not mean to stop its session.
            "sessionCapabilities": { "list": {}, "resume": {} },
        },
        "authMethods": [],
    })
}

/// How a session is listed. One that no editor has begun has no folder.
fn listed(session: &Session) -> Value {
    let cwd = session.labels.get(CWD).map_or("/", String::as_str);
    json!({
        "sessionId": session.id, "cwd": cwd, "title": session.title,
        "updatedAt": session.last_active_at,
        "_meta": { "greenroom": { "agent": session.agent.name, "status": session.status } },
    })
}

impl Door {
    pub(super) fn new(
        client: Client,
        connection: Connection,
        agent: Option<String>,
        labels: BTreeMap<String, String>,
    ) -> Self {
        let editor = Editor { client, connection, manners: Manners::default() };
        Self { editor, agent, labels, open: HashMap::new() }
    }

    /// Serves the editor until it goes.
    pub(super) async fn serve(mut self, mut incoming: mpsc::UnboundedReceiver<Incoming>) {
        let connection = self.editor.connection.clone();
        loop {
            let said = tokio::select! {
                biased;
                said = incoming.recv() => said,
                () = connection.closed() => None,
            };
            match said {
                Some(Incoming::Request { method, params, reply }) => {
                    self.request(&method, &params, reply).await;
                }
                Some(Incoming::Notification { method, params }) => {
                    if method == "session/cancel"
                        && let Some(wishes) =
                            params["sessionId"].as_str().and_then(|id| self.open.get(id))
                    {
                        let _ = wishes.send(Wish::Cancel);
                    }
                }
                None => return,
            }
        }
    }

    async fn request(&mut self, method: &str, params: &Value, reply: Reply) {
        let done = match method {
            "initialize" => {
                self.editor.manners = Manners::of(&params["clientCapabilities"]);
                Ok(hello())
            }
            "authenticate" => Ok(json!({})),
            "session/new" => self.begin(params).await,
            "session/load" => return self.load(params, reply).await,
            "session/resume" => self.resume(params).await,
            "session/list" => self.list(params).await,
            "session/set_mode" => self.set_mode(params).await,
            "session/set_config_option" => self.set_option(params).await,
            "session/prompt" => return self.prompt(params, reply).await,
            other => Err(RpcError {
                code: words::METHOD_NOT_FOUND,
                message: format!("greenroom does not know {other:?}"),
            }),
        };
        reply.with(done);
    }

    async fn agents(&self) -> Result<Vec<Agent>, RpcError> {
        let agents = self.editor.client.agents().await.map_err(words::refused)?;
        Ok(agents.items.into_iter().map(Answer::into_inner).collect())
    }

    async fn session(&self, id: &str) -> Result<Session, RpcError> {
        let session = self.editor.client.session(id).await.map_err(words::refused)?;
        Ok(session.into_inner())
    }

    /// What can be chosen in a session, and where its files are.
    async fn about(&self, session: &Session) -> Result<Value, RpcError> {
        let options = match &self.agent {
            Some(_) => json!([]),
            None => choices::options(session.agent.name.as_str(), &self.agents().await?),
        };
        Ok(json!({
            "modes": choices::modes(session), "configOptions": options,
            "_meta": { "greenroom": {
                "session": session.id, "agent": session.agent.name, "status": session.status,
                "url": self.editor.client.url(),
                "files": "in the session's workspace at its runner, not in cwd: greenroom sessions files",
            } },
        }))
    }

    fn follow(&mut self, session: &Session, start: Start) -> oneshot::Receiver<()> {
        let followed = following::follow(self.editor.clone(), session, start);
        self.open.insert(session.id.to_string(), followed.wishes);
        followed.told
    }

    async fn begin(&mut self, params: &Value) -> Result<Value, RpcError> {
        let agent = match &self.agent {
            Some(agent) => agent.clone(),
            None => {
                let agents = self.agents().await?;
                let none = "no agent is served: add one with `greenroom agents add`";
                choices::first(&agents).ok_or_else(|| words::failed(none))?.name.to_string()
            }
        };
        let mut labels = self.labels.clone();
        if let Some(cwd) = params["cwd"].as_str().filter(|cwd| cwd.len() <= LONGEST_LABEL) {
            labels.insert(CWD.to_owned(), cwd.to_owned());
        }
        let body = CreateSession { agent, labels: Some(labels), ..CreateSession::default() };
        let session = self.editor.client.create_session(&body).await.map_err(words::refused)?;
        let mut answer = self.about(&session).await?;
        answer["sessionId"] = json!(session.id);
        if params["mcpServers"].as_array().is_some_and(|servers| !servers.is_empty()) {
            answer["_meta"]["greenroom"]["mcpServers"] =
                "not used: the agent runs elsewhere, with the servers its own description names"
                    .into();
        }
        // From the first entry on: it was just made, and nothing of it is told twice.
        self.follow(&session, Start::Now);
        Ok(answer)
    }

    /// Everything of before is told, then the answer, then what goes on.
    async fn load(&mut self, params: &Value, reply: Reply) {
        let loaded = async {
            let session = self.session(&named(params)?).await?;
            let answer = self.about(&session).await?;
            Ok((self.follow(&session, Start::Whole), answer))
        };
        match loaded.await {
            Ok((told, answer)) => {
                tokio::spawn(async move {
                    let told = told.await.map_err(|_| following::nobody());
                    reply.with(told.map(|()| answer));
                });
            }
            Err(error) => reply.with(Err(error)),
        }
    }

    async fn resume(&mut self, params: &Value) -> Result<Value, RpcError> {
        let session = self.session(&named(params)?).await?;
        let answer = self.about(&session).await?;
        self.follow(&session, Start::Now);
        Ok(answer)
    }

    async fn list(&self, params: &Value) -> Result<Value, RpcError> {
        let labels = params["cwd"].as_str().map(|cwd| format!("{CWD}={cwd}"));
        let filter = SessionFilter {
            labels: labels.into_iter().collect(),
            sort: Some("active".to_owned()),
            ..SessionFilter::default()
        };
        let page = self.editor.client.sessions(&filter, PAGE, params["cursor"].as_str()).await;
        let page = page.map_err(words::refused)?;
        let sessions: Vec<Value> = page.items.iter().map(|session| listed(session)).collect();
        Ok(json!({ "sessions": sessions, "nextCursor": page.next_cursor }))
    }

    async fn set_mode(&self, params: &Value) -> Result<Value, RpcError> {
        let id = named(params)?;
        let word = params["modeId"].as_str().unwrap_or_default();
        let mode = choices::mode(word)
            .ok_or_else(|| words::invalid(format!("there is no mode {word:?}")))?;
        // A change takes the place of all that was laid over the agent's policy.
        let mut approvals = self.session(&id).await?.approvals;
        approvals.mode = mode;
        let body = PatchSession { approvals: Some(approvals), ..PatchSession::default() };
        self.editor.client.patch_session(&id, &body).await.map_err(words::refused)?;
        Ok(json!({}))
    }

    async fn set_option(&self, params: &Value) -> Result<Value, RpcError> {
        let id = named(params)?;
        if params["configId"] != choices::AGENT || self.agent.is_some() {
            return Err(words::invalid(format!("there is no option {}", params["configId"])));
        }
        let agent = params["value"].as_str().ok_or_else(|| words::invalid("value is missing"))?;
        let body = PatchSession { agent: Some(agent.to_owned()), ..PatchSession::default() };
        self.editor.client.patch_session(&id, &body).await.map_err(words::refused)?;
        Ok(json!({ "configOptions": choices::options(agent, &self.agents().await?) }))
    }

    async fn prompt(&mut self, params: &Value, reply: Reply) {
        let ready = async {
            let id = named(params)?;
            let text = words::prompt(&params["prompt"])?;
            let followed = self.open.get(&id).filter(|wishes| !following::is_over(wishes));
            if followed.is_none() {
                let session = self.session(&id).await?;
                self.follow(&session, Start::Now);
            }
            let wishes = self.open.get(&id).cloned().ok_or_else(following::nobody)?;
            Ok((wishes, text))
        };
        match ready.await {
            Ok((wishes, text)) => {
                if let Err(mpsc::error::SendError(Wish::Prompt { reply, .. })) =
                    wishes.send(Wish::Prompt { text, reply })
                {
                    reply.with(Err(following::nobody()));
                }
            }
            Err(error) => reply.with(Err(error)),
        }
    }
}
