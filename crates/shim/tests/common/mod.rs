//! Real shims with real processes, and what tests ask of them.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use greenroom_core::agent::{CommandSpec, Driver, Graces, Leftovers, Lifecycle, PromptVia, Stdout};
use greenroom_core::assignment::StopOrder;
use greenroom_core::receipt::{Receipt, StopReason};
use greenroom_core::record::{Outcome, OutputKind, Writer};
use greenroom_core::{
    Epoch, Limits, Ms, RecordBody, RunId, RunnerId, SessionId, SessionUid, StopId,
};
use greenroom_shim::cgroup::{self, Capabilities};
use greenroom_shim::control::Control;
use greenroom_shim::journal::Reader;
use greenroom_shim::local::{self, Client};
use greenroom_shim::spec::{Cgroups, HostIdentity, PROTOCOL, ShimSpec};
use greenroom_shim::wire::{FromShim, RunInput, Secret, ToShim};
use uuid::Uuid;

/// Nothing here takes longer.
pub const LONG: Duration = Duration::from_secs(30);

pub const AGENT: &str = env!("CARGO_BIN_EXE_greenroom-test-agent");
const SHIM: &str = env!("CARGO_BIN_EXE_greenroom-shim");

/// A compute to be.
pub struct Setup {
    pub spec: ShimSpec,
    pub env: BTreeMap<String, String>,
    pub secrets: Vec<Secret>,
    pub root: tempfile::TempDir,
    pub dir: PathBuf,
    capabilities: Capabilities,
    failpoints: Option<String>,
}

pub fn sh(script: &str) -> Setup {
    Setup::new(&["/bin/sh", "-c", script])
}

impl Setup {
    pub fn new(command: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let (uid, epoch) = (SessionUid(Uuid::now_v7()), Epoch(1));
        let dir = root.path().join("run").join(uid.to_string()).join("1");
        let (workspace, home) = (root.path().join("workspace"), root.path().join("home"));
        for path in [&dir, &workspace, &home] {
            fs::create_dir_all(path).unwrap();
        }
        let runner = RunnerId(Uuid::now_v7());
        let capabilities = cgroup::probe(runner);
        let spec = ShimSpec {
            protocol: PROTOCOL,
            uid,
            session: "test".parse::<SessionId>().unwrap(),
            epoch,
            runner,
            host: HostIdentity::current(),
            driver: Driver::Command(CommandSpec {
                command: command.iter().map(|word| (*word).to_owned()).collect(),
                prompt_via: PromptVia::Stdin,
                stdout: Stdout::Text,
                lifecycle: Lifecycle::PerRun,
            }),
            leftovers: Leftovers::Sweep,
            limits: Limits::default(),
            graces: Graces::default(),
            workspace,
            home,
            cgroups: capabilities.for_compute(uid, epoch),
            isolation: "none".to_owned(),
            conversation: None,
            resumed: false,
            settings: Default::default(),
            within: Vec::new(),
            output_schema: None,
        };
        let path = "/usr/local/bin:/usr/bin:/bin".to_owned();
        let env = BTreeMap::from([("PATH".to_owned(), path)]);
        Self { spec, env, secrets: Vec::new(), root, dir, capabilities, failpoints: None }
    }

    pub fn with(mut self, change: impl FnOnce(&mut ShimSpec)) -> Self {
        change(&mut self.spec);
        self
    }

    pub fn driven(self, change: impl FnOnce(&mut CommandSpec)) -> Self {
        self.with(|spec| {
            let Driver::Command(command) = &mut spec.driver else { panic!("another driver") };
            change(command);
        })
    }

    pub fn persistent(self) -> Self {
        self.driven(|command| {
            command.lifecycle = Lifecycle::Persistent;
            command.stdout = Stdout::Jsonl;
        })
    }

    pub fn without_groups(self) -> Self {
        self.with(|spec| spec.cgroups = Cgroups::default())
    }

    pub fn failing(mut self, points: &str) -> Self {
        self.failpoints = Some(points.to_owned());
        self
    }

    /// A variable whose value must not be said.
    pub fn secret(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self.secrets.push(Secret { name: name.to_lowercase(), value: value.to_owned() });
        self
    }

    /// Puts the control folder somewhere else.
    pub fn in_folder(mut self, dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        self.dir = dir.to_owned();
        self
    }

    /// The shim as a process, and nothing said to it.
    pub fn spawn(self) -> Shim {
        let control = Control::new(&self.dir);
        control.write_spec(&self.spec).unwrap();
        let errors = fs::File::create(self.root.path().join("shim.log")).unwrap();
        let mut command = Command::new(SHIM);
        command.arg(&self.dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        if let Some(points) = &self.failpoints {
            command.env("FAILPOINTS", points);
        }
        let process = command.spawn().unwrap();
        Shim { setup: self, control, process }
    }

    /// The shim, with its environment.
    pub fn start(self) -> (Shim, Talk) {
        let shim = self.spawn();
        let mut talk = shim.talk();
        let (env, secrets) = (shim.setup.env.clone(), shim.setup.secrets.clone());
        talk.say(&ToShim::Env { env, secrets });
        (shim, talk)
    }

    /// The shim, with a run in progress.
    pub fn start_run(self, prompt: &str) -> (Shim, Talk, RunId) {
        let (shim, mut talk) = self.start();
        let run = talk.run(prompt);
        (shim, talk, run)
    }
}

pub struct Shim {
    pub setup: Setup,
    pub control: Control,
    pub process: Child,
}

impl Shim {
    pub fn dir(&self) -> &Path {
        &self.setup.dir
    }

    pub fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    pub fn workspace(&self) -> &Path {
        &self.setup.spec.workspace
    }

    pub fn talk(&self) -> Talk {
        let client = until("the socket", || local::connect(&self.setup.dir).ok());
        let mut talk = Talk { client, deltas: String::new(), unproven: Vec::new(), hello: None };
        let hello = talk.hear();
        assert!(matches!(hello, FromShim::Hello { .. }), "{hello:?}");
        talk.hello = Some(hello);
        talk
    }

    pub fn journal(&self) -> Vec<RecordBody> {
        let mut reader = Reader::open(&self.setup.dir, Writer::Shim, 1);
        let mut all = Vec::new();
        while let Some(entry) = reader.next().unwrap() {
            assert_eq!(entry.index, all.len() as u64 + 1);
            all.push(entry.body);
        }
        all
    }

    /// Waits for something in the journal.
    pub fn until_journal(&self, what: &str, found: impl Fn(&RecordBody) -> bool) {
        until(what, || self.journal().iter().any(&found).then_some(()));
    }

    /// Waits for a text among the messages.
    pub fn until_text(&self, text: &str) {
        until(text, || self.text().contains(text).then_some(()));
    }

    /// All message text.
    pub fn text(&self) -> String {
        self.texts(OutputKind::Message)
    }

    pub fn texts(&self, wanted: OutputKind) -> String {
        let texts = self.journal().into_iter().filter_map(|body| match body {
            RecordBody::Output { kind, data, .. } if kind == wanted => {
                data["text"].as_str().map(str::to_owned)
            }
            _ => None,
        });
        texts.collect()
    }

    /// How the run ended.
    pub fn outcome(&self, wanted: RunId) -> Option<Outcome> {
        self.journal().into_iter().find_map(|body| match body {
            RecordBody::RunEnded { run, outcome } if run == wanted => Some(outcome),
            _ => None,
        })
    }

    /// Waits until the shim's process has ended, and says its receipt.
    pub fn end(&mut self) -> Receipt {
        self.wait();
        self.control.read_closed().unwrap().unwrap_or_else(|| panic!("{}", self.errors()))
    }

    pub fn wait(&mut self) {
        until("the shim's end", || self.process.try_wait().unwrap());
    }

    pub fn errors(&self) -> String {
        fs::read_to_string(self.setup.root.path().join("shim.log")).unwrap_or_default()
    }

    pub fn rss_kib(&self) -> u64 {
        status(self.pid(), "VmRSS:")
    }

    pub fn peak_rss_kib(&self) -> u64 {
        status(self.pid(), "VmHWM:")
    }
}

fn status(pid: i32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

impl Drop for Shim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let groups = &self.setup.spec.cgroups;
        for path in [&groups.kill, &groups.memory, &groups.pids].into_iter().flatten() {
            let _ = fs::write(path.join("cgroup.kill"), "1");
            let begun = Instant::now();
            while cgroup::remove_tree(path).is_err() && begun.elapsed() < Duration::from_secs(2) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.setup.capabilities.remove();
        if std::thread::panicking() {
            eprintln!("journal: {:#?}\nerrors: {}", self.journal_or_nothing(), self.errors());
        }
    }
}

impl Shim {
    fn journal_or_nothing(&self) -> Vec<String> {
        let mut reader = Reader::open(&self.setup.dir, Writer::Shim, 1);
        let mut all = Vec::new();
        while let Ok(Some(entry)) = reader.next() {
            let mut text = format!("{} {:?}", entry.index, entry.body);
            text.truncate(600);
            all.push(text);
            if all.len() > 60 {
                break;
            }
        }
        all
    }
}

/// A conversation with a shim.
pub struct Talk {
    client: Client,
    pub deltas: String,
    pub unproven: Vec<String>,
    pub hello: Option<FromShim>,
}

impl Talk {
    pub fn say(&mut self, message: &ToShim) {
        self.client.say(message).unwrap();
    }

    pub fn run(&mut self, prompt: &str) -> RunId {
        self.run_input(RunInput::Prompt(prompt.to_owned()))
    }

    pub fn run_input(&mut self, input: RunInput) -> RunId {
        let run = RunId(Uuid::now_v7());
        self.say(&ToShim::Run { run, input });
        run
    }

    pub fn stop(&mut self, grace_ms: u64) -> StopOrder {
        let stop = order(grace_ms, "somebody");
        self.say(&ToShim::Stop { stop: stop.clone() });
        stop
    }

    pub fn hear(&mut self) -> FromShim {
        self.client.hear(LONG).unwrap().expect("the shim says nothing")
    }

    pub fn hear_for(&mut self, limit: Duration) -> std::io::Result<Option<FromShim>> {
        self.client.hear(limit)
    }

    /// Waits for the receipt.
    pub fn closed(&mut self) -> Receipt {
        loop {
            match self.hear() {
                FromShim::Closed { receipt } => return *receipt,
                FromShim::Delta { text, .. } => self.deltas.push_str(&text),
                FromShim::Unproven { evidence } => self.unproven.push(evidence),
                _ => {}
            }
        }
    }
}

pub fn order(grace_ms: u64, by: &str) -> StopOrder {
    StopOrder {
        id: StopId(Uuid::now_v7()),
        reason: StopReason::User,
        cancel_grace_ms: Ms(2000),
        grace_ms: Ms(grace_ms),
        requested_by: vec![by.to_owned()],
        attempt: 1,
    }
}

/// Waits for something, at most [`LONG`].
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < LONG, "{what}: not within {LONG:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A word that no other process of this machine has in its arguments.
pub fn mark() -> String {
    format!("mark-{}", Uuid::now_v7())
}

/// Living processes with this mark, found by nothing the shim uses.
pub fn marked(mark: &str) -> usize {
    let is_marked = |entry: fs::DirEntry| {
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
    };
    fs::read_dir("/proc").unwrap().flatten().filter(|_| true).map(is_marked).filter(|m| *m).count()
}

/// No marked process appears within a while in which any mover would show.
pub fn assert_none_marked(mark: &str) {
    for _ in 0..200 {
        assert_eq!(marked(mark), 0);
    }
}

pub fn code_of(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Failed { error } => &error.code,
        Outcome::Stopped { error: Some(error) } => &error.code,
        Outcome::Stopped { error: None } => "stopped",
        Outcome::Completed { .. } => "completed",
    }
}
