//! P7: a session remembers its agent, also when the URL it comes from changes its query, says
//! something else, is slow, or is gone.

use std::fs;

use greenroom_tests::http::encode;
use greenroom_tests::web::{Page, Web};
use greenroom_tests::{Greenroom, Value, agents, json};

/// The file of agent `a`, which says this word.
fn says(word: &str) -> String {
    agents::file("a", agents::sh(&format!("echo {word}"), &[]))
}

/// The key of a URL, as Go's `url.QueryEscape` writes it.
fn key(url: &str) -> String {
    encode(url)
}

/// A room whose only agents are those of these URLs.
fn with(urls: &[&str]) -> Greenroom {
    let mut builder = Greenroom::up().args(&["--agents-refresh", "200ms"]);
    for url in urls {
        builder = builder.args(&["--agents", url]);
    }
    builder.start()
}

/// Kills the server, and starts it with these URLs.
fn again_with(room: &mut Greenroom, urls: &[&str]) {
    room.kill9_server();
    let mut args = vec!["--agents-refresh", "200ms"];
    for url in urls {
        args.extend(["--agents", url]);
    }
    room.builder.set_args(&args);
    room.start_server();
}

/// Prompts, and gives what was said to that.
fn asks(room: &Greenroom, id: &str) -> String {
    let before = room.api.said(id);
    let run = room.api.prompt(id, "go");
    let run = room.api.wait_run(id, &run["id"]);
    assert_eq!(run["status"], "completed", "{run:#}");
    room.api.said(id)[before.len()..].to_owned()
}

/// Show, list, events and stop work, whatever has become of the agent.
fn is_looked_after(room: &Greenroom, id: &str) {
    assert_eq!(room.api.session(id)["id"], id);
    let list = room.api.get("/v1/sessions").expect(200);
    assert!(list["items"].as_array().expect("a list").iter().any(|s| s["id"] == id));
    assert!(!room.api.log(id).is_empty());
    room.cli(&["sessions", "show", id]).exits(0).says(id);
    assert_eq!(room.api.stop(id)["already_stopped"], true);
}

#[test]
fn p7_a_session_goes_on_when_the_query_of_its_url_changes() {
    let web = Web::start();
    let urls: Vec<String> =
        ["v1", "v2", "v3"].iter().map(|tag| web.url(&format!("/a.yaml?tag={tag}"))).collect();
    for tag in ["v1", "v2", "v3"] {
        web.body(&format!("/a.yaml?tag={tag}"), says(tag));
    }
    let [v1, v2, v3] = [&urls[0], &urls[1], &urls[2]].map(String::as_str);
    let mut room = with(&[v1]);
    let id = room.api.begin("a", "go");
    room.api.wait_status(&id, "finished");
    assert_eq!(room.api.said(&id), "v1\n");
    let agent = room.api.session(&id)["agent"].clone();
    assert_eq!(agent["source"], format!("url:{v1}"));
    assert_eq!(agent["source_key"], key(v1));
    assert_eq!(agent["stable_key"], web.url("/a.yaml"));

    // Another query: the same identity.
    again_with(&mut room, &[v2]);
    assert_eq!(asks(&room, &id), "v2\n");
    let changed = room.api.events(&id, "session.agent_changed");
    assert_eq!(changed.len(), 1, "{changed:#?}");
    let data = &changed[0]["data"];
    assert_eq!((&data["old_key"], &data["new_key"]), (&json!(key(v1)), &json!(key(v2))));
    assert_eq!(data["class"], "content");
    assert_eq!(
        data["to"],
        json!({
            "name": "a",
            "version": data["to"]["version"],
            "source": format!("url:{v2}"),
            "digest": room.api.session(&id)["agent"]["digest"],
        })
    );
    is_looked_after(&room, &id);

    // An exact key wins, whatever else is served.
    again_with(&mut room, &[v1, v2, v3]);
    assert_eq!(asks(&room, &id), "v2\n");
    assert_eq!(room.api.events(&id, "session.agent_changed").len(), 1, "nothing has changed");

    // Two that could be meant.
    again_with(&mut room, &[v1, v3]);
    for refused in [
        room.api.prompt_with(&id, "go", json!({})),
        room.api.post(&format!("/v1/sessions/{id}/resume"), json!({})),
    ] {
        let problem = refused.problem(409, "agent_ambiguous");
        let mut candidates: Vec<&str> = problem["candidates"]
            .as_array()
            .expect("candidates")
            .iter()
            .map(|one| one["source_key"].as_str().expect("a key"))
            .collect();
        candidates.sort_unstable();
        assert_eq!(candidates, [key(v1), key(v3)], "{problem:#}");
    }
    let before = room.api.log(&id).len();
    is_looked_after(&room, &id);
    assert_eq!(room.api.log(&id).len(), before, "what is refused leaves no trace");
    // A person chooses.
    room.cli(&["sessions", "agent", &id, "--to", v3]).exits(0).says(v3);
    assert_eq!(asks(&room, &id), "v3\n");

    // None at all.
    again_with(&mut room, &[]);
    room.api.prompt_with(&id, "go", json!({})).problem(404, "agent_not_found");
    room.api.get("/v1/agents/a").refused(404);
    room.api.post("/v1/sessions", json!({"agent": "a"})).problem(404, "agent_not_found");
    is_looked_after(&room, &id);
    // The description is the session's own.
    room.cli(&["sessions", "agent", &id, "--policy", "pin"]).exits(0).says("pin");
    assert_eq!(asks(&room, &id), "v3\n");
}

#[test]
fn p7_a_new_session_is_named_by_name_key_or_url() {
    let web = Web::start();
    web.body("/a.yaml?tag=v1", says("v1"));
    let url = web.url("/a.yaml?tag=v1");
    let other = web.url("/a.yaml?tag=other");
    let room = with(&[&url]);
    let keys = [key(&url), key(&key(&url)), key(&other)];
    for named in ["a", &url, &other].into_iter().chain(keys.iter().map(String::as_str)) {
        let session = room.api.create(named, json!({}));
        assert_eq!(session["agent"]["source_key"], key(&url), "{named}");
    }
    let elsewhere = web.url("/b.yaml");
    room.api.post("/v1/sessions", json!({"agent": elsewhere})).problem(404, "agent_not_found");
}

#[test]
fn p7_a_session_follows_pins_or_asks() {
    let web = Web::start();
    web.body("/a.yaml", says("first"));
    let url = web.url("/a.yaml");
    let room = with(&[&url]);
    let ids: Vec<String> = ["follow", "pin", "ask"]
        .iter()
        .map(|policy| {
            let session = room.api.create("a", json!({"prompt": "go", "agent_policy": policy}));
            let id = session["id"].as_str().expect("an id").to_owned();
            room.api.wait_status(&id, "finished");
            id
        })
        .collect();
    let [follows, pinned, asking] = [&ids[0], &ids[1], &ids[2]].map(String::as_str);

    web.body("/a.yaml", says("second"));
    room.wait_agent("a", |agent| agent["version"] == 2);
    assert_eq!(asks(&room, follows), "second\n");
    assert_eq!(asks(&room, pinned), "first\n");
    let problem = room.api.prompt_with(asking, "go", json!({})).problem(409, "agent_drifted");
    assert!(
        problem["detail"].as_str().expect("words").contains("/driver/command/2"),
        "{problem:#}"
    );
    assert_eq!(problem["candidates"][0]["version"], 2, "{problem:#}");
    let patch = |body: Value| {
        let path = format!("/v1/sessions/{asking}");
        room.api.request("PATCH", &path).json(&body).send().expect(200)
    };
    patch(json!({"agent": "a"}));
    assert_eq!(asks(&room, asking), "second\n");
    assert_eq!(room.api.events(asking, "session.agent_changed").len(), 1);

    // The same words from elsewhere are nothing to ask about.
    let text = says("second").replace('\n', " ");
    web.body("/a.yaml", format!("{text}\n# the same\n"));
    let asked = web.asked().len();
    web.wait(asked, 2, |asked| asked.path == "/a.yaml");
    assert_eq!(asks(&room, asking), "second\n");
    // A key that is repeated answers the same, whatever has become of the source since.
    let keyed = |name: &str| {
        let path = format!("/v1/sessions/{follows}/runs");
        let request = room.api.request("POST", &path).json(&json!({"prompt": "go"}));
        request.header("Idempotency-Key", name).send().expect(202)
    };
    let first = keyed("k");
    room.api.wait_run(follows, &first["id"]);
    assert_eq!(keyed("k")["id"], first["id"]);
    room.api
        .request("PATCH", &format!("/v1/sessions/{asking}"))
        .json(&json!({"agent": "none"}))
        .send()
        .problem(404, "agent_not_found");
}

#[test]
fn p7_a_slow_source_holds_up_nobody_and_its_copy_serves() {
    let web = Web::start();
    let tagged = |word: &str| Page::Body(says(word), Some(format!("\"{word}\"")));
    web.page("/a.yaml", tagged("good"));
    let url = web.url("/a.yaml");
    let mut room = with(&[&url]);
    let id = room.api.begin("a", "go");
    room.api.wait_status(&id, "finished");
    web.wait(0, 2, |asked| asked.headers.get("if-none-match").is_some_and(|tag| tag == "\"good\""));
    assert!(web.asked().iter().any(|asked| asked.status == 304), "{:#?}", web.asked());

    // It hangs, also when the server starts anew.
    web.page("/a.yaml", Page::Silence);
    let asked = web.asked().len();
    web.wait(asked, 1, |asked| asked.status == 0);
    assert_eq!(asks(&room, &id), "good\n");
    again_with(&mut room, &[&url]);
    assert_eq!(asks(&room, &id), "good\n");
    let agent = room.api.get("/v1/agents/a").expect(200);
    assert!(agent["fetched_at"].is_string(), "the age of the copy: {agent:#}");

    // It answers with an error: the copy serves, and its age is told.
    web.page("/a.yaml", Page::Status(410));
    again_with(&mut room, &[&url]);
    let agent = room.wait_agent("a", |agent| agent["health"] == "stale");
    let error = agent["error"].as_str().expect("an error");
    let fetched = agent["fetched_at"].as_str().expect("a time");
    assert!(error.contains("410") && error.contains(fetched), "{error}");
    assert_eq!(asks(&room, &id), "good\n");
    room.cli(&["agents", "show", "a"]).exits(0).says("Fetched");

    web.page("/a.yaml", tagged("mended"));
    room.wait_agent("a", |agent| agent["health"] == "ok" && agent["version"] == 2);
    assert_eq!(asks(&room, &id), "mended\n");
}

#[test]
fn p7_a_source_that_never_answered_is_waited_for() {
    let web = Web::start();
    web.body("/a.yaml?tag=v1", says("v1"));
    web.page("/a.yaml?tag=v2", Page::Status(500));
    let mut room = with(&[&web.url("/a.yaml?tag=v1")]);
    let id = room.api.begin("a", "go");
    room.api.wait_status(&id, "finished");
    again_with(&mut room, &[&web.url("/a.yaml?tag=v2")]);
    let refused = room.api.prompt_with(&id, "go", json!({}));
    let problem = refused.problem(503, "source_unavailable");
    assert!(problem["detail"].as_str().expect("words").contains("500"), "{problem:#}");
    assert!(refused.header("retry-after").is_some());
    web.body("/a.yaml?tag=v2", says("v2"));
    room.wait_agent("a", |agent| agent["health"] == "ok");
    assert_eq!(asks(&room, &id), "v2\n");
}

#[test]
fn p7_what_a_source_may_not_do() {
    let web = Web::start();
    let elsewhere = Web::start();
    elsewhere.body("/b.yaml", says("elsewhere"));
    web.body("/a.yaml", says("good"));
    web.page("/moved", Page::Redirect(elsewhere.url("/b.yaml")));
    web.page("/loop", Page::Redirect(web.url("/loop")));
    web.page("/private", Page::Redirect("https://10.0.0.1/a.yaml".to_owned()));
    web.page("/metadata", Page::Redirect("http://169.254.169.254/latest".to_owned()));
    web.page("/file", Page::Redirect("file:///etc/passwd".to_owned()));
    web.page("/user", Page::Redirect(format!("http://u:p@127.0.0.1:{}/a.yaml", web.port)));
    web.page("/endless", Page::Endless);
    web.body("/large", " ".repeat((1 << 20) + 1));
    web.body("/broken", "name: x\ncolour: red\n".to_owned());
    let room = with(&[]);
    let add = |source: &str| room.api.post("/v1/agents", json!({"source": source}));
    for (path, why) in [
        ("/loop", "redirects"),
        ("/private", "10.0.0.1"),
        ("/metadata", "http"),
        ("/file", "file"),
        ("/user", "user name"),
        ("/endless", "1 MiB"),
        ("/large", "1 MiB"),
        ("/broken", "colour"),
        ("/absent", "404"),
    ] {
        let problem = add(&web.url(path)).problem(409, "source_broken");
        let detail = problem["detail"].as_str().expect("words");
        assert!(detail.contains(why) && detail.contains(path), "{path}: {detail}");
    }
    // Not by https, and not this machine.
    add("http://example.com/a.yaml").problem(422, "invalid");
    add("http://10.0.0.1/a.yaml").problem(422, "invalid");
    // A redirect within this machine, which the operator has named, is followed.
    let added = add(&web.url("/moved")).expect(201);
    assert_eq!(added["items"][0]["source"], format!("url:{}", web.url("/moved")));
    let id = room.api.begin("a", "go");
    room.api.wait_status(&id, "finished");
    assert_eq!(room.api.said(&id), "elsewhere\n");
}

#[test]
fn p7_passwords_and_tokens_stay_where_they_belong() {
    let web = Web::start();
    let other = Web::start();
    other.body("/b.yaml", agents::file("b", agents::echo()));
    web.body("/a.yaml?t=1", says("one"));
    web.body("/a.yaml?t=2", says("two"));
    web.page("/moved", Page::Redirect(other.url("/b.yaml")));
    let tokens = tempfile_of("t0k3n");
    let named = |tag: u8| format!("http://user:s3cret@127.0.0.1:{}/a.yaml?t={tag}", web.port);
    let room = Greenroom::up()
        .env("GREENROOM_LOG", "debug")
        .args(&["--agents-refresh", "200ms", "--agents", &named(1), &web.url("/moved")])
        .args(&["--agents-token", &format!("127.0.0.1:{}={tokens}", web.port)]);
    let mut room = room.start();
    let id = room.api.begin("a", "go");
    room.api.wait_status(&id, "finished");
    room.served("b");
    let sent = |asked: &[greenroom_tests::web::Asked], path: &str| {
        let found = asked.iter().find(|asked| asked.path == path).expect("it was asked");
        found.headers.get("authorization").cloned()
    };
    // The password goes to its own server; the token to its host, and not to where that leads.
    assert_eq!(sent(&web.asked(), "/a.yaml?t=1").as_deref(), Some("Basic dXNlcjpzM2NyZXQ="));
    assert_eq!(sent(&web.asked(), "/moved").as_deref(), Some("Bearer t0k3n"));
    assert_eq!(sent(&other.asked(), "/b.yaml"), None);

    // The user is part of the identity, and the session goes on; nobody is told the password.
    room.kill9_server();
    let args = ["--agents-refresh", "200ms", "--agents", &named(2)].map(str::to_owned);
    room.builder.set_args(&args.each_ref().map(String::as_str));
    room.start_server();
    assert_eq!(asks(&room, &id), "two\n");
    web.page("/a.yaml?t=2", Page::Status(500));
    room.wait_agent("a", |agent| agent["health"] == "stale");
    let refused = room.api.post("/v1/agents", json!({"source": "http://user:s3cret@10.0.0.1/"}));
    let told = [
        json!(room.api.log(&id)).to_string(),
        room.api.session(&id).to_string(),
        room.api.get("/v1/sessions").expect(200).to_string(),
        room.api.get("/v1/agents").expect(200).to_string(),
        refused.problem(422, "invalid").to_string(),
        room.cli(&["agents", "ls"]).exits(0).out,
        room.cli(&["sessions", "show", &id]).exits(0).out,
        fs::read_to_string(room.root.join("server.log")).expect("a log"),
    ];
    for text in told {
        for secret in ["s3cret", "t0k3n", "dXNlcjpzM2NyZXQ"] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
    let changed = room.api.events(&id, "session.agent_changed");
    let shown = format!("url:http://***@127.0.0.1:{}/a.yaml?t=2", web.port);
    assert_eq!(changed[0]["data"]["to"]["source"], shown);
    fs::remove_file(tokens).expect("removed");
}

#[test]
fn p7_a_query_can_be_part_of_what_a_source_is() {
    let web = Web::start();
    for tenant in ["x", "y"] {
        web.body(&format!("/a.yaml?tenant={tenant}"), says(tenant));
    }
    let of = |tenant: &str| format!("with-query:{}", web.url(&format!("/a.yaml?tenant={tenant}")));
    let mut room = with(&[&of("x")]);
    let id = room.api.begin("a", "go");
    room.api.wait_status(&id, "finished");
    assert_eq!(room.api.session(&id)["agent"]["stable_key"], web.url("/a.yaml?tenant=x"));
    again_with(&mut room, &[&of("y")]);
    room.api.prompt_with(&id, "go", json!({})).problem(404, "agent_not_found");
    again_with(&mut room, &[&of("x"), &of("y")]);
    assert_eq!(asks(&room, &id), "x\n");
}

#[test]
fn p7_a_file_cannot_pass_for_a_url() {
    let web = Web::start();
    web.body("/a.yaml?tag=v1", says("from the web"));
    let mut room = with(&[&web.url("/a.yaml?tag=v1")]);
    let id = room.api.begin("a", "go");
    room.api.wait_status(&id, "finished");
    // Its name is the key of the URL, and its agent's name the same.
    let name = format!("{}.yaml", key(&web.url("/a.yaml?tag=v1")));
    fs::write(room.root.join("agents").join(name), says("from a file")).expect("written");
    again_with(&mut room, &[]);
    room.served("a");
    room.api.prompt_with(&id, "go", json!({})).problem(404, "agent_not_found");
    let fresh = room.api.begin("a", "go");
    room.api.wait_status(&fresh, "finished");
    assert_eq!(room.api.said(&fresh), "from a file\n");
    assert!(room.api.session(&fresh)["agent"]["stable_key"].is_null());
}

#[test]
fn p7_keys_are_printed_without_a_server() {
    let room = Greenroom::up().start();
    let key = |args: &[&str]| {
        let all = [&["agents", "key"], args].concat();
        room.bare_cli(&all).exits(0).json()
    };
    for (args, key_is, stable) in [
        (vec![""], "", ""),
        (vec!["--received", ""], "", ""),
        (vec!["http://u:p@h/?"], "http%3A%2F%2Fu%3Ap%40h%2F%3F", "http://u:p@h/?"),
        (vec!["--received", "http%3A%2F%2Fh%2Fa%3Fb"], "http%3A%2F%2Fh%2Fa%3Fb", "http://h/a"),
        (vec!["http://h/%zz"], "http%3A%2F%2Fh%2F%25zz", "http%3A%2F%2Fh%2F%25zz"),
    ] {
        assert_eq!(key(&args), json!({"key": key_is, "stable": stable}), "{args:?}");
    }
}

/// A file of the test's own with this text.
fn tempfile_of(text: &str) -> String {
    let path = std::env::temp_dir().join(format!("gr-token-{}", std::process::id()));
    fs::write(&path, text).expect("written");
    path.to_string_lossy().into_owned()
}
