//! The rows of the March shape.

use greenroom_core::RecordBody;
use greenroom_core::approval::AskKind;
use greenroom_core::record::OutputKind;
use greenroom_protocol::link::{Delta, RecordLine};
use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::*;
use crate::support::*;

#[tokio::test]
async fn get_agents_lists_keys_with_description_and_multi() {
    let house = House::open().await;
    let agents = house.get("/api/agents").await.expect(200);
    let agents = agents.as_array().expect("a list").clone();
    let of = |name: &str| agents.iter().find(|agent| agent["name"] == name).expect("listed");
    assert_eq!((&of("team")["multi"], &of("team")["description"]), (&json!(true), &json!("Leads")));
    assert_eq!((&of("plain")["multi"], &of("plain")["health"]), (&json!(false), &json!("ok")));
    assert_eq!(of("team")["commands"], json!([{ "name": "fix", "prompt": "Fix $1" }]));
    let names: Vec<&str> = agents.iter().map(|a| a["name"].as_str().expect("a name")).collect();
    assert!(names.is_sorted(), "{names:?}");
}

#[tokio::test]
async fn get_agent_shows_its_config_and_nothing_secret() {
    let house = House::open().await;
    let config = house.get("/api/agents/team").await.expect(200);
    assert_eq!(config["agents"]["root"]["model"], "openai/m");
    assert_eq!(config["agents"]["root"]["sub_agents"], json!(["helper"]));
    assert!(config["agents"]["helper"].is_object(), "{config}");
    assert_eq!(config["models"]["openai/m"]["provider"], "openai");
    let file = house.room.folder.path().join("secretive.yaml");
    let text = "name: secretive\ndriver: command\ncommand: [x]\nenv: { KEY: hush-hush }\n";
    std::fs::write(&file, text).expect("a file");
    house.room.post("/v1/agents", json!({ "source": file })).await.expect(201);
    let shown = house.get("/api/agents/secretive").await.expect(200).to_string();
    assert!(!shown.contains("hush-hush"), "{shown}");
    let text = refused(house.get("/api/agents/nobody").await, 404);
    assert!(text.starts_with("agent not found: nobody"), "{text}");
    assert!(text.contains("team"), "it names the candidates: {text}");
}

#[tokio::test]
async fn get_tools_count_of_an_agent_and_its_members() {
    let house = House::open().await;
    let count = async |path: &str| {
        house.get(&format!("/api/agents/{path}/tools/count")).await.expect(200)["available_tools"]
            .as_u64()
            .expect("a number")
    };
    assert_eq!((count("team/helper").await, count("plain/root").await), (1, 0));
    assert!(count("team/root").await > 3);
    refused(house.get("/api/agents/team/nobody/tools/count").await, 404);
}

#[tokio::test]
async fn get_sessions_lists_roots_newest_first() {
    let mut house = House::open().await;
    assert_eq!(house.get("/api/sessions").await.expect(200), json!([]), "never null");
    let first = house.session(json!({ "title": "one" })).await;
    house.done(&first, "hi", "hello\n").await;
    let second = house.session(json!({})).await;
    let parent = json!({ "agent": "plain", "parent": first, "id": "child" });
    house.room.post("/v1/sessions", parent).await.expect(201);
    let list = house.get("/api/sessions").await.expect(200);
    let ids: Vec<&Value> = list.as_array().expect("a list").iter().map(|s| &s["id"]).collect();
    assert_eq!(ids, [&json!(second), &json!(first)]);
    assert_eq!((&list[1]["title"], &list[1]["num_messages"]), (&json!("one"), &json!(2)));
    assert!(list[1]["created_at"].as_str().expect("a time").ends_with('Z'));
    let active = house.get("/api/sessions?active=true").await.expect(200);
    assert_eq!(active.as_array().map(Vec::len), Some(1), "only what has a compute: {active}");
    assert_eq!(
        house.get("/api/sessions?limit=1").await.expect(200).as_array().map(Vec::len),
        Some(1)
    );
}

#[tokio::test]
async fn post_sessions_honours_the_template() {
    let mut house = House::open().await;
    let template = json!({
        "title": "T", "tools_approved": true, "max_iterations": 7, "starred": true,
        "permissions": { "allow": ["shell:cmd=ls*"], "deny": ["write_file"] },
        "attributes": { "team": "web" }, "created_at": "0001-01-01T00:00:00Z", "messages": null,
        "SendUserMessage": true, "working_dir": "",
    });
    let made = house.post("/api/sessions", template).await.expect(200);
    assert_eq!((&made["title"], &made["tools_approved"]), (&json!("T"), &json!(true)));
    assert_eq!(made["permissions"]["allow"], json!(["shell:cmd=ls*"]));
    assert_eq!((&made["messages"], &made["starred"]), (&json!([]), &json!(true)));
    for field in ["id", "created_at", "input_tokens", "output_tokens", "cost", "SendUserMessage"] {
        assert!(!made[field].is_null(), "{field}: {made}");
    }
    let id = made["id"].as_str().expect("an id");
    let ours = house.room.get(&format!("/v1/sessions/{id}")).await.expect(200);
    assert_eq!(ours["approvals"]["mode"], "autonomous");
    assert_eq!(ours["approvals"]["deny"], json!(["write_file"]));
    assert_eq!(
        (&ours["labels"]["team"], &ours["limits"]["iterations"]),
        (&json!("web"), &json!(7))
    );
    let (_, uid, epoch, _) = house.begun(id, "x").await;
    let path = format!("/v1/link/computes/{uid}/{epoch}");
    let compute = house.runner.get(&path).await.expect(200);
    let told = compute.to_string();
    assert!(told.contains("\"max_iterations\":7"), "{told}");
}

#[tokio::test]
async fn post_sessions_refuses_what_does_not_parse_and_folders_of_clients() {
    let house = House::open().await;
    let url = "/docker-agent/api/sessions";
    let sent = |body: &'static str| send(house.room.request(Method::POST, url).body(body));
    for body in ["{", "[1]", "{\"title\": 3}", "{} {}"] {
        refused(sent(body).await, 400);
    }
    let text = refused(house.post("/api/sessions", json!({ "working_dir": "/etc" })).await, 400);
    assert!(text.contains("/etc") && text.contains("allow"), "{text}");
    for bad in ["etc", "/etc/../srv", "/a\nb"] {
        refused(house.post("/api/sessions", json!({ "working_dir": bad })).await, 400);
    }
    refused(house.post("/api/sessions", json!({ "safety_policy": "yolo" })).await, 400);
    refused(house.post("/api/sessions", json!({ "permissions": { "allow": [":"] } })).await, 400);
    refused(house.post("/api/sessions", json!({ "agent": "nobody" })).await, 404);
    let override_ = json!({ "agent": "team", "agent_model_overrides": { "root": "x/y" } });
    refused(house.post("/api/sessions", override_).await, 422);
    let override_ = json!({ "agent_model_overrides": { "no name": "x/y" } });
    refused(house.post("/api/sessions", override_).await, 400);
    let large = json!({ "title": "x".repeat(1 << 20) });
    refused(house.post("/api/sessions", large).await, 413);
    sent("").await.expect(200);
}

#[tokio::test]
async fn post_sessions_with_the_same_id_is_the_same_session() {
    let house = House::open().await;
    let template = json!({ "id": "0b7a", "title": "T" });
    let first = house.post("/api/sessions", template.clone()).await.expect(200);
    assert_eq!(house.post("/api/sessions", template).await.expect(200), first);
    refused(house.post("/api/sessions", json!({ "id": "0b7a", "title": "U" })).await, 409);
    refused(house.post("/api/sessions", json!({ "id": "../x" })).await, 400);
}

#[tokio::test]
async fn get_session_shows_its_messages() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    house.done(&id, "hi", "hello\n").await;
    let session = house.get(&format!("/api/sessions/{id}")).await.expect(200);
    let messages = session["messages"].as_array().expect("messages");
    let said: Vec<(&Value, &Value)> =
        messages.iter().map(|m| (&m["message"]["role"], &m["message"]["content"])).collect();
    assert_eq!(said, [(&json!("user"), &json!("hi")), (&json!("assistant"), &json!("hello\n"))]);
    assert_eq!(session["thinking"], false);
    let text = refused(house.get("/api/sessions/nobody").await, 404);
    assert!(text.contains("nobody"), "{text}");
}

#[tokio::test]
async fn delete_session_is_200_and_404_after_that() {
    let house = House::open().await;
    let id = house.session(json!({})).await;
    let path = format!("/api/sessions/{id}");
    let gone = house.call(Method::DELETE, &path, None).await.expect(200);
    assert_eq!(gone, json!({ "message": "session deleted" }));
    refused(house.call(Method::DELETE, &path, None).await, 404);
    refused(house.get(&path).await, 404);
    house.room.get(&format!("/v1/sessions/{id}")).await.refused(404);
}

#[tokio::test]
async fn delete_session_in_a_turn_says_when_it_is_not_gone_yet() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    house.begun(&id, "x").await;
    let path = format!("/api/sessions/{id}?wait=true&timeout=10ms");
    let answer = house.call(Method::DELETE, &path, None).await.expect(202);
    assert_eq!(answer, json!({ "message": "session is being deleted" }));
}

#[tokio::test]
async fn post_run_takes_a_bare_list_and_an_object() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    let path = format!("/api/sessions/{id}/agent/team");
    for body in [
        json!([{ "role": "user", "content": "bare" }]),
        json!({ "messages": [{ "role": "user", "content": "named" }], "model": "openai/m" }),
    ] {
        let frames = house.turn(&path, body).await;
        let uid = house.uid(&id).await;
        let (epoch, run) = house.runner.wait_run(uid).await;
        house.runner.complete(uid, epoch, run, "done\n").await;
        let events = frames.all().await;
        assert_eq!(types(&events).last(), Some(&"stream_stopped"), "{events:#?}");
    }
    let session = house.get(&format!("/api/sessions/{id}")).await.expect(200);
    let asked: Vec<&Value> = session["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .filter(|m| m["message"]["role"] == "user")
        .map(|m| &m["message"]["content"])
        .collect();
    assert_eq!(asked, [&json!("bare"), &json!("named")]);
    refused(house.post(&path, json!("x")).await, 400);
    refused(house.post(&path, json!([])).await, 400);
    let other = json!({ "messages": [{ "content": "x" }], "model": "anthropic/other" });
    refused(house.post(&path, other).await, 422);
}

/// The order of a plain turn.
#[tokio::test]
async fn post_run_says_text_behind_the_beginning_and_a_first_agent_is_no_change() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    let body = json!([{ "role": "user", "content": "be quick" }]);
    let frames = house.turn(&format!("/api/sessions/{id}/agent/team"), body).await;
    let uid = house.uid(&id).await;
    let (epoch, run) = house.runner.wait_run(uid).await;
    house.runner.tell(uid, epoch, vec![RecordBody::Ready]).await;
    // Live text overtakes the log, where a turn is short.
    let delta = Delta { uid, run, part: 0, offset: 0, text: "one\n".into() };
    house.runner.upload(&[RecordLine::Delta(delta)]).await;
    let data = json!({ "role": "agent", "text": "one\n", "part": 0, "from": 0, "to": 4 });
    let rest = vec![
        RecordBody::RunStarted { run },
        output(run, OutputKind::Message, data),
        completed(run),
    ];
    house.runner.tell(uid, epoch, rest).await;
    let events = frames.all().await;
    let expected = [
        "agent_info",
        "team_info",
        "toolset_info",
        "user_message",
        "stream_started",
        "agent_choice",
        "agent_choice",
        "stream_stopped",
    ];
    assert_eq!(types(&events), expected, "{events:#?}");
    assert_eq!((&events[5]["content"], &events[6]["content"]), (&json!("one\n"), &json!("")));
}

#[tokio::test]
async fn post_run_streams_a_turn_in_its_order() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    let (frames, uid, epoch, run) = house.begun(&id, "list it").await;
    let input = json!({ "command": "ls" });
    let used = json!({ "id": "c1", "tool": "shell", "input": input });
    let ask = permission("shell", input);
    let asked = ask.id;
    house
        .runner
        .tell(
            uid,
            epoch,
            vec![
                output(run, OutputKind::Thought, json!({ "text": "hm" })),
                message(run, "I will.\n"),
                output(run, OutputKind::ToolCall, used),
                output(run, OutputKind::Usage, json!({ "model": "openai/m", "input_tokens": 5, "output_tokens": 7, "cost_usd": 0.5 })),
            ],
        )
        .await;
    house.ask(uid, epoch, run, ask).await;
    let path = format!("/api/sessions/{id}/resume");
    let resumed = house.post(&path, json!({ "confirmation": "approve" })).await.expect(200);
    assert_eq!(resumed, json!({ "message": "session resumed" }));
    let result = json!({ "id": "c1", "tool": "shell", "output": "a.txt", "is_error": false });
    let taken = RecordBody::AnswerTaken { id: asked };
    let end = vec![
        taken,
        output(run, OutputKind::ToolResult, result),
        message(run, "Done.\n"),
        completed(run),
    ];
    house.runner.tell(uid, epoch, end).await;
    let events = frames.all().await;
    let expected = [
        "agent_info",
        "team_info",
        "toolset_info",
        "user_message",
        "stream_started",
        "agent_choice_reasoning",
        "agent_choice",
        "partial_tool_call",
        "token_usage",
        "tool_call_confirmation",
        "tool_call",
        "tool_call_response",
        "agent_choice",
        "stream_stopped",
    ];
    assert_eq!(types(&events), expected, "{events:#?}");
    for event in &events {
        assert_eq!(event["agent_name"], "root", "{event}");
        assert!(event["timestamp"].as_str().is_some_and(|at| at.starts_with("20")), "{event}");
    }
    assert_eq!(events[0]["model"], "openai/m");
    assert_eq!(events[1]["available_agents"].as_array().map(Vec::len), Some(2));
    assert_eq!((&events[3]["message"], &events[3]["session_id"]), (&json!("list it"), &json!(id)));
    assert_eq!(events[4]["session_id"], json!(id));
    let call = json!({ "id": "c1", "type": "function",
        "function": { "name": "shell", "arguments": "{\"command\":\"ls\"}" } });
    for at in [7, 9, 10, 11] {
        assert_eq!(events[at]["tool_call"], call, "{}", events[at]);
        assert_eq!(events[at]["tool_definition"]["name"], "shell");
    }
    assert_eq!(events[8]["usage"]["last_message"]["Model"], "openai/m");
    assert_eq!(events[8]["usage"]["context_length"], 12);
    assert_eq!(events[9]["confirmation_id"], json!(asked));
    assert_eq!(events[11]["response"], "a.txt");
    assert_eq!(events[11]["result"], json!({ "output": "a.txt", "isError": false }));
    assert_eq!(said(&events), "I will.\nDone.\n");
}

#[tokio::test]
async fn post_run_names_members_and_keys_in_every_form() {
    let mut house = House::open().await;
    let ask = json!([{ "role": "user", "content": "x" }]);
    for segment in ["nobody", "team/nobody", "%FF", "te%2561"] {
        let id = house.session(json!({})).await;
        let text = refused(
            house.post(&format!("/api/sessions/{id}/agent/{segment}"), ask.clone()).await,
            404,
        );
        assert!(text.starts_with("agent not found"), "{segment}: {text}");
        assert!(text.contains("candidates: "), "{segment}: {text}");
    }
    for segment in ["team", "te%61m", "te%2561m", "team/root", "team/team", "team/helper"] {
        let id = house.session(json!({})).await;
        let frames = house.turn(&format!("/api/sessions/{id}/agent/{segment}"), ask.clone()).await;
        let uid = house.uid(&id).await;
        let (epoch, run) = house.runner.wait_run(uid).await;
        let body = house.runner.get(&format!("/v1/link/runs/{run}")).await.expect(200);
        let expected = match segment.ends_with("helper") {
            true => json!({ "prompt": null, "input": { "agent": "helper", "task": "x" } }),
            false => json!({ "prompt": "x", "input": null }),
        };
        assert_eq!(body, expected, "{segment}");
        house.runner.complete(uid, epoch, run, "y\n").await;
        assert_eq!(said(&frames.all().await), "y\n");
    }
}

#[tokio::test]
async fn post_resume_knows_all_verbs_and_what_is_none() {
    let mut house = House::open().await;
    for (verb, decision, mode, allow) in [
        ("approve", "allow", Value::Null, Value::Null),
        ("approve-session", "allow", json!("autonomous"), Value::Null),
        ("approve-autonomous", "allow", json!("autonomous"), Value::Null),
        ("approve-balanced", "allow", json!("balanced"), Value::Null),
        ("approve-safe", "allow", json!("balanced"), Value::Null),
        ("approve-safer", "allow", json!("balanced"), Value::Null),
        ("approve-tool", "allow", Value::Null, json!(["shell"])),
        ("reject", "deny", Value::Null, Value::Null),
    ] {
        let id = house.session(json!({})).await;
        let (_frames, uid, epoch, run) = house.begun(&id, "x").await;
        house.ask(uid, epoch, run, permission("shell", json!({ "command": "ls" }))).await;
        let path = format!("/api/sessions/{id}/resume");
        let body = json!({ "confirmation": verb, "reason": "because" });
        house.post(&path, body.clone()).await.expect(200);
        let log = house.room.events(&id).await;
        let answered = log.iter().find(|e| e["type"] == "approval.answered").expect("answered");
        assert_eq!(
            (&answered["data"]["decision"], &answered["data"]["reason"]),
            (&json!(decision), &json!("because"))
        );
        let session = house.room.get(&format!("/v1/sessions/{id}")).await.expect(200);
        assert_eq!(session["approvals"]["mode"], mode, "{verb}");
        assert_eq!(session["approvals"]["allow"], allow, "{verb}");
        // The first answer counts.
        refused(house.post(&path, body).await, 409);
    }
    let id = house.session(json!({})).await;
    let path = format!("/api/sessions/{id}/resume");
    refused(house.post(&path, json!({ "confirmation": "approve" })).await, 409);
    refused(house.post(&path, json!({ "confirmation": "maybe" })).await, 400);
    refused(house.post(&path, json!({})).await, 400);
    refused(
        house.post("/api/sessions/nobody/resume", json!({ "confirmation": "approve" })).await,
        404,
    );
}

#[tokio::test]
async fn post_elicitation_answers_a_form_and_is_null() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    let path = format!("/api/sessions/{id}/elicitation");
    let accept = json!({ "action": "accept", "content": { "name": "Ada" } });
    refused(house.post(&path, accept.clone()).await, 409);
    refused(house.post(&path, json!({ "action": "maybe" })).await, 400);
    let (mut frames, uid, epoch, run) = house.begun(&id, "x").await;
    let schema = json!({ "type": "object", "required": ["name"] });
    let mut ask = permission("all__form", json!({}));
    (ask.kind, ask.schema) = (AskKind::Form, Some(schema.clone()));
    let asked = ask.id;
    house.ask(uid, epoch, run, ask).await;
    let request = frames.until("elicitation_request").await;
    assert_eq!((&request["mode"], &request["schema"]), (&json!("form"), &schema));
    assert_eq!(request["elicitation_id"], json!(asked));
    refused(house.post(&path, json!({ "action": "accept", "content": {} })).await, 400);
    let answer = house.call(Method::POST, &path, Some(accept)).await;
    assert_eq!(answer.expect(200), Value::Null);
    let log = house.room.events(&id).await;
    let answered = log.iter().find(|e| e["type"] == "approval.answered").expect("answered");
    assert_eq!(answered["data"]["content"], json!({ "name": "Ada" }));
}

#[tokio::test]
async fn post_tools_toggle_flips_and_is_null() {
    let house = House::open().await;
    let id = house.session(json!({ "permissions": { "deny": ["shell"] } })).await;
    let path = format!("/api/sessions/{id}");
    for approved in [true, false] {
        let toggled = house.call(Method::POST, &format!("{path}/tools/toggle"), None).await;
        assert_eq!(toggled.expect(200), Value::Null);
        let session = house.get(&path).await.expect(200);
        assert_eq!(session["tools_approved"], approved);
        assert_eq!(session["permissions"]["deny"], json!(["shell"]));
    }
    refused(house.call(Method::POST, &format!("{path}/thinking/toggle"), None).await, 409);
    refused(house.call(Method::POST, "/api/sessions/nobody/tools/toggle", None).await, 404);
}

#[tokio::test]
async fn patch_permissions_and_title() {
    let house = House::open().await;
    let id = house.session(json!({ "safety_policy": "strict" })).await;
    let path = format!("/api/sessions/{id}");
    let rules = json!({ "allow": ["read_file"], "ask": ["shell"], "deny": ["shell:cmd=rm*"] });
    let patched =
        house.patch(&format!("{path}/permissions"), json!({ "permissions": rules })).await;
    assert!(patched.expect(200)["message"].is_string());
    let titled = house.patch(&format!("{path}/title"), json!({ "title": "New" })).await.expect(200);
    assert_eq!(titled, json!({ "id": id, "title": "New" }));
    let session = house.get(&path).await.expect(200);
    assert_eq!((&session["permissions"], &session["title"]), (&rules, &json!("New")));
    assert_eq!(session["safety_policy"], "strict", "the mode stays");
    refused(house.patch(&format!("{path}/permissions"), json!({ "permissions": 3 })).await, 400);
    refused(house.patch("/api/sessions/nobody/title", json!({ "title": "x" })).await, 404);
    refused(house.patch(&format!("{path}/title"), json!({})).await, 400);
}

#[tokio::test]
async fn get_ping_needs_no_token() {
    let house = House::open().await;
    let ping = send(house.room.http.get(house.room.url("/docker-agent/api/ping"))).await;
    assert_eq!(ping.expect(200), json!({ "status": "ok" }));
    let agents = send(house.room.http.get(house.room.url("/docker-agent/api/agents"))).await;
    refused(agents, 401);
    refused(house.get("/api/none").await, 404);
    refused(house.call(Method::PUT, "/api/sessions", None).await, 405);
}

#[tokio::test]
async fn post_sessions_honours_working_dir_where_it_is_allowed() {
    let mut house = House::open().await;
    house.runner.allows(&["/srv"]).await;
    let made = house.post("/api/sessions", json!({ "working_dir": "/srv/app" })).await.expect(200);
    assert_eq!(made["working_dir"], "/srv/app");
    let id = made["id"].as_str().expect("an id").to_owned();
    for path in [format!("/api/sessions/{id}"), format!("/api/sessions/{id}/snapshot")] {
        assert_eq!(house.get(&path).await.expect(200)["working_dir"], "/srv/app", "{path}");
    }
    let plain = house.session(json!({})).await;
    let list = house.get("/api/sessions").await.expect(200);
    assert_eq!((&list[0]["id"], &list[0]["working_dir"]), (&json!(plain), &Value::Null));
    assert_eq!((&list[1]["id"], &list[1]["working_dir"]), (&json!(id), &json!("/srv/app")));
    let (_, uid, epoch, _) = house.begun(&id, "x").await;
    let path = format!("/v1/link/computes/{uid}/{epoch}");
    let workspace = house.runner.get(&path).await.expect(200)["workspace"].clone();
    assert_eq!(workspace, json!({ "from": "dir", "path": "/srv/app", "mode": "in_place" }));
    let outside = json!({ "working_dir": "/srv2" });
    let text = refused(house.post("/api/sessions", outside).await, 400);
    assert!(text.contains("/srv2"), "{text}");
}
