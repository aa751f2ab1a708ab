//! What the tests share: agents, sessions, runners.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use greenroom_core::agent::*;
use greenroom_core::assignment::StopOrder;
use greenroom_core::receipt::StopReason;
use greenroom_core::*;
use greenroom_protocol::link::{ComputeBody, RunBody};
use greenroom_runner::{Runner, RunnerConfig, start};
use greenroom_shim::local;
use greenroom_shim::wire::FromShim;

use crate::coordinator::Coordinator;

pub(crate) struct Fixture {
    pub(crate) coordinator: Coordinator,
    temp: tempfile::TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let temp = tempfile::Builder::new().prefix("greenroom-").tempdir().unwrap();
        Self { coordinator: Coordinator::start().await, temp }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.temp.path().join("data")
    }

    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    pub(crate) fn config(&self) -> RunnerConfig {
        config(&self.coordinator.url, &self.data())
    }

    pub(crate) async fn runner(&self) -> Runner {
        let runner = start(self.config()).await.unwrap();
        runner.connected().await.unwrap();
        runner
    }

    /// A session whose computes run this shell script.
    pub(crate) fn session(&self, script: &str) -> Session<'_> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let spec = agent(CommandSpec {
            command,
            prompt_via: PromptVia::Stdin,
            stdout: Stdout::Text,
            lifecycle: Lifecycle::PerRun,
        });
        self.session_of(spec)
    }

    pub(crate) fn session_of(&self, agent: AgentSpec) -> Session<'_> {
        let uid = SessionUid(uuid::Uuid::now_v7());
        Session { fixture: self, uid, agent, workspace: None }
    }

    pub(crate) fn work(&self, uid: SessionUid) -> PathBuf {
        self.data().join(format!("work/{uid}"))
    }

    pub(crate) fn control(&self, uid: SessionUid, epoch: u32) -> PathBuf {
        self.data().join(format!("run/{uid}/{epoch}"))
    }

    pub(crate) fn floor(&self, uid: SessionUid) -> u32 {
        let text = std::fs::read_to_string(self.data().join(format!("run/{uid}/floor")));
        text.map_or(0, |text| text.parse().unwrap())
    }

    /// The shims of this data folder that answer, by their process.
    pub(crate) fn shims(&self) -> Vec<u32> {
        let found = local::list(&self.data().join("run"), Duration::from_secs(2)).unwrap();
        let pid = |found: local::Found| match found.standing {
            local::Standing::Live(FromShim::Hello { pid, .. }) => Some(pid),
            _ => None,
        };
        found.into_iter().filter_map(pid).collect()
    }
}

impl Drop for Fixture {
    /// Whatever a test leaves, its folder goes, and with it every shim and agent.
    fn drop(&mut self) {
        for pid in self.shims() {
            let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) else { continue };
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::CONT);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

pub(crate) fn config(url: &str, data: &Path) -> RunnerConfig {
    RunnerConfig {
        coordinator: url.to_owned(),
        data: data.to_owned(),
        name: Some("test".into()),
        labels: BTreeMap::new(),
        slots: None,
        expose_env: Vec::new(),
        working_dir_roots: Vec::new(),
        join_token: Some("join-me".into()),
        adopt_store: false,
    }
}

pub(crate) fn agent(command: CommandSpec) -> AgentSpec {
    AgentSpec {
        name: "tester".parse().unwrap(),
        description: None,
        driver: Driver::Command(command),
        env: BTreeMap::new(),
        workspace: WorkspaceFrom::Empty,
        stop: Graces { cancel_grace_ms: Ms(0), grace_ms: Ms(500) },
        leftovers: Leftovers::Sweep,
        limits: Limits::default(),
        runner_labels: BTreeMap::new(),
        input_schema: None,
        output_schema: None,
        approvals: Default::default(),
    }
}

/// One session, as the coordinator knows it.
pub(crate) struct Session<'a> {
    fixture: &'a Fixture,
    pub(crate) uid: SessionUid,
    pub(crate) agent: AgentSpec,
    pub(crate) workspace: Option<SessionWorkspace>,
}

impl Session<'_> {
    /// Wants this epoch up with a run of this prompt.
    pub(crate) fn up(&self, epoch: u32, generation: u64, prompt: &str) -> RunId {
        let run = self.prepared(epoch, prompt);
        self.order(epoch, generation, Order::up(Some(run)));
        run
    }

    /// What an epoch with a run of this prompt is fetched as.
    pub(crate) fn prepared(&self, epoch: u32, prompt: &str) -> RunId {
        let run = RunId(uuid::Uuid::now_v7());
        let body = ComputeBody {
            session: "the-session".parse().unwrap(),
            agent: self.agent.clone(),
            workspace: self.workspace.clone(),
            limits: Limits::default(),
            settings: None,
            within: Vec::new(),
            env: BTreeMap::from([("GREENROOM_SESSION".into(), "the-session".into())]),
            conversation: None,
            resumed: false,
        };
        self.fixture.coordinator.change(|inner| {
            inner.bodies.insert((self.uid, Epoch(epoch)), body);
            inner.runs.insert(run, RunBody { prompt: Some(prompt.into()), input: None });
        });
        run
    }

    pub(crate) fn down(&self, epoch: u32, generation: u64, grace_ms: u64) {
        self.fixture.coordinator.order(
            self.uid,
            epoch,
            generation,
            Order::Down { stop: stop(grace_ms) },
        );
    }

    pub(crate) fn order(&self, epoch: u32, generation: u64, order: Order) {
        self.fixture.coordinator.order(self.uid, epoch, generation, order);
    }

    /// Waits until the run has begun and the agent has said this.
    pub(crate) async fn says(&self, epoch: u32, text: &str) {
        let what = format!("the agent to say {text:?}");
        self.fixture
            .coordinator
            .until(&what, |inner| inner.text(self.uid, epoch).contains(text))
            .await;
    }

    pub(crate) async fn receipt(&self, epoch: u32) -> Receipt {
        let receipt = self.fixture.coordinator.receipt(self.uid, epoch).await;
        assert_eq!((receipt.epoch, receipt.survivors), (Epoch(epoch), 0), "{receipt:#?}");
        receipt
    }
}

pub(crate) fn stop(grace_ms: u64) -> StopOrder {
    StopOrder {
        id: StopId(uuid::Uuid::now_v7()),
        reason: StopReason::User,
        cancel_grace_ms: Ms(0),
        grace_ms: Ms(grace_ms),
        requested_by: vec!["tester".into()],
        attempt: 0,
    }
}

/// Waits until something outside of anybody's events is so: a file that goes, a process
/// that dies.
pub(crate) async fn eventually(what: &str, is: impl Fn() -> bool) {
    for _ in 0..2000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came: {what}");
}

/// A runner of a process of its own, until that is killed.
pub(crate) fn be_a_runner(url: &str, data: &Path) -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    let Ok(runtime) = tokio::runtime::Runtime::new() else { return ExitCode::FAILURE };
    runtime.block_on(async {
        let runner = match start(config(url, data)).await {
            Ok(runner) => runner,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        };
        std::future::pending::<()>().await;
        drop(runner);
        ExitCode::SUCCESS
    })
}

/// Starts such a process.
pub(crate) fn runner_process(fixture: &Fixture, failpoints: &str) -> std::process::Child {
    std::process::Command::new("/proc/self/exe")
        .args(["runner", &fixture.coordinator.url])
        .arg(fixture.data())
        .env("FAILPOINTS", failpoints)
        .spawn()
        .unwrap()
}
