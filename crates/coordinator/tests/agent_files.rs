//! Agent files: what is read, how errors look, and that they are served as they change.

mod support;

use std::path::Path;

use greenroom_coordinator::sources::agent_file::parse;
use greenroom_core::agent::{
    DirMode, Driver, Leftovers, Lifecycle, Preset, PromptVia, WorkspaceFrom,
};
use greenroom_core::{Bytes, Ms};
use proptest::prelude::*;
use serde_json::json;
use support::*;

const FULL: &str = r#"
name: fixer                     # a comment
description: Fixes failing tests
driver: command
command: [python3, fix.py]
prompt_via: env
stdout: jsonl
env: { RUST_LOG: info, API_KEY: "${secret:api-key}", PORT: 8080 }
workspace: { from: dir, path: /srv/code, mode: in_place }
stop: { cancel_grace: 500ms, grace: 35s }
leftovers: keep
limits: { idle: 15m, run: 1h, start: 30s, ttl: 30d, unused: 7d, memory: 512MiB, pids: 100, output: 1MB }
runner: { labels: { gpu: "yes" } }
input_schema: { type: object, required: [n], properties: { n: { type: integer } } }
output_schema: { type: string }
"#;

#[test]
fn every_key_is_read() {
    let spec = parse(FULL, "fixer.yaml").expect("an agent");
    assert_eq!(spec.name.as_str(), "fixer");
    let Driver::Command(command) = &spec.driver else { panic!("another driver") };
    assert_eq!(command.command, ["python3", "fix.py"]);
    assert_eq!((command.prompt_via, command.lifecycle), (PromptVia::Env, Lifecycle::PerRun));
    assert_eq!(spec.env["PORT"], "8080");
    let dir = WorkspaceFrom::Dir { path: "/srv/code".into(), mode: DirMode::InPlace };
    assert_eq!(spec.workspace, dir);
    assert_eq!((spec.stop.cancel_grace_ms, spec.stop.grace_ms), (Ms(500), Ms(35_000)));
    assert_eq!(spec.leftovers, Leftovers::Keep);
    assert_eq!(spec.limits.ttl_ms, Some(Ms(30 * 86_400_000)));
    assert_eq!(spec.limits.unused_ms, Some(Ms(7 * 86_400_000)));
    assert_eq!(spec.limits.memory_bytes, Some(Bytes(512 << 20)));
    assert_eq!(spec.limits.output_bytes, Some(Bytes(1_000_000)));
    assert_eq!(spec.runner_labels["gpu"], "yes");
    assert_eq!(spec.input_schema.expect("a schema")["required"], json!(["n"]));
}

#[test]
fn little_is_required() {
    let spec = parse("name: a\ndriver: command\ncommand: [x]\n", "a.yaml").expect("an agent");
    assert_eq!(spec.stop.grace_ms, Ms::secs(10));
    assert_eq!(spec.limits, Default::default());
}

#[test]
fn a_repository_is_cloned_or_gets_a_worktree() {
    let workspace = |keys: &str| {
        let text = format!("name: a\ndriver: command\ncommand: [x]\nworkspace: {{ {keys} }}\n");
        parse(&text, "a.yaml").expect("an agent").workspace
    };
    let git = |url: &str| WorkspaceFrom::Git { url: url.into(), reference: None };
    assert_eq!(workspace("from: git, url: /srv/app, mode: clone"), git("/srv/app"));
    assert_eq!(workspace("from: git, url: 'git@host:a/b'"), git("git@host:a/b"));
    let worktree =
        WorkspaceFrom::Worktree { path: "/srv/app".into(), reference: Some("v1".into()) };
    assert_eq!(workspace("from: git, url: /srv/app, mode: worktree, ref: v1"), worktree);
}

#[test]
fn drivers_have_keys_of_their_own() {
    let acp = "name: a\ndriver: acp\ncommand: [opencode, acp]\nmode: build\nauth: key\n\
        config: { model: m }\n\
        approvals: { mode: strict, headless: true, deny: [\"Bash(rm *)\"], timeout: 5m }\n";
    let spec = parse(acp, "a.yaml").expect("an agent");
    let Driver::Acp(driver) = &spec.driver else { panic!("it is {:?}", spec.driver) };
    assert_eq!(driver.command, ["opencode", "acp"]);
    assert_eq!((driver.mode.as_deref(), driver.auth.as_deref()), (Some("build"), Some("key")));
    assert_eq!(driver.config["model"], "m");
    assert!(spec.approvals.headless && spec.approvals.deny.len() == 1);
    assert_eq!(spec.approvals.timeout_ms, Some(Ms::secs(300)));
    assert_eq!((spec.lifecycle(), spec.driver.cancels()), (Lifecycle::Persistent, true));

    let preset = "name: c\ndriver: command\npreset: claude\nargs: [--model, m]\n";
    let spec = parse(preset, "c.yaml").expect("an agent");
    let Driver::Preset(driver) = &spec.driver else { panic!("it is {:?}", spec.driver) };
    assert_eq!((driver.preset, driver.program.as_deref()), (Preset::Claude, None));
    assert_eq!((spec.driver.word(), spec.lifecycle()), ("command", Lifecycle::PerRun));
}

#[test]
fn errors_name_file_line_and_key() {
    let base = "name: a\ndriver: command\ncommand: [x]\n";
    let cases = [
        "",
        "[1, 2]",
        "name: a\ndriver: command\n",
        "driver: command\ncommand: [x]\n",
        "name: a b\ndriver: command\ncommand: [x]\n",
        "name: a\ndriver: command\ncommand: run it\n",
        "name: a\ndriver: command\ncommand: []\n",
        "name: a\ndriver: command\ncommand: [x\n",
        "name: a\ndriver: acp\n",
        "name: a\ndriver: telepathy\n",
        &format!("{base}colour: red\n"),
        &format!("{base}name: b\n"),
        &format!("{base}limits:\n  idle: 15\n"),
        &format!("{base}limits:\n  idle: 15 minutes\n"),
        &format!("{base}limits:\n  speed: 15\n"),
        &format!("{base}limits: {{ memory: 1 }}\n"),
        &format!("{base}limits: {{ memory: 12 monkeys }}\n"),
        &format!("{base}stop:\n  grace: soon\n"),
        &format!("{base}env:\n  A: ${{env:B\n"),
        &format!("{base}env:\n  A: ${{file:B}}\n"),
        &format!("{base}env:\n  GREENROOM_TOKEN: x\n"),
        &format!("{base}lifecycle: persistent\n"),
        &format!("{base}lifecycle: persistent\nstdout: jsonl\nprompt_via: arg\n"),
        &format!("{base}workspace: {{ from: git, url: x }}\n"),
        &format!("{base}workspace: {{ from: git }}\n"),
        &format!("{base}workspace: {{ from: git, url: /x, mode: copy }}\n"),
        &format!("{base}workspace: {{ from: git, url: 'https://x/y', mode: worktree }}\n"),
        &format!("{base}workspace: {{ from: git, url: 'file:///x', mode: clone }}\n"),
        &format!("{base}workspace: {{ from: git, url: 'https://a:b@x/y' }}\n"),
        &format!("{base}workspace: {{ from: dir, path: /x, mode: worktree }}\n"),
        &format!("{base}workspace: {{ from: empty, mode: worktree }}\n"),
        &format!("{base}workspace:\n  from: dir\n  path: here\n"),
        &format!("{base}workspace: {{ from: empty, path: /x }}\n"),
        &format!("{base}input_schema: {{ type: 7 }}\n"),
        &format!("{base}leftovers: maybe\n"),
        &format!("{base}preset: claude\nstdout: jsonl\n"),
        &format!("{base}args: [-v]\n"),
        &format!("{base}auth: key\n"),
        &format!("{base}approvals: {{ mode: strict }}\n"),
        "name: a\ndriver: command\npreset: emacs\n",
        "name: a\ndriver: command\npreset: claude\ncommand: [claude, -p]\n",
        "name: a\ndriver: acp\ncommand: [x]\nlifecycle: per_run\n",
        "name: a\ndriver: acp\ncommand: [x]\napprovals: { timeout: soon }\n",
    ];
    let mut all = String::new();
    for case in cases {
        let error = parse(case, "a.yaml").expect_err(case);
        all.push_str(&format!("{error}\n"));
    }
    insta::assert_snapshot!(all);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_makes_it_panic(text in "\\PC{0,200}") {
        let _ = parse(&text, "x.yaml");
    }

    #[test]
    fn what_is_nearly_a_file_does_not_either(
        cut in 0..FULL.len(),
        replace in "[ \\n:{}\\[\\]&*!|>'\"%@`a-z0-9-]{0,4}",
    ) {
        let cut = FULL.floor_char_boundary(cut);
        let end = FULL.ceil_char_boundary((cut + replace.len()).min(FULL.len()));
        let text = format!("{}{replace}{}", &FULL[..cut], &FULL[end..]);
        let _ = parse(&text, "x.yaml");
    }

    #[test]
    fn durations_are_read_as_they_are_written(n in 1u64..87_600, unit in "ms|s|m|h") {
        let text = format!("name: a\ndriver: command\ncommand: [x]\nlimits: {{ idle: {n}{unit} }}\n");
        let spec = parse(&text, "a.yaml").expect("an agent");
        prop_assert_eq!(spec.limits.idle_ms, format!("{n}{unit}").parse::<Ms>().ok());
    }
}

fn write(folder: &Path, name: &str, command: &str) {
    let text = format!("name: {name}\ndriver: command\ncommand: [{command}]\n");
    std::fs::write(folder.join(format!("{name}.yaml")), text).expect("a file");
}

async fn agent(room: &Room, name: &str) -> serde_json::Value {
    let answer = room.get(&format!("/v1/agents/{name}")).await;
    answer.body
}

#[tokio::test]
async fn a_folder_is_served_as_it_changes() {
    let agents = tempfile::tempdir().expect("a folder");
    let folder = agents.path().to_owned();
    let room =
        Room::with(|config| config.agents = vec![folder.to_string_lossy().into_owned()]).await;
    // A new file.
    write(&folder, "one", "true");
    let first = eventually(async || {
        let found = agent(&room, "one").await;
        (found["health"] == "ok").then_some(found)
    })
    .await;
    assert_eq!(first["version"], 1);
    // A changed one is another version; sessions keep theirs.
    let old = room.create(json!({"agent": "one"})).await;
    write(&folder, "one", "false");
    eventually(async || (agent(&room, "one").await["version"] == 2).then_some(())).await;
    let kept =
        room.get(&format!("/v1/sessions/{}", old["id"].as_str().expect("an id"))).await.expect(200);
    assert_eq!(kept["agent"]["version"], 1);
    // A broken one keeps the last good version, and shows its error.
    std::fs::write(folder.join("one.yaml"), "name: one\ndriver: command\ncommand: [x]\nbad: 1\n")
        .expect("a file");
    let stale = eventually(async || {
        let found = agent(&room, "one").await;
        (found["health"] == "stale").then_some(found)
    })
    .await;
    assert_eq!(stale["version"], 2);
    assert!(stale["error"].as_str().expect("an error").contains("one.yaml:4: bad"), "{stale}");
    room.create(json!({"agent": "one"})).await;
    // One that never was good is shown as such, and cannot be used.
    std::fs::write(folder.join("two.yaml"), "name: two\n").expect("a file");
    eventually(async || (agent(&room, "two").await["health"] == "broken").then_some(())).await;
    assert_eq!(
        room.post("/v1/sessions", json!({"agent": "two"})).await.refused(404),
        "agent_not_found"
    );
    // One that is gone goes on serving, and may be taken out of service.
    assert_eq!(room.delete("/v1/agents/one").await.refused(409), "agent_has_source");
    std::fs::remove_file(folder.join("one.yaml")).expect("removed");
    eventually(async || (agent(&room, "one").await["health"] == "missing").then_some(())).await;
    room.delete("/v1/agents/one").await.expect(204);
    assert_eq!(room.get("/v1/agents/one").await.refused(404), "agent_not_found");
    assert_eq!(room.delete("/v1/agents/shell").await.refused(409), "agent_has_source");
}

#[tokio::test]
async fn a_name_belongs_to_the_first_that_has_it() {
    let room = Room::open().await;
    let folder = room.folder.path().to_owned();
    let file = folder.join("mine.yaml");
    std::fs::write(&file, "name: shell\ndriver: command\ncommand: [x]\n").expect("a file");
    let refused = room.post("/v1/agents", json!({"source": file})).await;
    assert!(refused.body["detail"].as_str().expect("a detail").contains("builtin:shell"));
    assert_eq!(refused.refused(409), "source_broken");
    assert_eq!(
        room.post("/v1/agents", json!({"source": folder.join("nothing")})).await.refused(404),
        "source_not_found"
    );
    for other in ["http://example.com/a.yaml", "git://example.com/a", "oci:UPPER"] {
        room.post("/v1/agents", json!({"source": other})).await.refused(422);
    }
}

#[tokio::test]
async fn an_added_file_is_there_after_a_restart() {
    let agents = tempfile::tempdir().expect("a folder");
    write(agents.path(), "added", "true");
    let room = Room::open().await;
    let added = room
        .post("/v1/agents", json!({"source": agents.path().join("added.yaml")}))
        .await
        .expect(201);
    assert_eq!(added["items"][0]["name"], "added");
    let room = room.restart().await;
    assert_eq!(agent(&room, "added").await["health"], "ok");
    room.delete("/v1/agents/added").await.expect(204);
    let room = room.restart().await;
    assert_eq!(room.get("/v1/agents/added").await.refused(404), "agent_not_found");
}
