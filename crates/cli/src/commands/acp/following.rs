//! One session as it goes, for an editor: what it says, the editor's prompts and how they
//! end, and the questions that are open.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use greenroom_client::{Client, Follow, Live};
use greenroom_core::{Event, RunId, Seq};
use greenroom_drivers::acp::wire::{Connection, Reply, RpcError};
use greenroom_protocol::v1::{CreateRun, PatchSession, Session};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::asking::{Asking, Manners, Question};
use super::updates::{Teller, chunk};
use super::words;
use crate::commands::attach::{Course, End};

/// How long the coordinator may be away while an editor watches.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the editor wants of a session.
pub(super) enum Wish {
    /// A prompt; the reply is its end.
    Prompt { text: String, reply: Reply },
    /// Its turn is to end.
    Cancel,
}

/// From where an editor follows a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// From its beginning: everything is told again.
    Whole,
    /// From now on.
    Now,
}

/// A session that is followed. It is followed no more when this is dropped.
pub(super) struct Followed {
    pub(super) wishes: mpsc::UnboundedSender<Wish>,
    /// Answered when everything of before was told.
    pub(super) told: oneshot::Receiver<()>,
}

/// Whom it is followed for.
#[derive(Clone)]
pub(super) struct Editor {
    pub(super) client: Client,
    pub(super) connection: Connection,
    pub(super) manners: Manners,
}

/// A prompt of the editor whose end is awaited.
struct Turn {
    course: Course,
    /// The code of its error, where it failed.
    code: String,
    reply: Reply,
}

struct Following {
    editor: Editor,
    session: String,
    teller: Teller,
    turns: HashMap<RunId, Turn>,
    /// Questions without an answer, and who asks them here.
    questions: BTreeMap<String, (Question, Option<AbortHandle>)>,
    /// Up to this entry, what happens is told and nothing more.
    history: Seq,
    told: Option<oneshot::Sender<()>>,
    has_title: bool,
}

/// Follows a session.
pub(super) fn follow(editor: Editor, session: &Session, start: Start) -> Followed {
    let (wishes, wished) = mpsc::unbounded_channel();
    let (tell, told) = oneshot::channel();
    let from = match start {
        Start::Whole => 1,
        Start::Now => session.last_seq + 1,
    };
    let log = editor.client.follow(session.id.as_str(), from, PATIENCE);
    let following = Following {
        editor,
        session: session.id.to_string(),
        teller: Teller::default(),
        turns: HashMap::new(),
        questions: BTreeMap::new(),
        history: session.last_seq,
        told: Some(tell),
        has_title: session.title.is_some(),
    };
    tokio::spawn(following.go(log, wished, start));
    Followed { wishes, told }
}

impl Following {
    async fn go(
        mut self,
        mut log: Follow,
        mut wishes: mpsc::UnboundedReceiver<Wish>,
        start: Start,
    ) {
        if start == Start::Now {
            self.catch_up().await;
        }
        let why = loop {
            tokio::select! {
                // A prompt before what comes of it.
                biased;
                wish = wishes.recv() => match wish {
                    Some(Wish::Prompt { text, reply }) => self.prompt(text, reply).await,
                    Some(Wish::Cancel) => self.cancel().await,
                    None => break words::failed("the session was opened anew"),
                },
                live = log.next() => match live {
                    Ok(Some(live)) => self.see(&live),
                    Ok(None) => break words::failed(format!("session {:?} was deleted", self.session)),
                    Err(error) => break words::refused(error),
                },
            }
        };
        for (_, turn) in self.turns.drain() {
            turn.reply.with(Err(why.clone()));
        }
        for (_, asks) in std::mem::take(&mut self.questions).into_values() {
            asks.iter().for_each(AbortHandle::abort);
        }
    }

    fn tell(&self, update: Value) {
        let params = json!({ "sessionId": self.session, "update": update });
        // An editor that is gone needs no telling.
        let _ = self.editor.connection.tell("session/update", params);
    }

    /// Nothing of before is told, but what is open is asked.
    async fn catch_up(&mut self) {
        // Without it the log still says what is asked from now on.
        if let Ok(asked) = self.editor.client.session_approvals(&self.session).await {
            let open = asked
                .items
                .iter()
                .filter(|asked| asked.status == greenroom_protocol::v1::ApprovalStatus::Open);
            for asked in open {
                if let Ok(question) = serde_json::from_str::<Question>(asked.json().get()) {
                    self.questions.insert(question.id.clone(), (question, None));
                }
            }
        }
        self.arrive();
    }

    /// All of before was told.
    fn arrive(&mut self) {
        self.history = 0;
        if let Some(told) = self.told.take() {
            let _ = told.send(());
        }
        let open: Vec<String> = self.questions.keys().cloned().collect();
        for id in open {
            self.ask(&id);
        }
    }

    fn ask(&mut self, id: &str) {
        let Some((question, asks)) = self.questions.get_mut(id).filter(|(_, asks)| asks.is_none())
        else {
            return;
        };
        let call = self.teller.call_of(&question.tool, &question.input).map(str::to_owned);
        let asking = Asking {
            client: self.editor.client.clone(),
            editor: self.editor.connection.clone(),
            session: self.session.clone(),
            manners: self.editor.manners,
        };
        *asks = Some(tokio::spawn(asking.ask(question.clone(), call)).abort_handle());
    }

    fn see(&mut self, live: &Live) {
        match live {
            Live::Event(event) => self.event(event),
            Live::Delta(delta) => {
                if let Some(update) = self.teller.delta(delta) {
                    self.tell(update);
                }
            }
            Live::Resync => self.teller.restart(),
        }
    }

    fn event(&mut self, event: &Event) {
        for update in self.teller.event(event) {
            self.tell(update);
        }
        let id = event.data["id"].as_str().unwrap_or_default();
        match event.kind.as_str() {
            "approval.requested" => {
                if let Ok(question) = serde_json::from_value::<Question>(event.data.clone()) {
                    self.questions.entry(id.to_owned()).or_insert((question, None));
                    if self.history == 0 {
                        self.ask(id);
                    }
                }
            }
            "approval.answered" | "approval.withdrawn" => {
                if let Some((question, Some(asks))) = self.questions.remove(id) {
                    asks.abort();
                    if let Some(update) = question.over(self.editor.manners, &event.data) {
                        self.tell(update);
                    }
                }
            }
            "session.updated" if event.data.get("title").is_some() => self.has_title = true,
            "run.failed" => {
                let turn = event.run.and_then(|run| self.turns.get_mut(&run));
                let code = event.data.pointer("/error/code").and_then(Value::as_str);
                if let (Some(turn), Some(code)) = (turn, code) {
                    turn.code = code.to_owned();
                }
            }
            _ => {}
        }
        let mut over = Vec::new();
        for (run, turn) in &mut self.turns {
            if let Some(end) = turn.course.see(event) {
                over.push((*run, end));
            }
        }
        for (run, end) in over {
            if let Some(turn) = self.turns.remove(&run) {
                self.end(run, turn, end);
            }
        }
        if self.history != 0 && event.seq >= self.history {
            self.arrive();
        }
    }

    /// A turn of the editor's is over.
    fn end(&self, run: RunId, turn: Turn, end: End) {
        let meta = json!({ "greenroom": { "run": run } });
        let reason = match end {
            End::Completed(result) => {
                if let Some(result) = result.filter(|_| !self.teller.said_text) {
                    let text = result.as_str().map_or_else(|| result.to_string(), str::to_owned);
                    self.tell(chunk("agent_message_chunk", &text));
                }
                Ok("end_turn")
            }
            End::Stopped | End::Withdrawn => Ok("cancelled"),
            End::Failed(_) if turn.code == "refused" => Ok("refusal"),
            End::Failed(why) => Err(words::failed(why)),
            End::Held(why) => {
                self.take_back(run);
                let why = why.unwrap_or_else(|| "the session was stopped".to_owned());
                Err(words::failed(format!(
                    "{why}; the prompt was taken back, and may be sent again"
                )))
            }
        };
        turn.reply.with(reason.map(|reason| json!({ "stopReason": reason, "_meta": meta })));
    }

    /// A prompt that nothing would start goes, so that it does not come back as a surprise.
    fn take_back(&self, run: RunId) {
        let client = self.editor.client.clone();
        tokio::spawn(async move { client.withdraw_run(&run.to_string()).await.map(drop) });
    }

    async fn prompt(&mut self, text: String, reply: Reply) {
        let title = words::title(&text);
        let body = CreateRun { prompt: Some(text), ..CreateRun::default() };
        let accepted = match self.editor.client.create_run(&self.session, &body).await {
            Ok(accepted) => accepted,
            Err(error) => return reply.with(Err(words::refused(error))),
        };
        let run = accepted.run.id;
        self.teller.own(run);
        if !std::mem::replace(&mut self.has_title, true) {
            let body = PatchSession { title: Some(title), ..PatchSession::default() };
            // A name is a kindness: without the right to give one there is none.
            let _ = self.editor.client.patch_session(&self.session, &body).await;
        }
        if accepted.held {
            self.take_back(run);
            let words = "the session is being stopped: send the prompt again once it has stopped";
            return reply.with(Err(words::failed(words)));
        }
        let course = Course::of(run);
        self.turns.insert(run, Turn { course, code: String::new(), reply });
    }

    /// Ends what the editor has asked for; without that, what is in progress. The session
    /// stays.
    async fn cancel(&mut self) {
        let client = &self.editor.client;
        let mut own: Vec<RunId> = self.turns.values().map(|turn| turn.course.run).collect();
        // The last first: none of them may begin while another ends.
        own.sort_by_key(|run| std::cmp::Reverse(run.0));
        own.dedup();
        if own.is_empty()
            && let Ok(session) = client.session(&self.session).await
        {
            own.extend(session.run_id);
        }
        for run in own {
            let run = run.to_string();
            // What has begun is stopped, and what has ended needs nothing.
            if client.withdraw_run(&run).await.is_err()
                && let Err(error) = client.stop_run(&run).await
                && !error.is_status(409)
            {
                let words = format!("The turn could not be cancelled: {error}\n");
                self.tell(chunk("agent_thought_chunk", &words));
            }
        }
    }
}

/// Whether a session could be followed no more, and is to be followed anew.
pub(super) fn is_over(wishes: &mpsc::UnboundedSender<Wish>) -> bool {
    wishes.is_closed()
}

/// An error where nobody follows any more.
pub(super) fn nobody() -> RpcError {
    words::failed("the session cannot be followed now; try again")
}
