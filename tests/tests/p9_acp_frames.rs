//! Every frame that we send an agent over ACP is one of the protocol's own schema.

use greenroom_tests::{Greenroom, Value, agents, json, tools};

/// An agent that asks for everything a client offers, and keeps every line that it is sent,
/// with the method that it answers.
const AGENT: &str = r#"
import json, os, sys
kept = open(sys.argv[1], 'a', buffering=1)
asked, pending, at = {}, None, 0
def line(**more): print(json.dumps(dict(jsonrpc='2.0', **more)), flush=True)
def ask(method, **params):
    number = 'ours-%d' % len(asked)
    asked[number] = method
    line(id=number, method=method, params=dict(sessionId='s1', **params))
def hear():
    text = sys.stdin.readline()
    if not text: sys.exit(0)
    frame = json.loads(text)
    kept.write(json.dumps({'answers': asked.get(frame.get('id')) if 'method' not in frame else None, 'frame': frame}) + '\n')
    return frame
def call(method, **params):
    ask(method, **params)
    while True:
        frame = hear()
        if 'method' not in frame: return frame
        serve(frame)
MODES = {'currentModeId': 'ask', 'availableModes': [{'id': 'ask', 'name': 'Ask'}, {'id': 'code', 'name': 'Code'}]}
MODEL = [{'id': 'model', 'name': 'Model', 'type': 'select', 'currentValue': 'slow',
          'options': [{'value': 'slow', 'name': 'Slow'}, {'value': 'fast', 'name': 'Fast'}]}]
FORM = {'type': 'object', 'properties': {'name': {'type': 'string'}}}
def work():
    here = os.getcwd()
    call('fs/write_text_file', path=here + '/a.txt', content='one\ntwo\n')
    call('fs/read_text_file', path=here + '/a.txt')
    call('fs/read_text_file', path=here + '/a.txt', line=2, limit=1)
    call('fs/read_text_file', path=here + '/none')
    call('fs/write_text_file', path='/etc/none', content='x')
    use = {'toolCallId': 't', 'title': 'Run it', 'kind': 'execute', 'rawInput': {'command': 'ls'}}
    options = [{'optionId': 'yes', 'name': 'Yes', 'kind': 'allow_once'}, {'optionId': 'no', 'name': 'No', 'kind': 'reject_once'}]
    call('session/request_permission', toolCall=use, options=options)
    rm = dict(use, rawInput={'command': 'rm x'})
    call('session/request_permission', toolCall=rm, options=options)
    made = call('terminal/create', command='sh', args=['-c', 'echo out; exit 3'], env=[], cwd=here)
    it = made['result']['terminalId']
    call('terminal/wait_for_exit', terminalId=it)
    call('terminal/output', terminalId=it)
    call('terminal/kill', terminalId=it)
    call('terminal/release', terminalId=it)
    call('terminal/output', terminalId='no such')
    call('elicitation/create', mode='form', message='Who?', requestedSchema=FORM)
    call('elicitation/create', mode='form', message='Who else?', requestedSchema=FORM)
    call('_vendor/thing', x=1)
def serve(frame):
    global pending
    method, number = frame['method'], frame.get('id')
    if method == 'initialize':
        line(id=number, result={'protocolVersion': 1, 'authMethods': [{'id': 'key', 'name': 'Key'}],
            'agentCapabilities': {'loadSession': True}})
    elif method == 'session/new':
        line(id=number, result={'sessionId': 's1', 'modes': MODES, 'configOptions': MODEL})
    elif method == 'session/load':
        line(id=number, result={'modes': MODES, 'configOptions': MODEL})
    elif method == 'session/set_config_option':
        line(id=number, result={'configOptions': MODEL})
    elif method == 'session/prompt':
        text = frame['params']['prompt'][0]['text']
        if 'HOLD' in text:
            pending = number
            ask('elicitation/create', mode='form', message='Still there?', requestedSchema=FORM)
            return
        work()
        line(id=number, result={'stopReason': 'end_turn'})
    elif method == 'session/cancel':
        if pending is not None:
            line(id=pending, result={'stopReason': 'cancelled'})
            pending = None
    elif number is not None:
        line(id=number, result={})
while True:
    frame = hear()
    if 'method' in frame: serve(frame)
"#;

/// The schema's definitions, and which of them a frame's content has to fit.
struct Schema(Value);

impl Schema {
    fn read() -> Self {
        let path = tools::acp("@agentclientprotocol/sdk/schema/v1/schema.json");
        let text = std::fs::read_to_string(path).expect("the schema");
        Self(serde_json::from_str(&text).expect("JSON"))
    }

    /// The definition of what a client sends for this method: it asks and tells agents, and
    /// answers what they ask.
    fn of(&self, method: &str, answer: bool) -> String {
        let side = if answer { "client" } else { "agent" };
        let ends: &[&str] = if answer { &["Response"] } else { &["Request", "Notification"] };
        let all = self.0["$defs"].as_object().expect("definitions");
        let found = all.iter().find(|(name, definition)| {
            definition["x-method"] == method
                && definition["x-side"] == side
                && ends.iter().any(|end| name.ends_with(end))
        });
        found.unwrap_or_else(|| panic!("{method:?} is not in the schema")).0.clone()
    }

    fn check(&self, definition: &str, value: &Value) {
        let schema = json!({ "$ref": format!("#/$defs/{definition}"), "$defs": self.0["$defs"] });
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let wrong: Vec<String> = validator
            .iter_errors(value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{definition}: {wrong:#?}\n{value:#}");
    }
}

#[test]
fn p9_every_frame_of_ours_fits_the_schema_of_the_protocol() {
    let room = Greenroom::up().start();
    let (script, kept) = (room.root.join("agent.py"), room.root.join("frames"));
    std::fs::write(&script, AGENT).expect("the agent");
    let agent = json!({
        "driver": "acp", "command": ["python3", script, kept], "auth": "key", "mode": "code",
        "config": { "model": "fast" },
        "approvals": { "mode": "autonomous", "deny": ["*(rm *)"] },
    });
    room.write_agent("all", agents::with(agent, json!({})));
    room.served("all");
    let session = room.api.create("all", json!({ "id": "s", "prompt": "go" }));
    for body in [
        json!({ "decision": "allow", "content": { "name": "Ada" } }),
        json!({ "decision": "deny" }),
    ] {
        let asked = room.api.wait_session("s", "a question", |s| s["pending"]["approvals"] == 1);
        assert_eq!(asked["status"], "waiting");
        let list = room.api.get("/v1/sessions/s/approvals").expect(200);
        let open = list["items"].as_array().expect("a list").iter().find(|a| a["status"] == "open");
        let id = open.expect("an open question")["id"].as_str().expect("an id").to_owned();
        room.api.post(&format!("/v1/sessions/s/approvals/{id}"), body).granted();
    }
    let run = room.api.wait_run("s", &session["run_id"]);
    assert_eq!(run["status"], "completed", "{run:#}\n{:#?}", room.api.log("s"));
    // A turn that is cancelled while it asks, and a second compute that takes it up again.
    let held = room.api.prompt("s", "HOLD");
    room.api.wait_status("s", "waiting");
    let id = held["id"].as_str().expect("an id");
    room.api.post(&format!("/v1/runs/{id}/stop?wait=20s"), json!({})).expect(200);
    room.api.stop("s");
    let held = room.api.prompt("s", "HOLD");
    room.api.wait_status("s", "waiting");
    let id = held["id"].as_str().expect("an id");
    room.api.post(&format!("/v1/runs/{id}/stop?wait=20s"), json!({})).expect(200);
    room.api.stop("s");
    room.api.check("s");

    let schema = Schema::read();
    let text = std::fs::read_to_string(kept).expect("the frames");
    let mut kinds: Vec<String> = Vec::new();
    for line in text.lines() {
        let kept: Value = serde_json::from_str(line).expect("JSON");
        let (frame, answers) = (&kept["frame"], kept["answers"].as_str());
        assert_eq!(frame["jsonrpc"], "2.0", "{frame:#}");
        match (frame["method"].as_str(), answers) {
            (Some(method), _) => {
                schema.check(&schema.of(method, false), &frame["params"]);
                kinds.push(method.to_owned());
            }
            (None, Some(method)) if frame["error"].is_object() => {
                schema.check("Error", &frame["error"]);
                kinds.push(format!("{method} refused"));
            }
            (None, Some(method)) => {
                schema.check(&schema.of(method, true), &frame["result"]);
                kinds.push(format!("{method} answered"));
            }
            (None, None) => panic!("an answer to nothing: {frame:#}"),
        }
    }
    for kind in [
        "initialize",
        "authenticate",
        "session/new",
        "session/set_mode",
        "session/set_config_option",
        "session/prompt",
        "session/cancel",
        "session/load",
        "fs/write_text_file answered",
        "fs/write_text_file refused",
        "fs/read_text_file answered",
        "fs/read_text_file refused",
        "session/request_permission answered",
        "terminal/create answered",
        "terminal/wait_for_exit answered",
        "terminal/output answered",
        "terminal/output refused",
        "terminal/kill answered",
        "terminal/release answered",
        "elicitation/create answered",
        "_vendor/thing refused",
    ] {
        assert!(kinds.iter().any(|sent| sent == kind), "{kind} was not sent: {kinds:?}");
    }
}
