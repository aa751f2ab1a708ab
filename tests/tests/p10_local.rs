//! What only callers of this machine have: folders of its own to work in, and its socket.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use greenroom_tests::git::Repository;
use greenroom_tests::{Greenroom, PATIENCE, Value, agents, binary, json};

/// An agent that does what its prompt says.
fn doer() -> Value {
    agents::sh("set -e; eval \"$(cat)\"", &[])
}

/// A folder beside the room to come, with `app` in it, and `out`, a link that leads out.
struct Beside(PathBuf);

impl Beside {
    fn make() -> Self {
        let name = uuid::Uuid::now_v7().simple().to_string();
        let root = PathBuf::from(format!("/tmp/gr-beside-{}", &name[20..]));
        fs::create_dir_all(root.join("allowed/app")).expect("a folder");
        fs::create_dir_all(root.join("other")).expect("a folder");
        symlink(root.join("other"), root.join("allowed/out")).expect("a link");
        symlink("app", root.join("allowed/within")).expect("a link");
        Self(root)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn p10_a_session_works_in_a_folder_that_its_client_has_named() {
    let beside = Beside::make();
    let root = beside.path("allowed");
    let room = Greenroom::up().agent("doer", doer()).args(&["--working-dir-root", &root]).start();
    let runners = room.api.get("/v1/runners").json();
    assert_eq!(runners["items"][0]["working_dir_roots"], json!([root]));
    let app = beside.path("allowed/app");
    let prompt = "echo one > made; pwd";
    room.cli(&["sessions", "create", "doer", prompt, "--id", "s", "--working-dir", &app]).exits(0);
    let run = room.api.get("/v1/sessions/s").json()["run_id"].clone();
    assert_eq!(room.api.wait_run("s", &run)["status"], "completed");
    assert_eq!(room.api.said("s"), format!("{app}\n"));
    assert_eq!(read(&beside.0.join("allowed/app/made")), "one\n");
    let shown = room.api.get("/v1/sessions/s").json();
    let workspace = json!({ "from": "dir", "path": app, "mode": "in_place" });
    assert_eq!(shown["workspace"], workspace);
    room.cli(&["sessions", "show", "s"]).exits(0).says(&app);
    // Its files are those of the folder, both ways.
    let file = room.api.get("/v1/sessions/s/files/content/made");
    assert_eq!((file.status, file.text()), (200, "one\n".to_owned()));
    fs::write(beside.0.join("allowed/app/yours"), "two\n").expect("written");
    let run = room.api.prompt("s", "cat yours");
    assert_eq!(room.api.wait_run("s", &run["id"])["status"], "completed");
    assert!(room.api.said("s").ends_with("two\n"));
    // There is no repository of the session's own, as for an agent's file that names a folder.
    assert_eq!(room.api.get("/v1/sessions/s/diff").status, 409);
    // What goes with the session is the session.
    assert_eq!(room.api.request("DELETE", "/v1/sessions/s").send().status, 204);
    assert_eq!(read(&beside.0.join("allowed/app/made")), "one\n");
    assert_eq!(read(&beside.0.join("allowed/app/yours")), "two\n");
}

#[test]
fn p10_a_folder_that_leads_out_is_a_start_error_and_nothing_is_done_there() {
    let beside = Beside::make();
    let root = beside.path("allowed");
    let room = Greenroom::up().agent("doer", doer()).args(&["--working-dir-root", &root]).start();
    // What is seen to be outside by its name is refused at once, with what to do.
    let other = beside.path("other");
    room.cli(&["sessions", "create", "doer", "touch x", "--working-dir", &other])
        .exits(1)
        .says("--working-dir-root");
    for (id, folder, why) in [
        ("out", "allowed/out", "a link leads out"),
        ("missing", "allowed/missing", "no such folder"),
    ] {
        let folder = beside.path(folder);
        let workspace = json!({ "from": "dir", "path": folder });
        let body = json!({ "id": id, "prompt": "touch x", "workspace": workspace });
        let made = room.api.create("doer", body);
        let run = room.api.wait_run(id, &made["run_id"]);
        assert_eq!(run["status"], "failed", "{run:#}");
        assert_eq!(run["error"]["code"], "start_error", "{run:#}");
        let message = run["error"]["message"].as_str().expect("words");
        assert!(message.contains(why) && message.contains(&folder), "{message}");
    }
    assert_eq!(fs::read_dir(beside.0.join("other")).expect("a folder").count(), 0);
    // A folder that is made by then does.
    fs::create_dir(beside.0.join("allowed/missing")).expect("made");
    let again = room.api.prompt("missing", "touch x");
    // What failed at its start waits for a person, who has just asked.
    assert_eq!(room.api.wait_run("missing", &again["id"])["status"], "completed");
    assert!(beside.0.join("allowed/missing/x").exists());
}

#[test]
fn p10_moments_of_a_folder_of_git_are_as_those_of_an_agents_file() {
    let beside = Beside::make();
    let source = Repository::make(&beside.0.join("allowed/repo"));
    let folder = source.path.display().to_string();
    let root = beside.path("allowed");
    let room = Greenroom::up().agent("doer", doer()).args(&["--working-dir-root", &root]).start();
    let by_file = agents::with(
        doer(),
        json!({ "workspace": { "from": "dir", "path": folder, "mode": "in_place" } }),
    );
    room.write_agent("filed", by_file);
    room.served("filed");
    let workspace = json!({ "from": "dir", "path": folder });
    let named = room.api.create("doer", json!({ "prompt": "echo", "workspace": workspace }));
    let filed = room.api.create("filed", json!({ "prompt": "echo" }));
    let answers = [&named, &filed].map(|session| {
        let id = session["id"].as_str().expect("an id");
        let run = room.api.wait_run(id, &session["run_id"]);
        assert_eq!(run["status"], "completed", "{run:#}");
        let of_run = format!("run={}", session["run_id"].as_str().expect("an id"));
        let ask = |path: &str| {
            let reply = room.api.get(&format!("/v1/sessions/{id}/{path}"));
            (reply.status, reply.json()["code"].clone())
        };
        [ask("diff"), ask(&format!("diff?{of_run}")), ask(&format!("files?path=&{of_run}"))]
    });
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0][1], (404, json!("no_files_kept")));
}

/// A request by the socket, with these lines besides `Host`: its status and what follows.
fn by_socket(path: &str, request: &str, lines: &[&str], body: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(path).expect("connected");
    let mut head = format!("{request} HTTP/1.1\r\nHost: _\r\nConnection: close\r\n");
    lines.iter().for_each(|line| head.push_str(&format!("{line}\r\n")));
    let length = body.len();
    let sent = format!("{head}Content-Length: {length}\r\n\r\n{body}");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream.write_all(sent.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    (status.unwrap_or_else(|| panic!("{answer}")), answer)
}

/// A room that listens on `s` beside it, too.
fn with_socket(beside: &Beside) -> Greenroom {
    let socket = beside.path("s");
    Greenroom::up().agent("doer", doer()).args(&["--listen-unix", &socket]).start()
}

#[test]
fn p10_the_command_line_needs_no_token_on_the_socket() {
    let beside = Beside::make();
    let room = with_socket(&beside);
    let url = format!("unix://{}", beside.path("s"));
    // Nothing of the server's data folder is known to these, and no token.
    let greenroom = |args: &[&str]| {
        let mut command = room.command();
        command.args(args).env("GREENROOM_URL", &url);
        greenroom_tests::cli::run(command, "")
    };
    assert_eq!(greenroom(&["run", "doer", "echo one", "--id", "s"]).exits(0).out, "one\n");
    let mut watch = room.command();
    watch.args(["sessions", "watch", "s", "--server", &url]);
    let watch = std::thread::spawn(move || greenroom_tests::cli::run(watch, ""));
    greenroom(&["sessions", "send", "s", "echo two; sleep 1000"]).exits(0);
    room.api.wait_text("s", "two");
    greenroom(&["sessions", "ls"]).exits(0).says("running");
    greenroom(&["sessions", "stop", "s"]).exits(0).says("survivors");
    greenroom(&["sessions", "show", "s"]).exits(0).says("stopped").says("admin");
    let file = beside.path("file");
    fs::write(&file, "text").expect("written");
    greenroom(&["sessions", "files", "put", "s", "there", &file]).exits(0);
    assert_eq!(greenroom(&["sessions", "files", "get", "s", "there", "-"]).exits(0).out, "text");
    greenroom(&["token", "ls"]).exits(0);
    greenroom(&["sessions", "delete", "s"]).exits(0);
    // The stream has told all of it, up to the end.
    let watched = watch.join().expect("it ends");
    assert_eq!(watched.out, "one\ntwo\n", "{}", watched.err);
    // A token that is given counts, and a wrong one is refused.
    greenroom(&["sessions", "ls", "--token", "grt_wrong"]).exits(1).says("token");
    let viewer = room.api.post("/v1/tokens", json!({ "role": "viewer" })).expect(201);
    let secret = viewer["secret"].as_str().expect("a secret");
    greenroom(&["token", "ls", "--token", secret]).exits(1).says("viewer");
    let nowhere = format!("unix://{}", beside.path("nowhere"));
    room.bare_cli(&["sessions", "ls", "--url", &nowhere]).exits(5).says(&nowhere);
    room.bare_cli(&["sessions", "ls", "--url", "unix://relative"]).exits(2).says("unix:///");
}

#[test]
fn p10_clients_of_other_systems_need_no_token_on_the_socket() {
    let beside = Beside::make();
    let room = with_socket(&beside);
    let socket = beside.path("s");
    let mode = fs::metadata(&socket).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let call = |request: &str, lines: &[&str], body: &str| by_socket(&socket, request, lines, body);
    let (status, made) = call("POST /docker-agent/api/sessions", &[], "{\"id\":\"d\"}");
    assert_eq!(status, 200, "{made}");
    let asks = "[{\"role\":\"user\",\"content\":\"echo hello\"}]";
    let (status, stream) = call("POST /docker-agent/api/sessions/d/agent/doer", &[], asks);
    assert!(status == 200 && stream.contains("text/event-stream"), "{stream}");
    assert!(stream.contains("hello") && stream.contains("stream_stopped"), "{stream}");
    // It is the administrator's, as with the token of the data folder.
    assert_eq!(room.api.session("d")["owner"], "admin");
    // What a browser or a proxy passes on is nobody's own: it needs a token, as ever.
    let list = "GET /v1/sessions";
    let bearer = format!("Authorization: Bearer {}", room.api.token.as_deref().expect("a token"));
    for (lines, status) in [
        (vec![], 200),
        (vec!["Origin: http://evil.example"], 403),
        (vec!["X-Forwarded-For: 10.0.0.1"], 401),
        (vec!["X-Forwarded-For: 10.0.0.1", &bearer], 200),
        (vec!["Authorization: Bearer grt_wrong"], 401),
        (vec!["Cookie: greenroom=grt_wrong"], 401),
    ] {
        assert_eq!(call(list, &lines, "").0, status, "{lines:?}");
    }
    // On the network nothing has changed.
    assert_eq!(room.api.as_nobody().get("/v1/sessions").status, 401);
    let foreign = room.api.request("GET", "/v1/sessions").without("host").header("host", "_");
    assert_eq!(foreign.send().status, 421);
}

#[test]
fn p10_another_user_cannot_open_the_socket_and_is_asked_for_a_token() {
    let beside = Beside::make();
    let room = with_socket(&beside);
    let url = format!("unix://{}", beside.path("s"));
    // The superuser may open any socket, and this one's server still asks who it is.
    let own = rustix::process::geteuid().is_root();
    let program = beside.0.join("greenroom");
    fs::copy(binary(), &program).expect("a copy");
    let ls = || {
        let mut command = std::process::Command::new(&program);
        command.args(["sessions", "ls", "--url", &url]).current_dir("/").env_clear();
        if own {
            command.uid(65_534).gid(65_534);
        }
        greenroom_tests::cli::run(command, "")
    };
    if !own {
        // Without the right to become somebody else, this is the server's own user.
        ls().exits(0);
        return;
    }
    ls().exits(5).says("denied");
    // Even where somebody has opened it to all.
    let all = fs::Permissions::from_mode(0o666);
    fs::set_permissions(beside.path("s"), all).expect("opened");
    ls().exits(1).says("token");
    drop(room);
}

#[test]
fn p10_a_stale_socket_is_replaced_a_live_one_is_not_and_it_goes_at_the_end() {
    let beside = Beside::make();
    let mut room = with_socket(&beside);
    let socket = beside.0.join("s");
    let path = beside.path("s");
    let data = beside.path("data");
    let up = ["up", "--listen", "127.0.0.1:0", "--data", &data, "--listen-unix", &path];
    room.bare_cli(&up).exits(1).says("another server").says(&path);
    assert_eq!(by_socket(&path, "GET /healthz", &[], "").0, 200);
    room.kill9_server();
    assert!(socket.exists(), "nobody was there to remove it");
    room.start_server();
    assert_eq!(by_socket(&path, "GET /v1/sessions", &[], "").0, 200);
    room.term_server();
    assert!(!socket.exists() && !beside.0.join("s.lock").exists());
    symlink(beside.0.join("other/s"), &socket).expect("a link");
    room.bare_cli(&up).exits(1).says("links are not followed");
    assert!(!beside.0.join("other/s").exists());
}

#[test]
fn p10_both_kinds_of_addresses_are_listened_on() {
    let beside = Beside::make();
    for (n, listen) in ["127.0.0.1:0", "[::1]:0"].into_iter().enumerate() {
        let room = Greenroom::up().start();
        let data = beside.path(&format!("data-{n}"));
        let mut command = room.command();
        command.args(["up", "--listen", listen, "--data", &data]).stdout(Stdio::piped());
        let mut server = command.spawn().expect("it starts");
        let mut lines = BufReader::new(server.stdout.take().expect("a pipe")).lines();
        let line = lines.next().expect("a line").expect("text");
        let url = line.strip_prefix("greenroom is up at ").expect("the ready line");
        assert_eq!(url.starts_with("http://["), listen.starts_with('['), "{url}");
        room.bare_cli(&["sessions", "ls", "--data", &data]).exits(0);
        room.bare_cli(&["sessions", "ls", "--data", &data, "--url", url]).exits(0);
        greenroom_tests::procs::signal(server.id() as i32, rustix::process::Signal::TERM);
        assert!(server.wait().expect("its status").success());
    }
}
