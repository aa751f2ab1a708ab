//! `greenroom acp`: an editor works in sessions that live elsewhere. The editor is the client
//! side of the protocol's own SDK, and the agent a loop at a scripted model.

use greenroom_tests::editor::Editor;
use greenroom_tests::endpoint::{self, Endpoint};
use greenroom_tests::{Greenroom, Value, agents, json, tools};

fn writer(endpoint: &Endpoint) -> Value {
    json!({ "driver": "loop", "model": "openai/m", "base_url": format!("{}/v1", endpoint.url()) })
}

fn room(endpoint: &Endpoint) -> Greenroom {
    let room = Greenroom::up().agent("echo", agents::echo()).start();
    room.write_agent("writer", writer(endpoint));
    room.served("writer");
    room
}

/// The answer that is of this kind among those that a question offers.
fn chosen(asked: &Value, kind: &str) -> Value {
    let options = asked["params"]["options"].as_array().expect("options");
    let option = options.iter().find(|option| option["kind"] == kind);
    let option = &option.unwrap_or_else(|| panic!("{asked:#}"))["optionId"];
    json!({ "outcome": { "outcome": "selected", "optionId": option } })
}

fn folder(path: &str) -> Value {
    json!({ "cwd": path, "mcpServers": [] })
}

/// Opens a session of an editor whose folder this is.
fn begin(editor: &mut Editor, path: &str) -> String {
    let opened = editor.ask("session/new", folder(path));
    opened["sessionId"].as_str().expect("an id").to_owned()
}

fn known(session: &str) -> Value {
    json!({ "sessionId": session, "cwd": "/project", "mcpServers": [] })
}

#[test]
fn p10_an_editor_prompts_answers_dies_and_another_finds_it_all() {
    let write = json!({ "path": "out.txt", "content": "hello" });
    let endpoint = Endpoint::start(
        &[
            endpoint::uses("WRITE", "write_file", write, "It is written."),
            endpoint::uses(
                "LATER",
                "shell",
                json!({ "command": "echo done-later" }),
                "Later is now.",
            ),
        ]
        .concat(),
    );
    let mut room = room(&endpoint);
    let mut editor = Editor::start(&room, &["--agent", "writer", "--label", "team=web"]);
    let session = begin(&mut editor, "/project");
    assert_eq!(room.api.session(&session)["labels"]["team"], "web");

    // Prompt, tool call, permission, answer, end.
    let turn = editor.prompt(&session, "WRITE it");
    let asked = editor.question();
    let call = &asked["params"]["toolCall"];
    assert_eq!(call["rawInput"]["path"], "out.txt", "{asked:#}");
    let first = &editor.told("tool_call")[0];
    assert_eq!(first["toolCallId"], call["toolCallId"], "the question is about the call it showed");
    editor.reply(&asked, chosen(&asked, "allow_once"));
    let end = editor.answer(turn).expect("its end");
    assert_eq!(end["stopReason"], "end_turn", "{end:#}");
    assert!(editor.text("agent_message_chunk").contains("It is written."));
    assert_eq!(editor.text("user_message_chunk"), "", "it knows what it has asked");
    let done = editor.told("tool_call_update");
    assert!(done.iter().any(|update| update["status"] == "completed"), "{done:#?}");
    let uid = room.api.session(&session)["uid"].as_str().expect("a uid").to_owned();
    let file = room.workspace(&uid).join("out.txt");
    assert_eq!(std::fs::read_to_string(file).expect("it is written"), "hello");

    // The editor dies in mid-turn, while the agent waits for its person.
    editor.prompt(&session, "LATER");
    editor.question();
    editor.kill();
    assert_eq!(room.api.wait_status(&session, "waiting")["pending"]["approvals"], 1);
    room.kill9_and_restart();

    // Another one lists it by its folder, loads it, sees everything, and is asked.
    let mut editor = Editor::start(&room, &[]);
    let elsewhere = editor.ask("session/list", json!({ "cwd": "/elsewhere" }));
    assert_eq!(elsewhere["sessions"], json!([]), "{elsewhere:#}");
    let list = editor.ask("session/list", json!({ "cwd": "/project" }));
    let found = &list["sessions"][0];
    assert_eq!(
        (&found["sessionId"], &found["title"]),
        (&json!(session), &json!("WRITE it")),
        "{list:#}"
    );
    let load = editor.begin("session/load", known(&session));
    let loaded = editor.answer(load).expect("it is loaded");
    assert_eq!(loaded["modes"]["currentModeId"], "agent", "{loaded:#}");
    assert_eq!(editor.text("user_message_chunk"), "WRITE itLATER");
    assert!(editor.text("agent_message_chunk").contains("It is written."));
    assert_eq!(editor.told("tool_call").len(), 2, "{:#?}", editor.heard);
    let asked = editor.seen("the question", |line| line["asked"].is_number());
    assert_eq!(
        asked["params"]["toolCall"]["toolCallId"],
        editor.told("tool_call")[1]["toolCallId"]
    );
    editor.reply(&asked, chosen(&asked, "allow_once"));
    editor.until("the end of the turn", |line| {
        let text = line["update"]["update"]["content"]["text"].as_str();
        text.is_some_and(|text| text.contains("Later is now."))
    });
    room.api.wait_status(&session, "idle");
    let turn = editor.prompt(&session, "WRITE more");
    let asked = editor.question();
    editor.reply(&asked, chosen(&asked, "reject_once"));
    assert_eq!(editor.answer(turn).expect("its end")["stopReason"], "end_turn");
    room.api.stop(&session);
    room.api.check(&session);
}

#[test]
fn p10_the_first_answer_counts_and_a_cancel_stops_the_turn_and_not_the_session() {
    let write = json!({ "path": "out.txt", "content": "hello" });
    let work = json!([{ "name": "shell", "arguments": { "command": "sleep 600" } }]);
    let endpoint = Endpoint::start(
        &[
            Vec::from(endpoint::uses("WRITE", "write_file", write, "It is written.")),
            vec![json!({ "match": { "userMessage": "WORK" }, "response": { "toolCalls": work } })],
        ]
        .concat(),
    );
    let room = room(&endpoint);
    let mut editor = Editor::start(&room, &["--agent", "writer"]);
    let session = begin(&mut editor, "/project");
    let turn = editor.prompt(&session, "WRITE it");
    let asked = editor.question();
    // Somebody at the command line is faster: the editor's question is withdrawn.
    room.cli(&["approvals", "allow", &session]).exits(0);
    editor.until("the question's end", |line| line["withdrawn"] == asked["asked"]);
    assert_eq!(editor.answer(turn).expect("its end")["stopReason"], "end_turn");

    // What others ask is shown, and what they say too.
    let run = room.api.prompt(&session, "WRITE it, says somebody");
    editor.until("their prompt", |line| {
        let update = &line["update"]["update"];
        update["sessionUpdate"] == "user_message_chunk"
            && update["content"]["text"] == "WRITE it, says somebody"
    });
    let asked = editor.question();
    editor.reply(&asked, chosen(&asked, "allow_once"));
    room.api.wait_run(&session, &run["id"]);

    // A cancel ends the turn; the session goes on with its files and its memory.
    let mode = json!({ "sessionId": session, "modeId": "autonomous" });
    editor.ask("session/set_mode", mode);
    editor.seen("the mode", |line| line["update"]["update"]["currentModeId"] == "autonomous");
    assert_eq!(room.api.session(&session)["approvals"]["mode"], "autonomous");
    room.api.stop(&session);
    let turn = editor.prompt(&session, "WORK on");
    editor.until("the work", |line| {
        let update = &line["update"]["update"];
        update["sessionUpdate"] == "tool_call" && update["rawInput"]["command"] == "sleep 600"
    });
    editor.tell("session/cancel", json!({ "sessionId": session }));
    assert_eq!(editor.answer(turn).expect("its end")["stopReason"], "cancelled");
    let turn = editor.prompt(&session, "WRITE at last");
    assert_eq!(editor.answer(turn).expect("its end")["stopReason"], "end_turn");
    assert_ne!(room.api.session(&session)["wanted"], "down", "the session is not stopped");
    room.api.stop(&session);
    room.api.check(&session);
}

#[test]
fn p10_an_editor_is_offered_the_agents_and_told_what_is_wrong() {
    let endpoint = Endpoint::start(&[endpoint::says("HELLO", "Hello.")]);
    let room = room(&endpoint);
    let mut editor = Editor::start(&room, &[]);
    let opened = editor.ask("session/new", folder("/project"));
    let session = opened["sessionId"].as_str().expect("an id").to_owned();
    let option = &opened["configOptions"][0];
    assert_eq!(
        (&option["id"], &option["currentValue"]),
        (&json!("agent"), &json!("echo")),
        "{opened:#}"
    );
    let set = json!({ "sessionId": session, "configId": "agent", "value": "writer" });
    let set = editor.ask("session/set_config_option", set);
    assert_eq!(set["configOptions"][0]["currentValue"], "writer", "{set:#}");
    let turn = editor.prompt(&session, "HELLO");
    editor.answer(turn).expect("its end");
    assert_eq!(editor.text("agent_message_chunk"), "Hello.");
    // Without a replay, it goes on from now.
    let mut second = Editor::start(&room, &["--agent", "writer"]);
    second.ask("session/resume", known(&session));
    assert_eq!(second.told("user_message_chunk").len(), 0);
    let turn = second.prompt(&session, "HELLO again");
    second.answer(turn).expect("its end");
    editor.until("what the other one asked", |line| {
        line["update"]["update"]["content"]["text"] == "HELLO again"
    });

    let image = json!([{ "type": "image", "data": "aGk=", "mimeType": "image/png" }]);
    let prompt = |id: &str, blocks: Value| json!({ "sessionId": id, "prompt": blocks });
    let text = json!([{ "type": "text", "text": "x" }]);
    for (method, params, code, words) in [
        ("session/load", known("nobody"), -32002, "not found"),
        ("session/prompt", prompt("nobody", text), -32002, "not found"),
        ("session/prompt", prompt(&session, image), -32602, "embedded text"),
        ("session/set_mode", json!({ "sessionId": session, "modeId": "yolo" }), -32602, "yolo"),
        (
            "session/set_config_option",
            json!({ "sessionId": session, "configId": "agent", "value": "nobody" }),
            -32002,
            "nobody",
        ),
        ("session/close", json!({ "sessionId": session }), -32601, "session/close"),
    ] {
        let number = editor.begin(method, params);
        let error = editor.answer(number).expect_err(method);
        assert_eq!(error["code"], code, "{method}: {error:#}");
        assert!(error["message"].as_str().expect("words").contains(words), "{method}: {error:#}");
    }
    assert_eq!(room.api.session(&session)["agent"]["name"], "writer");
    room.api.stop(&session);
}

#[test]
fn p10_a_turn_that_fails_says_why_and_so_does_one_whose_session_is_deleted() {
    let endpoint = Endpoint::start(&[endpoint::fails("BROKEN", 400, "scripted bad request")]);
    let room = room(&endpoint);
    let mut editor = Editor::start(&room, &["--agent", "writer"]);
    let session = begin(&mut editor, "/project");
    let turn = editor.prompt(&session, "BROKEN");
    let error = editor.answer(turn).expect_err("it fails");
    assert!(
        error["message"].as_str().expect("words").contains("scripted bad request"),
        "{error:#}"
    );
    // A session that is deleted elsewhere ends the turn, with a word.
    let (_, prompt) = room.mark();
    room.write_agent("holder", agents::holder());
    room.served("holder");
    let mut editor = Editor::start(&room, &["--agent", "holder"]);
    let session = begin(&mut editor, "/project");
    let turn = editor.prompt(&session, &prompt);
    room.api.wait_text(&session, "holding");
    assert_eq!(room.api.delete(&format!("/v1/sessions/{session}")).status, 204);
    let end = editor.answer(turn);
    // The stop may be heard before the deletion.
    let stopped = end.as_ref().is_ok_and(|end| end["stopReason"] == "cancelled");
    let told = end.as_ref().is_err_and(|error| error["message"].to_string().contains("deleted"));
    assert!(stopped || told, "{end:#?}");
}

#[test]
fn p10_a_prompt_during_a_stop_is_taken_back_and_after_it_the_session_goes_on() {
    let room = Greenroom::up().agent("stubborn", agents::stubborn()).start();
    let (_, prompt) = room.mark();
    let mut editor = Editor::start(&room, &["--agent", "stubborn"]);
    let session = begin(&mut editor, "/project");
    let turn = editor.prompt(&session, &prompt);
    room.api.wait_text(&session, "holding");
    room.api.stop_with(&session, "", json!({ "grace_ms": 3000 })).expect(202);
    let early = editor.prompt(&session, "too early");
    let error = editor.answer(early).expect_err("it is being stopped");
    assert!(error["message"].as_str().expect("words").contains("being stopped"), "{error:#}");
    room.api.wait_event(&session, 1, "run.withdrawn");
    assert_eq!(editor.answer(turn).expect("its end")["stopReason"], "cancelled");
    assert_eq!(room.api.wait_rest(&session)["receipt"]["survivors"], 0);
    // What was refused is not done later, and the next prompt begins at once.
    let (_, again) = room.mark();
    let turn = editor.prompt(&session, &again);
    editor.until("the next turn", |line| {
        line["update"]["update"]["content"]["text"].as_str().is_some_and(|t| t.contains("holding"))
    });
    editor.tell("session/cancel", json!({ "sessionId": session }));
    assert_eq!(editor.answer(turn).expect("its end")["stopReason"], "cancelled");
    room.api.stop(&session);
    room.api.check(&session);
}

#[test]
fn p10_a_form_is_filled_in_at_the_editor_or_answered_elsewhere() {
    const FILE: &str = "@modelcontextprotocol/server-everything/dist/index.js";
    let tool = "all__trigger-elicitation-request";
    let endpoint = Endpoint::start(&endpoint::uses("FORM", tool, json!({}), "Thank you."));
    let room = room(&endpoint);
    let server = json!({ "all": { "command": [tools::node(), tools::mcp(FILE), "stdio"] } });
    let free = json!({ "mcp": server, "tools": [], "approvals": { "mode": "autonomous" } });
    room.write_agent("asker", agents::with(writer(&endpoint), free));
    room.served("asker");
    let mut editor = Editor::start(&room, &["--agent", "asker"]);
    let session = begin(&mut editor, "/project");
    let turn = editor.prompt(&session, "FORM");
    let asked = editor.question();
    assert_eq!(asked["method"], "elicitation/create", "{asked:#}");
    let schema = &asked["params"]["requestedSchema"];
    assert_eq!(schema["properties"]["name"]["type"], "string", "{asked:#}");
    let filled = json!({ "name": "Ada", "check": true, "integer": 7 });
    editor.reply(&asked, json!({ "action": "accept", "content": filled }));
    assert_eq!(editor.answer(turn).expect("its end")["stopReason"], "end_turn");
    let result = editor.told("tool_call_update").pop().expect("a result").to_string();
    assert!(result.contains("Ada"), "{result}");

    // One that has no forms shows that a person has to, and where.
    let mut plain = Editor::with(&room, &["--agent", "asker"], json!({}));
    plain.ask("session/resume", known(&session));
    let turn = plain.prompt(&session, "FORM again");
    let shown = plain.until("that somebody has to", |line| {
        let title = line["update"]["update"]["title"].as_str();
        title.is_some_and(|title| title.contains("greenroom approvals show"))
    });
    let call = shown["update"]["update"]["toolCallId"].clone();
    let asked = editor.question();
    editor.reply(&asked, json!({ "action": "decline" }));
    plain.answer(turn).expect("its end");
    let over = plain.told("tool_call_update");
    assert!(over.iter().any(|update| update["toolCallId"] == call), "{over:#?}");
    room.api.stop(&session);
    room.api.check(&session);
}
