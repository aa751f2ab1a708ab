//! P3: what an agent says appears once, whole, in order, whatever bytes it is made of.

use greenroom_tests::{Greenroom, Value, agents, json};

fn finished(room: &Greenroom, agent: &str) -> (String, Vec<Value>) {
    let id = room.api.begin(agent, "go");
    room.api.wait_rest(&id);
    let log = room.api.check(&id);
    (id, log)
}

#[test]
fn p3_bytes_that_are_no_utf8() {
    let room = Greenroom::up().agent("bytes", agents::act(&["bytes"])).start();
    let (id, _) = finished(&room, "bytes");
    let said = room.api.said(&id);
    assert!(said.starts_with("good é\nbad "), "{said:?}");
    assert!(said.contains('\u{FFFD}'), "what is no text is shown as such: {said:?}");
    assert!(said.contains(" end\n") && said.ends_with("split é"), "{said:?}");
}

#[test]
fn p3_whole_lines_and_nowhere_else() {
    let script = r#"printf 'one'; sleep 0.2; printf ' and a half\n'; echo two; echo aside >&2; printf 'no end'"#;
    let room = Greenroom::up().agent("lines", agents::sh(script, &[])).start();
    let (_, log) = finished(&room, "lines");
    let texts: Vec<&str> = log
        .iter()
        .filter(|event| event["type"] == "message")
        .filter_map(|event| event["data"]["text"].as_str())
        .collect();
    assert_eq!(texts.concat(), "one and a half\ntwo\nno end");
    for text in &texts[..texts.len() - 1] {
        assert!(text.ends_with('\n'), "whole lines: {texts:?}");
    }
    let logs: Vec<&Value> = log.iter().filter(|event| event["type"] == "log").collect();
    let aside: String = logs.iter().filter_map(|event| event["data"]["text"].as_str()).collect();
    assert_eq!(aside, "aside\n", "{logs:#?}");
    assert_eq!(logs[0]["data"]["stream"], "stderr");
    assert!(log.iter().all(|e| e["type"] == "message" || !e.to_string().contains("a half")));
}

#[test]
fn p3_a_line_without_end_is_split_only_over_a_mebibyte() {
    let script = r#"head -c 900000 /dev/zero | tr '\0' a; echo; head -c 2500000 /dev/zero | tr '\0' b; echo"#;
    let room = Greenroom::up().agent("long", agents::sh(script, &[])).start();
    let (_, log) = finished(&room, "long");
    let texts: Vec<&str> = log
        .iter()
        .filter(|event| event["type"] == "message")
        .filter_map(|event| event["data"]["text"].as_str())
        .collect();
    assert_eq!(texts.concat(), format!("{}\n{}\n", "a".repeat(900_000), "b".repeat(2_500_000)));
    let first = texts.iter().find(|text| text.contains('a')).expect("the first line");
    assert!(first.starts_with(&"a".repeat(900_000)), "one piece of {} bytes", first.len());
}

#[test]
fn p3_json_lines_are_events_and_other_lines_are_text() {
    let script = r#"
        echo '{"type":"thought","text":"hm"}'
        echo '{"type":"tool_call","id":"1","name":"grep","input":{"q":"x"}}'
        echo '{"type":"tool_result","id":"1","output":"found"}'
        echo '{"type":"plan","items":[]}'
        echo '{"type":"usage","input_tokens":10,"output_tokens":5,"cost_usd":0.25}'
        echo 'plain words'
        echo '{"no":"type"}'
        echo '{"type":"unheard-of"}'
        echo '{"type":"session.stopped","data":{}}'
        echo '{"type":"message","text":"hello\n"}'
        echo '{"type":"result","result":{"n":5}}'"#;
    let agent = agents::with(agents::sh(script, &[]), json!({"stdout": "jsonl"}));
    let room = Greenroom::up().agent("json", agent).start();
    let (id, log) = finished(&room, "json");
    for kind in ["thought", "tool_call", "tool_result", "plan", "usage"] {
        let found = log.iter().filter(|event| event["type"] == kind).count();
        assert_eq!(found, 1, "{kind}: {log:#?}");
    }
    assert!(log.iter().all(|event| event["type"] != "session.stopped"), "no agent writes that");
    let said = room.api.said(&id);
    for text in ["plain words\n", "{\"no\":\"type\"}\n", "unheard-of", "session.stopped", "hello\n"]
    {
        assert!(said.contains(text), "{text}: {said}");
    }
    let run = room.api.runs(&id)[0].clone();
    assert_eq!(run["status"], "completed", "{run:#}");
    assert_eq!(run["result"], json!({"n": 5}), "{run:#}");
    assert_eq!(run["usage"]["input_tokens"], 10, "{run:#}");
    assert_eq!(room.api.session(&id)["usage"]["output_tokens"], 5);
}

#[test]
fn p3_a_child_that_holds_the_pipe_does_not_hang_the_run() {
    let room = Greenroom::up().agent("leaky", agents::sh("sleep 1000 & echo answer", &[])).start();
    let (id, _) = finished(&room, "leaky");
    let session = room.api.session(&id);
    assert_eq!(session["status"], "finished", "{session:#}");
    assert_eq!(room.api.said(&id), "answer\n");
    assert_eq!(session["receipt"]["leftovers"], 1, "{session:#}");
    assert_eq!(session["receipt"]["survivors"], 0);
}

#[test]
fn p3_an_output_schema_is_kept_to() {
    let schema = json!({"output_schema": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}, "stdout": "jsonl"});
    let good = agents::sh(r#"echo '{"type":"result","result":{"n":1}}'"#, &[]);
    let bad = agents::sh(r#"echo '{"type":"result","result":{"n":"one"}}'"#, &[]);
    let room = Greenroom::up()
        .agent("good", agents::with(good, schema.clone()))
        .agent("bad", agents::with(bad, schema))
        .start();
    let (id, _) = finished(&room, "good");
    assert_eq!(room.api.runs(&id)[0]["result"], json!({"n": 1}));
    let (id, _) = finished(&room, "bad");
    let run = room.api.runs(&id)[0].clone();
    assert_eq!(
        (run["status"].as_str(), run["error"]["code"].as_str()),
        (Some("failed"), Some("output_schema")),
        "{run:#}"
    );
}

#[test]
fn p3_the_prompt_arrives_as_it_was_sent() {
    let nasty = "line one\nline \"two\" 'three' $HOME `id` \\ é 漢字 \u{1F980}\t\u{7f} end";
    let arg = agents::with(agents::sh(r#"printf '%s' "$1""#, &[]), json!({"prompt_via": "arg"}));
    let env = agents::with(
        agents::sh(r#"printf '%s' "$GREENROOM_PROMPT""#, &[]),
        json!({"prompt_via": "env"}),
    );
    let room =
        Greenroom::up().agent("stdin", agents::echo()).agent("arg", arg).agent("env", env).start();
    for agent in ["stdin", "arg", "env"] {
        let id = room.api.begin(agent, nasty);
        let session = room.api.wait_rest(&id);
        assert_eq!(session["status"], "finished", "{agent}: {session:#}");
        assert_eq!(room.api.said(&id), nasty, "{agent}");
    }
    // A prompt that is longer than a pipe, to an agent that does not read it.
    room.write_agent("deaf", agents::sh("echo ignored", &[]));
    room.served("deaf");
    let id = room.api.begin("deaf", &"x".repeat(1 << 20));
    assert_eq!(room.api.wait_rest(&id)["status"], "finished");
    let id = room.api.begin("stdin", &"y\n".repeat(1 << 19));
    room.api.wait_rest(&id);
    assert_eq!(room.api.said(&id).len(), 1 << 20);
}
