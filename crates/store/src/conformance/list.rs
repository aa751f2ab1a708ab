//! Finding sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use greenroom_core::command::{Actor, Expiry};
use greenroom_core::fact::Changes;
use greenroom_core::{
    Command, Limits, Ms, Principal, RecordBody, SessionId, SessionUid, Status, StopId,
};

use super::fixtures::*;
use crate::{Beyond, Scan, SessionQuery, Sort, Store, StoreError};

fn query() -> SessionQuery {
    SessionQuery { limit: 100, ..SessionQuery::default() }
}

async fn names(store: &dyn Store, query: SessionQuery) -> Vec<String> {
    let page = store.sessions(query).await.expect("reads");
    page.items.iter().map(|session| session.id.as_str().to_owned()).collect()
}

/// Walked page by page, a list has each session once, in its order.
pub async fn pages_hold_each_session_once(store: Arc<dyn Store>) {
    let mut created: Vec<String> = Vec::new();
    // Names whose order is another than that of their creation.
    for n in 0..23 {
        let name = format!("s{:02}", n * 7 % 23);
        create(&*store, new_session(&name)).await;
        created.push(name);
    }
    let mut sorted = created.clone();
    sorted.sort();
    created.reverse();
    for (sort, expected) in
        [(Sort::Created, &created), (Sort::Active, &created), (Sort::Id, &sorted)]
    {
        let mut seen: Vec<String> = Vec::new();
        let mut cursor = None;
        loop {
            let query = SessionQuery { sort, limit: 5, cursor, ..query() };
            let page = store.sessions(query).await.expect("reads");
            assert!(page.items.len() <= 5);
            seen.extend(page.items.iter().map(|session| session.id.as_str().to_owned()));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(&seen, expected, "{sort:?}");
    }
    let whole = store.sessions(SessionQuery { limit: 23, ..query() }).await.expect("reads");
    assert_eq!(whole.next, None, "the last page says that it is the last");
    let foreign = store.sessions(SessionQuery { limit: 5, ..query() }).await.expect("reads").next;
    for bad in [Some("no cursor".to_owned()), foreign] {
        let query = SessionQuery { sort: Sort::Id, cursor: bad, ..query() };
        assert!(matches!(store.sessions(query).await, Err(StoreError::BadCursor)));
    }
}

/// A list in order of creation is cut at one of its sessions, in either order and to either
/// side, also at one that is gone.
pub async fn a_list_is_cut_at_a_session(store: Arc<dyn Store>) {
    for n in 1..=6 {
        let created = create(&*store, new_session(&format!("s{n}"))).await;
        if n == 3 {
            let gone = Command::Delete { stop: StopId(fresh()), by: Actor::person("ann") };
            submit(&*store, created.uid, vec![gone]).await;
        }
    }
    let named = |name: &str| name.parse::<SessionId>().expect("a name");
    let after = |name: &str| Some(Beyond::After(named(name)));
    let before = |name: &str| Some(Beyond::Before(named(name)));
    type Case = (Sort, Option<Beyond>, u32, &'static [&'static str], bool);
    let cases: [Case; 8] = [
        (Sort::Oldest, None, 2, &["s1", "s2"], true),
        (Sort::Oldest, after("s2"), 2, &["s4", "s5"], true),
        (Sort::Oldest, after("s3"), 9, &["s4", "s5", "s6"], false),
        (Sort::Created, after("s5"), 2, &["s4", "s2"], true),
        (Sort::Created, after("s1"), 2, &[], false),
        (Sort::Oldest, before("s5"), 2, &["s2", "s4"], true),
        (Sort::Created, before("s2"), 2, &["s5", "s4"], true),
        (Sort::Created, before("s5"), 2, &["s6"], false),
    ];
    for (sort, beyond, limit, expected, more) in cases {
        let query = SessionQuery { sort, beyond: beyond.clone(), limit, ..query() };
        let page = store.sessions(query).await.expect("reads");
        let found: Vec<&str> = page.items.iter().map(|session| session.id.as_str()).collect();
        assert_eq!(
            (found.as_slice(), page.next.is_some()),
            (expected, more),
            "{sort:?} {beyond:?}"
        );
    }
    let never = SessionQuery { beyond: after("never"), ..query() };
    assert!(matches!(store.sessions(never).await, Err(StoreError::BadCursor)));
}

/// Every filter narrows, alone and together.
pub async fn filters_narrow(store: Arc<dyn Store>) {
    let runner = join(&*store).await;
    let mut new = new_session("parent");
    new.create.created.shared = true;
    new.create.created.title = Some("100% done_".to_owned());
    new.create.created.labels =
        BTreeMap::from([("team".into(), "a".into()), ("x".into(), "1".into())]);
    let parent = create(&*store, new).await;
    let mut new = new_session("child");
    new.create.created.parent = Some(parent.uid);
    new.create.created.owner = Principal("bob".to_owned());
    new.create.created.labels = BTreeMap::from([("team".into(), "a".into())]);
    create(&*store, new).await;
    let mut new = new_session("other");
    new.create.created.agent.name = "Writer".parse().expect("a name");
    new.create.created.user = Some("u-1".to_owned());
    create(&*store, new).await;
    running(&*store, "busy", runner).await;

    let label = |pairs: &[(&str, &str)]| SessionQuery {
        labels: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..query()
    };
    let text = |text: &str| SessionQuery { text: Some(text.to_owned()), ..query() };
    let statuses = |statuses: &[Status]| SessionQuery { statuses: statuses.to_vec(), ..query() };
    let seen_by =
        |name: &str| SessionQuery { visible_to: Some(Principal(name.to_owned())), ..query() };
    let cases: Vec<(SessionQuery, &[&str])> = vec![
        (query(), &["busy", "other", "child", "parent"]),
        (statuses(&[Status::Starting]), &["busy"]),
        (statuses(&[Status::Starting, Status::New]), &["busy", "other", "child", "parent"]),
        (statuses(&[Status::Failed]), &[]),
        (SessionQuery { agent: Some("Writer".into()), ..query() }, &["other"]),
        (SessionQuery { runner: Some(runner), ..query() }, &["busy"]),
        (SessionQuery { parent: Some(parent.uid), ..query() }, &["child"]),
        (SessionQuery { roots: true, ..query() }, &["busy", "other", "parent"]),
        (SessionQuery { roots: true, ..seen_by("bob") }, &["parent"]),
        (label(&[("team", "a")]), &["child", "parent"]),
        (label(&[("team", "a"), ("x", "1")]), &["parent"]),
        (label(&[("team", "b")]), &[]),
        (SessionQuery { user: Some("u-1".into()), ..query() }, &["other"]),
        (SessionQuery { user: Some("u-2".into()), ..query() }, &[]),
        (text("0% d"), &["parent"]),
        (text("done_"), &["parent"]),
        (text("d_n"), &[]),
        (text("\\"), &[]),
        (text("hil"), &["child"]),
        (text("writ"), &["other"]),
        (seen_by("bob"), &["child", "parent"]),
        (seen_by("ann"), &["busy", "other", "parent"]),
        (seen_by("eve"), &["parent"]),
    ];
    for (query, expected) in cases {
        assert_eq!(names(&*store, query.clone()).await, expected, "{query:?}");
    }

    let expire = Command::Expire { stop: StopId(fresh()), why: Expiry::Ttl };
    submit(&*store, parent.uid, vec![expire]).await;
    assert_eq!(names(&*store, seen_by("eve")).await, Vec::<String>::new(), "it is hidden");
    let hidden = SessionQuery { expired: true, ..seen_by("eve") };
    assert_eq!(names(&*store, hidden).await, ["parent"]);
    let roots = SessionQuery { roots: true, ..seen_by("bob") };
    assert_eq!(names(&*store, roots).await, ["child"], "its parent is not listed");
}

/// Labels that an update takes away find nothing any more.
pub async fn labels_follow_updates(store: Arc<dyn Store>) {
    let mut new = new_session("x");
    new.create.created.labels =
        BTreeMap::from([("a".into(), "1".into()), ("b".into(), "1".into())]);
    let session = create(&*store, new).await;
    let labels = BTreeMap::from([("b".to_owned(), "2".to_owned())]);
    let changes = Changes {
        labels: Some(labels.clone()),
        title: Some("t".to_owned()),
        shared: Some(true),
        ..Changes::default()
    };
    submit(&*store, session.uid, vec![Command::Update(changes)]).await;
    let with = |key: &str, value: &str| SessionQuery {
        labels: BTreeMap::from([(key.to_owned(), value.to_owned())]),
        ..query()
    };
    assert!(names(&*store, with("a", "1")).await.is_empty());
    assert!(names(&*store, with("b", "1")).await.is_empty());
    assert_eq!(names(&*store, with("b", "2")).await, ["x"]);
    let after = store.session(session.uid).await.expect("reads").expect("exists");
    assert_eq!((&after.labels, after.shared), (&labels, true));
    agrees(&*store, session.uid).await;
}

/// Each reconciler is given the sessions it has work with, and no others.
pub async fn reconcilers_find_their_work(store: Arc<dyn Store>) {
    let runner = join(&*store).await;
    let found = async |scan: Scan| -> BTreeSet<SessionUid> {
        store.scan(scan).await.expect("reads").into_iter().collect()
    };
    let only = |uids: &[SessionUid]| uids.iter().copied().collect::<BTreeSet<_>>();
    let mut new = new_session("waits");
    new.create.prompt = Some(prompt("go"));
    let waits = create(&*store, new).await.uid;
    let (_, busy) = running(&*store, "busy", runner).await;
    let (_, ending) = running(&*store, "ending", runner).await;
    submit(&*store, ending.uid, vec![stop()]).await;
    let (_, going) = running(&*store, "going", runner).await;
    submit(&*store, going.uid, vec![delete()]).await;
    let mut new = new_session("warm");
    new.create.created.traits.persistent = true;
    new.create.created.limits =
        Limits { idle_ms: Some(Ms::secs(1)), ttl_ms: Some(Ms::secs(9)), ..Limits::default() };
    let warm = create(&*store, new).await.uid;
    let resume = Command::Resume { by: greenroom_core::command::Actor::person("ann") };
    submit(&*store, warm, vec![resume, Command::Grant { runner }]).await;
    assert_eq!(found(Scan::IdleLimited).await, only(&[]));
    let ready = vec![record(warm, 1, 1, RecordBody::Ready)];
    store.append(runner, ready, Vec::new()).await.expect("taken");

    let live = only(&[busy.uid, ending.uid, going.uid, warm]);
    assert_eq!(found(Scan::NeedPlace).await, only(&[waits]));
    assert_eq!(found(Scan::Stopping).await, only(&[ending.uid, going.uid]));
    assert_eq!(found(Scan::LiveOn(runner)).await, live);
    assert_eq!(found(Scan::HomeOn(runner)).await, live);
    assert_eq!(found(Scan::Deleting).await, only(&[going.uid]));
    assert_eq!(found(Scan::IdleLimited).await, only(&[warm]));
    assert_eq!(found(Scan::TtlLimited).await, only(&[warm]));
    assert_eq!(found(Scan::Expired).await, only(&[]));
    submit(&*store, warm, vec![Command::Expire { stop: StopId(fresh()), why: Expiry::Ttl }]).await;
    assert_eq!(found(Scan::Expired).await, only(&[warm]));
    assert_eq!(found(Scan::TtlLimited).await, only(&[]));
    let nowhere = greenroom_core::RunnerId(fresh());
    assert_eq!(found(Scan::HomeOn(nowhere)).await, only(&[]));
    let name: SessionId = "never".parse().expect("a name");
    assert!(!store.was_removed(&name).await.expect("reads"));
}
