//! The other end of a driver's standard streams: its shim.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use greenroom_core::approval::{Answer, Ask, Decision, Policies, Policy};
use greenroom_core::drive::{FromDriver, Open, ToDriver};
use greenroom_core::record::{Outcome, OutputKind, RunError};
use greenroom_core::{ApprovalId, RunId, Settings};
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::policy::{self, Use, Verdict};

/// What a driver says. Every line is whole, whoever says it.
#[derive(Clone)]
pub struct Shim {
    inner: Arc<Inner>,
}

struct Inner {
    out: Mutex<Box<dyn Write + Send>>,
    asked: Mutex<HashMap<ApprovalId, Waiting>>,
    steers: Mutex<Vec<Steer>>,
    settled: Mutex<Option<Settled>>,
}

/// What an answer to a question about a tool allows beyond what was asked.
pub type Remember = fn(&mut Policy, &str, &Answer);

/// Who waits for an answer.
struct Waiting {
    say: oneshot::Sender<Answer>,
    /// What becomes of an answer for longer than once, and the tool.
    remember: Option<(Remember, String)>,
}

/// What the agent goes by now.
struct Settled {
    /// As it was said last.
    said: Settings,
    /// Its own policy, with what was allowed for longer than once since that was said; and
    /// those it stays within.
    policies: Policies,
}

/// Text for a turn in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steer {
    /// The run that carries it.
    pub run: RunId,
    /// The run it is for.
    pub into: RunId,
    /// The text.
    pub text: String,
}

/// What a driver is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Wish {
    /// Begin this run.
    Run {
        /// The run.
        run: RunId,
        /// What it asks.
        input: Input,
    },
    /// End the turn in progress, if there is one.
    Cancel,
    /// End: a signal came, or nobody is there any more. The agent is asked to end, too.
    End,
}

/// What a run asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Text.
    Prompt(String),
    /// A JSON document.
    Document(Value),
}

impl Input {
    /// The text an agent is given that takes only text.
    pub fn text(&self) -> String {
        match self {
            Self::Prompt(text) => text.clone(),
            Self::Document(value) => value.to_string(),
        }
    }
}

/// Wishes, in the order in which they come.
#[derive(Debug)]
pub struct Wishes {
    said: mpsc::UnboundedReceiver<ToDriver>,
    term: Option<Signal>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This process's own standard streams. Must be called within a runtime.
pub fn connect() -> (Shim, Wishes) {
    let shim = Shim::writing(Box::new(std::io::stdout()));
    let (say, said) = mpsc::unbounded_channel();
    let answers = shim.clone();
    // A thread, since reading standard input cannot be cancelled.
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { return };
            match serde_json::from_str(&line) {
                Ok(ToDriver::Answer { id, answer }) => answers.answered(id, answer),
                Ok(ToDriver::Settings { settings }) => answers.settle(*settings),
                Ok(ToDriver::Steer { run, into, text }) => {
                    answers.steer(Steer { run, into, text });
                }
                Ok(message) => {
                    // Before an edit is heard here, which may be the next line.
                    if let ToDriver::Open(open) = &message {
                        answers.begin(open);
                    }
                    if say.send(message).is_err() {
                        return;
                    }
                }
                Err(error) => eprintln!("greenroom drive: a line does not read: {error}"),
            }
        }
    });
    (shim, Wishes { said, term: signal(SignalKind::terminate()).ok() })
}

impl Wishes {
    /// What comes on a channel, without signals: for tests.
    pub fn of(said: mpsc::UnboundedReceiver<ToDriver>) -> Self {
        Self { said, term: None }
    }

    /// The first word.
    pub async fn open(&mut self) -> Option<Open> {
        match self.said.recv().await? {
            ToDriver::Open(open) => Some(*open),
            _ => None,
        }
    }

    /// The next one. After [`Wish::End`] there is nothing but that.
    pub async fn next(&mut self) -> Wish {
        loop {
            let said = tokio::select! {
                said = self.said.recv() => said,
                () = terminated(&mut self.term) => return Wish::End,
            };
            return match said {
                None => Wish::End,
                Some(ToDriver::Run { run, prompt, input }) => Wish::Run {
                    run,
                    input: match input {
                        Some(document) => Input::Document(document),
                        None => Input::Prompt(prompt.unwrap_or_default()),
                    },
                },
                Some(ToDriver::Cancel) => Wish::Cancel,
                Some(
                    ToDriver::Open(_)
                    | ToDriver::Answer { .. }
                    | ToDriver::Steer { .. }
                    | ToDriver::Settings { .. }
                    | ToDriver::Unknown,
                ) => continue,
            };
        }
    }
}

async fn terminated(term: &mut Option<Signal>) {
    match term {
        Some(term) => {
            term.recv().await;
        }
        None => std::future::pending().await,
    }
}

impl Shim {
    /// One that says its lines there.
    pub fn writing(out: Box<dyn Write + Send>) -> Self {
        let (asked, steers, settled) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { inner: Arc::new(Inner { out: Mutex::new(out), asked, steers, settled }) }
    }

    fn line(&self, value: &impl serde::Serialize) {
        let Ok(mut line) = serde_json::to_vec(value) else { return };
        line.push(b'\n');
        let mut out = lock(&self.inner.out);
        // Nobody hears it where the shim is gone, and then this process ends soon too.
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }

    /// Runs can be given to it.
    pub fn ready(&self) {
        self.line(&FromDriver::Ready);
    }

    /// It cannot go on.
    pub fn failed(&self, error: RunError) {
        self.line(&FromDriver::Failed { error });
    }

    /// The agent's own name for the conversation.
    pub fn conversation(&self, id: &str) {
        self.line(&FromDriver::Conversation { id: id.to_owned() });
    }

    /// The agent works though no run is in progress, or does no more.
    pub fn busy(&self, busy: bool) {
        self.line(&FromDriver::Busy { busy });
    }

    /// A piece of the agent's answer, as it comes.
    pub fn text(&self, text: &str) {
        if !text.is_empty() {
            self.line(&FromDriver::Text { text: text.to_owned() });
        }
    }

    /// An event, whose data is an object.
    pub fn event(&self, kind: OutputKind, mut data: Value) {
        if let Value::Object(fields) = &mut data {
            fields.insert("type".to_owned(), kind.event_type().into());
        }
        self.line(&data);
    }

    /// The conversation could not be taken up.
    pub fn context_fresh(&self, reason: &str) {
        self.event(OutputKind::ContextFresh, json!({ "reason": reason }));
    }

    /// The run has ended.
    pub fn ended(&self, run: RunId, outcome: Outcome) {
        self.line(&FromDriver::Ended { run, outcome });
    }

    /// There is text for a turn.
    pub fn steer(&self, steer: Steer) {
        lock(&self.inner.steers).push(steer);
    }

    /// Takes what there is for the turn of this run, in order, and says that the agent is
    /// given it. What is for another turn came too late, and is dropped.
    pub fn steered(&self, into: RunId) -> Vec<String> {
        let steers = std::mem::take(&mut *lock(&self.inner.steers));
        let fits = steers.into_iter().filter(|steer| steer.into == into);
        let taken = fits.inspect(|steer| self.line(&FromDriver::Steered { run: steer.run }));
        taken.map(|steer| steer.text).collect()
    }

    /// What is driven goes by this, until there is an edit. Only the first word counts.
    pub fn begin(&self, open: &Open) {
        lock(&self.inner.settled).get_or_insert_with(|| Settled {
            said: open.settings.clone(),
            policies: open.policies(),
        });
    }

    /// The session's settings were edited: they count from now on. A policy that is another
    /// one now takes the place of what was allowed for longer than once before, too.
    pub fn settle(&self, settings: Settings) {
        let mut settled = lock(&self.inner.settled);
        let Some(settled) = settled.as_mut() else { return };
        if settled.said.approvals != settings.approvals {
            settled.policies.own = settings.approvals.clone();
        }
        settled.said = settings;
    }

    /// The settings, as they were said last.
    pub fn settings(&self) -> Settings {
        lock(&self.inner.settled).as_ref().map(|settled| settled.said.clone()).unwrap_or_default()
    }

    /// All that judges what the agent does now.
    pub fn policies(&self) -> Policies {
        let settled = lock(&self.inner.settled);
        settled.as_ref().map(|settled| settled.policies.clone()).unwrap_or_default()
    }

    /// A question is answered. What that allows for longer than once counts until the policy
    /// is edited: from now on and not from when the agent hears of it, since the next word may
    /// be an edit.
    pub fn answered(&self, id: ApprovalId, answer: Answer) {
        let Some(waiting) = lock(&self.inner.asked).remove(&id) else { return };
        if let Some((remember, tool)) = waiting.remember
            && answer.decision == Decision::Allow
            && let Some(settled) = lock(&self.inner.settled).as_mut()
        {
            remember(&mut settled.policies.own, &tool, &answer);
        }
        // Who asked may have gone on meanwhile.
        let _ = waiting.say.send(answer);
    }

    /// May the agent do this? What the policy leaves open is asked of a person, whose
    /// answer is waited for; dropped, the question is withdrawn.
    pub async fn permission(&self, wish: Use<'_>, ask: Ask) -> Answer {
        self.permission_with(wish, ask, None).await
    }

    /// The same, where answers for longer than once are remembered here.
    pub async fn permission_for_longer(
        &self,
        wish: Use<'_>,
        ask: Ask,
        remember: Remember,
    ) -> Answer {
        self.permission_with(wish, ask, Some(remember)).await
    }

    async fn permission_with(&self, wish: Use<'_>, ask: Ask, remember: Option<Remember>) -> Answer {
        let (decision, by) = match policy::judge(&self.policies(), wish) {
            Verdict::Ask => {
                let remember = remember.map(|remember| (remember, wish.tool.to_owned()));
                return self.ask_with(ask, remember).await;
            }
            Verdict::Allow { by } => (Decision::Allow, by),
            Verdict::Deny { by } => (Decision::Deny, by),
        };
        self.event(
            OutputKind::Decided,
            json!({ "tool": ask.tool, "input": ask.input, "decision": decision, "by": by }),
        );
        let reason = (decision == Decision::Deny).then(|| format!("denied by {by}"));
        Answer { decision, option: None, always: false, content: None, reason }
    }

    /// Asks a person, and waits for the answer as long as the policy says. It is theirs to
    /// answer then, whatever the policy becomes meanwhile.
    pub async fn ask(&self, ask: Ask) -> Answer {
        self.ask_with(ask, None).await
    }

    async fn ask_with(&self, ask: Ask, remember: Option<(Remember, String)>) -> Answer {
        let policies = self.policies();
        let no = |reason: &str| Answer {
            decision: Decision::Deny,
            option: None,
            always: false,
            content: None,
            reason: Some(reason.to_owned()),
        };
        if policies.headless() {
            let data = json!({
                "tool": ask.tool, "input": ask.input, "title": ask.title,
                "decision": Decision::Deny, "by": "headless: nobody is there to ask",
            });
            self.event(OutputKind::Decided, data);
            return no("nobody is there to ask (headless)");
        }
        let (say, said) = oneshot::channel();
        let id = ask.id;
        lock(&self.inner.asked).insert(id, Waiting { say, remember });
        let withdrawn = Withdrawn { shim: self, id, reason: "the agent waits no longer" };
        self.line(&FromDriver::Ask { ask: Box::new(ask) });
        let answer = match policies.timeout_ms() {
            None => said.await.ok(),
            Some(limit) => {
                let limit = std::time::Duration::from_millis(limit.0);
                match tokio::time::timeout(limit, said).await {
                    Ok(answer) => answer.ok(),
                    Err(_) => {
                        drop(Withdrawn { reason: "nobody answered in time", ..withdrawn });
                        return no("nobody answered in time");
                    }
                }
            }
        };
        drop(withdrawn);
        answer.unwrap_or_else(|| no("nobody can answer any more"))
    }
}

/// Withdraws a question that was not answered.
struct Withdrawn<'a> {
    shim: &'a Shim,
    id: ApprovalId,
    reason: &'static str,
}

impl Drop for Withdrawn<'_> {
    fn drop(&mut self) {
        if lock(&self.shim.inner.asked).remove(&self.id).is_some() {
            let (id, reason) = (self.id, self.reason.to_owned());
            self.shim.line(&FromDriver::AskOver { id, reason });
        }
    }
}

/// A question for a person about the use of a tool.
pub fn permission_ask(title: String, tool: &str, input: Value) -> Ask {
    Ask {
        id: ApprovalId(uuid::Uuid::now_v7()),
        kind: greenroom_core::approval::AskKind::Permission,
        title,
        tool: Some(tool.to_owned()),
        input: Some(input),
        options: Vec::new(),
        schema: None,
        url: None,
    }
}
