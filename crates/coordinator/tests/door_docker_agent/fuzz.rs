//! Whatever is sent, the answer is not 5xx, and is said as everything else is.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::House;

/// Every path of the door, with places for what is made up.
const PATHS: [(&str, &str); 35] = [
    ("GET", "/health"),
    ("GET", "/api/agents"),
    ("GET", "/api/agents/{x}"),
    ("GET", "/api/agents/{x}/{y}/tools/count"),
    ("GET", "/api/sessions?limit={x}&active={y}"),
    ("POST", "/api/sessions"),
    ("GET", "/api/sessions/{x}"),
    ("DELETE", "/api/sessions/{x}?timeout={y}"),
    ("POST", "/api/sessions/{x}/agent/{y}"),
    ("POST", "/api/sessions/one/agent/{y}"),
    ("POST", "/api/sessions/one/agent/team/{y}"),
    ("POST", "/api/sessions/one/resume"),
    ("POST", "/api/sessions/{x}/resume"),
    ("POST", "/api/sessions/one/elicitation"),
    ("POST", "/api/sessions/one/tools/toggle"),
    ("POST", "/api/sessions/one/thinking/toggle"),
    ("PATCH", "/api/sessions/one/permissions"),
    ("PATCH", "/api/sessions/one/safety-policy"),
    ("PATCH", "/api/sessions/one/title"),
    ("PATCH", "/api/sessions/one/starred"),
    ("GET", "/api/sessions/one/models"),
    ("PATCH", "/api/sessions/one/messages/{x}"),
    ("GET", "/api/sessions/{x}/status"),
    ("GET", "/api/sessions/{x}/snapshot"),
    ("GET", "/api/sessions/{x}/events?since={y}"),
    ("POST", "/api/sessions/one/steer"),
    ("POST", "/api/sessions/{x}/followup"),
    ("GET", "/api/sessions/one/queue"),
    ("POST", "/api/sessions/one/fork"),
    ("GET", "/api/sessions/one/recovery"),
    ("POST", "/api/sessions/batch/delete"),
    ("POST", "/api/sessions/batch/export"),
    ("POST", "/api/mcp-oauth/callback?state={x}"),
    ("POST", "/api/v2/sessions/start"),
    ("POST", "/{x}/{y}"),
];

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9%._~:@!$&'()*+,;=-]{0,20}",
        "(%[0-9A-F]{2}){1,6}",
        Just("%2e%2e%2f%2e%2e%2fetc%2fpasswd".to_owned()),
        Just("..%00".to_owned()),
        Just("http%253A%252F%252Fex.com%252Fa".to_owned()),
        Just("x".repeat(3000)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    let keys = prop_oneof![
        Just("messages"),
        Just("content"),
        Just("role"),
        Just("multi_content"),
        Just("type"),
        Just("confirmation"),
        Just("action"),
        Just("permissions"),
        Just("allow"),
        Just("title"),
        Just("safety_policy"),
        Just("starred"),
        Just("session_ids"),
        Just("id"),
        Just("model"),
        Just("user_message_index"),
        Just("attributes"),
        Just("framing"),
        Just("max_iterations"),
        Just("session_id"),
        Just("agent_name"),
        Just("input"),
        Just("request_id"),
        Just("working_dir"),
    ];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((keys.clone(), inner), 0..6).prop_map(|fields| {
                fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Value>()
            }),
        ]
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => value().prop_map(|value| value.to_string().into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..64),
    ]
}

#[tokio::test]
async fn no_request_gets_a_5xx() {
    let house = House::open().await;
    house.post("/api/sessions", json!({ "id": "one" })).await.expect(200);
    let mut fuzz = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let mut made = |strategy: &dyn Fn(&mut TestRunner) -> Vec<u8>| strategy(&mut fuzz);
    let text = |runner: &mut TestRunner| {
        segment().new_tree(runner).expect("a tree").current().into_bytes()
    };
    let bytes = |runner: &mut TestRunner| body().new_tree(runner).expect("a tree").current();
    for round in 0..600 {
        let (method, path) = PATHS[round % PATHS.len()];
        let x = String::from_utf8(made(&text)).expect("text");
        let y = String::from_utf8(made(&text)).expect("text");
        let path = path.replace("{x}", &x).replace("{y}", &y);
        let url = house.room.url(&format!("/docker-agent{path}"));
        let Ok(url) = reqwest::Url::parse(&url) else { continue };
        let method: Method = method.parse().expect("a method");
        let sent = made(&bytes);
        let shown = String::from_utf8_lossy(&sent).into_owned();
        let request = house.room.http.request(method.clone(), url).bearer_auth(&house.room.token);
        let response = request.body(sent).send().await.expect("an answer");
        let status = response.status().as_u16();
        assert!(status < 500, "{method} {path}\n{shown}\n{status}");
        if status >= 400 {
            let text = response.text().await.expect("a body");
            let said: Value = serde_json::from_str(&text).unwrap_or_default();
            assert!(
                said["error"].is_string() && said["message"] == said["error"],
                "{path}: {text}"
            );
        }
    }
    house.get("/health").await.expect(200);
}
