//! A Greenroom of its own for one test: data folder, agents, server, runners.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::builder::Builder;
use crate::http::Api;
use crate::sse::Sse;
use crate::{PATIENCE, agents, procs};

/// The binary under test: `GREENROOM_BIN`, or the one beside the test's own build.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("GREENROOM_BIN") {
        return path.into();
    }
    let path = beside("greenroom");
    assert!(
        path.exists(),
        "{} is missing: cargo build --release -p greenroom --features failpoints",
        path.display()
    );
    path
}

/// The suite's own helper program.
pub fn actor() -> PathBuf {
    beside("actor")
}

fn beside(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the test knows its own path");
    own.ancestors().nth(2).expect("target/release/deps/test").join(name)
}

/// A running Greenroom, and everything it has started. All of it ends with this value.
#[derive(Debug)]
pub struct Greenroom {
    /// Where everything of this test is.
    pub root: PathBuf,
    /// The server's data folder.
    pub data: PathBuf,
    /// How to reach it, as admin.
    pub api: Api,
    /// How it was started; `restart` uses it again.
    pub builder: Builder,
    /// Where runners reach the coordinator, if not directly.
    pub link: Option<String>,
    server: Option<Server>,
    runners: Vec<RunnerProcess>,
}

/// A server's process.
#[derive(Debug)]
pub struct Server {
    child: Child,
    lines: Mutex<Receiver<String>>,
}

/// A runner's process.
#[derive(Debug)]
pub struct RunnerProcess {
    /// Its name.
    pub name: String,
    /// Its data folder.
    pub data: PathBuf,
    child: Option<Child>,
}

impl Greenroom {
    /// One that is described and not started.
    pub(crate) fn unstarted(root: PathBuf, data: PathBuf, api: Api, builder: Builder) -> Self {
        Self { root, data, api, builder, link: None, server: None, runners: Vec::new() }
    }

    /// Coordinator, runner and dashboard in one process.
    pub fn up() -> Builder {
        Builder::new(true)
    }

    /// The coordinator alone; runners are processes of their own.
    pub fn serve() -> Builder {
        Builder::new(false)
    }

    /// Writes, or replaces, an agent's file.
    pub fn write_agent(&self, name: &str, description: Value) {
        let path = self.agent_file(name);
        // By rename, so that no reader sees half of it.
        let part = path.with_extension("part");
        fs::write(&part, agents::file(name, description)).expect("the agent's file");
        fs::rename(part, path).expect("the agent's file");
    }

    /// Waits until an agent of this name is served.
    pub fn served(&self, name: &str) {
        self.wait_agent(name, |_| true);
    }

    /// Waits until the agent of this name fits. It follows the feed over everything.
    pub fn wait_agent(&self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        let mut feed = Sse::open(&self.api, "/v1/events");
        loop {
            let reply = self.api.get(&format!("/v1/agents/{name}"));
            if reply.status == 200 && fits(&reply.json()) {
                return reply.json();
            }
            assert!(begun.elapsed() < PATIENCE, "agent {name}: {}", reply.text());
            feed.within(PATIENCE.saturating_sub(begun.elapsed()));
            let _ = feed.try_next();
        }
    }

    /// An agent's file.
    pub fn agent_file(&self, name: &str) -> PathBuf {
        self.root.join("agents").join(format!("{name}.yaml"))
    }

    /// A command line of the binary, with no settings of the caller's own.
    pub fn command(&self) -> Command {
        self.bare(Command::new(&self.builder.binary))
    }

    fn bare(&self, mut command: Command) -> Command {
        let scratch = self.root.join("home");
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", &scratch);
        command.env("LANG", "C.UTF-8").env("TERM", "dumb").current_dir(&self.root);
        command
    }

    fn log(&self, name: &str) -> File {
        let path = self.root.join(format!("{name}.log"));
        File::options().create(true).append(true).open(path).expect("a log")
    }

    /// Starts the server, and returns when it is ready.
    pub fn start_server(&mut self) {
        let mut server = self.spawn_server();
        let line = server.line("the ready line");
        let expected = format!("greenroom is up at http://{}", self.api.host);
        assert_eq!(line, expected, "{}", self.log_text("server"));
        self.server = Some(server);
        let token = fs::read_to_string(self.data.join("token")).expect("DATA/token");
        self.api.token = Some(token.trim().to_owned());
    }

    /// Takes a started server as this room's own once it is ready. Says whether it got there.
    pub fn take_server(&mut self, mut server: Server) -> bool {
        let ready = server.lines.lock().is_ok_and(|lines| lines.recv_timeout(PATIENCE).is_ok());
        if ready {
            self.server = Some(server);
        } else {
            let _ = server.child.kill();
            let _ = server.child.wait();
        }
        ready
    }

    /// Starts the server and does not wait.
    pub fn spawn_server(&self) -> Server {
        let builder = &self.builder;
        let mut command = match builder.through.split_first() {
            None => self.command(),
            Some((program, words)) => {
                let mut command = self.bare(Command::new(program));
                command.args(words).arg(&builder.binary);
                command
            }
        };
        command.arg(if builder.whole { "up" } else { "serve" });
        command.args(["--listen", &self.api.host]).arg("--data").arg(&self.data);
        command.arg("--agents").arg(self.root.join("agents")).args(&builder.args);
        command.envs(builder.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(self.log("server"));
        let mut child = command.spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Server { child, lines: Mutex::new(lines) }
    }

    /// Adds a runner of this name, joined with a fresh join token, and waits until it is
    /// connected.
    pub fn add_runner(&mut self, name: &str) {
        let data = self.root.join(format!("runner-{name}"));
        let reply = self.api.post("/v1/tokens", json!({"role": "runner"})).expect(201);
        let token = reply["secret"].as_str().expect("a secret").to_owned();
        let mut runner = RunnerProcess { name: name.to_owned(), data, child: None };
        runner.child = Some(self.spawn_runner(&runner, Some(&token)));
        self.runners.push(runner);
        self.wait_connected(name);
    }

    /// Starts the process of a runner and does not wait.
    pub fn spawn_runner(&self, runner: &RunnerProcess, token: Option<&str>) -> Child {
        let mut command = self.command();
        let host = self.link.as_ref().unwrap_or(&self.api.host);
        command.args(["runner", "--coordinator", &format!("http://{host}")]);
        command.arg("--data").arg(&runner.data).args(["--name", &runner.name]);
        command.args(&self.builder.runner_args);
        command.envs(self.builder.runner_env.iter().map(|(name, value)| (name, value)));
        if let Some(token) = token {
            command.env("GREENROOM_TOKEN", token);
        }
        let log = self.log(&format!("runner-{}", runner.name));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().expect("the binary starts")
    }

    /// Waits until the runner of this name is connected.
    pub fn wait_connected(&self, name: &str) {
        self.api.wait_runner(name, |runner| runner["status"] == "connected");
    }

    /// The server's process id.
    pub fn server_pid(&self) -> i32 {
        self.server.as_ref().expect("the server runs").child.id() as i32
    }

    /// The process id of a runner.
    pub fn runner_pid(&self, name: &str) -> i32 {
        self.runner(name).child.as_ref().expect("the runner runs").id() as i32
    }

    /// A runner.
    pub fn runner(&self, name: &str) -> &RunnerProcess {
        self.runners.iter().find(|runner| runner.name == name).expect("a runner of that name")
    }

    fn runner_mut(&mut self, name: &str) -> &mut RunnerProcess {
        self.runners.iter_mut().find(|runner| runner.name == name).expect("such a runner")
    }

    /// Kills the server with no chance to do anything.
    pub fn kill9_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.child.kill();
            let _ = server.child.wait();
        }
    }

    /// Kills the server with no chance to do anything, and starts it again at the same place.
    pub fn kill9_and_restart(&mut self) {
        self.kill9_server();
        self.start_server();
    }

    /// Whether the server has ended by itself.
    pub fn server_is_dead(&mut self) -> bool {
        match &mut self.server {
            Some(server) => server.child.try_wait().is_ok_and(|status| status.is_some()),
            None => true,
        }
    }

    /// Ends the server with SIGTERM.
    pub fn term_server(&mut self) -> ExitStatus {
        procs::signal(self.server_pid(), Signal::TERM);
        self.await_server()
    }

    /// Waits until the server has ended by itself.
    pub fn await_server(&mut self) -> ExitStatus {
        let mut server = self.server.take().expect("the server runs");
        let pid = server.child.id() as i32;
        assert!(procs::wait_gone(pid, PATIENCE), "the server ends: {}", self.log_text("server"));
        server.child.wait().expect("its status")
    }

    /// The next line the server says on stdout.
    pub fn server_line(&self) -> Option<String> {
        let lines = self.server.as_ref()?.lines.lock().ok()?;
        lines.recv_timeout(PATIENCE).ok()
    }

    /// Kills a runner with no chance to do anything.
    pub fn kill9_runner(&mut self, name: &str) {
        if let Some(mut child) = self.runner_mut(name).child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends a runner with SIGTERM.
    pub fn term_runner(&mut self, name: &str) -> ExitStatus {
        let pid = self.runner_pid(name);
        procs::signal(pid, Signal::TERM);
        assert!(procs::wait_gone(pid, PATIENCE), "the runner ends");
        let mut child = self.runner_mut(name).child.take().expect("the runner ran");
        child.wait().expect("its status")
    }

    /// Waits until a runner has ended by itself.
    pub fn await_runner(&mut self, name: &str) {
        let pid = self.runner_pid(name);
        assert!(procs::wait_gone(pid, PATIENCE), "the runner ends");
        self.kill9_runner(name);
    }

    /// Starts a runner again, with the credential it has kept.
    pub fn restart_runner(&mut self, name: &str) {
        let child = self.spawn_runner(self.runner(name), None);
        self.runner_mut(name).child = Some(child);
    }

    /// The control folders of a session's computes, wherever its runner keeps them.
    pub fn run_folder(&self, uid: &str) -> PathBuf {
        self.data_folders()
            .into_iter()
            .map(|data| data.join("run").join(uid))
            .find(|path| path.exists())
            .unwrap_or_else(|| panic!("no control folder for {uid}"))
    }

    /// The session's workspace on disk.
    pub fn workspace(&self, uid: &str) -> PathBuf {
        self.data_folders()
            .into_iter()
            .map(|data| data.join("work").join(uid).join("workspace"))
            .find(|path| path.exists())
            .unwrap_or_else(|| panic!("no workspace for {uid}"))
    }

    /// Every data folder of this test.
    pub fn data_folders(&self) -> Vec<PathBuf> {
        let runners = self.runners.iter().map(|runner| runner.data.clone());
        std::iter::once(self.data.clone()).chain(runners).collect()
    }

    /// The shim of a session's compute: the process that holds its lock.
    pub fn shim_pid(&self, uid: &str, epoch: u64) -> i32 {
        let lock = self.run_folder(uid).join(epoch.to_string()).join("lock");
        let mut found = procs::holding(&lock);
        let begun = Instant::now();
        // What the shim has just cloned has its files until it executes the agent.
        while found.len() > 1 && begun.elapsed() < PATIENCE {
            std::thread::yield_now();
            found = procs::holding(&lock);
        }
        assert_eq!(found.len(), 1, "one process holds {}: {found:?}", lock.display());
        found[0].pid
    }

    /// A file with a path that nobody can guess, to be held open by what must be found again.
    pub fn marker(&self) -> PathBuf {
        let path = self.root.join(format!("mark-{}", uuid::Uuid::now_v7().simple()));
        fs::write(&path, "").expect("a marker");
        path
    }

    /// A marker, as the prompt of an agent that holds it open.
    pub fn mark(&self) -> (PathBuf, String) {
        let path = self.marker();
        let text = path.to_string_lossy().into_owned();
        (path, text)
    }

    /// Waits until a process's log contains these words.
    pub fn wait_log(&self, name: &str, words: &str) {
        let path = self.root.join(format!("{name}.log"));
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC).expect("a watch");
        inotify::add_watch(&watch, &path, inotify::WatchFlags::MODIFY).expect("a log");
        let begun = Instant::now();
        let mut changed = [0; 4096];
        while !fs::read_to_string(&path).is_ok_and(|text| text.contains(words)) {
            let left = PATIENCE.checked_sub(begun.elapsed());
            let left = left.unwrap_or_else(|| panic!("{words:?} is not in {}", path.display()));
            let left = Timespec::try_from(left).expect("a short time");
            if poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&left)) == Ok(1) {
                rustix::io::read(&watch, &mut changed).expect("what has changed");
            }
        }
    }

    /// The end of a log, for a failure.
    pub fn log_text(&self, name: &str) -> String {
        let text = fs::read_to_string(self.root.join(format!("{name}.log"))).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Prints the end of each session's log.
    fn tell_sessions(&self) {
        let all = self.api.get("/v1/sessions?limit=20").expect(200);
        for session in all["items"].as_array().into_iter().flatten() {
            let id = session["id"].as_str().unwrap_or_default();
            let log = self.api.log(id);
            eprintln!("--- session {id}: {} ---", session["status"]);
            for event in &log[log.len().saturating_sub(200)..] {
                let data: String = event["data"].to_string().chars().take(400).collect();
                eprintln!("{} {} {data}", event["seq"], event["type"]);
            }
        }
    }

    fn runner_ids(&self) -> Vec<String> {
        self.data_folders()
            .iter()
            .filter_map(|data| fs::read(data.join("runner.json")).ok())
            .filter_map(|text| serde_json::from_slice::<Value>(&text).ok())
            .flat_map(|value| {
                ["id", "runner_id"].map(|key| value[key].as_str().unwrap_or("").to_owned())
            })
            .filter(|id| !id.is_empty())
            .collect()
    }
}

impl Server {
    /// The next line on stdout.
    pub fn line(&mut self, what: &str) -> String {
        let heard = self.lines.lock().expect("no poison").recv_timeout(PATIENCE);
        match heard {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("{what} did not come within {PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("the server ended before {what}: {:?}", self.child.wait())
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Waits for its end, by itself.
    pub fn wait(mut self, limit: Duration) -> Option<ExitStatus> {
        if !procs::wait_gone(self.pid(), limit) {
            let _ = self.child.kill();
            let _ = self.child.wait();
            return None;
        }
        self.child.wait().ok()
    }
}

impl Drop for Greenroom {
    fn drop(&mut self) {
        let names: Vec<String> = self.runners.iter().map(|runner| runner.name.clone()).collect();
        if std::thread::panicking() {
            eprintln!("--- server ---\n{}", self.log_text("server"));
            for name in &names {
                eprintln!("--- runner {name} ---\n{}", self.log_text(&format!("runner-{name}")));
            }
            // A server that is gone has nothing to say.
            let told = std::panic::AssertUnwindSafe(|| self.tell_sessions());
            let _ = std::panic::catch_unwind(told);
        }
        self.kill9_server();
        for name in &names {
            self.kill9_runner(name);
        }
        procs::sweep(&self.root, &self.runner_ids());
        let keep = std::env::var_os("GREENROOM_KEEP").is_some() && std::thread::panicking();
        if !keep {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}
