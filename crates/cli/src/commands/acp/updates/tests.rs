use super::*;
use greenroom_core::Timestamp;
use proptest::prelude::*;

fn run(n: u128) -> RunId {
    RunId(uuid::Uuid::from_u128(n))
}

fn event(kind: &str, data: Value) -> Event {
    Event { seq: 7, at: Timestamp::from_unix_ms(0), run: Some(run(1)), kind: kind.to_owned(), data }
}

fn told(teller: &mut Teller, kind: &str, data: Value) -> Vec<Value> {
    teller.event(&event(kind, data))
}

#[test]
fn prompts_are_shown_when_they_begin_and_the_editors_own_are_not() {
    let mut teller = Teller::default();
    assert!(told(&mut teller, "run.queued", json!({ "prompt": "draft" })).is_empty());
    assert!(told(&mut teller, "run.edited", json!({ "prompt": "hello" })).is_empty());
    let begun = told(&mut teller, "run.started", json!({}));
    assert_eq!(begun, [chunk("user_message_chunk", "hello")]);
    let mut teller = Teller::default();
    teller.own(run(1));
    told(&mut teller, "run.queued", json!({ "prompt": "mine" }));
    assert!(told(&mut teller, "run.started", json!({})).is_empty());
}

#[test]
fn text_comes_once() {
    let mut teller = Teller::default();
    told(&mut teller, "run.started", json!({}));
    let delta = Delta { run: run(1), part: 0, offset: 0, text: "hel".into() };
    assert_eq!(teller.delta(&delta), Some(chunk("agent_message_chunk", "hel")));
    let data = json!({ "role": "agent", "text": "hello\n", "part": 0, "from": 0, "to": 6 });
    assert_eq!(told(&mut teller, "message", data), [chunk("agent_message_chunk", "lo\n")]);
    assert!(teller.said_text);
    let whole = told(&mut teller, "message", json!({ "role": "agent", "text": "hi" }));
    assert_eq!(whole, [chunk("agent_message_chunk", "hi\n")]);
}

#[test]
fn a_call_its_question_and_its_result() {
    let mut teller = Teller::default();
    let input = json!({ "path": "a" });
    let call = json!({ "id": "t1", "tool": "write_file", "input": input, "kind": "nonsense" });
    let first = told(&mut teller, "tool_call", call).remove(0);
    assert_eq!(
        (&first["sessionUpdate"], &first["status"]),
        (&json!("tool_call"), &json!("in_progress"))
    );
    assert!(first["title"].as_str().expect("a title").starts_with("write_file"));
    assert!(first.get("kind").is_none(), "{first}");
    assert_eq!(teller.call_of(&json!("write_file"), &input), Some("t1"));
    assert_eq!(teller.call_of(&json!("shell"), &input), None);
    let more =
        told(&mut teller, "tool_call", json!({ "id": "t1", "update": true, "title": "Write a" }));
    assert_eq!(more[0]["sessionUpdate"], "tool_call_update");
    let result = json!({ "id": "t1", "tool": "write_file", "output": "done", "is_error": false });
    let done = told(&mut teller, "tool_result", result).remove(0);
    assert_eq!(
        (&done["status"], &done["content"][0]["content"]["text"]),
        (&json!("completed"), &json!("done"))
    );
    assert_eq!(teller.call_of(&json!("write_file"), &input), None);
    // One whose call the editor never saw.
    let lone = told(&mut teller, "tool_result", json!({ "output": { "n": 1 }, "is_error": true }));
    assert_eq!(
        (lone.len(), &lone[1]["toolCallId"], &lone[1]["status"]),
        (2, &json!("entry-7"), &json!("failed"))
    );
}

#[test]
fn plans_titles_and_modes() {
    let mut teller = Teller::default();
    let plan = json!({ "entries": [{ "content": "a", "status": "completed" }, { "content": "b", "status": "odd" }, {}] });
    let told_plan = told(&mut teller, "plan", plan).remove(0);
    assert_eq!(
        told_plan["entries"],
        json!([
            { "content": "a", "priority": "medium", "status": "completed" },
            { "content": "b", "priority": "medium", "status": "pending" },
        ])
    );
    let changed = json!({ "title": "T", "approvals": { "mode": "strict" } });
    let changed = told(&mut teller, "session.updated", changed);
    assert_eq!(
        (&changed[0]["title"], &changed[1]["currentModeId"]),
        (&json!("T"), &json!("strict"))
    );
}

/// Any JSON with keys that mean something here.
fn any_data() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let keys = [
        "id",
        "tool",
        "input",
        "output",
        "text",
        "title",
        "content",
        "entries",
        "status",
        "part",
        "from",
        "prompt",
        "approvals",
        "mode",
        "about",
        "commands",
        "type",
        "kind",
    ];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        let key = prop::sample::select(keys.to_vec()).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever a log holds, what the editor is told has a kind, and each call it hears of
    /// began with `tool_call`.
    #[test]
    fn anything_is_told(entries in prop::collection::vec((0usize..9, any_data()), 0..20)) {
        let kinds = ["message", "thought", "tool_call", "tool_result", "plan", "usage",
            "session.updated", "run.queued", "run.started"];
        let mut teller = Teller::default();
        let mut begun = HashSet::new();
        for (kind, data) in entries {
            for update in told(&mut teller, kinds[kind], data) {
                let kind = update["sessionUpdate"].as_str().expect("a kind").to_owned();
                if let Some(id) = update["toolCallId"].as_str() {
                    prop_assert!(begun.contains(id) || kind == "tool_call");
                    begun.insert(id.to_owned());
                }
            }
        }
    }
}
