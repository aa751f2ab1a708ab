//! Who may do what: every operation, for every role, and for sessions of others.

mod support;

use std::collections::BTreeMap;

use greenroom_core::RecordBody;
use reqwest::Method;
use serde_json::{Value, json};
use support::*;

/// What each caller gets for an operation. `Open` needs no token at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    Open,
    /// Any token.
    Any,
    Read,
    Use,
    Decide,
    Operate,
    Administer,
    Join,
    Link,
}

/// Every operation of the API. One that is missing here fails the test below.
const OPERATIONS: [(&str, &str, Right); 71] = [
    ("get", "/", Right::Open),
    ("get", "/login", Right::Open),
    ("get", "/healthz", Right::Open),
    ("get", "/readyz", Right::Open),
    ("get", "/metrics", Right::Operate),
    ("get", "/openapi.json", Right::Any),
    ("get", "/v1/agents", Right::Read),
    ("post", "/v1/agents", Right::Administer),
    ("get", "/v1/agents/{name}", Right::Read),
    ("delete", "/v1/agents/{name}", Right::Administer),
    ("get", "/v1/agents/{name}/versions", Right::Read),
    ("post", "/v1/agents/{name}/versions", Right::Administer),
    ("delete", "/v1/agents/{name}/versions/{version}", Right::Administer),
    ("post", "/v1/agents/{name}/disable", Right::Administer),
    ("post", "/v1/agents/{name}/enable", Right::Administer),
    ("post", "/v1/login", Right::Open),
    ("get", "/v1/login", Right::Any),
    ("delete", "/v1/login", Right::Any),
    ("get", "/v1/seen", Right::Read),
    ("patch", "/v1/runs/{id}", Right::Use),
    ("get", "/v1/sessions/{id}/state", Right::Read),
    ("get", "/v1/sessions/{id}/receipts", Right::Read),
    ("put", "/v1/sessions/{id}/seen", Right::Read),
    ("get", "/v1/approvals", Right::Read),
    ("get", "/v1/events", Right::Read),
    ("get", "/v1/runners", Right::Operate),
    ("get", "/v1/runners/{id}", Right::Operate),
    ("delete", "/v1/runners/{id}", Right::Administer),
    ("post", "/v1/runners/{id}/drain", Right::Administer),
    ("get", "/v1/runs/{id}", Right::Read),
    ("post", "/v1/runs/{id}/stop", Right::Use),
    ("post", "/v1/runs/{id}/withdraw", Right::Use),
    ("get", "/v1/sessions", Right::Read),
    ("post", "/v1/sessions", Right::Use),
    ("get", "/v1/sessions/{id}", Right::Read),
    ("patch", "/v1/sessions/{id}", Right::Decide),
    ("delete", "/v1/sessions/{id}", Right::Use),
    ("post", "/v1/sessions/{id}/abandon", Right::Decide),
    ("post", "/v1/sessions/{id}/resume", Right::Decide),
    ("post", "/v1/sessions/{id}/fork", Right::Decide),
    ("post", "/v1/sessions/{id}/stop", Right::Use),
    ("get", "/v1/sessions/{id}/events", Right::Read),
    ("get", "/v1/sessions/{id}/approvals", Right::Read),
    ("post", "/v1/sessions/{id}/approvals/{approval}", Right::Decide),
    ("get", "/v1/sessions/{id}/diff", Right::Read),
    ("post", "/v1/sessions/{id}/push", Right::Decide),
    ("get", "/v1/sessions/{id}/http/{path}", Right::Use),
    ("post", "/v1/sessions/{id}/http/{path}", Right::Use),
    ("put", "/v1/sessions/{id}/http/{path}", Right::Use),
    ("patch", "/v1/sessions/{id}/http/{path}", Right::Use),
    ("delete", "/v1/sessions/{id}/http/{path}", Right::Use),
    ("get", "/v1/sessions/{id}/runs", Right::Read),
    ("post", "/v1/sessions/{id}/runs", Right::Use),
    ("get", "/v1/sessions/{id}/files", Right::Read),
    ("get", "/v1/sessions/{id}/files/stat", Right::Read),
    ("post", "/v1/sessions/{id}/files/mkdir", Right::Use),
    ("get", "/v1/sessions/{id}/files/content/{path}", Right::Read),
    ("put", "/v1/sessions/{id}/files/content/{path}", Right::Use),
    ("delete", "/v1/sessions/{id}/files/content/{path}", Right::Use),
    ("get", "/v1/tokens", Right::Administer),
    ("post", "/v1/tokens", Right::Administer),
    ("delete", "/v1/tokens/{id}", Right::Administer),
    ("post", "/v1/link/enroll", Right::Join),
    ("post", "/v1/link/sync", Right::Link),
    ("post", "/v1/link/records", Right::Link),
    ("get", "/v1/link/computes/{uid}/{epoch}", Right::Link),
    ("get", "/v1/link/computes/{uid}/{epoch}/answers/{id}", Right::Link),
    ("get", "/v1/link/computes/{uid}/{epoch}/settings", Right::Link),
    ("get", "/v1/link/runs/{run}", Right::Link),
    ("get", "/v1/link/streams/{id}", Right::Link),
    ("post", "/v1/link/streams/{id}", Right::Link),
];

/// A body that parses, where an operation needs one.
fn body(method: &str, path: &str) -> Option<Value> {
    Some(match (method, path) {
        ("post", "/v1/agents") => json!({"source": "/nowhere/at/all"}),
        ("post", "/v1/agents/{name}/versions") => {
            json!({"description": {"driver": "command", "command": ["true"]}})
        }
        ("post", "/v1/sessions") => json!({"agent": "shell"}),
        ("patch", "/v1/runs/{id}") => json!({"prompt": "x"}),
        ("put", "/v1/sessions/{id}/seen") => json!({"seq": 1}),
        ("post", "/v1/login") => json!({"token": "x"}),
        ("patch", _) => json!({"title": "x"}),
        ("post", "/v1/sessions/{id}/abandon") => json!({"reason": "x"}),
        ("post", "/v1/sessions/{id}/runs") => json!({"prompt": "x"}),
        ("post", "/v1/sessions/{id}/approvals/{approval}") => json!({"decision": "allow"}),
        ("post", "/v1/sessions/{id}/files/mkdir") => json!({"path": "x"}),
        ("post", "/v1/tokens") => json!({"role": "viewer"}),
        _ => return None,
    })
}

fn has(role: &str, right: Right) -> bool {
    match right {
        Right::Open | Right::Any => true,
        Right::Read => matches!(role, "admin" | "operator" | "viewer" | "agent"),
        Right::Use => matches!(role, "admin" | "operator" | "agent"),
        Right::Decide => matches!(role, "admin" | "operator"),
        Right::Operate => matches!(role, "admin" | "operator" | "viewer"),
        Right::Administer => role == "admin",
        Right::Join => role == "runner",
        Right::Link => role == "credential",
    }
}

struct Cast {
    room: Room,
    /// A token of each role; the operator and the viewer are `eve`.
    tokens: BTreeMap<&'static str, String>,
    /// A session of somebody else, with a run.
    foreign: Value,
}

async fn cast() -> Cast {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let mut tokens =
        BTreeMap::from([("admin", room.token.clone()), ("credential", runner.credential.clone())]);
    for role in ["operator", "viewer", "runner"] {
        tokens.insert(role, room.new_token(role, "eve").await);
    }
    let own = room.create(json!({"agent": "shell", "id": "own", "prompt": "x"})).await;
    let (epoch, _) = runner.wait_run(uid(&own)).await;
    runner.tell(uid(&own), epoch, vec![RecordBody::Ready]).await;
    let compute = runner.get(&format!("/v1/link/computes/{}/{epoch}", uid(&own))).await.expect(200);
    tokens.insert("agent", compute["env"]["GREENROOM_TOKEN"].as_str().expect("a token").to_owned());
    let foreign = room.create(json!({"agent": "shell", "id": "foreign", "prompt": "x"})).await;
    Cast { room, tokens, foreign }
}

fn fill(path: &str, session: &Value) -> String {
    let none = uuid::Uuid::nil().to_string();
    let id = match path {
        _ if path.starts_with("/v1/sessions/") => "foreign".to_owned(),
        _ if path.starts_with("/v1/runs/") => session["run_id"].as_str().expect("a run").to_owned(),
        _ => none.clone(),
    };
    path.replace("{id}", &id)
        .replace("{path}", "a.txt")
        .replace("{name}", "nobody")
        .replace("{version}", "1")
        .replace("{uid}", &none)
        .replace("{run}", &none)
        .replace("{epoch}", "1")
}

#[tokio::test]
async fn every_operation_has_a_case_here() {
    let room = Room::open().await;
    let document = room.get("/openapi.json").await.expect(200);
    let mut described = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("methods").keys() {
            described.push(format!("{method} {path}"));
        }
    }
    let mut known: Vec<String> = OPERATIONS.iter().map(|(m, p, _)| format!("{m} {p}")).collect();
    described.sort();
    known.sort();
    assert_eq!(described, known);
}

#[tokio::test]
async fn roles_do_what_they_may_and_nothing_else() {
    let cast = cast().await;
    for (method, path, right) in OPERATIONS {
        let verb = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
        let url = fill(path, &cast.foreign);
        let plain = cast.room.http.request(verb.clone(), cast.room.url(&url));
        let nobody = plain.json(&body(method, path)).send().await.expect("an answer").status();
        // Where a token is given, the wrong one is refused.
        let gives = matches!((method, path), ("get", "/login") | ("post", "/v1/login"));
        let open = nobody != 401 || gives;
        assert_eq!(open, right == Right::Open, "{method} {path} without a token: {nobody}");
        let wrong = cast.room.call_as("grt_wrong", verb.clone(), &url, body(method, path)).await;
        assert_eq!(
            wrong.status == 401,
            right != Right::Open || gives,
            "{method} {path} with a wrong token"
        );
        if right == Right::Open {
            continue;
        }
        for (role, token) in &cast.tokens {
            // The admin's own calls would end what the others are refused.
            if *role == "admin" || path == "/v1/events" {
                continue;
            }
            let answer = cast.room.call_as(token, verb.clone(), &url, body(method, path)).await;
            let refused = answer.status == 403;
            assert_eq!(refused, !has(role, right), "{method} {path} as {role}: {}", answer.body);
        }
    }
}

#[tokio::test]
async fn what_is_somebody_elses_is_not_there() {
    let cast = cast().await;
    for (method, path, right) in OPERATIONS {
        if !path.starts_with("/v1/sessions/") && !path.starts_with("/v1/runs/") {
            continue;
        }
        let verb = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
        let url = fill(path, &cast.foreign);
        for role in ["operator", "viewer", "agent"] {
            if !has(role, right) {
                continue;
            }
            let answer =
                cast.room.call_as(&cast.tokens[role], verb.clone(), &url, body(method, path)).await;
            assert_eq!(answer.status, 404, "{method} {path} as {role}: {}", answer.body);
        }
    }
    let session = cast.room.get("/v1/sessions/foreign").await.expect(200);
    assert_eq!((&session["title"], &session["status"]), (&json!(null), &json!("starting")));
    for role in ["operator", "viewer"] {
        let list = cast
            .room
            .call_as(&cast.tokens[role], Method::GET, "/v1/sessions", None)
            .await
            .expect(200);
        assert_eq!(list["items"], json!([]));
    }
}

#[tokio::test]
async fn an_agent_reaches_itself_and_its_children() {
    let cast = cast().await;
    let token = &cast.tokens["agent"];
    let call = async |method: Method, path: &str, body: Value| {
        cast.room.call_as(token, method, path, Some(body)).await
    };
    // A child is a child of its own session, and belongs to the same owner.
    let child = call(Method::POST, "/v1/sessions", json!({"agent": "shell", "id": "kid"}))
        .await
        .expect(201);
    assert_eq!((&child["parent_id"], &child["owner"]), (&json!("own"), &json!("admin")));
    let grand =
        call(Method::POST, "/v1/sessions", json!({"agent": "shell", "parent": "kid"})).await;
    assert_eq!(grand.refused(403), "forbidden");
    call(Method::POST, "/v1/sessions/kid/runs", json!({"prompt": "x"})).await.expect(202);
    let lifted =
        call(Method::POST, "/v1/sessions/kid/runs", json!({"prompt": "x", "resume": true})).await;
    assert_eq!(lifted.refused(403), "forbidden");
    let list = cast.room.call_as(token, Method::GET, "/v1/sessions", None).await.expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2), "itself and its child");
    call(Method::DELETE, "/v1/sessions/own", json!({})).await.refused(403);
    // A person's hold is not lifted by an agent's prompt.
    cast.room.post("/v1/sessions/kid/stop", json!({})).await;
    let held =
        call(Method::POST, "/v1/sessions/kid/runs", json!({"prompt": "x"})).await.expect(202);
    assert_eq!(held["held"], true);
    // With its compute its token ends.
    cast.room.post("/v1/sessions/own/stop", json!({})).await;
    call(Method::GET, "/v1/sessions/own", json!({})).await.expect(200);
    let session = cast.room.get("/v1/sessions/own").await.expect(200);
    let path =
        format!("/v1/runners/{}?force=true", session["runner_id"].as_str().expect("a runner"));
    cast.room.delete(&path).await.expect(204);
    assert_eq!(call(Method::GET, "/v1/sessions/own", json!({})).await.refused(401), "unauthorized");
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let room = Room::open().await;
    let port = room.coordinator.address().port();
    let get = |path: &str| room.request(Method::GET, path);
    send(get("/v1/sessions").header("host", format!("localhost:{port}"))).await.expect(200);
    for host in
        ["evil.example".to_owned(), format!("evil.example:{port}"), "127.0.0.1:1".to_owned()]
    {
        assert_eq!(
            send(get("/v1/sessions").header("host", host)).await.refused(421),
            "foreign_host"
        );
    }
    for path in ["/v1/sessions", "/healthz", "/v1/events", "/", "/login?code=x"] {
        for origin in
            ["null", "http://evil.example", "http://127.0.0.1:1", "https://localhost.evil.example"]
        {
            let answer = send(get(path).header("origin", origin)).await;
            assert_eq!(answer.refused(403), "foreign_origin", "{path} {origin}");
        }
        let cross = send(get(path).header("sec-fetch-site", "cross-site")).await;
        assert_eq!(cross.refused(403), "foreign_origin");
    }
    send(get("/v1/sessions").header("origin", room.coordinator.url())).await.expect(200);
}

#[tokio::test]
async fn a_login_link_is_good_once_and_a_cookie_needs_an_origin() {
    let room = Room::open().await;
    let link = room.coordinator.login_link().await.expect("a link");
    let code = link.split_once("code=").expect("a code").1.to_owned();
    // The code is no bearer token.
    assert_eq!(
        room.call_as(&code, Method::GET, "/v1/sessions", None).await.refused(401),
        "unauthorized"
    );
    let logged_in = send(room.http.get(&link)).await;
    assert_eq!(logged_in.status, 303);
    let cookie = logged_in.headers["set-cookie"].to_str().expect("text");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    assert_eq!(send(room.http.get(&link)).await.refused(401), "unauthorized");
    let with = |method: Method, path: &str| {
        room.http.request(method, room.url(path)).header("cookie", &cookie)
    };
    send(with(Method::GET, "/v1/sessions")).await.expect(200);
    let body = json!({"agent": "shell"});
    send(with(Method::POST, "/v1/sessions").json(&body)).await.refused(403);
    let own = with(Method::POST, "/v1/sessions").header("origin", room.coordinator.url());
    send(own.json(&body)).await.expect(201);
}

#[tokio::test]
async fn without_tokens_only_this_machine_is_let_in() {
    let room = Room::with(|config| config.no_auth = true).await;
    let made = send(room.http.post(room.url("/v1/sessions")).json(&json!({"agent": "shell"})))
        .await
        .expect(201);
    assert_eq!(made["owner"], "local");
    room.runner().await;
    let folder = tempfile::tempdir().expect("a folder");
    let store =
        greenroom_store::SqliteStore::open(&folder.path().join("db")).await.expect("a store");
    let mut beyond = config(folder.path());
    beyond.listen = "0.0.0.0:0".parse().expect("an address");
    beyond.no_auth = true;
    let refused = greenroom_coordinator::start(beyond, std::sync::Arc::new(store)).await;
    assert!(matches!(refused, Err(greenroom_coordinator::StartError::NoAuthBeyondLoopback(_))));
}

#[tokio::test]
async fn the_admin_token_is_kept_private() {
    use std::os::unix::fs::PermissionsExt;
    let room = Room::open().await;
    let path = room.folder.path().join("token");
    let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let token = room.token.clone();
    let room = room.restart().await;
    assert_eq!(room.token, token);
    let list = room.get("/v1/tokens").await.expect(200);
    assert!(!list.to_string().contains(&token));
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
}
