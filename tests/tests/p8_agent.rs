//! P8: what an agent can reach with its own token, and where secrets may be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use greenroom_tests::session::{id_of, uid_of};
use greenroom_tests::sse::Sse;
use greenroom_tests::{Greenroom, Value, agents, json, procs};

/// An agent that makes one HTTP call a line of its prompt, `METHOD PATH [BODY]`, and says the
/// status of each; then it waits.
fn caller() -> Value {
    let script = r#"
        while read -r method path body; do
            code=$(curl -s -o answer -w '%{http_code}' -X "$method" -H "Authorization: Bearer $GREENROOM_TOKEN" \
                -H 'Content-Type: application/json' ${body:+-d "$body"} "$GREENROOM_URL$path")
            echo "$method $path -> $code"
        done
        echo done; while :; do sleep 1; done"#;
    agents::sh(script, &[])
}

#[test]
fn p8_an_agent_reaches_itself_and_its_children_at_most() {
    let room = Greenroom::up()
        .agent("caller", caller())
        .agent("holder", agents::holder())
        .agent("echo", agents::echo())
        .start();
    let (mark, prompt) = room.mark();
    let other = room.api.begin("holder", &prompt);
    room.api.wait_text(&other, "holding");
    let calls = [
        ("GET /v1/sessions/me".to_owned(), 200),
        ("GET /v1/sessions/me/events?limit=1".to_owned(), 200),
        ("POST /v1/sessions {\"agent\":\"echo\",\"id\":\"kid\",\"parent\":\"me\",\"prompt\":\"hi\"}".to_owned(), 201),
        ("GET /v1/sessions/kid".to_owned(), 200),
        ("POST /v1/sessions/kid/stop?wait=20s {}".to_owned(), 200),
        (format!("GET /v1/sessions/{other}"), 404),
        (format!("GET /v1/sessions/{other}/events"), 404),
        (format!("GET /v1/sessions/{other}/files?path="), 404),
        (format!("POST /v1/sessions/{other}/stop {{}}"), 404),
        (format!("POST /v1/sessions/{other}/runs {{\"prompt\":\"hi\"}}"), 404),
        (format!("DELETE /v1/sessions/{other}"), 404),
        (format!("POST /v1/sessions {{\"agent\":\"echo\",\"parent\":\"{other}\"}}"), 404),
        ("POST /v1/sessions/me/abandon {\"reason\":\"x\"}".to_owned(), 403),
        ("GET /v1/tokens".to_owned(), 403),
        ("POST /v1/tokens {\"role\":\"admin\"}".to_owned(), 403),
        ("POST /v1/agents {\"source\":\"/tmp\"}".to_owned(), 403),
        ("DELETE /v1/agents/echo".to_owned(), 403),
        ("GET /v1/runners".to_owned(), 403),
        ("POST /v1/link/sync {}".to_owned(), 403),
    ];
    let script: String = calls.iter().map(|(call, _)| format!("{call}\n")).collect();
    let me = id_of(&room.api.create("caller", json!({"id": "me", "prompt": script})));
    room.api.wait_text(&me, "done");
    let said = room.api.said(&me);
    for (call, code) in &calls {
        let mut words = call.splitn(3, ' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let heard: Vec<&str> = said
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("{method} {path} -> ")))
            .collect();
        assert!(
            heard.contains(&code.to_string().as_str()),
            "{call}: {heard:?}, not {code}\n{said}"
        );
    }
    assert_eq!(room.api.session("kid")["parent_id"], "me");
    assert_eq!(procs::holding(&mark).len(), 1, "the other one is untouched");
    let list = room.api.get("/v1/sessions?parent=me").expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
}

#[test]
fn p8_an_agents_token_ends_with_its_compute() {
    let script = r#"echo "token $GREENROOM_TOKEN"; while :; do sleep 1; done"#;
    let room = Greenroom::up().agent("teller", agents::sh(script, &[])).start();
    let id = room.api.begin("teller", "go");
    room.api.wait_text(&id, "token ");
    let said = room.api.said(&id);
    let told = said.lines().find_map(|line| line.strip_prefix("token ")).unwrap_or("").to_owned();
    let token = agent_variable(&room.data, "GREENROOM_TOKEN").expect("the agent has a token");
    let agent = room.api.as_token(&token);
    assert_eq!(agent.status(&id), "running");
    let list = agent.get("/v1/sessions").expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "told {told:?}");
    room.api.stop(&id);
    agent.get(&format!("/v1/sessions/{id}")).refused(401);
}

/// The value of a variable in the environment of an agent of this data folder.
fn agent_variable(data: &Path, name: &str) -> Option<String> {
    let work = data.join("work");
    procs::about(&work).into_iter().find_map(|proc| {
        let raw = fs::read(format!("/proc/{}/environ", proc.pid)).ok()?;
        let text = String::from_utf8_lossy(&raw).into_owned();
        text.split('\0').find_map(|pair| pair.strip_prefix(&format!("{name}="))).map(str::to_owned)
    })
}

/// Every file beneath `dir` that contains `needle`.
fn files_with(dir: &Path, needle: &[u8], found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            files_with(&path, needle, found);
        } else if kind.is_file()
            && fs::read(&path).is_ok_and(|text| text.windows(needle.len()).any(|w| w == needle))
        {
            found.push(path.display().to_string());
        }
    }
}

/// Says its secret in every way it can: whole, in two writes, within JSON, on both outputs.
/// Then it waits.
const TELLS: &str = r#"
    say() { printf '%s\n' "$1"; }
    quoted=$(printf %s "$KEY" | sed 's/[\\"]/\\&/g'); mkfifo go
    say "whole: $KEY"; say "err: $KEY" >&2; say "{\"json\": \"$quoted\"}"; say "token: $GREENROOM_TOKEN"
    printf 'split: %.9s' "$KEY"; read -r word < go; say "${KEY#?????????}."; sleep 1000"#;

/// Says it in events, and in its answer.
const ANSWERS: &str = r#"
    quoted=$(printf %s "$KEY" | sed 's/[\\"]/\\&/g')
    printf '{"type":"tool_call","name":"curl","args":["-H","%s"]}\n' "$quoted"
    printf '%s\n' "and as text: $KEY"
    printf '{"type":"result","result":{"key":"%s"}}\n' "$quoted""#;

#[test]
fn p8_a_secret_reaches_the_agents_process_alone() {
    // Two words that stand nowhere else, and between them what JSON writes differently.
    let words = [(); 2].map(|()| uuid::Uuid::now_v7().simple().to_string());
    let secret = words.join("\"\\");
    let with_key = |agent| agents::with(agent, json!({"env": {"KEY": "${secret:api-key}"}}));
    let answers = agents::with(agents::sh(ANSWERS, &[]), json!({"stdout": "jsonl"}));
    let lost = json!({"command": ["nowhere"], "env": {"PATH": "/${secret:api-key}"}});
    let mut room = Greenroom::serve()
        .agent("tells", with_key(agents::sh(TELLS, &[])))
        .agent("answers", with_key(answers))
        .agent("exits", with_key(agents::sh(r#"printf '%s\n' "$KEY" >&2; exit 3"#, &[])))
        .agent("lost", lost)
        .start();
    let data = room.root.join("runner-one");
    fs::create_dir_all(data.join("secrets")).expect("a folder");
    let path = data.join("secrets/api-key");
    fs::write(&path, format!("{secret}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).expect("its mode");
    room.add_runner("one");
    let tells = id_of(&room.api.create("tells", json!({})));
    let mut stream = Sse::open(&room.api, &format!("/v1/sessions/{tells}/events"));
    room.api.prompt(&tells, "go");
    let mut seen = Vec::new();
    let mut live = String::new();
    stream.until("all but the end", |frame| {
        seen.push(format!("{frame:?}"));
        live.push_str(frame.data["text"].as_str().filter(|_| frame.id.is_none()).unwrap_or(""));
        live.contains("split: ")
    });
    let others = ["answers", "exits", "lost"].map(|agent| room.api.begin(agent, "go"));
    others.iter().for_each(|id| drop(room.api.wait_rest(id)));

    // In memory: the agent and its own children, nobody else.
    let holds = |text: &[u8], word: &str| text.windows(word.len()).any(|w| w == word.as_bytes());
    for proc in procs::about(&room.root) {
        let read = |what: &str| fs::read(format!("/proc/{}/{what}", proc.pid)).unwrap_or_default();
        assert!(!holds(&read("cmdline"), &words[0]), "in the arguments of {proc:?}");
        let cwd = fs::read_link(format!("/proc/{}/cwd", proc.pid)).unwrap_or_default();
        let is_agent = cwd.starts_with(data.join("work"));
        assert!(is_agent || !holds(&read("environ"), &words[0]), "in the environment of {proc:?}");
    }
    // On disk, with the journals of what still runs.
    let token = agent_variable(&data, "GREENROOM_TOKEN").expect("the agent has a token");
    let unsaid = [words[0].as_str(), words[1].as_str(), token.as_str()];
    let look_on_disk = || {
        let mut found = Vec::new();
        for word in unsaid {
            files_with(&room.root, word.as_bytes(), &mut found);
        }
        found.retain(|file| !file.ends_with("secrets/api-key"));
        assert!(found.is_empty(), "{found:?}");
    };
    look_on_disk();
    let uid = uid_of(&room.api.session(&tells));
    fs::write(room.workspace(&uid).join("go"), "go\n").expect("the agent goes on");
    stream.until("the rest", |frame| {
        seen.push(format!("{frame:?}"));
        frame.event == "message" && frame.data["data"]["text"].to_string().contains("split: ")
    });
    room.api.stop(&tells);
    look_on_disk();

    // In every answer: nowhere.
    let label = "[secret api-key]";
    let text = format!(
        "whole: {label}\n{{\"json\": \"{label}\"}}\ntoken: [secret GREENROOM_TOKEN]\nsplit: {label}.\n"
    );
    assert_eq!(room.api.said(&tells), text);
    let result = &room.api.runs(&others[0])[0]["result"];
    assert_eq!(result, &json!({"key": label}));
    let receipt = &room.api.session(&others[2])["receipt"];
    assert!(receipt["detail"].to_string().contains("(/[secret api-key])"), "{receipt}");
    for id in others.iter().chain([&tells]) {
        for run in room.api.runs(id) {
            let shown = ["table", "json"].map(|output| {
                room.cli(&["runs", "show", run["id"].as_str().unwrap_or(""), "--output", output])
            });
            seen.push(format!("{run} {shown:?}"));
        }
        let shown = [vec!["sessions", "show", id], vec!["sessions", "logs", id]];
        let shown = shown.map(|args| room.cli(&args));
        seen.push(format!("{shown:?} {} {:?}", room.api.session(id), room.api.log(id)));
    }
    for word in unsaid {
        let said: Vec<_> = seen.iter().filter(|text| text.contains(word)).collect();
        assert!(said.is_empty(), "{word} in {said:#?}");
    }
    let token = room.api.token.clone().expect("a token");
    let mut found = Vec::new();
    files_with(&room.root, token.as_bytes(), &mut found);
    found.retain(|file| !file.ends_with("data/token"));
    assert!(found.is_empty(), "the admin's token is in {found:?}");
}

#[test]
fn p8_an_open_secret_file_is_refused() {
    let keyed = json!({"env": {"KEY": "${secret:api-key}"}});
    let room = Greenroom::up().agent("keyed", agents::with(agents::echo(), keyed)).start();
    let secrets = room.data.join("secrets");
    fs::create_dir_all(&secrets).expect("a folder");
    fs::write(secrets.join("api-key"), "readable-by-all").expect("written");
    fs::set_permissions(secrets.join("api-key"), fs::Permissions::from_mode(0o644))
        .expect("its mode");
    let id = room.api.begin("keyed", "go");
    let session = room.api.wait_rest(&id);
    assert_eq!(session["status_reason"], "start_error", "{session:#}");
    assert!(!json!(room.api.log(&id)).to_string().contains("readable-by-all"));
}
