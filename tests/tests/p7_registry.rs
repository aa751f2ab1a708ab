//! P7: agents from a registry, by tag and by digest, with a password, and without the registry.

use std::fs;

use greenroom_tests::registry::{LOGIN, Registry};
use greenroom_tests::{Greenroom, agents, json};

fn says(word: &str) -> String {
    agents::file("a", agents::sh(&format!("echo {word}"), &[]))
}

#[test]
fn p7_an_agent_comes_from_a_registry_also_when_that_is_gone() {
    let mut room = Greenroom::up().start();
    let folder = room.root.join("registry");
    let registry = Registry::start(&folder, "127.0.0.1:0");
    let first = registry.push("agents/a", "v1", &says("first"));
    let login = room.root.join("login");
    fs::write(&login, LOGIN).expect("written");
    let tagged = format!("oci://{}/agents/a:v1", registry.host);
    let fixed = format!("oci://{}/agents/a@{first}", registry.host);
    let login = format!("{}={}", registry.host, login.display());
    let arguments = ["--agents-refresh", "200ms", "--agents", &tagged, "--agents-token", &login];

    // Without its password.
    let problem =
        room.api.post("/v1/agents", json!({"source": tagged})).problem(409, "source_broken");
    assert!(problem["detail"].as_str().expect("words").contains("agents/a:v1"), "{problem:#}");

    room.kill9_server();
    room.builder.set_args(&arguments);
    room.start_server();
    let id = room.api.begin("a", "go");
    room.api.wait_status(&id, "finished");
    assert_eq!(room.api.said(&id), "first\n");
    let agent = room.api.session(&id)["agent"].clone();
    assert_eq!(agent["source"], tagged.replace("oci://", "oci:"));
    let key = tagged.trim_start_matches("oci://").replace(['/', ':', '@'], "_");
    assert_eq!(agent["source_key"], format!("{key}.yaml"));
    assert!(agent["stable_key"].is_null(), "{agent:#}");

    // The tag means something else: the session follows it.
    registry.push("agents/a", "v1", &says("second"));
    room.wait_agent("a", |agent| agent["version"] == 2);
    let run = room.api.prompt(&id, "go");
    room.api.wait_run(&id, &run["id"]);
    assert_eq!(room.api.said(&id), "first\nsecond\n");

    // By its digest it is what it was.
    let added = room.api.post("/v1/agents", json!({"source": fixed})).expect(201);
    let keys: Vec<_> =
        added["items"].as_array().expect("a list").iter().map(|a| &a["source"]).collect();
    let source = fixed.replace("oci://", "oci:");
    assert!(keys.contains(&&json!(source)), "{added:#}");
    let session = room.api.create(&source, json!({"prompt": "go"}));
    let by_digest = session["id"].as_str().expect("an id").to_owned();
    room.api.wait_status(&by_digest, "finished");
    assert_eq!(room.api.said(&by_digest), "first\n");

    // The registry is gone, and the server starts anew.
    drop(registry);
    room.wait_agent("a", |agent| agent["health"] == "stale");
    room.kill9_and_restart();
    for (id, all) in [(&id, "first\nsecond\nsecond\n"), (&by_digest, "first\nfirst\n")] {
        let run = room.api.prompt(id, "go");
        room.api.wait_run(id, &run["id"]);
        assert_eq!(room.api.said(id), all);
    }
    let log = fs::read_to_string(room.root.join("server.log")).expect("a log");
    assert!(!log.contains("pa:ss"), "{log}");
}
