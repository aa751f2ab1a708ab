//! How many sessions there may be, and when each was last used.

use std::sync::Arc;

use greenroom_core::command::{Actor, Expiry};
use greenroom_core::record::Outcome;
use greenroom_core::session::Life;
use greenroom_core::{
    Command, Limits, Ms, Principal, Record, RecordBody, Session, StopId, Timestamp,
};

use crate::{NewSession, Quota, QuotaUse, Quotas, Store, StoreError, Submission, Used};

use super::fixtures::*;

fn active(most: u32) -> Quotas {
    Quotas { active: Some(most), ..Quotas::default() }
}

/// A session that asks for a place at once, of this owner.
fn asking(name: &str, owner: &str, user: Option<&str>, quotas: Quotas) -> NewSession {
    let mut new = new_session(name);
    new.create.prompt = Some(prompt("go"));
    new.create.created.owner = Principal(owner.to_owned());
    new.create.created.user = user.map(str::to_owned);
    new.quotas = quotas;
    new
}

async fn asked(store: &dyn Store, session: &Session, quotas: Quotas) -> Result<(), StoreError> {
    let command = Command::Prompt(prompt("more"));
    let submission = Submission { quotas, ..Submission::new(session.uid, at(5), vec![command]) };
    store.submit(submission).await.map(drop)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>, quota: Quota, used: u32) {
    match result {
        Err(StoreError::QuotaExceeded(of)) => {
            assert_eq!((of.quota, of.used), (quota, used), "{of:?}");
        }
        other => panic!("not refused: {other:?}"),
    }
}

async fn used(store: &dyn Store, owner: &str, user: Option<&str>) -> [u32; 3] {
    let owner = Principal(owner.to_owned());
    let Used { active, active_per_owner, sessions_per_owner } =
        store.used(&owner, user).await.expect("counts");
    [active, active_per_owner, sessions_per_owner]
}

/// What would be one too many is refused whole; what is active already, and what nobody asks
/// for anew, is not.
pub async fn quotas_are_kept(store: Arc<dyn Store>) {
    let store = &*store;
    let a = done(store.create_session(asking("a", "ann", None, active(2))).await.expect("fits"));
    done(store.create_session(asking("b", "bob", None, active(2))).await.expect("fits"));
    refused(store.create_session(asking("c", "ann", None, active(2))).await, Quota::Active, 2);
    let name = "c".parse().expect("a name");
    assert_eq!(store.session_named(&name).await.expect("reads"), None, "nothing of it is there");
    assert!(!store.was_removed(&name).await.expect("reads"));
    let rest = create(store, new_session("rest")).await;
    refused(asked(store, &rest, active(2)).await, Quota::Active, 2);
    assert_eq!(store.session(rest.uid).await.expect("reads").as_deref(), Some(&*rest));
    assert!(store.runs(rest.uid, 9, None).await.expect("reads").items.is_empty());
    asked(store, &a.session, active(2)).await.expect("it is active already");
    // What was admitted before is under no quota, and counts.
    asked(store, &rest, Quotas::default()).await.expect("accepted");
    assert_eq!(used(store, "ann", None).await, [3, 2, 2]);
    assert_eq!(used(store, "bob", None).await, [3, 1, 1]);
    submit(store, a.session.uid, vec![stop()]).await;
    refused(asked(store, &a.session, active(2)).await, Quota::Active, 2);
    asked(store, &a.session, active(3)).await.expect("there is room");
    agrees(store, a.session.uid).await;
}

/// Each owner has a quota of their own, and so has each user that an owner names.
pub async fn quotas_are_of_each_owner(store: Arc<dyn Store>) {
    let store = &*store;
    let one = Quotas { active_per_owner: Some(1), sessions_per_owner: Some(2), active: None };
    let whose = [("ann", None), ("ann", Some("u")), ("ann", Some("v")), ("bob", Some("u"))];
    for (n, (owner, user)) in whose.into_iter().enumerate() {
        let first = asking(&format!("first{n}"), owner, user, one);
        let first = done(store.create_session(first).await.expect("the first of theirs"));
        let second = asking(&format!("second{n}"), owner, user, one);
        refused(store.create_session(second).await, Quota::ActivePerOwner, 1);
        let quiet = |name: &str| NewSession {
            create: asking(name, owner, user, one).create,
            ..new_session(name)
        };
        let mut second = NewSession { quotas: one, ..quiet(&format!("second{n}")) };
        second.create.prompt = None;
        let second = done(store.create_session(second).await.expect("it is at rest"));
        let mut third = NewSession { quotas: one, ..quiet(&format!("third{n}")) };
        third.create.prompt = None;
        refused(store.create_session(third).await, Quota::SessionsPerOwner, 2);
        // One that has expired does not count, and comes back where there is room.
        let expire = Command::Expire { stop: StopId(fresh()), why: Expiry::Ttl };
        submit(store, second.session.uid, vec![expire]).await;
        let mut third = NewSession { quotas: one, ..quiet(&format!("third{n}")) };
        third.create.prompt = None;
        let third = done(store.create_session(third).await.expect("there is room"));
        submit(store, first.session.uid, vec![stop()]).await;
        refused(asked(store, &second.session, one).await, Quota::SessionsPerOwner, 2);
        submit(store, third.session.uid, vec![delete()]).await;
        asked(store, &second.session, one).await.expect("it is back");
        assert_eq!(used(store, owner, user).await[1..], [1, 2]);
    }
}

/// Of any number that come at once, as many are taken as there is room for.
pub async fn quotas_are_exact(store: Arc<dyn Store>) {
    let mut asking_all = tokio::task::JoinSet::new();
    for n in 0..24 {
        let store = Arc::clone(&store);
        asking_all.spawn(async move {
            if n % 2 == 0 {
                return store
                    .create_session(asking(&format!("n{n}"), "ann", None, active(7)))
                    .await;
            }
            let mut new = asking(&format!("n{n}"), "ann", None, active(7));
            new.create.prompt = None;
            let session =
                done(store.create_session(new).await.expect("it is at rest")).session.clone();
            let command = Command::Prompt(prompt("go"));
            let submission = Submission::new(session.uid, at(5), vec![command]);
            store.submit(Submission { quotas: active(7), ..submission }).await
        });
    }
    let (mut taken, mut not) = (0, 0);
    while let Some(result) = asking_all.join_next().await {
        match result.expect("no panic") {
            Ok(_) => taken += 1,
            Err(StoreError::QuotaExceeded(QuotaUse { quota: Quota::Active, .. })) => not += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((taken, not), (7, 17));
    assert_eq!(used(&*store, "ann", None).await[0], 7);
}

/// What is decided on a new session is part of its beginning.
pub async fn a_session_may_begin_with_wishes(store: Arc<dyn Store>) {
    let mut new = new_session("warm");
    new.create.created.traits.persistent = true;
    new.then = vec![Command::Resume { by: Actor::person("ann") }];
    new.quotas = active(1);
    let warm = done(store.create_session(new).await.expect("fits")).session.clone();
    assert!(warm.is_active() && warm.wants_compute, "{warm:?}");
    agrees(&*store, warm.uid).await;
    let mut new = new_session("other");
    new.create.created.traits.persistent = true;
    new.then = vec![Command::Resume { by: Actor::person("ann") }];
    new.quotas = active(1);
    refused(store.create_session(new).await, Quota::Active, 1);
    let mut new = new_session("other");
    new.then = vec![Command::Resume { by: Actor::person("ann") }];
    assert!(matches!(store.create_session(new).await, Err(StoreError::Refused(_))));
    let name = "other".parse().expect("a name");
    assert_eq!(store.session_named(&name).await.expect("reads"), None);
}

/// A session is used when the store is told so, whatever the clock of a runner says; and one
/// that was used meanwhile does not expire for want of it.
pub async fn use_is_timed_here(store: Arc<dyn Store>) {
    let store = &*store;
    let runner = join(store).await;
    let (run, session) = running(store, "x", runner).await;
    let clock = || Timestamp::from_unix_ms(jiff::Timestamp::now().as_millisecond());
    let before = clock();
    let outcome = Outcome::Completed { result: None };
    let bodies =
        [RecordBody::Ready, RecordBody::RunStarted { run }, RecordBody::RunEnded { run, outcome }];
    let records = bodies.into_iter().zip(1..).map(|(body, index)| Record {
        at: Timestamp::from_unix_ms(1),
        ..record(session.uid, 1, index, body)
    });
    store.append(runner, records.collect(), Vec::new()).await.expect("taken");
    let used = store.session(session.uid).await.expect("reads").expect("exists").used_at;
    assert!((before..=clock()).contains(&used), "{used}");
    // What is only said of it is no use.
    let update = greenroom_core::fact::Changes {
        limits: Some(Limits { unused_ms: Some(Ms(1)), ..Limits::default() }),
        ..Default::default()
    };
    let updated = submit(store, session.uid, vec![Command::Update(update)]).await;
    assert_eq!(updated.session.used_at, used);
    let expire = |since| Command::Expire { stop: StopId(fresh()), why: Expiry::Unused { since } };
    let kept = submit(store, session.uid, vec![expire(session.used_at)]).await;
    assert_eq!(kept.session.life, Life::Kept, "it was used after that");
    let gone = submit(store, session.uid, vec![expire(used)]).await;
    assert_eq!(gone.session.life, Life::Expired);
    agrees(store, session.uid).await;
}
