//! P5: agents outlive us. Neither restart nor upgrade nor absence ends one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::process::Signal;

use greenroom_tests::events::{said, ticks, whole};
use greenroom_tests::session::{id_of, uid_of};
use greenroom_tests::{Greenroom, agents, binary, json, procs, scaled};

fn agent_of(mark: &std::path::Path) -> procs::Proc {
    let found = procs::holding(mark);
    assert_eq!(found.len(), 1, "one agent: {found:?}");
    found[0].clone()
}

/// So many sessions in the middle of their work.
fn busy(room: &Greenroom, count: usize) -> Vec<(String, PathBuf, procs::Proc)> {
    (0..count)
        .map(|_| {
            let (mark, prompt) = room.mark();
            let id = room.api.begin("holder", &prompt);
            room.api.wait_text(&id, "holding");
            let agent = agent_of(&mark);
            (id, mark, agent)
        })
        .collect()
}

#[test]
fn p5_binaries_are_swapped_under_busy_sessions() {
    // A copy of the binary under a path of its own, replaced as a package manager would.
    let own = PathBuf::from(format!("/tmp/gb-{}", uuid::Uuid::now_v7().simple()));
    fs::create_dir(&own).expect("a folder");
    let path = own.join("greenroom");
    let install = || {
        let part = own.join("greenroom.new");
        fs::copy(binary(), &part).expect("a copy");
        fs::set_permissions(&part, fs::Permissions::from_mode(0o755)).expect("its mode");
        fs::rename(&part, &path).expect("in place");
    };
    install();
    let mut room = Greenroom::serve()
        .agent("holder", agents::holder())
        .agent("ticker", agents::act(&["ticks", "6000", "500"]))
        .binary(&path)
        .runner("one")
        .start();
    let talking = room.api.begin("ticker", "go");
    room.api.wait_text(&talking, "tick 1\n");
    let sessions = busy(&room, scaled(10, 50));
    for turn in 0..2 {
        install();
        room.term_server();
        room.term_runner("one");
        install();
        room.start_server();
        room.restart_runner("one");
        room.wait_connected("one");
        for (id, mark, agent) in &sessions {
            assert_eq!(&agent_of(mark), agent, "the same process, turn {turn}");
            let session = room.api.session(id);
            assert_eq!(session["status"], "running", "{session:#}");
            assert_eq!(session["epoch"], 1);
        }
    }
    room.api.wait_status(&talking, "finished");
    whole(&ticks(&said(&room.api.log(&talking))), 6000);
    for (id, mark, _) in &sessions {
        assert_eq!(room.api.stop(id)["receipt"]["survivors"], 0);
        assert!(procs::holding(mark).is_empty());
        room.api.check(id);
    }
    drop(room);
    let _ = fs::remove_dir_all(own);
}

#[test]
fn p5_an_empty_data_folder_ends_nothing() {
    let mut room = Greenroom::serve().agent("holder", agents::holder()).runner("one").start();
    let sessions = busy(&room, 3);
    let files: Vec<_> =
        sessions.iter().map(|(id, ..)| room.workspace(&uid_of(&room.api.session(id)))).collect();
    // The coordinator comes back at the same address with nothing in its folder.
    room.kill9_server();
    let kept = room.data.clone();
    room.data = room.root.join("empty");
    room.start_server();
    let list = room.api.get("/v1/sessions").expect(200);
    assert_eq!(list["items"], json!([]));
    // The runner has spoken to it, and obeys nothing of what it does not say.
    room.wait_log("runner-one", "refuses this runner");
    room.add_runner("fresh");
    for (_, mark, agent) in &sessions {
        assert_eq!(&agent_of(mark), agent);
    }
    assert!(files.iter().all(|workspace| workspace.exists()), "nor is a file removed");
    // The true one returns, and all is as it was.
    room.kill9_server();
    room.data = kept;
    room.start_server();
    room.wait_connected("one");
    for (id, mark, agent) in &sessions {
        assert_eq!(&agent_of(mark), agent);
        assert_eq!(room.api.wait_status(id, "running")["epoch"], 1);
        assert_eq!(room.api.stop(id)["receipt"]["survivors"], 0);
        room.api.check(id);
    }
}

#[test]
fn p5_up_without_its_store_keeps_agents_as_unclaimed() {
    let mut room = Greenroom::up().agent("holder", agents::holder()).start();
    let sessions = busy(&room, 2);
    room.kill9_server();
    // The store is lost, with its token; the runner's folders are not.
    for entry in fs::read_dir(&room.data).expect("the data folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains(".db") || name == "token" {
            fs::remove_file(entry.path()).expect("removed");
        }
    }
    room.start_server();
    let list = room.api.get("/v1/sessions").expect(200);
    assert_eq!(list["items"], json!([]), "nothing is known");
    let runner = room.api.get("/v1/runners").expect(200)["items"][0].clone();
    let runner = room.api.wait_runner(runner["name"].as_str().expect("a name"), |runner| {
        runner["unclaimed"].as_array().is_some_and(|all| all.len() == 2)
    });
    assert_eq!(runner["status"], "connected");
    for (_, mark, agent) in &sessions {
        assert_eq!(&agent_of(mark), agent, "kept");
    }
    // They are left to an operator, who has the means.
    room.cli(&["local", "stop", "--grace", "1s"]).exits(0);
    for (_, mark, _) in &sessions {
        assert!(procs::holding(mark).is_empty());
    }
}

#[test]
fn p5_sigterm_leaves_agents_running() {
    let mut room = Greenroom::up().agent("holder", agents::holder()).start();
    let sessions = busy(&room, 2);
    let status = room.term_server();
    assert_eq!(status.code(), Some(0), "{}", room.log_text("server"));
    for (_, mark, agent) in &sessions {
        assert_eq!(&agent_of(mark), agent);
    }
    room.start_server();
    for (id, _, _) in &sessions {
        assert_eq!(room.api.wait_status(id, "running")["epoch"], 1);
        assert_eq!(room.api.stop(id)["receipt"]["survivors"], 0);
    }
}

#[test]
fn p5_ctrl_c_once_leaves_them_and_twice_stops_them() {
    let mut room = Greenroom::up().agent("holder", agents::holder()).start();
    let sessions = busy(&room, 2);
    procs::signal(room.server_pid(), Signal::INT);
    let status = room.await_server();
    assert_eq!(status.code(), Some(0), "{}", room.log_text("server"));
    let said = room.log_text("server");
    for words in ["2 agents are left running", "greenroom up", "greenroom local stop"] {
        assert!(said.contains(words), "how many, and how to go on: {said}");
    }
    for (_, mark, agent) in &sessions {
        assert_eq!(&agent_of(mark), agent);
    }
    room.start_server();
    let log = room.root.join("server.log");
    let talked = || fs::metadata(&log).map(|meta| meta.len()).unwrap_or(0);
    let before = talked();
    procs::signal(room.server_pid(), Signal::INT);
    // The second one comes as soon as the first has been answered in words.
    while talked() == before && procs::look(room.server_pid()).is_some() {
        std::thread::yield_now();
    }
    procs::signal(room.server_pid(), Signal::INT);
    room.await_server();
    for (_, mark, _) in &sessions {
        assert!(procs::holding(mark).is_empty(), "{}", room.log_text("server"));
    }
    room.start_server();
    for (id, _, _) in &sessions {
        let session = room.api.wait_rest(id);
        assert_eq!(session["status"], "stopped", "{session:#}");
        assert_eq!(session["receipt"]["survivors"], 0);
    }
}

#[test]
fn p5_on_exit_stop_stops_them() {
    let mut room =
        Greenroom::up().agent("holder", agents::holder()).args(&["--on-exit", "stop"]).start();
    let sessions = busy(&room, 2);
    room.term_server();
    for (_, mark, _) in &sessions {
        assert!(procs::holding(mark).is_empty());
    }
}

#[test]
fn p5_down_ends_the_server_and_with_agents_its_agents() {
    let mut room = Greenroom::up().agent("holder", agents::holder()).start();
    let sessions = busy(&room, 2);
    room.cli(&["down"]).exits(0);
    room.await_server();
    for (_, mark, agent) in &sessions {
        assert_eq!(&agent_of(mark), agent);
    }
    room.start_server();
    room.cli(&["down", "--agents"]).exits(0);
    room.await_server();
    for (_, mark, _) in &sessions {
        assert!(procs::holding(mark).is_empty());
    }
}

#[test]
fn p1_a_shim_ends_its_tree_on_sigterm_and_when_its_folder_is_gone() {
    let room = Greenroom::up().agent("stubborn", agents::stubborn()).start();
    let (mark, prompt) = room.mark();
    let session = room.api.create("stubborn", json!({"prompt": prompt}));
    let id = id_of(&session);
    room.api.wait_text(&id, "holding");
    procs::signal(room.shim_pid(&uid_of(&session), 1), Signal::TERM);
    let session = room.api.wait_rest(&id);
    assert_eq!(session["status_reason"], "shutdown", "{session:#}");
    assert_eq!(session["receipt"]["survivors"], 0);
    assert!(procs::holding(&mark).is_empty());

    let mut room = room;
    let (mark, prompt) = room.mark();
    let session = room.api.create("stubborn", json!({"prompt": prompt}));
    room.api.wait_text(&id_of(&session), "holding");
    let shim = room.shim_pid(&uid_of(&session), 1);
    let agents = procs::holding(&mark);
    room.kill9_server();
    fs::remove_dir_all(room.run_folder(&uid_of(&session))).expect("removed");
    assert!(procs::wait_all_gone(&agents, greenroom_tests::PATIENCE), "it ends its tree");
    assert!(procs::wait_gone(shim, greenroom_tests::PATIENCE), "and itself");
}

#[test]
fn p5_where_agents_end_with_their_runner_that_is_said() {
    // The first process of a container: what it has started ends with it, whoever wrote it.
    let room = Greenroom::up()
        .agent("holder", agents::holder())
        .through(&["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .start();
    let runner = room.api.get("/v1/runners").expect(200)["items"][0].clone();
    assert_eq!(runner["probe"]["outlives_runner"], false, "{runner:#}");
    let name = runner["name"].as_str().expect("a name");
    room.cli(&["doctor"]).says(&format!("agents of {name}")).says("end with their runner");
    let id = runner["id"].as_str().expect("an id");
    room.cli(&["runners", "show", id]).exits(0).says("agents end with the runner");
    let other = Greenroom::up().start();
    let runner = other.api.get("/v1/runners").expect(200)["items"][0].clone();
    assert_eq!(runner["probe"]["outlives_runner"], true, "{runner:#}");
}
