//! The orchestrator's registries: blueprints and what they refer to, their parameters and
//! hooks, ends that are told to parents, and the whole of it as an archive.

mod orchestrator;
mod support;

use orchestrator::*;
use reqwest::Method;
use serde_json::{Value, json};
use support::*;

async fn blueprint(room: &Room, body: Value) -> Value {
    let mut asked = json!({"name": "coder", "description": "Writes code"});
    for (key, value) in body.as_object().expect("fields") {
        asked[key] = value.clone();
    }
    room.o_post("/agents", asked).await.expect(201)
}

#[tokio::test]
async fn a_blueprint_reaches_its_runner_whole() {
    let room = open().await;
    let runner = Runner::register(&room, registration("coder")).await;
    room.o_post(
        "/mcp-servers",
        json!({"id": "search", "name": "Search", "url": "http://x/${params.topic}",
        "config_schema": {"key": {"type": "string", "required": true, "sensitive": true},
            "lang": {"type": "string", "required": false, "default": "en"}}}),
    )
    .await
    .expect(201);
    room.o_post(
        "/capabilities",
        json!({"name": "polite", "description": "d", "type": "text",
        "text": "Be kind to ${scope.user}."}),
    )
    .await
    .expect(201);
    room.o_post(
        "/capabilities",
        json!({"name": "finder", "description": "d", "type": "mcp",
        "mcp_servers": {"find": {"ref": "search", "config": {"key": "${scope.secret}"}}}}),
    )
    .await
    .expect(201);
    blueprint(
        &room,
        json!({"system_prompt": "You are ${runtime.session_id} ${env.HOME} ${runner.url}",
        "capabilities": ["polite", "finder"], "tags": ["dev"], "demands": {"tags": ["python"]},
        "parameters_schema": {"type": "object", "properties": {"topic": {"type": "string"}},
            "required": ["topic"]}}),
    )
    .await;
    let shown = room.o_get("/agents/coder").await.expect(200);
    assert_eq!(
        shown["system_prompt"],
        "You are ${runtime.session_id} ${env.HOME} ${runner.url}\n\n---\n\nBe kind to ${scope.user}."
    );
    let raw = room.o_get("/agents/coder?raw=true").await.expect(200);
    assert_eq!(raw["capabilities"], json!(["polite", "finder"]));
    assert!(
        room.o_get("/agents?tags=dev,none")
            .await
            .expect(200)
            .as_array()
            .expect("a list")
            .is_empty()
    );
    // It is an agent like others, also for everybody else.
    let v1 = room.get("/v1/agents/coder").await.expect(200);
    assert_eq!(v1["driver"], "foreign", "{v1:#}");

    let asked = |parameters: Value| {
        json!({"agent_name": "coder", "parameters": parameters,
        "scope": {"user": "Ada", "secret": "s3"}})
    };
    let mut bad = asked(json!({"topic": 7}));
    bad["type"] = "start_session".into();
    let detail = room.o_post("/runs", bad).await.expect(400)["detail"].clone();
    assert_eq!(detail["validation_errors"][0]["path"], "$.topic", "{detail}");
    let (id, _) = room.o_start(asked(json!({"topic": "rust"}))).await;
    let given = runner.wait_run().await;
    let made = &given["resolved_agent_blueprint"];
    assert_eq!(
        made["system_prompt"],
        format!("You are {id} ${{env.HOME}} ${{runner.url}}\n\n---\n\nBe kind to Ada."),
        "{made:#}"
    );
    assert_eq!(
        made["mcp_servers"],
        json!({"find": {"url": "http://x/rust",
        "config": {"key": "s3", "lang": "en"}}})
    );
    assert_eq!(given["parameters"], json!({"topic": "rust"}));
    runner.answers(&given, "done", "finished").await;
    // A child inherits what no model sees.
    let (child, _) = room
        .o_start(json!({"agent_name": "coder", "parameters": {"topic": "x"},
        "parent_session_id": id}))
        .await;
    let given = runner.wait_run().await;
    assert_eq!((&given["session_id"], &given["scope"]["user"]), (&json!(child), &json!("Ada")));
    assert_eq!(given["parent_session_id"], id.as_str());

    // What is missing is said before anything begins.
    room.o_send(
        Method::PATCH,
        "/capabilities/finder",
        json!({"mcp_servers": {"find": {"ref": "search"}}}),
    )
    .await
    .expect(200);
    let mut body = asked(json!({"topic": "x"}));
    body["type"] = "start_session".into();
    let detail = room.o_post("/runs", body.clone()).await.expect(400)["detail"].clone();
    assert_eq!(
        (&detail["error"], &detail["missing_fields"]),
        (&json!("missing_required_mcp_config"), &json!(["key"]))
    );
    room.o_send(Method::DELETE, "/mcp-servers/search", json!({})).await.expect(204);
    let detail = room.o_post("/runs", body.clone()).await.expect(400)["detail"].clone();
    assert_eq!(
        (&detail["error"], &detail["ref"]),
        (&json!("mcp_ref_resolution_failed"), &json!("search"))
    );
    let used = room.o_send(Method::DELETE, "/capabilities/polite", json!({})).await.expect(409);
    assert_eq!(used["detail"], "Capability is referenced by agents: coder");

    // Switched off, it is refused, here and everywhere.
    room.o_send(Method::PATCH, "/agents/coder/status", json!({"status": "inactive"}))
        .await
        .expect(200);
    let refused = room.o_post("/runs", body).await.expect(409);
    assert!(refused["detail"].as_str().expect("words").contains("inactive"), "{refused}");
    room.get("/v1/agents/coder").await.expect(404);
    room.o_send(Method::DELETE, "/agents/coder", json!({})).await.expect(204);
    room.o_get("/agents/coder").await.expect(404);
}

#[tokio::test]
async fn names_and_files_stay_in_their_place() {
    let room = open().await;
    for name in ["", "..", "../x", "a/b", ".hidden", "a b", "ä", &"x".repeat(61)] {
        let agent = json!({"name": name, "description": "d"});
        room.o_post("/agents", agent.clone()).await.expect(400);
        room.o_post("/capabilities", agent).await.expect(400);
        let server = json!({"id": name, "name": "n", "url": "http://x"});
        room.o_post("/mcp-servers", server).await.expect(400);
        let script =
            json!({"name": name, "description": "d", "script_file": "x.py", "script_content": "x"});
        room.o_post("/scripts", script).await.expect(400);
    }
    for file in ["", "../x.py", "/etc/passwd", "a/b.py", ".bashrc", "script.json"] {
        let script =
            json!({"name": "x", "description": "d", "script_file": file, "script_content": "x"});
        room.o_post("/scripts", script).await.expect(400);
    }
    let server = json!({"id": "x", "name": "n", "url": "http://x", "other": 1});
    room.o_post("/mcp-servers", server).await.expect(422);
    let inline =
        json!({"name": "x", "description": "d", "mcp_servers": {"a": {"url": "http://x"}}});
    room.o_post("/agents", inline).await.expect(422);
    let wrong = json!({"name": "x", "description": "d", "type": "text", "script": "s"});
    let detail = room.o_post("/capabilities", wrong).await.expect(400)["detail"].clone();
    assert_eq!(detail, "Capability type 'text' cannot have 'script'");
    let ours = json!({"name": "shell", "description": "d"});
    room.o_post("/agents", ours).await.expect(409);
    // Registries are the administrator's.
    let operator = room.new_token("operator", "ada").await;
    let body = json!({"name": "x", "description": "d"});
    room.call_as(&operator, Method::POST, "/orchestrator/agents", Some(body)).await.expect(403);
    room.call_as(&operator, Method::GET, "/orchestrator/config/export", None).await.expect(403);
    room.call_as(&operator, Method::GET, "/orchestrator/agents", None).await.expect(200);
}

#[tokio::test]
async fn scripts_reach_procedural_runners() {
    let room = open().await;
    let mut registration = registration("scripts");
    registration["executor"]["type"] = "procedural".into();
    let runner = Runner::register(&room, registration).await;
    let script = json!({"name": "greet", "description": "Greets", "script_file": "greet.py",
        "script_content": "print('hi')", "parameters_schema": {"type": "object",
            "properties": {"who": {"type": "string"}}, "required": ["who"]}});
    let (told, _) = tokio::join!(runner.wait("sync_scripts"), room.o_post("/scripts", script));
    assert_eq!(told, json!({"sync_scripts": ["greet"], "remove_scripts": []}));
    let url = room.url("/orchestrator/scripts/greet/download");
    let answer = room.http.get(url).bearer_auth(&room.token).send().await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "application/gzip");
    assert_eq!(&answer.bytes().await.expect("bytes")[..2], [0x1f, 0x8b]);
    blueprint(&room, json!({"name": "greeter", "type": "procedural", "script": "greet"})).await;
    let used = room.o_send(Method::DELETE, "/scripts/greet", json!({})).await.expect(409);
    assert_eq!(used["detail"], "Script is referenced by agents: greeter");
    let bad =
        json!({"type": "start_session", "agent_name": "greeter", "parameters": {"prompt": "x"}});
    room.o_post("/runs", bad).await.expect(400);
    let (id, run) =
        room.o_start(json!({"agent_name": "greeter", "parameters": {"who": "Ada"}})).await;
    let given = runner.wait_run().await;
    assert_eq!(given["resolved_agent_blueprint"]["command"], "scripts/greet/greet.py");
    runner.started(&given).await;
    let result = json!({"event_type": "result", "result_data": {"greeting": "hi Ada"}});
    runner.event(&given, result).await.expect(201);
    runner.report(&given, "completed", json!({})).await.expect(200);
    let result = room.o_get(&format!("/sessions/{id}/result")).await.expect(200);
    assert_eq!(result, json!({"result_text": null, "result_data": {"greeting": "hi Ada"}}));
    let v1 = room.get(&format!("/v1/sessions/{id}/runs")).await.expect(200);
    assert_eq!(v1["items"][0]["result"], json!({"greeting": "hi Ada"}), "{run}");
    let again = json!({"type": "resume_session", "session_id": id, "parameters": {"prompt": "x"}});
    let detail = room.o_post("/runs", again).await.expect(400)["detail"].clone();
    assert_eq!(detail["error"], "procedural_agent_no_resume");
}

#[tokio::test]
async fn ends_of_children_are_told_in_its_words() {
    let room = open().await;
    let runner = Runner::register(&room, registration("coder")).await;
    let (parent, _) = room.o_start(json!({})).await;
    let given = runner.wait_run().await;
    runner.answers(&given, "ready", "idle").await;
    let child = json!({"parent_session_id": parent, "execution_mode": "async_callback"});
    let (first, _) = room.o_start(child.clone()).await;
    let given = runner.wait_run().await;
    runner.answers(&given, "one </agent-callback> more", "finished").await;
    let told = runner.wait_run().await;
    assert_eq!((&told["session_id"], &told["type"]), (&json!(parent), &json!("resume_session")));
    assert_eq!(
        told["parameters"]["prompt"],
        format!(
            "<agent-callback session=\"{first}\" status=\"completed\">\n## Child Result\n\none \
         &lt;/agent-callback> more\n</agent-callback>\n\nPlease continue with the orchestration based on this result."
        )
    );
    // The parent is busy: what ends meanwhile gathers, and is told at once afterwards.
    let (second, _) = room.o_start(child.clone()).await;
    let (third, run) = room.o_start(child).await;
    let mut given = [runner.wait_run().await, runner.wait_run().await];
    given.sort_by_key(|run| run["session_id"] != second.as_str());
    runner.answers(&given[0], "two", "finished").await;
    runner.started(&given[1]).await;
    runner.report(&given[1], "failed", json!({"error": "no luck"})).await.expect(200);
    assert_eq!(room.o_run(&run).await["status"], "failed");
    runner.started(&told).await;
    runner.report(&told, "completed", json!({"session_status": "idle"})).await.expect(200);
    let told = runner.wait_run().await;
    let prompt = told["parameters"]["prompt"].as_str().expect("a prompt");
    assert!(prompt.starts_with("<agent-callback type=\"aggregated\" count=\"2\">"), "{prompt}");
    assert!(
        prompt.contains(&format!("### Child: {second} (status: completed)\n\ntwo")),
        "{prompt}"
    );
    assert!(
        prompt.contains(&format!("### Child: {third} (status: failed)\n\nno luck")),
        "{prompt}"
    );
}

#[tokio::test]
async fn hooks_run_before_and_after_with_one_runner() {
    let room = open().await;
    let runner = Runner::register(&room, registration("coder")).await;
    blueprint(&room, json!({"name": "gate"})).await;
    blueprint(&room, json!({"name": "after"})).await;
    blueprint(&room, json!({"name": "main", "hooks": {
        "on_run_start": {"type": "agent", "agent_name": "gate", "on_error": "block", "timeout_seconds": 60},
        "on_run_finish": {"type": "agent", "agent_name": "after"}}})).await;
    let (id, run) = room.o_start(json!({"agent_name": "main"})).await;
    assert_eq!(room.o_run(&run).await["status"], "pending");
    let gate = runner.wait_run().await;
    assert!(gate["session_id"].as_str().expect("an id").starts_with("hook_"), "{gate}");
    assert_eq!((&gate["agent_name"], &gate["parent_session_id"]), (&json!("gate"), &json!(id)));
    runner
        .answers(
            &gate,
            "{\"action\": \"continue\", \"parameters\": {\"prompt\": \"changed\"}}",
            "finished",
        )
        .await;
    let given = runner.wait_run().await;
    assert_eq!(
        (&given["run_id"], &given["parameters"]["prompt"]),
        (&json!(run), &json!("changed"))
    );
    runner.answers(&given, "the answer", "finished").await;
    let after = runner.wait_run().await;
    assert_eq!(
        (&after["agent_name"], &after["parameters"]["prompt"]),
        (&json!("after"), &json!("the answer"))
    );
    let kinds = room.o_kinds(&id).await;
    assert_eq!(&kinds[..2], ["hook_start", "hook_complete"], "{kinds:?}");

    let (id, run) = room.o_start(json!({"agent_name": "main"})).await;
    let gate = runner.wait_run().await;
    runner
        .answers(&gate, "{\"action\": \"block\", \"block_reason\": \"not today\"}", "finished")
        .await;
    room.o_wait(&id, "failed").await;
    let failed = room.o_run(&run).await;
    assert_eq!(failed["error"], "Blocked by on_run_start hook: not today", "{failed}");
    // One that waits for its hook can be stopped.
    let (id, run) = room.o_start(json!({"agent_name": "main"})).await;
    let gate = runner.wait_run().await;
    let stop = room.o_post(&format!("/runs/{run}/stop"), json!({})).await.expect(200);
    assert_eq!((&stop["run_id"], &stop["status"]), (&json!(run), &json!("stopped")), "{stop}");
    assert_eq!(room.o_run(&run).await["status"], "stopped");
    assert_eq!(room.o_session(&id).await["status"], "stopped");
    let told = runner.wait("stop_sessions").await;
    assert_eq!(told["stop_sessions"], json!([gate["session_id"]]));
}

fn form(name: &str, content: &[u8]) -> (String, Vec<u8>) {
    let mut body = format!("--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: application/gzip\r\n\r\n").into_bytes();
    body.extend_from_slice(content);
    body.extend_from_slice(b"\r\n--XX--\r\n");
    ("multipart/form-data; boundary=XX".to_owned(), body)
}

async fn import(room: &Room, name: &str, content: &[u8]) -> Answer {
    let (kind, body) = form(name, content);
    let request = room.request(Method::POST, "/orchestrator/config/import");
    send(request.header("content-type", kind).body(body)).await
}

#[tokio::test]
async fn the_registries_are_taken_away_and_put_back_whole() {
    let room = open().await;
    room.o_post("/capabilities", json!({"name": "polite", "description": "d", "text": "Be kind."}))
        .await
        .expect(201);
    room.o_post(
        "/scripts",
        json!({"name": "s", "description": "d", "script_file": "s.py",
        "script_content": "x"}),
    )
    .await
    .expect(201);
    room.o_post("/mcp-servers", json!({"id": "m", "name": "M", "url": "http://x"}))
        .await
        .expect(201);
    let before = blueprint(
        &room,
        json!({"system_prompt": "P", "capabilities": ["polite"],
        "mcp_servers": {"m": {"ref": "m"}}}),
    )
    .await;
    blueprint(&room, json!({"name": "off"})).await;
    room.o_send(Method::PATCH, "/agents/off/status", json!({"status": "inactive"}))
        .await
        .expect(200);
    let url = room.url("/orchestrator/config/export");
    let answer = room.http.get(url).bearer_auth(&room.token).send().await.expect("an answer");
    let name = answer.headers()["content-disposition"].to_str().expect("text").to_owned();
    assert!(name.contains("config-") && name.contains(".tar.gz"), "{name}");
    let packed = answer.bytes().await.expect("bytes").to_vec();

    room.o_send(Method::DELETE, "/agents/coder", json!({})).await.expect(204);
    blueprint(&room, json!({"name": "later"})).await;
    // What does not fit changes nothing.
    assert_eq!(
        import(&room, "c.zip", &packed).await.expect(400)["detail"],
        "File must be a .tar.gz or .tgz archive"
    );
    import(&room, "c.tar.gz", b"nonsense").await.expect(400);
    import(&room, "c.tar.gz", &packed[..packed.len() / 2]).await.expect(400);
    room.o_get("/agents/later").await.expect(200);
    let done = import(&room, "c.tar.gz", &packed).await.expect(200);
    assert_eq!(
        (&done["agents_imported"], &done["agents_replaced"]),
        (&json!(2), &json!(2)),
        "{done}"
    );
    assert_eq!(room.o_get("/agents/coder?raw=true").await.expect(200), before);
    assert_eq!(room.o_get("/agents/off").await.expect(200)["status"], "inactive");
    room.o_get("/agents/later").await.expect(404);
    room.get("/v1/agents/later").await.expect(404);
    room.get("/v1/agents/coder").await.expect(200);
    assert_eq!(room.o_get("/scripts/s").await.expect(200)["script_content"], "x");
}

#[tokio::test]
async fn odd_requests_are_never_our_fault() {
    let room = open().await;
    let runner = Runner::register(&room, registration("coder")).await;
    room.o_start(json!({"session_id": "here"})).await;
    let mut dice = 88172645463325252u64;
    let mut roll = |below: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        (dice % below as u64) as usize
    };
    let words = [
        "sessions",
        "runs",
        "agents",
        "capabilities",
        "scripts",
        "mcp-servers",
        "runner",
        "runners",
        "config",
        "sse",
        "mcp",
        "health",
        "here",
        "register",
        "heartbeat",
        "status",
        "stop",
        "bind",
        "events",
        "metadata",
        "result",
        "affinity",
        "import",
        "export",
        "download",
        "%2e%2e",
        "%00",
        "%ff",
        "a%2Fb",
        "..;",
        "run_0",
        "ses_1",
        "lnch_0",
        "%F0%9F%90%9F",
        "",
        "~",
        "started",
        "completed",
        "failed",
        "stopped",
    ];
    let values = [
        json!(null),
        json!(1),
        json!("x"),
        json!([]),
        json!({}),
        json!(-1e300),
        json!("../../etc"),
        json!({"prompt": "x"}),
        json!([null]),
        json!(true),
        json!("start_session"),
        json!(runner.id),
        json!("here"),
    ];
    let keys = [
        "type",
        "parameters",
        "session_id",
        "agent_name",
        "runner_id",
        "name",
        "description",
        "status",
        "event_type",
        "tags",
        "executor",
        "hostname",
        "project_dir",
        "executor_profile",
        "mcp_servers",
        "hooks",
        "demands",
        "id",
        "url",
        "method",
        "params",
        "script_file",
        "scope",
        "additional_demands",
        "timestamp",
    ];
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    for _ in 0..1500 {
        let parts: Vec<&str> = (0..1 + roll(4)).map(|_| words[roll(words.len())]).collect();
        let path = format!("/orchestrator/{}", parts.join("/"));
        // These wait, as they should.
        if path.contains("/sse") || path.ends_with("runner/runs") {
            continue;
        }
        let method = methods[roll(methods.len())].clone();
        let mut body = json!({});
        for _ in 0..roll(8) {
            body[keys[roll(keys.len())]] = values[roll(values.len())].clone();
        }
        let bytes = match roll(6) {
            0 => b"{\"a\":".to_vec(),
            1 => values[roll(values.len())].to_string().into_bytes(),
            _ => body.to_string().into_bytes(),
        };
        let shown = format!("{method} {path} {}", String::from_utf8_lossy(&bytes));
        let answer = room.request(method, &path).body(bytes).send().await.expect("an answer");
        assert!(answer.status().as_u16() < 500, "{}: {shown}", answer.status());
    }
    room.o_get("/health").await.expect(200);
}
