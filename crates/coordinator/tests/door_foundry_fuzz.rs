//! Whatever is sent to the door `/foundry`, it is never the coordinator that breaks.

mod support;

use greenroom_coordinator::Door;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Requests of one run of this test.
const REQUESTS: usize = 2000;

/// A part of a path: one that means something, or anything at all, escaped in some way.
fn part() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "agents",
        "shell",
        "s",
        "s:stop",
        "s:resume",
        "sessions",
        "endpoint",
        "versions",
        "1",
        "99",
        "files",
        "content",
        "mkdir",
        "stat",
        "protocols",
        "invocations",
        "openai",
        "responses",
        "conversations",
        "a2a",
        "shell:disable",
        "shell:enable",
        "s:logstream",
        "code:download",
        "",
        "..",
        "%2e%2e",
        "%2F",
        "%00",
        "%ff",
        "caresp_x",
        "inv_x",
        "x%3Astop",
        "s%252Fx:stop",
    ]);
    let any = "[ -~]{0,12}".prop_map(|text| {
        let bad = |c: char| c.is_whitespace() || matches!(c, '#' | '?');
        text.chars().filter(|c| !bad(*c)).collect::<String>()
    });
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => any]
}

fn path() -> impl Strategy<Value = String> {
    let free = prop::collection::vec(part(), 0..7).prop_map(|parts| parts.join("/"));
    let near = (
        prop::sample::select(vec![
            "agents/shell/endpoint/sessions/{}",
            "agents/shell/endpoint/sessions/{}/files",
            "agents/shell/endpoint/sessions/s/files/{}",
            "agents/shell/endpoint/protocols/{}",
            "agents/shell/endpoint/protocols/openai/{}",
            "agents/shell/endpoint/protocols/openai/conversations/{}",
            "agents/shell/endpoint/protocols/invocations/{}",
            "agents/shell/sessions/{}:logstream",
            "agents/shell/versions/{}",
            "agents/{}",
            "agents/{}/versions",
        ]),
        part(),
    )
        .prop_map(|(form, part)| form.replace("{}", &part));
    prop_oneof![1 => free, 2 => near]
}

fn query() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "limit",
        "order",
        "after",
        "before",
        "path",
        "recursive",
        "force",
        "kind",
        "tail",
        "pagination_token",
        "agent_session_id",
        "include_drafts",
        "x",
    ]);
    let value = prop_oneof![
        prop::sample::select(vec![
            "1",
            "0",
            "-1",
            "99999999999999999999",
            "asc",
            "true",
            "s",
            "../x",
            "%ff",
            "%00",
            "a/b",
            "",
        ])
        .prop_map(str::to_owned),
        "[a-z%&=0-9.]{0,10}",
    ];
    // A stream of the log has to end by itself.
    prop::collection::vec((name, value), 0..4).prop_map(|pairs| {
        let pairs = pairs.into_iter().map(|(name, value)| format!("{name}={value}"));
        pairs.chain(["follow=false".to_owned()]).collect::<Vec<_>>().join("&")
    })
}

fn body() -> impl Strategy<Value = String> {
    let definition = json!({
        "kind": "hosted", "code_configuration": { "entry_point": ["x"] },
        "environment_variables": { "": "${secret:x}" },
    });
    let known = prop::sample::select(vec![
        String::new(),
        "{}".into(),
        "null".into(),
        "[]".into(),
        "{".into(),
        "\"x\"".into(),
        json!({ "agent_session_id": 5 }).to_string(),
        json!({ "agent_session_id": "s", "version_indicator": {} }).to_string(),
        json!({ "version_indicator": { "type": "other", "agent_version": "-1" } }).to_string(),
        json!({ "path": "../../x" }).to_string(),
        json!({ "name": "", "definition": definition }).to_string(),
        json!({ "name": "made", "definition": { "kind": "hosted", "image": "i" } }).to_string(),
        json!({ "definition": definition, "metadata": { "k": "v" } }).to_string(),
        json!({ "agent_endpoint": { "version_selector": { "version_selection_rules": [{}, 1] } } })
            .to_string(),
        json!({ "input": "x", "conversation": { "id": 3 }, "previous_response_id": "caresp_%" })
            .to_string(),
        json!({ "input": "x", "session_id": "s", "conversation": "c" }).to_string(),
        "[".repeat(3000),
    ]);
    prop_oneof![4 => known, 1 => "[ -~]{0,40}"]
}

/// Sends it as it is, whatever a client's library would make of it, and answers its status.
async fn status(room: &Room, method: &str, target: &str, extra: &str, body: &str) -> u16 {
    let address = room.url("").replace("http://", "");
    let mut stream = TcpStream::connect(&address).await.expect("it listens");
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n{extra}\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        room.token,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let _ = stream.write_all(body.as_bytes()).await;
    // It may hang up on the rest of a body that it does not want.
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, async {
        let mut part = [0; 1024];
        while !answer.contains(&b'\n') {
            match stream.read(&mut part).await {
                Ok(read) if read > 0 => answer.extend_from_slice(&part[..read]),
                _ => return,
            }
        }
    });
    read.await.unwrap_or_else(|_| panic!("{method} {target} has no answer"));
    let text = String::from_utf8_lossy(&answer);
    let word = text.split(' ').nth(1).unwrap_or_else(|| panic!("{method} {target}: {text:?}"));
    word.parse().expect("a status")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_sent_breaks_it() {
    let room = Room::with(|config| {
        config.doors.insert(Door::Foundry);
    })
    .await;
    room.create(json!({"agent": "shell", "id": "s"})).await;
    let seed = [7; 32];
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, &seed),
    );
    let method = prop::sample::select(vec![
        "GET", "GET", "GET", "POST", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS",
    ]);
    let extra = prop::sample::select(vec![
        "",
        "",
        "",
        "",
        "",
        "",
        "x-ms-user-identity: u\r\n",
        "x-ms-user-identity: \r\n",
        "x-ms-user-identity: \u{e4}\r\n",
        "x-ms-client-request-id: one\r\n",
        "last-event-id: x\r\n",
        "content-type: multipart/form-data; boundary=x\r\n",
        "upgrade: websocket\r\nconnection: upgrade\r\n",
    ]);
    let request = (method, path(), query(), extra, body());
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..REQUESTS {
        let (method, path, query, extra, body) =
            request.new_tree(&mut runner).expect("a request").current();
        let target = format!("/foundry/api/projects/p/{path}?{query}");
        let status = status(&room, method, &target, extra, &body).await;
        assert!(status < 500, "{status} to {method} {target} with {extra:?} and {body:?}");
        *seen.entry(status).or_insert(0) += 1;
    }
    // It was not all refused at the first step.
    for status in [200, 204, 400, 404, 405] {
        assert!(seen.contains_key(&status), "never {status}: {seen:?}");
    }
}
