//! P8: nobody else's. Tokens, roles, owners, foreign pages.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::mpsc::channel;

use greenroom_tests::session::{id_of, uid_of};
use greenroom_tests::{Api, Greenroom, Reply, Sse, Value, agents, binary, cli, json, procs};

fn token(room: &Greenroom, role: &str, principal: &str) -> Api {
    let body = json!({"role": role, "principal": principal});
    let reply = room.api.post("/v1/tokens", body).expect(201);
    room.api.as_token(reply["secret"].as_str().expect("a secret"))
}

/// Every way to a session, with the body of each.
fn ways(id: &str) -> Vec<(&'static str, String, Option<Value>)> {
    let path = format!("/v1/sessions/{id}");
    vec![
        ("GET", path.clone(), None),
        ("GET", format!("{path}/events"), None),
        ("GET", format!("{path}/runs"), None),
        ("GET", format!("{path}/files?path="), None),
        ("GET", format!("{path}/files/content/note"), None),
        ("GET", format!("{path}/files/stat?path=note"), None),
        ("POST", format!("{path}/files/mkdir"), Some(json!({"path": "x"}))),
        ("DELETE", format!("{path}/files/content/note"), None),
        ("POST", format!("{path}/runs"), Some(json!({"prompt": "hello"}))),
        ("POST", format!("{path}/stop"), Some(json!({}))),
        ("POST", format!("{path}/resume"), Some(json!({}))),
        ("POST", format!("{path}/abandon"), Some(json!({"reason": "mine"}))),
        ("PATCH", path.clone(), Some(json!({"title": "mine"}))),
        ("DELETE", path, None),
    ]
}

fn call(api: &Api, method: &str, path: &str, body: Option<&Value>) -> Reply {
    let request = api.request(method, path);
    match body {
        Some(body) => request.json(body).send(),
        None => request.send(),
    }
}

#[test]
fn p8_without_a_token_nothing() {
    let room = Greenroom::up().agent("echo", agents::echo()).start();
    let id = room.api.begin("echo", "hello");
    room.api.wait_status(&id, "finished");
    let nobody = room.api.as_nobody();
    let wrong = room.api.as_token("not-a-token");
    for api in [&nobody, &wrong] {
        let mut all = ways(&id);
        for path in ["sessions", "agents", "runners", "tokens", "events"] {
            all.push(("GET", format!("/v1/{path}"), None));
        }
        all.push(("GET", "/metrics".into(), None));
        all.push(("GET", "/openapi.json".into(), None));
        all.push(("POST", "/v1/sessions".into(), Some(json!({"agent": "echo"}))));
        all.push(("POST", "/v1/tokens".into(), Some(json!({"role": "admin"}))));
        all.push(("POST", "/v1/agents".into(), Some(json!({"source": "/etc"}))));
        for (method, path, body) in &all {
            call(api, method, path, body.as_ref()).refused(401);
        }
        assert!(Sse::try_open(api, "/v1/events", None).is_err());
    }
    for path in ["/healthz", "/readyz"] {
        nobody.get(path).expect(200);
    }
    let token = std::fs::metadata(room.data.join("token")).expect("DATA/token");
    assert_eq!(token.permissions().mode() & 0o777, 0o600);
}

#[test]
fn p8_another_users_session_is_not_there() {
    let room =
        Greenroom::up().agent("echo", agents::echo()).agent("holder", agents::holder()).start();
    let ann = token(&room, "operator", "ann");
    let bob = token(&room, "operator", "bob");
    let (mark, prompt) = room.mark();
    let id = ann.begin("holder", &prompt);
    ann.wait_text(&id, "holding");
    assert_eq!(ann.session(&id)["owner"], "ann");
    let run = ann.session(&id)["run_id"].as_str().expect("a run").to_owned();
    let mut feed = Sse::open(&bob, "/v1/events");

    for (method, path, body) in ways(&id) {
        call(&bob, method, &path, body.as_ref()).refused(404);
    }
    bob.get(&format!("/v1/runs/{run}")).refused(404);
    bob.post(&format!("/v1/runs/{run}/stop"), json!({})).refused(404);
    bob.post(&format!("/v1/runs/{run}/withdraw"), json!({})).refused(404);
    assert!(Sse::try_open(&bob, &format!("/v1/sessions/{id}/events"), None).is_err());
    assert_eq!(bob.get("/v1/sessions").expect(200)["items"], json!([]));
    assert_eq!(bob.get(&format!("/v1/sessions?q={id}")).expect(200)["items"], json!([]));
    bob.post("/v1/sessions", json!({"agent": "echo", "parent": id})).refused(404);
    assert_eq!(procs::holding(&mark).len(), 1, "untouched");
    assert_eq!(ann.status(&id), "running");

    // The feed tells bob of his own, and of nothing else, whatever he asks to watch.
    let his = bob.begin("echo", "hello");
    feed.until("his own session", |frame| {
        assert!(!frame.data.to_string().contains(&id), "{frame:?}");
        frame.data["id"] == his.as_str()
    });
    bob.get(&format!("/v1/events?watch={id}@0")).refused(404);

    // What is shared is everybody's who may use sessions, and a viewer's to look at.
    let eve = token(&room, "viewer", "eve");
    eve.get(&format!("/v1/sessions/{id}")).refused(404);
    let share = json!({"shared": true});
    call(&ann, "PATCH", &format!("/v1/sessions/{id}"), Some(&share)).expect(200);
    assert_eq!(eve.status(&id), "running");
    eve.prompt_with(&id, "hello", json!({})).refused(403);
    eve.stop_with(&id, "", json!({})).refused(403);
    assert_eq!(bob.stop(&id)["receipt"]["survivors"], 0);
    assert!(procs::holding(&mark).is_empty());
    let all = room.api.get("/v1/sessions").expect(200);
    assert_eq!(all["items"].as_array().map(Vec::len), Some(2), "an admin sees all");
}

#[test]
fn p8_roles() {
    let room = Greenroom::up().agent("echo", agents::echo()).start();
    let admin_only = [
        ("GET", "/v1/tokens", None),
        ("POST", "/v1/tokens", Some(json!({"role": "viewer"}))),
        ("POST", "/v1/agents", Some(json!({"source": "/etc/agents"}))),
        ("DELETE", "/v1/agents/echo", None),
    ];
    for role in ["operator", "viewer"] {
        let api = token(&room, role, "ann");
        for (method, path, body) in &admin_only {
            call(&api, method, path, body.as_ref()).refused(403);
        }
        api.get("/v1/agents").expect(200);
    }
    token(&room, "viewer", "eve").post("/v1/sessions", json!({"agent": "echo"})).refused(403);
    let join = token(&room, "runner", "machine");
    for path in ["/v1/sessions", "/v1/tokens", "/v1/agents"] {
        join.get(path).refused(403);
    }
    let body = json!({"role": "operator", "principal": "tmp"});
    let fresh = room.api.post("/v1/tokens", body).expect(201);
    let secret = fresh["secret"].as_str().expect("a secret");
    let tmp = room.api.as_token(secret);
    tmp.get("/v1/sessions").expect(200);
    let listed = room.api.get("/v1/tokens").expect(200);
    assert!(!listed.to_string().contains(secret), "a secret is said once");
    let path = format!("/v1/tokens/{}", fresh["id"].as_str().expect("an id"));
    assert!(matches!(room.api.delete(&path).status, 200 | 204));
    tmp.get("/v1/sessions").refused(401);
    for wrong in [json!({"role": "king"}), json!({}), json!({"role": "admin", "extra": 1})] {
        room.api.post("/v1/tokens", wrong).refused(422);
    }
}

#[test]
fn p8_a_runner_reports_only_what_is_its_own() {
    let mut room = Greenroom::serve().agent("holder", agents::holder()).runner("one").start();
    room.add_runner("two");
    let (mark, prompt) = room.mark();
    let session = room.api.create("holder", json!({"prompt": prompt}));
    let (id, uid) = (id_of(&session), uid_of(&session));
    room.api.wait_text(&id, "holding");
    let home = room.api.session(&id)["runner_id"].as_str().expect("a home").to_owned();
    let foreign = ["one", "two"]
        .map(|name| std::fs::read_to_string(room.runner(name).data.join("runner.json")))
        .map(|text| serde_json::from_str::<Value>(&text.expect("runner.json")).expect("JSON"))
        .into_iter()
        .find(|text| !text.to_string().contains(&home))
        .expect("the other one");
    let api = room.api.as_token(foreign["joined"]["credential"].as_str().expect("a credential"));
    for index in (1..10).chain([1000]) {
        let line = json!({"record": {
            "uid": uid, "epoch": 1, "writer": "shim", "index": index, "at": "2026-01-01T00:00:00Z",
            "body": {"is": "output", "kind": "message", "data": {"role": "assistant", "text": "forged"}},
        }});
        api.request("POST", "/v1/link/records")
            .header("content-type", "application/x-ndjson")
            .body(format!("{line}\n"))
            .send();
    }
    let body = api.get(&format!("/v1/link/computes/{uid}/1"));
    assert!(matches!(body.status, 403 | 404), "{}", body.text());
    assert!(!room.api.said(&id).contains("forged"));
    for path in ["/v1/sessions", "/v1/tokens"] {
        api.get(path).refused(403);
    }
    assert_eq!(room.api.status(&id), "running");
    assert_eq!(procs::holding(&mark).len(), 1);
    // And nobody without a credential speaks the link at all.
    room.api.as_nobody().post("/v1/link/sync", json!({})).refused(401);
}

#[test]
fn p8_foreign_hosts_and_pages() {
    let room = Greenroom::up().agent("echo", agents::echo()).start();
    let id = id_of(&room.api.create("echo", json!({})));
    let port: u16 = room.api.host.rsplit(':').next().and_then(|p| p.parse().ok()).expect("a port");
    let other = port + 1;
    let hosts = [
        "evil.example".to_owned(),
        "evil.example:80".to_owned(),
        format!("127.0.0.1:{other}"),
        format!("evil.example:{port}"),
    ];
    let origins = [
        "http://evil.example".to_owned(),
        format!("http://127.0.0.1:{other}"),
        format!("http://evil.example:{port}"),
        "null".to_owned(),
    ];
    for (method, path, accept) in [
        ("GET", "/v1/sessions".to_owned(), "application/json"),
        ("GET", format!("/v1/sessions/{id}/events"), "text/event-stream"),
        ("GET", "/v1/events".to_owned(), "text/event-stream"),
        ("POST", format!("/v1/sessions/{id}/runs"), "application/json"),
        ("DELETE", format!("/v1/sessions/{id}"), "application/json"),
    ] {
        let request = || {
            let request = room.api.request(method, &path).header("accept", accept);
            if method == "POST" { request.json(&json!({"prompt": "hi"})) } else { request }
        };
        for host in &hosts {
            request().header("host", host).send().refused(421);
        }
        for origin in &origins {
            request().header("origin", origin).send().refused(403);
        }
        request().header("sec-fetch-site", "cross-site").send().refused(403);
    }
    let run = room
        .api
        .request("POST", &format!("/v1/sessions/{id}/runs"))
        .header("origin", &format!("http://127.0.0.1:{port}"))
        .json(&json!({"prompt": "hi"}))
        .send()
        .expect(202);
    room.api.wait_run(&id, &run["id"]);
    let local = format!("localhost:{port}");
    room.api.request("GET", "/v1/sessions").header("host", &local).send().expect(200);
}

#[test]
fn p8_no_auth_is_for_loopback_only() {
    let room = Greenroom::up().agent("echo", agents::echo()).args(&["--no-auth"]).start();
    let log = room.log_text("server");
    assert!(log.contains("no-auth"), "a warning names it: {log}");
    let nobody = room.api.as_nobody();
    nobody.get("/v1/sessions").expect(200);
    // It is still closed to a page from elsewhere.
    let foreign = nobody.request("GET", "/v1/sessions").header("origin", "http://evil.example");
    foreign.send().refused(403);
    let wide = room.root.join("wide");
    let wide = wide.to_string_lossy();
    let ran = room.bare_cli(&["serve", "--no-auth", "--listen", "0.0.0.0:0", "--data", &wide]);
    assert!(matches!(ran.code, Some(1 | 2)), "{ran:?}");
    assert!(ran.err.contains("error:") && ran.err.contains("hint:"), "{}", ran.err);
}

#[test]
fn p8_the_machines_own_token_is_not_sent_elsewhere() {
    let home = std::env::temp_dir().join(format!("gh-{}", uuid::Uuid::now_v7().simple()));
    let data = home.join(".local/share/greenroom");
    std::fs::create_dir_all(&data).expect("a folder");
    let token = format!("grt_{}", uuid::Uuid::now_v7().simple());
    std::fs::write(data.join("token"), &token).expect("a token");
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(data.join("token"), private).expect("its mode");
    // Somebody who writes down what he is told.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (sender, heard) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
            let head: Vec<String> =
                lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let _ = sender.send(head.join("\n"));
            let answer =
                "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    // One way to write this machine that says nothing of being it, and one that does.
    let elsewhere = format!("http://[::ffff:127.0.0.1]:{port}");
    let here = format!("http://127.0.0.1:{port}");
    for (url, told) in [(&elsewhere, false), (&here, true)] {
        for args in [["sessions", "ls", "--url"], ["runner", "--name=one", "--coordinator"]] {
            let mut command = Command::new(binary());
            command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &home);
            command.args(args).arg(url.as_str());
            let ran = cli::run(command, "").exits(1);
            assert!(!format!("{}{}", ran.out, ran.err).contains(&token), "{ran:?}");
            let said: Vec<String> = heard.try_iter().collect();
            assert_eq!(
                said.iter().any(|head| head.contains(&token)),
                told,
                "{args:?} {url}: {said:?}"
            );
        }
    }
    let _ = std::fs::remove_dir_all(home);
}
