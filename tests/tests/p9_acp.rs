//! Real agents that speak the Agent Client Protocol, against a scripted model: work, a
//! question, a turn that is cancelled, stops and crashes in the middle of a shell, and
//! after each of them the agent's own memory.

use std::path::{Path, PathBuf};

use greenroom_tests::coding::Coding;
use greenroom_tests::endpoint::{self, Endpoint};

use greenroom_tests::session::uid_of;
use greenroom_tests::{Greenroom, PATIENCE, Value, json, procs, tools};
use rustix::process::Signal;

/// A room with one agent, its scripted model, and what its tools touch.
struct Scene {
    room: Greenroom,
    endpoint: Endpoint,
    agent: Coding,
    folder: PathBuf,
    mark: PathBuf,
}

/// The command by which an agent speaks the protocol.
fn command(agent: Coding) -> Vec<String> {
    let node = tools::node().display().to_string();
    let adapter = |name: &str| tools::acp(name).display().to_string();
    match agent {
        Coding::Claude => {
            vec![node, adapter("@agentclientprotocol/claude-agent-acp/dist/index.js")]
        }
        Coding::Codex => vec![node, adapter("@agentclientprotocol/codex-acp/dist/index.js")],
        _ => vec![agent.program(), "acp".to_owned()],
    }
}

/// WRITE writes a file, HOLD holds the mark open for five minutes, RECALL only answers.
fn scene(agent: Coding, approvals: Value, separate: bool) -> Scene {
    let builder = if separate { Greenroom::serve().runner("one") } else { Greenroom::up() };
    let room = builder.start();
    let (mark, _) = room.mark();
    let folder = room.root.join("shared");
    std::fs::create_dir(&folder).expect("a folder for the agent's files");
    let (write, written) = agent.write(&folder.join("out.txt"), "hello from a tool");
    let begun = folder.join("begun");
    let hold = format!("exec 9<'{}'; echo > '{}'; sleep 300", mark.display(), begun.display());
    let (shell, held) = agent.shell(&hold);
    let mut fixtures = vec![endpoint::says("RECALL", "I remember all of it.")];
    fixtures.extend(endpoint::uses("HOLD", shell, held, "It is over."));
    let call = |name: &str| {
        let (write, written) = agent.write(&folder.join(name), "hello from a tool");
        json!({ "name": write, "arguments": written })
    };
    let (one, two) = (call("one.txt"), call("two.txt"));
    let mut both = endpoint::uses("BOTH", write, written.clone(), "Both are written.");
    both[0]["response"]["toolCalls"] = json!([one, two]);
    fixtures.extend(both);
    fixtures.extend(endpoint::uses("WRITE", write, written, "It is written."));
    fixtures.push(endpoint::fails("FAULT", 400, "scripted bad request"));
    fixtures.push(endpoint::otherwise("A title."));
    let endpoint = Endpoint::start(&fixtures);
    let env: serde_json::Map<_, _> = agent
        .env(&endpoint)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let mut description = json!({
        "driver": "acp", "command": command(agent), "env": env,
        "stop": { "grace": "5s" },
    });
    if !approvals.is_null() {
        description["approvals"] = approvals;
    }
    if agent == Coding::Codex {
        // Its adapter reads the endpoint from the agent's own settings, and wants a login.
        let settings = room.root.join("codex");
        std::fs::create_dir(&settings).expect("a folder for its settings");
        std::fs::write(settings.join("config.toml"), agent.settings(&endpoint)).expect("a file");
        description["env"]["CODEX_HOME"] = settings.to_str().expect("UTF-8").into();
        description["auth"] = "api-key".into();
    }
    if agent == Coding::Opencode {
        // It asks for nothing of itself.
        let config = description["env"]["OPENCODE_CONFIG_CONTENT"].as_str().expect("its config");
        let mut config: Value = serde_json::from_str(config).expect("JSON");
        config["permission"] = json!({ "edit": "ask", "bash": "ask" });
        description["env"]["OPENCODE_CONFIG_CONTENT"] = config.to_string().into();
    }
    room.write_agent(agent.word(), description);
    room.served(agent.word());
    Scene { room, endpoint, agent, folder, mark }
}

fn autonomous() -> Value {
    json!({ "mode": "autonomous" })
}

impl Scene {
    fn create(&self, prompt: &str) -> (String, String, Value) {
        let session = self.room.api.create(self.agent.word(), json!({ "prompt": prompt }));
        let id = session["id"].as_str().expect("an id").to_owned();
        (id, uid_of(&session), session["run_id"].clone())
    }

    /// In the middle of a shell call.
    fn hold(&self) -> (String, String, Value) {
        let (id, uid, run) = self.create("WRITE the file");
        let run = self.room.api.wait_run(&id, &run);
        assert_eq!(run["status"], "completed", "{run:#}\n{:#?}", self.room.api.log(&id));
        let run = self.room.api.prompt(&id, "HOLD it");
        endpoint::wait_file(&self.folder.join("begun"));
        assert!(!procs::holding(&self.mark).is_empty(), "the agent's shell runs");
        (id, uid, run["id"].clone())
    }

    /// The next prompt, with all that was said before it in the model's own journal.
    fn recall(&self, id: &str) {
        let run = self
            .room
            .api
            .prompt_with(id, "RECALL what you did", json!({ "resume": true }))
            .granted();
        let run = self.room.api.wait_run(id, &run["id"]);
        assert_eq!(run["status"], "completed", "{run:#}\n{:#?}", self.room.api.log(id));
        let sent = self.endpoint.last_asked("RECALL");
        for word in ["WRITE the file", "It is written.", "HOLD it"] {
            assert!(sent.contains(word), "{word:?} is not in what the model was sent: {sent}");
        }
        let fresh = self.room.api.events(id, "session.context_fresh");
        assert!(fresh.is_empty(), "{fresh:#?}");
    }

    fn stop(&self, id: &str) -> Value {
        let receipt = self.room.api.stop(id)["receipt"].clone();
        assert_eq!(receipt["survivors"], 0, "{receipt:#}");
        let left = procs::holding(&self.mark);
        assert!(left.is_empty(), "{left:?}");
        receipt
    }
}

fn works_stops_and_goes_on(agent: Coding) {
    let mut scene = scene(agent, autonomous(), false);
    let (id, uid, run) = scene.hold();
    let written = std::fs::read_to_string(scene.folder.join("out.txt")).expect("the tool's file");
    assert_eq!(written, "hello from a tool");
    let receipt = scene.stop(&id);
    let steps: Vec<_> =
        receipt["steps"].as_array().expect("steps").iter().map(|s| s["action"].clone()).collect();
    assert!(steps.contains(&json!("cancel")), "{steps:?}");
    assert_eq!(scene.room.api.run(&run)["status"], "stopped");
    scene.room.kill9_and_restart();
    scene.recall(&id);
    assert_eq!(scene.room.api.wait_status(&id, "idle")["status"], "idle");
    scene.stop(&id);
    scene.room.api.check(&id);
    assert!(procs::about(&scene.room.workspace(&uid)).is_empty());
}

#[test]
fn p9_opencode_speaks_acp() {
    works_stops_and_goes_on(Coding::Opencode);
}

#[test]
fn p9_claude_speaks_acp() {
    works_stops_and_goes_on(Coding::Claude);
}

#[test]
fn p9_codex_speaks_acp() {
    works_stops_and_goes_on(Coding::Codex);
}

fn asked(scene: &Scene, id: &str) -> Value {
    scene.room.api.wait_status(id, "waiting");
    let list = scene.room.api.get(&format!("/v1/sessions/{id}/approvals")).expect(200);
    let all = list["items"].as_array().expect("a list");
    all.iter().find(|asked| asked["status"] == "open").expect("an open question").clone()
}

fn answer(scene: &Scene, id: &str, asked: &Value, decision: &str) {
    let path = format!("/v1/sessions/{id}/approvals/{}", asked["id"].as_str().expect("an id"));
    scene.room.api.post(&path, json!({ "decision": decision })).granted();
    let again = scene.room.api.post(&path, json!({ "decision": "allow" }));
    assert_eq!(again.status, 409, "{}", again.text());
}

fn what_is_answered_counts_on_disk(agent: Coding) {
    for (decision, is_there) in [("deny", false), ("allow", true)] {
        let mut scene = scene(agent, json!({ "mode": "strict" }), false);
        let (id, _, run) = scene.create("WRITE the file");
        let question = asked(&scene, &id);
        // Neither the question nor the answer depends on the server that was asked.
        scene.room.kill9_and_restart();
        assert_eq!(asked(&scene, &id)["id"], question["id"]);
        assert!(!scene.folder.join("out.txt").exists(), "nothing is done before the answer");
        answer(&scene, &id, &question, decision);
        // It may ask for more than one thing, such as the folder and then the file.
        let over = || scene.room.api.run(&run)["ended_at"].is_string();
        while !over() {
            let open = |session: &Value| session["status"] == "waiting" || over();
            scene.room.api.wait_session(&id, "a question or the end", open);
            if !over() {
                answer(&scene, &id, &asked(&scene, &id), decision);
            }
        }
        assert_eq!(scene.folder.join("out.txt").exists(), is_there, "{decision}");
        scene.stop(&id);
        scene.room.api.check(&id);
    }
}

#[test]
fn p9_an_answer_to_opencode_counts_on_disk() {
    what_is_answered_counts_on_disk(Coding::Opencode);
}

#[test]
fn p9_an_answer_to_claude_over_acp_counts_on_disk() {
    what_is_answered_counts_on_disk(Coding::Claude);
}

#[test]
fn p9_an_edit_counts_in_the_turn_of_an_agent_that_speaks_acp() {
    let scene = scene(Coding::Claude, json!({ "mode": "strict" }), false);
    let (id, _, run) = scene.create("BOTH files");
    let question = asked(&scene, &id);
    let edit = json!({ "approvals": { "mode": "autonomous" } });
    let request = scene.room.api.request("PATCH", &format!("/v1/sessions/{id}"));
    request.json(&edit).send().granted();
    answer(&scene, &id, &question, "allow");
    let run = scene.room.api.wait_run(&id, &run);
    assert_eq!(run["status"], "completed", "{run:#}\n{:#?}", scene.room.api.log(&id));
    assert_eq!(scene.room.api.events(&id, "approval.requested").len(), 1, "nothing more was asked");
    let decided = scene.room.api.events(&id, "approval.decided");
    assert_eq!(decided[0]["data"]["by"], "mode autonomous", "{decided:#?}");
    assert!(scene.folder.join("one.txt").exists() && scene.folder.join("two.txt").exists());
    scene.stop(&id);
}

#[test]
fn p9_a_stopped_run_leaves_the_warm_agent() {
    let scene = scene(Coding::Opencode, autonomous(), false);
    let (id, uid, run) = scene.hold();
    let epoch = scene.room.api.session(&id)["epoch"].clone();
    let shim = scene.room.shim_pid(&uid, 1);
    let path = format!("/v1/runs/{}/stop?wait=30s", run.as_str().expect("an id"));
    let stopped = scene.room.api.post(&path, json!({})).expect(200);
    assert_eq!(stopped["status"], "stopped", "{stopped:#}");
    let left = procs::holding(&scene.mark);
    assert!(procs::wait_all_gone(&left, PATIENCE), "{left:?}");
    scene.recall(&id);
    assert_eq!(scene.room.api.session(&id)["epoch"], epoch, "the same compute");
    assert_eq!(scene.room.shim_pid(&uid, 1), shim);
    scene.stop(&id);
    scene.room.api.check(&id);
}

/// `kill -9` of each part in the middle of a shell call: nothing is left after a stop, and
/// the agent still knows what was said.
#[test]
fn p9_after_any_crash_it_is_stopped_and_goes_on() {
    for part in ["agent", "driver", "shim", "runner", "coordinator"] {
        let mut scene = scene(Coding::Opencode, autonomous(), true);
        let (id, uid, _) = scene.hold();
        let process = |words: &str| {
            let all = procs::in_cgroup(&uid);
            let found = all.iter().find(|process| process.line.contains(words));
            found.unwrap_or_else(|| panic!("{part}: no {words:?} in {all:?}")).pid
        };
        match part {
            "shim" => procs::signal(scene.room.shim_pid(&uid, 1), Signal::KILL),
            "driver" => procs::signal(process("drive acp"), Signal::KILL),
            "agent" => procs::signal(process("opencode acp"), Signal::KILL),
            "runner" => {
                scene.room.kill9_runner("one");
                scene.room.restart_runner("one");
                scene.room.wait_connected("one");
            }
            _ => scene.room.kill9_and_restart(),
        }
        let stopped = scene.room.api.stop_with(&id, "45s", json!({}));
        assert_eq!(stopped.status, 200, "{part}: {}", stopped.text());
        let left = procs::holding(&scene.mark);
        assert!(left.is_empty(), "{part}: {left:?}");
        scene.recall(&id);
        scene.stop(&id);
        scene.room.api.check(&id);
    }
}

#[test]
fn p9_an_agent_that_has_lost_its_memory_says_so() {
    let scene = scene(Coding::Opencode, autonomous(), false);
    let (id, uid, run) = scene.create("WRITE the file");
    scene.room.api.wait_run(&id, &run);
    scene.stop(&id);
    let home = scene.room.workspace(&uid).with_file_name("home");
    forget(&home);
    let run = scene.room.api.prompt(&id, "RECALL what you did");
    let run = scene.room.api.wait_run(&id, &run["id"]);
    assert_eq!(run["status"], "completed", "{run:#}");
    let fresh = scene.room.api.events(&id, "session.context_fresh");
    assert_eq!(fresh.len(), 1, "{fresh:#?}");
    let sent = scene.endpoint.last_asked("RECALL");
    assert!(sent.contains("could not be restored"), "the agent is told: {sent}");
    scene.stop(&id);
    scene.room.api.check(&id);
}

/// Everything beneath the agent's HOME.
fn forget(home: &Path) {
    for entry in std::fs::read_dir(home).expect("a HOME") {
        let path = entry.expect("an entry").path();
        let removed = match path.is_dir() {
            true => std::fs::remove_dir_all(&path),
            false => std::fs::remove_file(&path),
        };
        removed.expect("it is removed");
    }
}

#[test]
fn p9_an_agent_that_does_not_speak_it_is_a_start_error() {
    let room = Greenroom::up().start();
    let agents = [
        (
            "quiet",
            json!({ "driver": "acp", "command": ["sleep", "1000"], "limits": { "start": "500ms" } }),
        ),
        ("noisy", json!({ "driver": "acp", "command": ["sh", "-c", "echo hello; exit 3"] })),
        ("missing", json!({ "driver": "acp", "command": ["no-such-agent"] })),
    ];
    for (name, description) in agents {
        room.write_agent(name, description);
        room.served(name);
        let session = room.api.create(name, json!({ "prompt": "x" }));
        let id = session["id"].as_str().expect("an id").to_owned();
        let at_rest = room.api.wait_status(&id, "failed");
        let reason = at_rest["status_reason"].as_str().unwrap_or_default();
        assert!(reason.starts_with("start_"), "{name}: {at_rest:#}");
        assert_eq!(at_rest["receipt"]["survivors"], 0, "{name}");
    }
}

#[test]
fn p9_a_fault_of_the_model_ends_the_run_and_not_the_session() {
    let scene = scene(Coding::Opencode, autonomous(), false);
    let (id, _, run) = scene.create("FAULT please");
    let run = scene.room.api.wait_run(&id, &run);
    assert!(
        ["failed", "completed"].contains(&run["status"].as_str().expect("a status")),
        "{run:#}"
    );
    scene.room.api.wait_status(&id, "idle");
    scene.stop(&id);
}
