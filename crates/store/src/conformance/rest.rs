//! Runners, agents, tokens, sources, and what is purged.

use std::collections::BTreeMap;
use std::sync::Arc;

use greenroom_core::agent::{AgentSpec, CommandSpec, Driver};
use greenroom_core::{AgentName, Command, Principal, RunnerId, Timestamp, TokenId};
use greenroom_protocol::token::Role;

use super::fixtures::*;
use crate::{
    AgentHealth, DoorKey, DoorRecord, NewAgent, RunnerUpdate, SourceCopy, Span, Store, StoreError,
    TokenRow,
};

/// A runner joins, changes, is never taken back by an older process of its own, and goes.
pub async fn runners_join_and_leave(store: Arc<dyn Store>) {
    let new = new_runner("one");
    let (id, credential) = (new.id, new.credential);
    store.enroll_runner(new.clone()).await.expect("joins");
    let found = store.runner_by_credential(credential).await.expect("reads").expect("exists");
    assert_eq!((found.id, found.info.name.as_str(), found.instance), (id, "one", 0));
    assert!(store.runner_by_credential([9; 32]).await.expect("reads").is_none());

    let update = RunnerUpdate {
        info: Some(runner_info("renamed")),
        instance: Some(4),
        draining: Some(true),
        seen_at: Some(at(5)),
    };
    store.update_runner(id, update).await.expect("changes");
    let seen = RunnerUpdate { seen_at: Some(at(60_000)), ..RunnerUpdate::default() };
    store.update_runner(id, seen).await.expect("is seen");
    let found = store.runner(id).await.expect("reads").expect("exists");
    assert_eq!((found.info.name.as_str(), found.instance, found.draining), ("renamed", 4, true));
    assert_eq!(found.seen_at, Some(at(60_000)));
    let instance = |instance| RunnerUpdate { instance: Some(instance), ..RunnerUpdate::default() };
    assert!(matches!(store.update_runner(id, instance(3)).await, Err(StoreError::OldInstance)));
    store.update_runner(id, instance(4)).await.expect("the same one speaks again");
    let unknown = store.update_runner(RunnerId(fresh()), instance(1)).await;
    assert!(matches!(unknown, Err(StoreError::NoRunner)));

    let anew = crate::NewRunner { credential: [7; 32], ..new };
    store.enroll_runner(anew).await.expect("joins anew");
    assert!(store.runner_by_credential(credential).await.expect("reads").is_none());
    join(&*store).await;
    assert_eq!(store.runners().await.expect("reads").len(), 2);
    store.remove_runner(id).await.expect("goes");
    assert!(store.runner(id).await.expect("reads").is_none());
    assert_eq!(store.runners().await.expect("reads").len(), 1);
}

fn agent(name: &str, command: &str, source: &str) -> NewAgent {
    let driver = Driver::Command(CommandSpec {
        command: vec![command.to_owned()],
        prompt_via: Default::default(),
        stdout: Default::default(),
        lifecycle: Default::default(),
    });
    NewAgent {
        spec: AgentSpec {
            name: name.parse().expect("a name"),
            description: None,
            driver,
            env: BTreeMap::new(),
            workspace: Default::default(),
            stop: Default::default(),
            leftovers: Default::default(),
            limits: Default::default(),
            runner_labels: BTreeMap::new(),
            input_schema: None,
            output_schema: None,
            approvals: Default::default(),
        },
        source: source.to_owned(),
        digest: format!("digest of {command}"),
        failure: None,
        at: at(0),
    }
}

/// A version that cannot be run is kept beside; one that is taken back stays for those who
/// have it; and a disabled agent is disabled whatever becomes of its description.
pub async fn versions_fail_are_chosen_and_taken_back(store: Arc<dyn Store>) {
    let name: AgentName = "fixer".parse().expect("a name");
    store.put_agent(agent("fixer", "one", "api:fixer")).await.expect("is kept");
    let failure = Some("nothing runs images".to_owned());
    let failed = NewAgent { failure: failure.clone(), ..agent("fixer", "two", "api:fixer") };
    let failed = store.keep_agent(failed).await.expect("is kept");
    assert_eq!((failed.version, &failed.failure, failed.withdrawn), (2, &failure, false));
    let served = store.agent(&name).await.expect("reads").expect("exists");
    assert_eq!((served.version, served.failure), (1, None));
    store.put_agent(agent("fixer", "three", "api:fixer")).await.expect("is kept");
    store.serve_agent(&name, 1).await.expect("is chosen");
    assert_eq!(store.agent(&name).await.expect("reads").expect("exists").version, 1);
    store.put_agent(agent("other", "one", "file:/o")).await.expect("is kept");
    assert_eq!(store.agents_of("api:").await.expect("reads"), std::slice::from_ref(&name));

    for version in 1..=3 {
        store.withdraw_agent_version(&name, version).await.expect("is taken back");
    }
    assert!(store.agents_of("api:").await.expect("reads").is_empty());
    let kept = store.agent_version(&name, 3).await.expect("reads").expect("is kept");
    assert!(kept.withdrawn);
    let again = store.put_agent(agent("fixer", "three", "api:fixer")).await.expect("is kept");
    assert_eq!((again.version, again.withdrawn), (4, false), "what was taken back stays so");

    store.disable_agent(&name, true, at(1)).await.expect("is disabled");
    store.disable_agent(&name, true, at(2)).await.expect("is disabled already");
    store.put_agent(agent("fixer", "four", "api:fixer")).await.expect("is kept");
    store.retire_agent(&name).await.expect("retires");
    assert_eq!(store.disabled_agents().await.expect("reads"), std::slice::from_ref(&name));
    store.disable_agent(&name, false, at(3)).await.expect("is enabled");
    assert!(store.disabled_agents().await.expect("reads").is_empty());
}

/// A description that is the same is the same version, also when it comes back.
pub async fn agents_have_versions(store: Arc<dyn Store>) {
    let name: AgentName = "fixer".parse().expect("a name");
    let put = async |command: &str, source: &str| {
        store.put_agent(agent("fixer", command, source)).await.expect("is kept")
    };
    assert_eq!(put("one", "file:/a").await.version, 1);
    assert_eq!(put("two", "file:/a").await.version, 2);
    assert_eq!(put("two", "file:/a").await.version, 2);
    assert_eq!(put("two", "file:/b").await.version, 3, "another source");
    assert_eq!(put("one", "file:/a").await.version, 1, "the first again");
    store.put_agent(agent("other", "one", "file:/o")).await.expect("is kept");
    let named: Vec<_> = store.agents().await.expect("reads").into_iter().map(|a| a.name).collect();
    assert_eq!(named.iter().map(AgentName::as_str).collect::<Vec<_>>(), ["fixer", "other"]);

    let error = Some("line 3".to_owned());
    store.agent_health(&name, AgentHealth::Stale, error.clone()).await.expect("noted");
    let served = store.agent(&name).await.expect("reads").expect("exists");
    assert_eq!((served.version, served.health, served.error), (1, AgentHealth::Stale, error));
    let healed = put("one", "file:/a").await;
    assert_eq!((healed.health, healed.error), (AgentHealth::Ok, None));

    assert!(store.retire_agent(&name).await.expect("retires"));
    assert!(!store.retire_agent(&name).await.expect("is retired"));
    assert!(store.agent(&name).await.expect("reads").is_none());
    let kept = store.agent_version(&name, 2).await.expect("reads").expect("is kept");
    assert_eq!((kept.version, kept.digest.as_str()), (2, "digest of two"));
    assert!(store.agent_version(&name, 4).await.expect("reads").is_none());
    assert_eq!(put("new", "file:/a").await.version, 4, "numbers go on");
}

/// A description can be kept without taking the name from the one that has it.
pub async fn variants_are_kept_beside(store: Arc<dyn Store>) {
    let name: AgentName = "fixer".parse().expect("a name");
    store.put_agent(agent("fixer", "one", "url:http://h/a?1")).await.expect("is kept");
    for _ in 0..2 {
        let variant = store.keep_agent(agent("fixer", "two", "url:http://h/a?2")).await;
        let variant = variant.expect("is kept");
        assert_eq!((variant.version, variant.source.as_str()), (2, "url:http://h/a?2"));
        assert_eq!((variant.health, variant.error), (AgentHealth::Ok, None));
    }
    let served = store.agent(&name).await.expect("reads").expect("exists");
    assert_eq!(served.version, 1, "the name is the first one's");
    let kept = store.agent_version(&name, 2).await.expect("reads").expect("is kept");
    assert_eq!(kept.digest, "digest of two");
}

/// A copy is the last one that was kept.
pub async fn copies_of_sources_are_kept(store: Arc<dyn Store>) {
    let copy = |source: &str, tag: Option<&str>, time| SourceCopy {
        source: source.to_owned(),
        tag: tag.map(str::to_owned),
        text: format!("of {time}"),
        fetched_at: at(time),
    };
    let (one, two) = ("url:http://h/a?1", "url:http://h/a?2");
    assert_eq!(store.source_copy(one).await.expect("reads"), None);
    for kept in [copy(one, Some("\"e\""), 1), copy(two, None, 2), copy(one, None, 3)] {
        store.keep_source_copy(kept.clone()).await.expect("is kept");
        assert_eq!(store.source_copy(&kept.source).await.expect("reads"), Some(kept));
    }
    assert_eq!(store.source_copy(two).await.expect("reads"), Some(copy(two, None, 2)));
}

/// Doors keep records of their own: in the place of an earlier one, or only as a first.
pub async fn records_of_doors_are_kept(store: Arc<dyn Store>) {
    let key = |door, kind, id: &str| DoorKey { door, kind, id: id.to_owned() };
    let put = async |key: DoorKey, body: &str, time, new| {
        store.put_door_record(key, body.to_owned(), at(time), new).await.expect("answers")
    };
    let read = async |key: &DoorKey| store.door_record(key).await.expect("reads");
    let one = key("a", "hook", "one");
    assert_eq!(read(&one).await, None);
    assert!(put(one.clone(), "first", 1, true).await);
    assert!(!put(one.clone(), "second", 2, true).await, "there is one");
    assert!(put(one.clone(), "third", 3, false).await);
    let kept = DoorRecord {
        id: "one".to_owned(),
        body: "third".to_owned(),
        created_at: at(1),
        updated_at: at(3),
    };
    assert_eq!(read(&one).await, Some(kept.clone()));
    for (door, kind, id) in [("a", "hook", "two"), ("a", "script", "one"), ("b", "hook", "one")] {
        assert!(put(key(door, kind, id), "other", 4, true).await);
    }
    let all = store.door_records("a", "hook").await.expect("reads");
    assert_eq!(all.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(all[0], kept);
    let kinds = vec![("script", vec![("new".to_owned(), "x".to_owned())]), ("none", Vec::new())];
    store.replace_door_records("a", kinds, at(9)).await.expect("replaces");
    let scripts = store.door_records("a", "script").await.expect("reads");
    assert_eq!(scripts.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["new"]);
    assert_eq!(store.door_records("a", "hook").await.expect("reads").len(), all.len());
    assert!(store.remove_door_record(one.clone()).await.expect("removes"));
    assert!(!store.remove_door_record(one.clone()).await.expect("answers"));
    assert_eq!(read(&one).await, None);
    assert!(read(&key("b", "hook", "one")).await.is_some(), "of another door");
}

/// A token is found by its hash until it is revoked, which happens once.
pub async fn tokens_are_found_by_hash(store: Arc<dyn Store>) {
    let token = |n: u8, role, once| TokenRow {
        id: TokenId(fresh()),
        hash: [n; 32],
        role,
        principal: Principal(format!("p{n}")),
        once,
        created_at: at(n.into()),
    };
    let (one, two) = (token(1, Role::Admin, true), token(2, Role::Viewer, false));
    store.put_token(one.clone()).await.expect("is kept");
    store.put_token(two.clone()).await.expect("is kept");
    assert_eq!(store.tokens().await.expect("reads"), [one.clone(), two.clone()]);
    assert_eq!(store.token_by_hash([1; 32]).await.expect("reads"), Some(one.clone()));
    let (first, second) = tokio::join!(store.revoke_token(one.id), store.revoke_token(one.id));
    assert_ne!(first.expect("revoked"), second.expect("revoked"), "one of two is told");
    assert_eq!(store.token_by_hash([1; 32]).await.expect("reads"), None);
    assert_eq!(store.tokens().await.expect("reads"), [two]);
}

/// References stay until they are removed.
pub async fn sources_are_kept(store: Arc<dyn Store>) {
    for reference in ["/b", "/a", "/b"] {
        store.add_source(reference).await.expect("added");
    }
    assert_eq!(store.sources().await.expect("reads"), ["/b", "/a"]);
    store.remove_source("/b").await.expect("removed");
    store.remove_source("/never").await.expect("was not there");
    assert_eq!(store.sources().await.expect("reads"), ["/a"]);
}

/// The order is that of their places, whatever the clock said; the last one grows.
pub async fn spans_keep_their_order(store: Arc<dyn Store>) {
    let span = |began, ended| Span {
        began: Timestamp::from_unix_ms(began),
        ended: Timestamp::from_unix_ms(ended),
    };
    assert_eq!(store.spans().await.expect("reads"), []);
    for (place, one) in [(0, span(50, 60)), (0, span(50, 70)), (1, span(-5, 5)), (2, span(60, 60))]
    {
        store.put_span(place, one).await.expect("is kept");
    }
    assert_eq!(store.spans().await.expect("reads"), [span(50, 70), span(-5, 5), span(60, 60)]);
}

/// The log of a session that is gone goes bit by bit, and nobody else's.
pub async fn purge_removes_what_is_left(store: Arc<dyn Store>) {
    assert!(!store.purge().await.expect("purges"), "nothing to do");
    let kept = create(&*store, new_session("kept")).await;
    let runner = join(&*store).await;
    let (_, going) = running(&*store, "going", runner).await;
    let records: Vec<_> =
        (1..=2500).map(|index| record(going.uid, 1, index, message(None, "x\n"))).collect();
    store.append(runner, records, Vec::new()).await.expect("taken");
    submit(&*store, going.uid, vec![delete()]).await;
    let closed =
        record(going.uid, 1, 2501, receipt(1, greenroom_core::receipt::EndReason::Deleted));
    store.append(runner, vec![closed], Vec::new()).await.expect("taken");
    submit(&*store, going.uid, vec![Command::FilesGone]).await;
    let mut rounds = 1;
    while store.purge().await.expect("purges") {
        rounds += 1;
    }
    assert!((3..20).contains(&rounds), "in chunks: {rounds}");
    assert!(store.was_removed(&going.id).await.expect("reads"), "its name is remembered");
    assert_eq!(store.events(kept.uid, 1, 10).await.expect("reads").len(), 1);
    agrees(&*store, kept.uid).await;
}

/// After a close nothing is written, and nothing hangs.
pub async fn a_closed_store_refuses_writes(store: Arc<dyn Store>) {
    store.ready().await.expect("is ready");
    let session = create(&*store, new_session("x")).await;
    store.close().await;
    let late = store.create_session(new_session("y")).await;
    assert!(matches!(late, Err(StoreError::Database(_))));
    assert!(store.ready().await.is_err());
    store.close().await;
    drop(session);
}

/// Marks of what people have seen go forward only, never beyond the log, and go with their
/// session.
pub async fn what_was_seen_is_kept(store: Arc<dyn Store>) {
    let (ann, ben) = (Principal("ann".to_owned()), Principal("ben".to_owned()));
    let one = create(&*store, new_session("one")).await;
    let two = create(&*store, new_session("two")).await;
    let seen = async |who: &Principal| {
        let marks = store.seen(who).await.expect("reads");
        marks.into_iter().map(|(id, seq)| (id.to_string(), seq)).collect::<Vec<_>>()
    };
    submit(&*store, one.uid, vec![Command::Prompt(prompt("go"))]).await;
    let last = store.session(one.uid).await.expect("reads").expect("exists").last_seq;
    store.see(ann.clone(), one.uid, 1).await.expect("kept");
    store.see(ann.clone(), one.uid, last + 100).await.expect("kept");
    store.see(ann.clone(), one.uid, 1).await.expect("kept");
    store.see(ann.clone(), two.uid, 1).await.expect("kept");
    assert_eq!(seen(&ann).await, [("one".to_owned(), last), ("two".to_owned(), 1)]);
    assert!(seen(&ben).await.is_empty());
    submit(&*store, two.uid, vec![delete()]).await;
    assert_eq!(seen(&ann).await, [("one".to_owned(), last)]);
}
