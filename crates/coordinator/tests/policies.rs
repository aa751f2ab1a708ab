//! Policies of approvals that sessions have of their own, and what an agent may give its
//! children.

mod support;

use greenroom_core::approval::{Ask, AskKind, AskOption};
use greenroom_core::{ApprovalId, Epoch, RecordBody, RunId, SessionUid};
use reqwest::Method;
use serde_json::{Value, json};
use support::*;

/// A room with agents: one that asks, one that does all, one that asks nobody.
async fn room() -> Room {
    let room = Room::open().await;
    for (name, rest) in [
        ("careful", "driver: acp\ncommand: [x]\napprovals: { deny: [\"rm\"], ask: [\"push\"] }"),
        ("free", "driver: acp\ncommand: [x]\napprovals: { mode: autonomous }"),
        ("plain", "driver: command\ncommand: [x]"),
    ] {
        let file = room.folder.path().join(format!("{name}.yaml"));
        std::fs::write(&file, format!("name: {name}\n{rest}\n")).expect("an agent's file");
        room.post("/v1/agents", json!({ "source": file })).await.expect(201);
    }
    room
}

async fn patch(room: &Room, id: &str, body: Value) -> Answer {
    send(room.request(Method::PATCH, &format!("/v1/sessions/{id}")).json(&body)).await
}

async fn compute(runner: &FakeRunner, uid: SessionUid, epoch: Epoch) -> Value {
    runner.get(&format!("/v1/link/computes/{uid}/{epoch}")).await.expect(200)
}

/// A session with a compute, what that is told, and its agent's token.
async fn begun(room: &Room, runner: &mut FakeRunner, body: Value) -> (Value, String) {
    let made = room.create(body).await;
    let (epoch, _) = runner.wait_run(uid(&made)).await;
    let compute = compute(runner, uid(&made), epoch).await;
    let token = compute["env"]["GREENROOM_TOKEN"].as_str().expect("a token").to_owned();
    (compute, token)
}

#[tokio::test]
async fn a_sessions_own_policy_reaches_its_next_compute() {
    let room = room().await;
    let mut runner = room.runner().await;
    let approvals = json!({ "mode": "strict", "headless": true, "allow": ["ls"], "deny": ["mv"] });
    let body = json!({ "agent": "careful", "id": "one", "prompt": "x", "approvals": approvals });
    let (compute, _) = begun(&room, &mut runner, body).await;
    let told = &compute["agent"]["approvals"];
    assert_eq!((&told["mode"], &told["headless"]), (&json!("strict"), &json!(true)));
    assert_eq!(told["deny"], json!(["rm", "mv"]));
    assert_eq!((&told["ask"], &told["allow"]), (&json!(["push"]), &json!(["ls"])));
    assert_eq!(compute["within"], Value::Null);
    assert_eq!(room.get("/v1/sessions/one").await.expect(200)["approvals"], approvals);
    // It lasts, and can be changed as a whole.
    let room = room.restart().await;
    assert_eq!(room.get("/v1/sessions/one").await.expect(200)["approvals"], approvals);
    let changed = patch(&room, "one", json!({ "approvals": { "mode": "autonomous" } })).await;
    assert_eq!(changed.expect(200)["approvals"], json!({ "mode": "autonomous" }));
    let renamed = patch(&room, "one", json!({ "title": "t" })).await.expect(200);
    assert_eq!(renamed["approvals"], json!({ "mode": "autonomous" }), "what is absent stays");
}

#[tokio::test]
async fn what_nobody_could_keep_is_refused() {
    let room = room().await;
    for (agent, approvals, path) in [
        ("free", json!({ "mode": "happy" }), "/approvals/mode"),
        ("free", json!({ "deny": ["a", " "] }), "/approvals/deny/1"),
        ("free", json!({ "within": [] }), "/approvals/within"),
        ("free", json!({ "timeout_ms": u64::MAX }), "/approvals/timeout_ms"),
    ] {
        let body = json!({ "agent": agent, "approvals": approvals });
        let answer = room.post("/v1/sessions", body).await;
        assert_eq!(answer.body["path"], path, "{approvals}: {}", answer.body);
        answer.refused(422);
    }
    room.create(json!({ "agent": "plain", "id": "one", "approvals": {} })).await;
    let answer = patch(&room, "one", json!({ "approvals": { "headless": true } })).await;
    assert_eq!(answer.refused(409), "approvals_unsupported");
    let body = json!({ "agent": "plain", "approvals": { "headless": true } });
    assert_eq!(room.post("/v1/sessions", body).await.refused(409), "approvals_unsupported");
}

#[tokio::test]
async fn what_an_agent_creates_stays_within_its_own_session() {
    let room = room().await;
    let mut runner = room.runner().await;
    let narrow = json!({ "headless": true, "deny": ["curl"] });
    let body = json!({ "agent": "careful", "id": "boss", "prompt": "x", "approvals": narrow });
    let (boss, token) = begun(&room, &mut runner, body).await;
    let create = async |token: &str, body: Value| {
        room.call_as(token, Method::POST, "/v1/sessions", Some(body)).await
    };
    // An agent answers nothing in advance.
    for wide in [json!({ "allow": ["rm"] }), json!({ "mode": "autonomous" })] {
        let answer = create(&token, json!({ "agent": "careful", "approvals": wide })).await;
        assert_eq!(answer.refused(403), "forbidden");
    }
    let child = json!({
        "agent": "free", "id": "kid", "prompt": "x", "approvals": { "mode": "strict" },
    });
    let child = create(&token, child).await.expect(201);
    assert_eq!(child["within"], json!([boss["agent"]["approvals"]]));
    let (epoch, _) = runner.wait_run(uid(&child)).await;
    let told = compute(&runner, uid(&child), epoch).await;
    assert_eq!(told["agent"]["approvals"]["mode"], "strict");
    assert_eq!(told["within"], json!([boss["agent"]["approvals"]]));
    // Further down it adds up.
    let token = told["env"]["GREENROOM_TOKEN"].as_str().expect("a token");
    let grandchild = create(token, json!({ "agent": "free", "id": "grandkid" })).await.expect(201);
    let both = json!([told["agent"]["approvals"], boss["agent"]["approvals"]]);
    assert_eq!(grandchild["within"], both);
    // A person's own child of it is a person's.
    let body = json!({ "agent": "free", "parent": "boss", "approvals": { "allow": ["rm"] } });
    assert_eq!(room.create(body).await["within"], Value::Null);
}

/// An agent that asks nobody has nothing that its children could stay within.
#[tokio::test]
async fn a_program_that_asks_nobody_bounds_nobody() {
    let room = room().await;
    let mut runner = room.runner().await;
    let (_, token) =
        begun(&room, &mut runner, json!({ "agent": "plain", "id": "p", "prompt": "x" })).await;
    let body = Some(json!({ "agent": "free", "id": "kid" }));
    let child = room.call_as(&token, Method::POST, "/v1/sessions", body).await.expect(201);
    assert_eq!(child["within"], Value::Null);
}

/// An agent's question about a tool, with what can be answered to it.
fn question(options: &[(&str, &str)]) -> Ask {
    let option = |(id, kind): &(&str, &str)| AskOption {
        id: (*id).to_owned(),
        name: (*id).to_owned(),
        kind: (*kind).to_owned(),
    };
    Ask {
        id: ApprovalId(uuid::Uuid::now_v7()),
        kind: AskKind::Permission,
        title: "Use rm".to_owned(),
        tool: Some("rm".to_owned()),
        input: None,
        options: options.iter().map(option).collect(),
        schema: None,
        url: None,
    }
}

/// The session `one`, with its run begun.
async fn at_work(room: &Room, runner: &mut FakeRunner) -> (SessionUid, Epoch, RunId) {
    let made = room.create(json!({ "agent": "careful", "id": "one", "prompt": "x" })).await;
    let uid = uid(&made);
    let (epoch, run) = runner.wait_run(uid).await;
    runner.tell(uid, epoch, vec![RecordBody::Ready, RecordBody::RunStarted { run }]).await;
    (uid, epoch, run)
}

const OFFERED: [(&str, &str); 4] = [
    ("this", "allow_once"),
    ("all", "allow_always"),
    ("not_this", "reject_once"),
    ("never", "reject_always"),
];

/// Given before an edit, an answer cannot widen what the edit says.
#[tokio::test]
async fn an_answer_that_comes_after_an_edit_is_good_for_once() {
    let room = room().await;
    let mut runner = room.runner().await;
    let (uid, epoch, run) = at_work(&room, &mut runner).await;
    let answered = async |runner: &mut FakeRunner, ask: Ask, answer: Value| {
        let id = ask.id;
        runner.tell(uid, epoch, vec![RecordBody::Asked { run, ask: Box::new(ask) }]).await;
        room.post(&format!("/v1/sessions/one/approvals/{id}"), answer).await.expect(200);
        format!("/v1/link/computes/{uid}/{epoch}/answers/{id}")
    };
    let all = [("all", "allow_always")];
    let mut on_their_way = Vec::new();
    for (offered, answer, once) in [
        (
            &OFFERED[..],
            json!({ "decision": "allow", "always": true }),
            json!({ "decision": "allow" }),
        ),
        (
            &OFFERED[..],
            json!({ "decision": "allow", "option": "all" }),
            json!({ "decision": "allow", "option": "this" }),
        ),
        (
            &OFFERED[..],
            json!({ "decision": "deny", "option": "never", "reason": "no" }),
            json!({ "decision": "deny", "option": "not_this", "reason": "no" }),
        ),
        (
            &OFFERED[..],
            json!({ "decision": "allow", "option": "this" }),
            json!({ "decision": "allow", "option": "this" }),
        ),
        (&all[..], json!({ "decision": "allow", "option": "all" }), json!({ "decision": "allow" })),
    ] {
        let path = answered(&mut runner, question(offered), answer.clone()).await;
        assert_eq!(runner.get(&path).await.expect(200)["answer"], answer, "nothing was edited");
        on_their_way.push((path, once));
    }
    patch(&room, "one", json!({ "title": "t" })).await.expect(200);
    let (path, _) = &on_their_way[0];
    assert_eq!(runner.get(path).await.expect(200)["answer"]["always"], true, "no such edit");
    patch(&room, "one", json!({ "approvals": { "mode": "strict" } })).await.expect(200);
    for (path, once) in &on_their_way {
        assert_eq!(runner.get(path).await.expect(200)["answer"], *once);
    }
    // What is answered now knows of the edit. And that lasts.
    let always = json!({ "decision": "allow", "always": true });
    let path = answered(&mut runner, question(&OFFERED), always.clone()).await;
    let room = room.restart().await;
    runner.moves_to(&room);
    assert_eq!(runner.get(&path).await.expect(200)["answer"], always);
    let (before, once) = &on_their_way[0];
    assert_eq!(runner.get(before).await.expect(200)["answer"], *once);
}

/// An agent goes by the option, so a person's no must never carry a yes.
#[tokio::test]
async fn an_option_cannot_mean_the_opposite_of_the_decision() {
    let room = room().await;
    let mut runner = room.runner().await;
    let (uid, epoch, run) = at_work(&room, &mut runner).await;
    let ask = question(&OFFERED);
    let path = format!("/v1/sessions/one/approvals/{}", ask.id);
    runner.tell(uid, epoch, vec![RecordBody::Asked { run, ask: Box::new(ask) }]).await;
    for (decision, option) in [("deny", "this"), ("deny", "all"), ("allow", "never")] {
        let answer = json!({ "decision": decision, "option": option });
        let refused = room.post(&path, answer).await.expect(422);
        assert_eq!(refused["path"], "/option", "{refused:#}");
    }
    let waits = room.get("/v1/approvals").await.expect(200);
    assert_eq!(waits["items"][0]["status"], "open", "{waits:#}");
    room.post(&path, json!({ "decision": "deny", "option": "never" })).await.expect(200);
}
