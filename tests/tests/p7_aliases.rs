//! P7: a user of docker-agent names agents by the aliases of that configuration.

use std::fs;

use greenroom_tests::registry::{LOGIN, Registry};
use greenroom_tests::{Greenroom, agents, json};

/// Writes docker-agent's configuration in the user's home, or what it was called before.
fn configure(room: &Greenroom, file: &str, text: &str) {
    let folder = room.root.join("home/.config/cagent");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(file), text).expect("written");
}

/// The file of agent `name`, which says its name.
fn write_agent(room: &Greenroom, name: &str) -> String {
    let path = room.root.join(format!("{name}.yaml"));
    let text = agents::file(name, agents::sh(&format!("echo {name}"), &[]));
    fs::write(&path, text).expect("written");
    path.to_str().expect("text").to_owned()
}

/// Runs an agent, and checks that it was this one.
fn works(room: &Greenroom, name: &str) {
    let id = room.api.begin(name, "go");
    room.api.wait_status(&id, "finished");
    assert_eq!(room.api.said(&id), format!("{name}\n"));
}

#[test]
fn p7_an_alias_of_docker_agents_configuration_names_a_source() {
    let mut room = Greenroom::up().start();
    let (first, _) = (write_agent(&room, "first"), write_agent(&room, "second"));
    let aliases = json!({
        "one": {"path": first, "yolo": true, "model": "openai/gpt-4o"},
        // It begins where the command does.
        "two": {"path": "second.yaml"},
        "gone": {"path": "~/gone.yaml"},
        "url": {"path": "https://ann:secret@example.com/a.yaml"},
        "open": {"path": "http://ann:secret@example.com/a.yaml"},
    });
    configure(&room, "config.yaml", &json!({"aliases": aliases}).to_string());

    let told = format!("one is an alias of docker-agent's configuration: {first}\n");
    room.cli(&["agents", "check", "one"]).exits(0).says(&told).says("agent \"first\" is fine");
    // The configuration is the user's, and not the server's.
    for source in ["one", "alias:one"] {
        room.api.post("/v1/agents", json!({"source": source})).problem(404, "source_not_found");
    }
    let added = room.cli(&["agents", "add", "one"]).exits(0).says(&told).says("\"first\"");
    let warning = added.err.lines().find(|line| line.starts_with("warning:")).expect("a warning");
    for words in ["yolo", "--approvals-mode autonomous", "--model openai/gpt-4o"] {
        assert!(warning.contains(words), "{warning}");
    }
    works(&room, "first");
    // Data stays data, and nothing but the options is told who asked for quiet.
    let quiet = room.cli(&["agents", "add", "alias:two", "--quiet", "-o", "json"]).exits(0);
    assert_eq!(
        (quiet.json()["items"][0]["name"].as_str(), quiet.err.as_str()),
        (Some("second"), "")
    );
    works(&room, "second");

    // What is no alias gets the error it always got, and what there is instead.
    let hint = "docker-agent's configuration has aliases: gone, one, open, two, url";
    room.cli(&["agents", "add", "three"]).exits(1).says("no file or folder").says(hint);
    room.cli(&["agents", "check", "three"]).exits(1).says("cannot read three").says(hint);
    let ran =
        room.cli(&["agents", "add", "alias:three"]).exits(1).says("gone, one, open, two, url");
    assert!(ran.err.contains("no alias \"three\" in") && ran.err.contains("cagent/config.yaml"));
    let gone = room.root.join("home/gone.yaml");
    let ran = room.cli(&["agents", "add", "gone"]).exits(1).says("no file or folder");
    assert!(ran.err.contains(gone.to_str().expect("text")), "{}", ran.err);
    assert!(!ran.err.contains("hint:"), "it was one: {}", ran.err);

    let ran = room.cli(&["agents", "check", "url"]).exits(1).says("https://***@example.com/a.yaml");
    assert!(!ran.err.contains("secret"), "{}", ran.err);
    for verb in ["check", "add"] {
        let ran = room.cli(&["agents", verb, "open"]).exits(1);
        assert!(!ran.err.contains("secret"), "{}", ran.err);
    }

    // The server's own command line.
    room.kill9_server();
    room.builder.set_args(&["--agents", "two", "alias:one"]);
    room.start_server();
    let agent = room.api.get("/v1/agents/second").expect(200);
    assert_eq!(agent["source"], format!("file:{}", room.root.join("second.yaml").display()));
    works(&room, "second");
    let data = room.root.join("other");
    let data = data.to_str().expect("text");
    let up = ["serve", "--data", data, "--listen", "127.0.0.1:0", "--agents"];
    let with = |word| [&up[..], &[word]].concat();
    room.bare_cli(&with("three")).exits(1).says("no such file or folder").says(hint);

    // A broken configuration is in the way of those who need it.
    configure(&room, "config.yaml", "version: v1\naliases:\n  one: [1]\n");
    room.cli(&["agents", "add", &first]).exits(0);
    room.cli(&["agents", "check", "second.yaml"]).exits(0);
    for words in [&["agents", "add", "one"][..], &["agents", "check", "alias:one"]] {
        room.cli(words).exits(1).says("cagent/config.yaml:3: ");
    }
    room.bare_cli(&with("one")).exits(1).says("cagent/config.yaml:3: ");
}

#[test]
fn p7_an_alias_of_an_image_names_it() {
    let mut room = Greenroom::up().start();
    let registry = Registry::start(&room.root.join("registry"), "127.0.0.1:0");
    // A file of docker-agent's does not say what it is called.
    let pirate = "agents: {root: {model: openai/gpt-4o, instruction: Arr.}}\n";
    registry.push("agents/pirate", "v1", pirate);
    let image = format!("{}/agents/pirate:v1", registry.host);
    configure(&room, "aliases.yaml", &format!("matey: {image}\n"));
    let login = room.root.join("login");
    fs::write(&login, LOGIN).expect("written");
    let login = format!("{}={}", registry.host, login.display());
    room.kill9_server();
    room.builder.set_args(&["--agents-token", &login, "--agents", "matey"]);
    room.start_server();
    let agent = room.wait_agent("pirate", |_| true);
    assert_eq!(
        (&agent["source"], &agent["health"]),
        (&json!(format!("oci:{image}")), &json!("ok"))
    );
    assert_eq!(agent["driver"], "loop");
}
