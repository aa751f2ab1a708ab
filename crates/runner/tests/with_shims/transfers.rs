//! Files, through streams, also of stopped sessions.

use greenroom_protocol::link::StreamKind;
use greenroom_protocol::v1::{FileInfo, List};

use crate::fixture::Fixture;

pub(crate) async fn files_of_a_stopped_session() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let session = f.session("mkdir sub; echo agent > 'sub/a b c:d%e'; ln -s /etc out");
    session.up(1, 1, "");
    session.receipt(1).await;
    let uid = session.uid;
    let c = &f.coordinator;
    let path = |path: &str| path.to_owned();

    let (head, body) =
        c.transfer(uid, StreamKind::Read { path: path("sub/a b c:d%e") }, None).await;
    assert_eq!((head.problem, head.length, body), (None, Some(6), b"agent\n".to_vec()));

    let big: Vec<u8> = (0..20_000_000u32).map(|n| n as u8).collect();
    let (head, body) =
        c.transfer(uid, StreamKind::Write { path: path("new/big") }, Some(&big)).await;
    assert_eq!(head.problem, None);
    assert_eq!(serde_json::from_slice::<FileInfo>(&body).unwrap().size, big.len() as u64);
    let (head, body) = c.transfer(uid, StreamKind::Read { path: path("new/big") }, None).await;
    assert_eq!(head.length, Some(big.len() as u64));
    assert!(body == big);

    let (_, body) = c.transfer(uid, StreamKind::List { path: path("") }, None).await;
    let list: List<FileInfo> = serde_json::from_slice(&body).unwrap();
    let names: Vec<_> = list.items.iter().map(|i| (i.name.as_str(), i.kind.as_str())).collect();
    assert_eq!(names, [("new", "dir"), ("out", "symlink"), ("sub", "dir")]);

    let (head, _) = c.transfer(uid, StreamKind::Read { path: path("out/passwd") }, None).await;
    assert_eq!(head.problem.unwrap().status, 422);
    let (head, _) =
        c.transfer(uid, StreamKind::Stat { path: path("../../runner.json") }, None).await;
    assert_eq!(head.problem.unwrap().status, 422);
    let remove = |recursive| StreamKind::Remove { path: path("new"), recursive };
    assert_eq!(c.transfer(uid, remove(false), None).await.0.problem.unwrap().code, "not_empty");
    assert_eq!(c.transfer(uid, remove(true), None).await.0.problem, None);
    let (head, _) = c.transfer(uid, StreamKind::Mkdir { path: path("x/y/z") }, None).await;
    assert_eq!(head.problem, None);
    assert!(f.work(uid).join("workspace/x/y/z").is_dir());
    // An upload nobody sends any more leaves nothing.
    let (head, _) = c.transfer(uid, StreamKind::Write { path: path("x/cut") }, None).await;
    assert_eq!(head.problem.unwrap().code, "upload_cut");
    assert_eq!(std::fs::read_dir(f.work(uid).join("workspace/x")).unwrap().count(), 1);
    runner.shutdown().await;
}
