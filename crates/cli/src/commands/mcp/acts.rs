//! What each tool does, by calls of the API in the caller's own name.

use std::collections::BTreeMap;
use std::time::Duration;

use greenroom_client::{Client, ClientError, SessionFilter};
use greenroom_core::Seq;
use greenroom_core::approval::Decision;
use greenroom_protocol::Problem;
use greenroom_protocol::v1::{
    AnswerRequest, Approval, ApprovalStatus, CreateRun, CreateSession, Session, StopRequest,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::watch::{Progress, Wait};

/// What is read at once, at most.
const LONGEST_TEXT: usize = 32 << 10;
/// How long a stop may take before it is answered as still going on.
const PROOF: Duration = Duration::from_secs(60);

/// What is wrong, for whoever called.
#[derive(Debug)]
pub(super) struct Refused {
    /// What happened, and what to do.
    pub(super) words: String,
    /// The same for programs, where the coordinator said it.
    pub(super) problem: Option<Box<Problem>>,
}

impl Refused {
    pub(super) fn new(words: impl Into<String>) -> Self {
        Self { words: words.into(), problem: None }
    }
}

/// What to do about a problem, in the words of these tools.
fn advice(problem: &Problem) -> Option<&str> {
    Some(match problem.code.as_str() {
        "session_not_found" => "list_sessions says which there are",
        "agent_not_found" => "list_agents says which there are",
        "session_exists" => "choose another id, or leave it out",
        "session_busy" => "wait_for_session waits for its turn to end",
        "nothing_to_resume" => "send_prompt gives it something to do",
        "forbidden" => "what is missing is a right of the token that this server was given",
        _ => return problem.hint.as_deref(),
    })
}

impl From<ClientError> for Refused {
    fn from(error: ClientError) -> Self {
        if error.is_no_coordinator() {
            return Self::new(format!(
                "{error}\nhint: the coordinator is away; sessions go on without it, try again later"
            ));
        }
        let ClientError::Problem(problem) = error else { return Self::new(error.to_string()) };
        let words = match advice(&problem) {
            Some(hint) => format!("{}\nhint: {hint}", problem.detail),
            None => problem.detail.clone(),
        };
        Self { words, problem: Some(problem) }
    }
}

/// What a tool answers.
pub(super) type Done = Result<Value, Refused>;

/// Who calls, and from where.
pub(super) struct Tools {
    pub(super) client: Client,
    /// The session whose agent calls.
    pub(super) parent: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    agent: String,
    prompt: String,
    title: Option<String>,
    id: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Send {
    session: String,
    prompt: String,
    mode: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    session: String,
    #[serde(default = "the_first")]
    from: Seq,
}

fn the_first() -> Seq {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    session: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct List {
    status: Vec<String>,
    agent: Option<String>,
    text: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stop {
    session: String,
    reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Open {
    session: Option<String>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    session: String,
    approval: String,
    decision: Decision,
    reason: Option<String>,
    option: Option<String>,
    content: Option<Value>,
}

fn arguments<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Refused> {
    serde_json::from_value(value)
        .map_err(|error| Refused::new(format!("the arguments do not fit: {error}")))
}

/// An object without what is not there: `null` would have to be in every schema.
pub(super) fn there(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    object
}

/// How a session stands.
pub(super) fn shown(session: &Session) -> Value {
    there(json!({
        "session": session.id, "agent": session.agent.name, "status": session.status,
        "reason": session.status_reason, "title": session.title, "parent": session.parent_id,
        "run": session.run_id, "waiting_prompts": session.pending.runs,
        "waits_for_a_person": session.pending.approvals > 0, "held": session.hold,
        "last_entry": session.last_seq,
    }))
}

fn question(asked: &Approval) -> Value {
    there(json!({
        "approval": asked.id, "session": asked.session_id, "kind": asked.kind,
        "title": asked.title, "tool": asked.tool, "input": asked.input,
        "options": asked.options, "schema": asked.schema, "url": asked.url,
    }))
}

impl Tools {
    /// Does one of them.
    pub(super) async fn call(&self, name: &str, given: Value, progress: &Progress) -> Done {
        match name {
            "list_agents" => {
                let Nothing {} = arguments(given)?;
                self.agents().await
            }
            "start_session" => self.start(arguments(given)?).await,
            "send_prompt" => self.send(arguments(given)?).await,
            "wait_for_session" => self.watch(arguments(given)?, progress).await,
            "read_session" => self.read(arguments(given)?).await,
            "show_session" => self.show(arguments(given)?).await,
            "list_sessions" => self.list(arguments(given)?).await,
            "stop_session" => self.stop(arguments(given)?).await,
            "resume_session" => self.resume(arguments(given)?).await,
            "list_approvals" => self.open(arguments(given)?).await,
            "answer_approval" => self.answer(arguments(given)?).await,
            other => Err(Refused::new(format!("there is no tool {other:?}"))),
        }
    }

    async fn agents(&self) -> Done {
        let agents = self.client.agents().await?;
        let agents: Vec<_> = agents
            .items
            .iter()
            .map(|agent| {
                there(json!({ "name": agent.name, "description": agent.description,
                    "health": agent.health, "needs": agent.needs }))
            })
            .collect();
        Ok(json!({ "agents": agents }))
    }

    async fn start(&self, start: Start) -> Done {
        let Start { agent, prompt, title, id, labels } = start;
        let body = CreateSession {
            agent,
            id,
            title,
            labels,
            prompt: Some(prompt),
            parent: self.parent.clone(),
            ..CreateSession::default()
        };
        Ok(shown(&*self.client.create_session(&body).await?))
    }

    async fn send(&self, send: Send) -> Done {
        let Send { session, prompt, mode } = send;
        let body = CreateRun { prompt: Some(prompt), mode, ..CreateRun::default() };
        let run = self.client.create_run(&session, &body).await?;
        Ok(json!({ "run": run.run.id, "ahead": run.ahead, "held": run.held }))
    }

    async fn watch(&self, wait: Wait, progress: &Progress) -> Done {
        let seen = super::watch::settle(&self.client, &wait, progress).await?;
        let mut answer = shown(&seen.session);
        answer["done"] = seen.done.into();
        if let Some(run) = &seen.run {
            answer["ended"] = there(json!({ "run": run.id, "status": run.status,
                "error": run.error, "result": run.result }));
        }
        answer["questions"] = match seen.session.pending.approvals {
            0 => json!([]),
            _ => self.questions(&wait.session).await?,
        };
        Ok(answer)
    }

    /// What waits for an answer in a session.
    async fn questions(&self, session: &str) -> Done {
        let asked = self.client.session_approvals(session).await?;
        let open = asked.items.iter().filter(|asked| asked.status == ApprovalStatus::Open);
        Ok(open.map(|asked| question(asked)).collect())
    }

    async fn read(&self, read: Read) -> Done {
        let page = self.client.events(&read.session, read.from.max(1), 1000).await?;
        let (mut lines, mut length, mut next) = (Vec::new(), 0, read.from.max(1));
        for event in &page.items {
            if length > LONGEST_TEXT {
                break;
            }
            next = event.seq + 1;
            let text = match event.kind.as_str() {
                "session.status" | "session.placed" | "run.dispatched" | "session.ready" => {
                    continue;
                }
                "message" => event.data["text"].as_str().unwrap_or_default().to_owned(),
                kind => format!("[{kind}] {}", crate::show::summary(event)),
            };
            length += text.len();
            lines.push(text.trim_end_matches('\n').to_owned());
        }
        let more = next <= page.items.last().map_or(0, |event| event.seq);
        Ok(
            json!({ "text": lines.join("\n"), "next": next, "more": more || page.next_cursor.is_some() }),
        )
    }

    async fn show(&self, one: One) -> Done {
        let session = self.client.session(&one.session).await?;
        let mut answer = shown(&session);
        let more = there(json!({
            "labels": session.labels, "usage": session.usage, "created_at": session.created_at,
            "last_active_at": session.last_active_at, "receipt": session.receipt,
        }));
        if let (Some(into), Value::Object(from)) = (answer.as_object_mut(), more) {
            into.extend(from);
        }
        Ok(answer)
    }

    async fn list(&self, list: List) -> Done {
        let List { status, agent, text, limit, cursor } = list;
        let parent = self.parent.clone();
        let filter = SessionFilter { status, agent, text, parent, ..SessionFilter::default() };
        let page = self.client.sessions(&filter, limit.unwrap_or(100), cursor.as_deref()).await?;
        let sessions: Vec<_> = page.items.iter().map(|session| shown(session)).collect();
        Ok(there(json!({ "sessions": sessions, "next": page.next_cursor })))
    }

    async fn stop(&self, stop: Stop) -> Done {
        let body = StopRequest { reason: stop.reason, tree: Some(true), ..StopRequest::default() };
        let done = self.client.stop_session(&stop.session, &body, Some(PROOF)).await?;
        let receipt = done.reply.receipt.as_ref();
        Ok(there(json!({
            "status": done.reply.status, "already_stopped": done.reply.already_stopped,
            "processes": receipt.map(|receipt| receipt.processes_seen),
            "survivors": receipt.map(|receipt| receipt.survivors), "receipt": receipt,
        })))
    }

    async fn resume(&self, one: One) -> Done {
        self.client.resume_session(&one.session).await?;
        Ok(shown(&*self.client.session(&one.session).await?))
    }

    async fn open(&self, open: Open) -> Done {
        let (questions, next) = match &open.session {
            Some(session) => (self.questions(session).await?, None),
            None => {
                let page = self.client.approvals(100, open.cursor.as_deref()).await?;
                (page.items.iter().map(|asked| question(asked)).collect(), page.next_cursor)
            }
        };
        Ok(there(json!({ "questions": questions, "next": next })))
    }

    async fn answer(&self, answer: Answer) -> Done {
        let Answer { session, approval, decision, reason, option, content } = answer;
        let body = AnswerRequest { decision, option, always: None, content, reason };
        let answered = self.client.answer(&session, &approval, &body).await?;
        Ok(json!({ "approval": answered.id, "status": answered.status, "decision": decision }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do_in_the_words_of_the_tools() {
        let problem = Problem::not_found("session", "x").hint("greenroom sessions ls");
        let refused = Refused::from(ClientError::Problem(Box::new(problem)));
        assert!(refused.words.contains("\"x\" not found"), "{}", refused.words);
        assert!(refused.words.ends_with("hint: list_sessions says which there are"));
        assert_eq!(refused.problem.expect("it").code, "session_not_found");
        let problem = Problem::new(409, "odd", "it is odd").hint("wait");
        let refused = Refused::from(ClientError::Problem(Box::new(problem)));
        assert_eq!(refused.words, "it is odd\nhint: wait");
    }
}
