//! A loop in this process: what it is told, and all it says.

use std::io::Write;
use std::time::Duration;

use greenroom_core::agent::Driver;
use greenroom_core::approval::{Answer, Decision, Mode, Policy};
use greenroom_core::drive::{Open, ToDriver};
use greenroom_core::loop_spec::*;
use greenroom_core::record::Outcome;
use greenroom_core::{Epoch, RunId, Settings};
use greenroom_drivers::Failure;
use greenroom_drivers::looping;
use greenroom_drivers::shim::{Shim, Steer, Wishes};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::stub::Stub;

/// Nothing in these tests takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Loop {
    say: UnboundedSender<ToDriver>,
    said: UnboundedReceiver<Value>,
    shim: Shim,
    /// The run that was asked for last.
    pub(crate) asked: Option<RunId>,
    pub(crate) dir: std::sync::Arc<tempfile::TempDir>,
    /// The session's log, as a coordinator would have it.
    pub(crate) log: Vec<Value>,
    serving: tokio::task::JoinHandle<Result<(), Failure>>,
}

/// How a loop is to be.
pub(crate) struct Setup {
    pub(crate) spec: LoopSpec,
    pub(crate) open: Open,
    pub(crate) vars: Vec<(String, String)>,
    pub(crate) dir: std::sync::Arc<tempfile::TempDir>,
}

struct Lines {
    rest: Vec<u8>,
    to: UnboundedSender<Value>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let _ = self.to.send(serde_json::from_slice(&line).expect("a line is JSON"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) fn model(provider: Provider, stub: &Stub) -> ModelSpec {
    let mut model = ModelSpec::new(provider, "m");
    let version = if provider == Provider::Gemini { "v1beta" } else { "v1" };
    model.base_url = Some(format!("{}/{version}", stub.url));
    model
}

impl Setup {
    /// One model at the stub, nothing asked of people, no second tries.
    pub(crate) fn new(provider: Provider, stub: &Stub) -> Self {
        let mut spec = LoopSpec::of(model(provider, stub));
        spec.retry_ms = greenroom_core::Ms(0);
        let dir = std::sync::Arc::new(tempfile::tempdir().expect("a folder"));
        let open = Open {
            driver: Driver::Loop(Box::new(spec.clone())),
            session: "s1".parse().expect("a name"),
            epoch: Epoch(1),
            conversation: None,
            resumed: false,
            workspace: dir.path().to_owned(),
            door: None,
            home: dir.path().to_owned(),
            settings: Settings {
                approvals: Policy { mode: Mode::Autonomous, ..Policy::default() },
                ..Settings::default()
            },
            within: Vec::new(),
            output_schema: None,
        };
        let vars = vec![
            ("GREENROOM_URL".to_owned(), stub.url.clone()),
            ("GREENROOM_TOKEN".to_owned(), "gra_token".to_owned()),
        ];
        Self { spec, open, vars, dir }
    }

    pub(crate) fn with(mut self, shape: impl FnOnce(&mut LoopSpec)) -> Self {
        shape(&mut self.spec);
        self
    }

    pub(crate) fn tools(self, tools: &[LoopTool]) -> Self {
        self.with(|spec| spec.tools = tools.to_vec())
    }

    pub(crate) async fn start(self) -> Result<Loop, Failure> {
        let (to, said) = unbounded_channel();
        let shim = Shim::writing(Box::new(Lines { rest: Vec::new(), to }));
        let own = shim.clone();
        let (say, told) = unbounded_channel();
        let vars = self.vars.clone();
        let variable =
            move |name: &str| vars.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        let agent =
            looping::start(shim, &self.open, self.spec, std::sync::Arc::new(variable)).await?;
        let serving = tokio::spawn(looping::serve(agent, Wishes::of(told)));
        let (dir, log) = (self.dir, Vec::new());
        Ok(Loop { say, said, shim: own, asked: None, dir, log, serving })
    }

    pub(crate) async fn up(self) -> Loop {
        let mut up = self.start().await.expect("it is up");
        up.until("ready").await;
        up
    }
}

impl Loop {
    fn event(&mut self, kind: &str, data: Value) {
        let seq = self.log.len() + 1;
        self.log
            .push(json!({"seq": seq, "at": "2026-11-21T00:00:00Z", "type": kind, "data": data}));
    }

    pub(crate) fn tell(&self, message: ToDriver) {
        self.say.send(message).expect("it listens");
    }

    pub(crate) fn prompt(&mut self, text: &str) {
        let run = RunId(uuid::Uuid::now_v7());
        self.event("run.queued", json!({"run": {"id": run}, "prompt": text, "by": "user"}));
        self.event("run.started", json!({"run": run}));
        self.asked = Some(run);
        self.tell(ToDriver::Run { run, prompt: Some(text.to_owned()), input: None });
    }

    /// The session's settings are edited.
    pub(crate) fn settle(&self, settings: Settings) {
        self.shim.settle(settings);
    }

    /// A person answers what was asked.
    pub(crate) fn answer(&self, ask: &Value, option: Option<&str>) {
        let id = ask["ask"]["id"].as_str().expect("an id").parse().expect("an id");
        let option = option.map(str::to_owned);
        let decision = Decision::Allow;
        let answer = Answer { decision, option, always: false, content: None, reason: None };
        self.shim.answered(id, answer);
    }

    /// Text for the turn of the run that was asked for last.
    pub(crate) fn steer(&mut self, text: &str) -> RunId {
        let run = RunId(uuid::Uuid::now_v7());
        let into = self.asked.expect("a run");
        let queued = json!({"run": {"id": run}, "prompt": text, "by": "user", "into": into});
        self.event("run.queued", queued);
        self.shim.steer(Steer { run, into, text: text.to_owned() });
        run
    }

    pub(crate) async fn next(&mut self) -> Value {
        let next = tokio::time::timeout(PATIENCE, self.said.recv()).await;
        let line = next.expect("it says something in time").expect("it is still there");
        let kind = line["type"].as_str().expect("a type").to_owned();
        let mut data = line.clone();
        data.as_object_mut().expect("an object").remove("type");
        match kind.as_str() {
            "text" => self.event("message", json!({"role": "agent", "text": data["text"]})),
            "ended" => {
                let status = data["outcome"]["status"].as_str().unwrap_or_default();
                self.event(&format!("run.{status}"), json!({"run": data["run"]}));
            }
            "steered" => {
                self.event("run.steered", json!({"run": data["run"], "into": self.asked}));
            }
            "ready" | "ask" | "ask_over" => {}
            kind => self.event(kind, data),
        }
        line
    }

    /// All up to the first line of this type, which is the last.
    pub(crate) async fn until(&mut self, kind: &str) -> Vec<Value> {
        let mut lines = Vec::new();
        loop {
            let line = self.next().await;
            let last = line["type"] == kind;
            lines.push(line);
            if last {
                return lines;
            }
        }
    }

    /// A whole run: how it ended, and what was said.
    pub(crate) async fn run(&mut self, prompt: &str) -> (Outcome, Vec<Value>) {
        self.prompt(prompt);
        self.end().await
    }

    pub(crate) async fn end(&mut self) -> (Outcome, Vec<Value>) {
        let mut lines = self.until("ended").await;
        let ended = lines.pop().expect("an end");
        (serde_json::from_value(ended["outcome"].clone()).expect("an outcome"), lines)
    }

    /// Its end, by the end of its input.
    pub(crate) async fn close(self) {
        drop(self.say);
        let ended = tokio::time::timeout(PATIENCE, self.serving).await.expect("it ends in time");
        ended.expect("no panic").expect("a good end");
    }
}

/// What was said, as one text.
pub(crate) fn text(lines: &[Value]) -> String {
    let pieces = lines.iter().filter(|line| line["type"] == "text");
    pieces.map(|line| line["text"].as_str().expect("text")).collect()
}

/// The lines of one type.
pub(crate) fn of<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

/// The code and words of a failure.
pub(crate) fn failed(outcome: &Outcome) -> (&str, &str) {
    match outcome {
        Outcome::Failed { error } => (&error.code, &error.message),
        other => panic!("{other:?} is no failure"),
    }
}

pub(crate) fn completed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Completed { .. })
}
