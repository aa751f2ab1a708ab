//! What real agents leave running in the middle of a shell call, ended in three ways.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::coding::Coding;
use crate::endpoint::{self, Endpoint};
use crate::procs::{self, Proc};
use crate::session::{id_of, uid_of};
use crate::{Greenroom, Value, json};

/// How long what was asked to end has for it. Less is enough for whoever obeys.
const WINDOW: Duration = Duration::from_secs(5);

/// What one end has left.
#[derive(Debug)]
pub struct Left {
    /// Processes of the agent before.
    pub before: usize,
    /// Those that are left.
    pub after: Vec<Proc>,
    /// How long it took until there were none, or the whole window.
    pub took: Duration,
}

/// A folder of one run of one agent, and the script for it: its only prompt is HOLD, for
/// which it runs a shell that waits for five minutes.
struct Scene {
    root: PathBuf,
    endpoint: Endpoint,
}

impl Scene {
    fn new(agent: Coding) -> Self {
        let short = uuid::Uuid::now_v7().simple().to_string();
        let root = PathBuf::from(format!("/tmp/gr-leak-{}", &short[20..]));
        for folder in ["home", "work"] {
            fs::create_dir_all(root.join(folder)).expect("a folder");
        }
        let script = format!("echo > '{}'; sleep 300; echo over", root.join("begun").display());
        let (tool, input) = agent.shell(&script);
        let mut fixtures = Vec::from(endpoint::uses("HOLD", tool, input, "It is over."));
        fixtures.push(endpoint::otherwise("A title."));
        Self { root, endpoint: Endpoint::start(&fixtures) }
    }

    /// Waits until the agent's shell runs.
    fn wait_begun(&self) {
        endpoint::wait_file(&self.root.join("begun"));
    }

    /// The agent on its own, in a session of its own, as a terminal would have it.
    fn start(&self, agent: Coding) -> Child {
        let (first, last) = bare(agent);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let args: [Vec<String>; 3] = [words(first), agent.args(&self.endpoint), words(last)];
        let home = self.root.join("home");
        agent.prepare(&home, &self.endpoint);
        let log = fs::File::create(self.root.join("log")).expect("a log");
        let mut command = Command::new(agent.program());
        command
            .args(args.concat())
            .arg("HOLD it")
            .env_clear()
            .envs(agent.env(&self.endpoint))
            .env("HOME", &home)
            .env("LANG", "C.UTF-8")
            .current_dir(self.root.join("work"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .process_group(0);
        command.spawn().expect("the agent starts")
    }

    /// All that is of this run, however it came to be.
    fn procs(&self) -> Vec<Proc> {
        procs::about(&self.root)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        procs::sweep(&self.root, &[]);
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// How each is told on its command line to do as it likes: what comes before its other
/// arguments, and what comes between them and the prompt.
fn bare(agent: Coding) -> (&'static [&'static str], &'static [&'static str]) {
    match agent {
        Coding::Claude => (&["--allowedTools", "Bash"], &["-p", "--"]),
        Coding::Codex => {
            (&["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"], &[])
        }
        Coding::Opencode => (&["run", "--auto"], &[]),
        Coding::Qwen => (&["--yolo"], &["-p"]),
        Coding::Gemini => (&["--yolo", "--skip-trust"], &["-p"]),
        Coding::Copilot => (&["--allow-all-tools"], &["-p"]),
        Coding::Pi => (&[], &["-p"]),
        Coding::Cline => (&["--json"], &[]),
    }
}

/// What is left of these and of all that has come since.
fn left(scene: &Scene, child: &mut Child, before: &[Proc], begun: Instant) -> Left {
    // Reaped at once, or it would count as a process.
    let pid = child.id() as i32;
    procs::wait_gone(pid, WINDOW);
    let _ = child.try_wait();
    procs::wait_all_gone(before, WINDOW.saturating_sub(begun.elapsed()));
    Left { before: before.len(), after: scene.procs(), took: begun.elapsed() }
}

/// Alone, with SIGTERM to its leader.
pub fn after_term(agent: Coding) -> Left {
    let scene = Scene::new(agent);
    let mut child = scene.start(agent);
    scene.wait_begun();
    let (before, begun) = (scene.procs(), Instant::now());
    procs::signal(child.id() as i32, Signal::TERM);
    left(&scene, &mut child, &before, begun)
}

/// Alone, with SIGTERM to its process group, and SIGKILL two seconds later.
pub fn after_group_kill(agent: Coding) -> Left {
    let scene = Scene::new(agent);
    let mut child = scene.start(agent);
    scene.wait_begun();
    let (before, begun) = (scene.procs(), Instant::now());
    let group = Pid::from_raw(child.id() as i32).expect("a pid");
    let _ = kill_process_group(group, Signal::TERM);
    procs::wait_all_gone(&before, Duration::from_secs(2));
    let _ = kill_process_group(group, Signal::KILL);
    left(&scene, &mut child, &before, begun)
}

/// In a session of Greenroom, which is stopped. Gives the receipt as well.
pub fn after_stop(agent: Coding) -> (Left, Value) {
    let scene = Scene::new(agent);
    let room = Greenroom::up().start();
    room.write_agent(agent.word(), agent.described(&scene.endpoint, &scene.root));
    room.served(agent.word());
    let session = room.api.create(agent.word(), json!({ "prompt": "HOLD it" }));
    scene.wait_begun();
    let work = room.workspace(&uid_of(&session));
    let work = work.parent().expect("a folder").to_owned();
    let (before, begun) = (procs::about(&work), Instant::now());
    let receipt = room.api.stop(&id_of(&session))["receipt"].clone();
    let took = begun.elapsed();
    let mut after = procs::about(&work);
    after.extend(before.iter().filter(|one| procs::look(one.pid).as_ref() == Some(*one)).cloned());
    after.sort();
    after.dedup();
    room.api.check(&id_of(&session));
    (Left { before: before.len(), after, took }, receipt)
}
